"""A trial: the engine that carries out a check on a surface, and finds out what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from conv1d_cts.adapters import devices
from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.conformance import history, reproducer
from conv1d_cts.conformance.backend import Flaw, Refused, Surface, Violation
from conv1d_cts.conformance.cases import Case, case_from
from conv1d_cts.conformance.check import Check, Example
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.ledger import Limit, LimitRecord, Tally
from conv1d_cts.conformance.selection import Selection
from conv1d_cts.conformance.strategies import shrink

# Examples of one deviation that a check lets die; each costs a process, and more would show nothing new.
_DEATHS_SHOWN = 3


@dataclass
class Trial:
    """One surface of one backend under certification: what the engine needs besides the check.

    `cases` are those that the surface can do, as far as its limits say before a check has been chosen; `limited` are
    cases inside limits, of which each check tries a few.
    """

    surface: Surface
    cases: tuple[Case, ...]
    sample: int
    limits: tuple[Limit, ...]
    deviations: tuple[Deviation, ...]
    limited: tuple[Case, ...] = ()
    shrink_seconds: float = 20.0
    thorough: bool = False

    def facts(self, check: Check, example: Example) -> dict[str, Fact]:
        """What conditions are evaluated on."""
        return {**example.facts(), **check.extra, **self._place()}

    def _place(self) -> dict[str, Fact]:
        return {"surface": self.surface.name, "device": devices.kind(self.surface.backend.device)}

    def limit(self, facts: dict[str, Fact]) -> Limit | None:
        """The first limit of this surface that holds for a call with these facts."""
        return next((limit for limit in self.limits if limit.when.holds({**facts, **self._place()})), None)

    def run(self, check: Check, earlier: Sequence[Tally] = (), last: bool = True) -> Tally:
        """Try the check on all its examples; stop at the first failure that nobody expects.

        `earlier` are the tallies of the clause's checks before this one; the `last` of them judges what is stale.
        """
        tally = Tally(check.clause, self.surface.name, check.minimum)
        seen = []
        for example in self._examples(check):
            seen.append((self.attempt(check, example, tally), example))
            if tally.kind:
                break
        found = [(finding, example) for finding, example in seen if finding]
        if check.throughout and found and not tally.kind:
            self._judge_mixture(check, found, tally)
        if last:
            tally.judge_stale(self._entries(check), earlier)
        return tally

    def _entries(self, check: Check) -> tuple[Deviation, ...]:
        return tuple(d for d in self.deviations if check.clause in d.clauses and self.surface.name in d.surfaces)

    def _examples(self, check: Check) -> list[Example]:
        """What the check selects from the deviations' recorded cases and the pool, and a few examples inside limits."""
        if check.for_accelerators and (not self.thorough or devices.is_cpu(self.surface.backend.device)):
            return []
        recorded = tuple(case_from(dict(case)) for d in self._entries(check) for case in d.cases)
        sample = self.sample if check.sampled else None
        selection = Selection(
            check.select,
            lambda e: self.limit(self.facts(check, e)) is not None,
            sample,
            self._forbids_all(check),
            check.bias_aside,
        )
        return selection.examples(recorded, self.cases, self.limited, check.minimum)

    def _forbids_all(self, check: Check) -> bool:
        """Whether a limit forbids the check whatever the case is."""
        fixed = {**check.extra, **self._place()}
        return any(limit.when.names <= fixed.keys() and limit.when.holds(fixed) for limit in self.limits)

    def attempt(self, check: Check, example: Example, tally: Tally) -> str | None:
        """Count what comes of one example; the behaviour that the body found, where it held and names one."""
        facts = self.facts(check, example)
        limit = self.limit(facts)
        if limit is not None:
            known = any(self._inside(d, facts) for d in self._entries(check))
            if not check.must_refuse and not known:  # what must be refused anyway says nothing about a limit
                self._try_limit(check, example, tally.limits.setdefault(limit, LimitRecord()))
            tally.counts["unsupported"] += 1
            return None
        if any(tally.shown(d) >= _DEATHS_SHOWN and d.when.holds(facts) for d in self._entries(check)):
            return None
        for deviation in self._entries(check):
            tally.met[deviation] += deviation.when.holds(facts)
        earlier, suspects = tuple(self.surface.backend.process.history), self.surface.backend.process.suspects
        suspects.extend(d for d in self.deviations if d.corrupts and self._inside(d, facts) and d not in suspects)
        try:
            finding = check.body(self.surface, example)
        except Refused as refusal:
            if refusal.exhausted is not None:
                tally.kind, tally.failure = "error", self._exhausted(check, example, refusal)
                return None
            if check.may_refuse:
                tally.counts["refused"] += 1
                return None
            self._failed(check, example, tally, _refusal(refusal), suspects, earlier)
        except (Violation, Died) as problem:
            self._failed(check, example, tally, problem, suspects, earlier)
        else:
            tally.held(finding, example.describe() | check.extra)
            return finding if isinstance(finding, str) else None
        return None

    def _exhausted(self, check: Check, example: Example, refusal: Refused) -> dict[str, Any]:
        """The evidence that a device had too little memory for an example, in a fresh process too."""
        where = f"{self.surface.backend.device} has not enough memory beside operands of {refusal.exhausted} bytes"
        return {"message": f"{where}: {refusal}", "case": example.describe() | check.extra}

    def _try_limit(self, check: Check, example: Example, record: LimitRecord) -> None:
        """A call inside a limit must be refused; whatever else it does is remembered against the limit (CONF-2)."""
        try:
            check.body(self.surface, example)
        except Refused:
            record.refused += 1
        except (Violation, Died) as problem:
            record.worked = {"message": str(problem), "case": example.describe()}
        else:
            record.worked = {"message": "worked", "case": example.describe()}

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
        self,
        check: Check,
        example: Example,
        tally: Tally,
        problem: Violation | Died,
        suspects: Sequence[Deviation],
        earlier: Sequence[history.Request],
    ) -> None:
        """Count a failure as the deviation it is, as the work of a suspect, or as one that nobody expects.

        `suspects` are the deviations met by the failing process that corrupt its memory: what fails there and holds in
        a fresh process is theirs. `earlier` are the last requests that the process had answered.
        """
        kind = problem.kind if isinstance(problem, Died) else "fail"
        expected, message = self._expected(check, example, kind), str(problem)
        evidence = None if expected else self._evidence(check, example, kind, problem, () if suspects else earlier)
        if evidence and evidence["confirmed"] != self.surface.backend.process.kind and suspects:
            expected, message = suspects[0], f"{message} (holds in a fresh process; this one had been corrupted before)"
        if expected is not None:
            tally.deviates(expected, message, example.describe())
        elif evidence is not None:
            tally.counts["failed"] += 1
            tally.kind, tally.failure = kind, evidence

    def _expected(self, check: Check, example: Example, kind: str) -> Deviation | None:
        facts = self.facts(check, example)
        return next((d for d in self.deviations if d.covers(check.clause, self.surface.name, kind, facts)), None)

    def _evidence(
        self, check: Check, example: Example, kind: str, problem: Violation | Died, earlier: Sequence[history.Request]
    ) -> dict[str, Any]:
        """Confirm a failure in a fresh process, shrink it or find the calls it needs, and write down what it shows."""
        backend = self.surface.backend
        script = reproducer.written(backend, problem)
        with backend.fresh_process():
            again = self._outcome(check, example)
            confirmed = again is not None and again[0] == kind
            if confirmed and isinstance(example, Case):
                smallest = shrink(example, self._fails_likewise(check, kind))
                example = check.made_of(smallest) or example
                if backend.last and len(backend.last[1]) > 1:
                    backend.replace_process()  # what smaller cases left behind is no part of this one's sequence
                again = self._outcome(check, example) or again
            if confirmed and again is not None:
                script = reproducer.written(backend, again[1])
        needed: tuple[history.Request, ...] = ()
        if not confirmed:
            backend.replace_process()  # what went before is part of the failure, and must not reach other checks
            needed = history.shortest(
                backend, earlier, lambda: (self._outcome(check, example) or ("",))[0] == kind, self.shrink_seconds
            )
        shown = again[1] if confirmed and again is not None else problem
        return {
            "message": str(shown),
            "case": example.describe() | check.extra,
            "expected": shown.expected if isinstance(shown, Violation) else "an answer",
            "got": shown.got if isinstance(shown, Violation) else shown.log,
            "confirmed": self.surface.backend.process.kind
            if confirmed
            else "needs history"
            if needed
            else "not repeated",
            **({"history": history.lines(needed)} if needed else {}),
            **reproducer.tried(script, backend.interpreter),
        }

    def _outcome(self, check: Check, example: Example) -> tuple[str, Violation | Died] | None:
        """(kind, problem) where the example fails; None where it holds, or is refused as it may be."""
        try:
            check.body(self.surface, example)
        except Refused as refusal:
            excused = check.may_refuse or refusal.exhausted is not None
            return None if excused else ("fail", _refusal(refusal))
        except Violation as violation:
            return "fail", violation
        except Died as death:
            return death.kind, death
        return None

    def _fails_likewise(self, check: Check, kind: str) -> Callable[[Case], bool]:
        """A predicate for the shrinker: inside the check, outside limits and deviations, the same kind of failure."""
        deadline = time.monotonic() + self.shrink_seconds

        def fails(candidate: Case) -> bool:
            case = check.made_of(candidate) if time.monotonic() < deadline else None
            if case is None:
                return False
            if self.limit(self.facts(check, case)) is not None:
                return False
            if self._expected(check, case, kind) is not None:
                return False
            outcome = self._outcome(check, case)
            return outcome is not None and outcome[0] == kind

        return fails


def _refusal(refusal: Refused) -> Violation:
    return Violation(f"refused a legal call: {refusal}", "an answer", flaw=Flaw("refused"))
