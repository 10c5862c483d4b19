"""A trial: the engine that carries out a check on a surface, and finds out what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from conv1d_cts.adapters import devices
from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.conformance import abreast, history, reproducer
from conv1d_cts.conformance.abreast import Outcome
from conv1d_cts.conformance.backend import Flaw, Refused, Surface, Violation
from conv1d_cts.conformance.cases import Case, case_from
from conv1d_cts.conformance.check import Check, Example
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.ledger import Limit, LimitRecord, Tally
from conv1d_cts.conformance.selection import Selection
from conv1d_cts.conformance.strategies import shrink
from conv1d_cts.conformance.together import Together

_ENOUGH = 24  # cases of the pool, and of its own, for a check that may see most of them refused
_ABREAST = 32  # examples; they are made before any of them is judged
# Examples of one deviation that a check lets die; each costs a process, and more would show nothing new.
_DEATHS_SHOWN = 3


@dataclass
class Trial:
    """One surface of one backend under certification: what the engine needs besides the check.

    `cases` are those that the surface can do, as far as its limits say before a check has been chosen; `limited` are
    cases inside limits, of which each check tries a few. Where there is a `spread`, a check gets so many of the cases
    and `most` of its own, others at each `turn`: more where those may be refused, so that enough are not. A costly
    check gets `costly` of each, where that is given.
    """

    surface: Surface
    cases: tuple[Case, ...]
    sample: int
    limits: tuple[Limit, ...]
    deviations: tuple[Deviation, ...]
    limited: tuple[Case, ...] = ()
    shrink_seconds: float = 20.0
    thorough: bool = False
    spread: int | None = None
    most: int | None = None
    costly: int | None = None
    turn: int = 0

    def facts(self, check: Check, example: Example) -> dict[str, Fact]:
        """What conditions are evaluated on."""
        return {**example.facts(), **check.extra, **self._place()}

    def _place(self) -> dict[str, Fact]:
        return {"surface": self.surface.name, "device": devices.kind(self.surface.backend.device)}

    def limit(self, facts: dict[str, Fact]) -> Limit | None:
        """The first limit of this surface that holds for a call with these facts."""
        everything = {**facts, **self._place()}
        return next((limit for limit in self.limits if limit.when.holds(everything)), None)

    def _forbidding(self, check: Check, example: Example) -> Limit | None:
        """The limit that forbids a check an example; of several cases each has to be forbidden."""
        parts = example.cases if isinstance(example, Together) else (example,)
        limits = [self.limit(self.facts(check, part)) for part in parts]
        return limits[0] if all(limits) else None

    def run(self, check: Check, earlier: Sequence[Tally] = (), last: bool = True) -> Tally:
        """Try the check on all its examples; stop at the first failure that nobody expects.

        `earlier` are the tallies of the clause's checks before this one; the `last` of them judges what is stale.
        """
        tally = Tally(check.clause, self.surface.name, check.minimum)
        found = []
        for some in self._together(check, self._examples(check)):
            for example, finding in self.attempt(check, some, tally):
                found += [(finding, example)] if finding else []
                if tally.kind:
                    break
            if tally.kind:
                break
        if check.throughout and found and not tally.kind:
            self._judge_mixture(check, found, tally)
        if last:
            tally.judge_stale(self._entries(check), earlier)
        return tally

    def _together(self, check: Check, examples: Sequence[Example]) -> Iterator[list[Example]]:
        """The examples in their order, those in one list to be carried out abreast.

        One that is known to end its process, or to corrupt its memory, takes no others with it.
        """
        most = 1 if check.in_a_row else _ABREAST
        deaths = [d for d in self.deviations if d.corrupts or (d.kind != "fail" and check.clause in d.clauses)]
        some: list[Example] = []
        for example in examples:
            facts = self.facts(check, example) if deaths else {}
            deadly = any(self._inside(death, facts) for death in deaths)
            if some and (deadly or len(some) == most):
                yield some
                some = []
            some.append(example)
            if deadly:
                yield some
                some = []
        if some:
            yield some

    def _entries(self, check: Check) -> tuple[Deviation, ...]:
        return tuple(d for d in self.deviations if check.clause in d.clauses and self.surface.name in d.surfaces)

    def _examples(self, check: Check) -> list[Example]:
        """What the check selects from the deviations' recorded cases and the pool, and a few examples inside limits."""
        if check.for_accelerators and (not self.thorough or devices.is_cpu(self.surface.backend.device)):
            return []
        recorded = tuple(case_from(dict(case)) for d in self._entries(check) for case in d.cases)
        entries = self._entries(check) if self.spread else ()
        few, least = self.costly if check.costly else None, _ENOUGH if check.may_refuse else 0
        selection = Selection(
            check.select,
            lambda e: self._forbidding(check, e) is not None,
            few or (self.sample if check.sampled else self.spread and max(self.spread, least)),
            few or (self.most and max(self.most * (2 if check.may_refuse else 1), least)),
            self._forbids_all(check),
            check.bias_aside,
            lambda e: any(d.when.holds(self.facts(check, e)) for d in entries),
            check.turn + self.turn if self.spread else 0,
        )
        return selection.examples(recorded, self.cases, self.limited, check.minimum)

    def _forbids_all(self, check: Check) -> bool:
        """Whether a limit forbids the check whatever the case is."""
        fixed = {**check.extra, **self._place()}
        return any(limit.when.names <= fixed.keys() and limit.when.holds(fixed) for limit in self.limits)

    def attempt(self, check: Check, examples: Sequence[Example], tally: Tally) -> Iterator[tuple[Example, str | None]]:
        """Try the examples abreast, and count what comes of each as it is taken.

        With it comes the behaviour that the body found, where the example held and the body names one.
        """
        tried = [example for example in examples if self._is_tried(check, example, tally)]
        suspects = self.surface.backend.process.suspects
        suspects.extend(
            d for d in self.deviations for e in tried
            if d.corrupts and d not in suspects and self._inside(d, self.facts(check, e))
        )  # fmt: skip
        bodies = [partial(check.body, self.surface, example) for example in tried]
        with closing(abreast.outcomes(self.surface.backend, bodies)) as ended:
            for example, outcome in zip(tried, ended, strict=True):
                yield example, self._settle(check, example, outcome, suspects, tally)

    def _is_tried(self, check: Check, example: Example, tally: Tally) -> bool:
        """Whether an example is worth a call; one inside a limit is counted as that."""
        facts = self.facts(check, example)
        if self._forbidding(check, example) is not None:
            tally.counts["unsupported"] += 1
            known = any(self._inside(d, facts) for d in self._entries(check))
            return not check.must_refuse and not known  # what must be refused anyway says nothing about a limit
        return not any(tally.shown(d) >= _DEATHS_SHOWN and d.when.holds(facts) for d in self._entries(check))

    def _settle(
        self, check: Check, example: Example, outcome: Outcome, suspects: Sequence[Deviation], tally: Tally
    ) -> str | None:
        facts, problem = self.facts(check, example), outcome.problem
        limit = self._forbidding(check, example)
        if limit is not None:
            _judge_limit(example, problem, tally.limits.setdefault(limit, LimitRecord()))
            return None
        for deviation in self._entries(check):
            tally.met[deviation] += deviation.when.holds(facts)
        if problem is None:
            tally.held(outcome.finding, example.describe() | check.extra)
            return outcome.finding if isinstance(outcome.finding, str) else None
        if isinstance(problem, Refused) and problem.exhausted is not None:
            tally.kind, tally.failure = "error", self._exhausted(check, example, problem)
        elif isinstance(problem, Refused) and check.may_refuse:
            tally.counts["refused"] += 1
        else:
            self._failed(check, example, tally, outcome, suspects)
        return None

    def _exhausted(self, check: Check, example: Example, refusal: Refused) -> dict[str, Any]:
        """The evidence that a device had too little memory for an example, in a fresh process too."""
        where = f"{self.surface.backend.device} has not enough memory beside operands of {refusal.exhausted} bytes"
        return {"message": f"{where}: {refusal}", "case": example.describe() | check.extra}

    def _judge_mixture(self, check: Check, seen: Sequence[tuple[str, Example]], tally: Tally) -> None:
        """Count each example that behaves unlike the first one, deviations apart; fail where none speaks of it."""
        expected = [self._expected(check, example, "fail") for _, example in seen]
        plain = [one for one, deviation in zip(seen, expected, strict=True) if not deviation]
        usual, first = (plain or seen)[0]
        for (finding, example), deviation in zip(seen, expected, strict=True):
            if finding == usual:
                continue
            message = f"a mixture: {finding}; but {usual} for {first.describe()}"
            tally.counts["held"] -= 1
            if deviation:
                tally.deviates(deviation, message, example.describe())
                continue
            with self.surface.backend.fresh_process():
                again = (check.body(self.surface, first), check.body(self.surface, example)) == (usual, finding)
            tally.counts["failed"] += 1
            tally.kind, tally.failure = "fail", {
                "message": message, "case": example.describe() | check.extra, "expected": usual, "got": finding,
                "confirmed": self.surface.backend.process.kind if again else "not repeated",
                "no reproducer": "either behaviour is legal by itself: a script of one call can't show the mixture",
            }  # fmt: skip
            return

    def _inside(self, deviation: Deviation, facts: dict[str, Fact]) -> bool:
        return self.surface.name in deviation.surfaces and deviation.when.holds(facts)

    def _failed(
        self, check: Check, example: Example, tally: Tally, outcome: Outcome, suspects: Sequence[Deviation]
    ) -> None:
        """Count a failure as the deviation it is, as the work of a suspect, or as one that nobody expects.

        `suspects` are the deviations met by the failing process that corrupt its memory: what fails there and holds in
        a fresh process is theirs.
        """
        problem = _as_failure(outcome)
        expected, message = self._expected(check, example, _kind(problem)), str(problem)
        evidence = None if expected else self._evidence(check, example, outcome, look_back=not suspects)
        if evidence and evidence["confirmed"] != self.surface.backend.process.kind and suspects:
            expected, message = suspects[0], f"{message} (holds in a fresh process; this one had been corrupted before)"
        if expected is not None:
            tally.deviates(expected, message, example.describe())
        elif evidence is not None:
            tally.counts["failed"] += 1
            tally.kind, tally.failure = _kind(problem), evidence

    def _expected(self, check: Check, example: Example, kind: str) -> Deviation | None:
        facts = self.facts(check, example)
        return next((d for d in self.deviations if d.covers(check.clause, self.surface.name, kind, facts)), None)

    def _evidence(self, check: Check, example: Example, failed: Outcome, look_back: bool) -> dict[str, Any]:
        """Confirm a failure in a fresh process, shrink it or find the calls it needs, and write down what it shows.

        What goes before is a part of the failure where it holds in a fresh process, and we `look_back`.
        """
        backend, kind = self.surface.backend, _kind(_as_failure(failed))
        shown, confirmed = failed, False
        with backend.fresh_process():
            again = self._failure(check, example)
            if again is not None and _kind(_as_failure(again)) == kind:
                shown, confirmed = again, True
                if isinstance(example, Case):
                    smallest = shrink(example, self._fails_likewise(check, kind))
                    example = check.made_of(smallest) or example
                    if backend.last and len(backend.last[1]) > 1:
                        backend.replace_process()  # what smaller cases left is no part of this one's sequence
                    shown = self._failure(check, example) or again
        problem = _as_failure(shown)
        script = reproducer.written(backend, shown.last, problem)
        needed: tuple[history.Request, ...] = ()
        if not confirmed:
            backend.replace_process()  # what went before is part of the failure, and must not reach other checks
            needed = history.shortest(
                backend, failed.earlier if look_back else (), lambda: self._fails(check, example, kind),
                self.shrink_seconds,
            )  # fmt: skip
        return {
            "message": str(problem),
            "case": example.describe() | check.extra,
            "expected": problem.expected if isinstance(problem, Violation) else "an answer",
            "got": problem.got if isinstance(problem, Violation) else problem.log,
            "confirmed": backend.process.kind if confirmed else "needs history" if needed else "not repeated",
            **({"history": history.lines(needed)} if needed else {}),
            **reproducer.tried(script, backend.interpreter),
        }

    def _failure(self, check: Check, example: Example) -> Outcome | None:
        """The outcome where the example fails; None where it holds, or is refused as it may be."""
        found = abreast.outcome(self.surface.backend, partial(check.body, self.surface, example))
        if isinstance(found.problem, Refused):
            excused = check.may_refuse or found.problem.exhausted is not None
            return None if excused else found
        return found if found.problem else None

    def _fails(self, check: Check, example: Example, kind: str) -> bool:
        """Whether the example fails in that way."""
        found = self._failure(check, example)
        return found is not None and _kind(_as_failure(found)) == kind

    def _fails_likewise(self, check: Check, kind: str) -> Callable[[Case], bool]:
        """A predicate for the shrinker: inside the check, outside limits and deviations, the same kind of failure."""
        deadline = time.monotonic() + self.shrink_seconds

        def fails(candidate: Case) -> bool:
            case = check.made_of(candidate) if time.monotonic() < deadline else None
            if case is None:
                return False
            if self._forbidding(check, case) is not None:
                return False
            if self._expected(check, case, kind) is not None:
                return False
            return self._fails(check, case, kind)

        return fails


def _as_failure(failed: Outcome) -> Violation | Died:
    """The problem of an outcome that is none that may be: a refusal is a violation."""
    if isinstance(failed.problem, Violation | Died):
        return failed.problem
    return Violation(f"refused a legal call: {failed.problem}", "an answer", flaw=Flaw("refused"))


def _kind(problem: Violation | Died) -> str:
    return problem.kind if isinstance(problem, Died) else "fail"


def _judge_limit(example: Example, problem: Exception | None, record: LimitRecord) -> None:
    """A call inside a limit must be refused; whatever else it does is remembered against the limit (CONF-2)."""
    if isinstance(problem, Refused):
        record.refused += 1
    else:
        record.worked = {"message": str(problem or "worked"), "case": example.describe()}
