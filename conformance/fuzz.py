"""Fuzzing: every check on ever new cases, from Hypothesis's engine and database, until it is stopped.

A certification tries the same cases for the same seed. Fuzzing goes on where it ends: Hypothesis draws cases that no
seed has had, keeps those that failed in its database, and tries them again first, in the next run or on another machine
that has the same database. What a failure shows is found out by the trial, as in a certification.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, assume, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.errors import Unsatisfiable

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.ledger import FAILURES, VERDICTS, Tally, overall, row
from conv1d_cts.conformance.pool import CLASSES, EXTENTS, at_size, make
from conv1d_cts.conformance.probing import float_dtypes
from conv1d_cts.conformance.relatives import nearest
from conv1d_cts.conformance.session import Session
from conv1d_cts.conformance.strategies import cases
from conv1d_cts.conformance.trial import Trial

_AT_ONCE = 10  # examples that a check gets before the next one's turn


@st.composite
def _of_classes(draw: st.DrawFn, dtypes: tuple[str, ...]) -> Case:
    """A case with any class of each parameter, as those of the covering arrays are made."""
    classes = {**CLASSES, "dtype": dtypes}
    chosen = {name: draw(st.sampled_from(values)) for name, values in classes.items()}
    return make(draw(st.randoms(use_true_random=False)), chosen)


@st.composite
def _of_powers(draw: st.DrawFn, dtypes: tuple[str, ...]) -> Case:
    """A case with one extent at a power of two up to 2048, or beside it."""
    size = 2 ** draw(st.integers(5, 11)) + draw(st.sampled_from((0, 1, -1)))
    return at_size(draw(st.randoms(use_true_random=False)), draw(st.sampled_from(EXTENTS)), size, dtypes)


def drawn(dtypes: tuple[str, ...]) -> st.SearchStrategy[Case]:
    """Cases without end, aimed where the pool is."""
    return st.one_of(cases(dtypes), _of_classes(dtypes), _of_powers(dtypes))


class _Found(Exception):  # noqa: N818 - tells Hypothesis to keep the case
    pass


@dataclass
class Target:
    """One check on one surface: what came of it so far, and how Hypothesis tries it on new cases."""

    name: str
    check: Check
    trial: Trial
    tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.tally = Tally(self.check.clause, self.trial.surface.name, self.check.minimum)
        self._always = list(self.check.select(()))

    @property
    def takes_cases(self) -> bool:
        """Whether the check makes anything of cases, beside what it always tries."""
        return len(list(self.check.select(self.trial.cases))) > len(self._always)

    def _made_of(self, case: Case) -> list[Any]:
        return [example for example in self.check.select((case,)) if example not in self._always]

    def go_on(self, database: Path) -> None:
        """Try what failed before and a few new examples, until one fails."""

        def attempt(case: Case, data: st.DataObject) -> None:
            possible = nearest(case, lambda relative: self.trial.limit(relative.facts()) is None)
            made = self._made_of(possible) if possible else []
            assume(made)
            example = data.draw(st.sampled_from(made))
            if not self.tally.kind:  # Hypothesis asks a second time, and the trial has already tried it again
                list(self.trial.attempt(self.check, [example], self.tally))
            if self.tally.kind:
                raise _Found

        attempt.__name__ = self.name  # by which its database knows a test
        options = settings(
            max_examples=_AT_ONCE,
            database=DirectoryBasedExampleDatabase(database),
            derandomize=False,  # where Hypothesis sees a CI, its default draws the same few examples each time
            phases=(Phase.reuse, Phase.generate),  # the trial shrinks, and knows what a smaller case must not be
            suppress_health_check=list(HealthCheck),
            deadline=None,
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        strategy = drawn(float_dtypes(self.trial.surface, self.trial.limits))
        test = options(given(strategy, st.data())(attempt))
        try:
            test()
        except (_Found, Unsatisfiable):  # a failure, which the tally has; no case for this check among many
            pass
        except Exception as error:
            self.tally.err(error)


def _word(text: str) -> str:
    """What is left of a text as part of an identifier."""
    return re.sub(r"\W", "_", text)


def targets(session: Session, places: Collection[tuple[str, str]]) -> list[Target]:
    """The checks that make something of cases, of every clause on the surface that it is to be tried on."""
    found = (
        Target("_".join(map(_word, (session.name, surface, name.rpartition(".")[2]))), check, session.trial(surface))
        for surface in session.surface_names
        for name, check in checks()
        if (check.clause, surface) in places
    )
    return [target for target in found if target.takes_cases]


def fuzz(found: Iterable[Target], database: Path, seconds: float, tell: Callable[[Tally], None]) -> None:
    """Try the targets in turn, and `tell` of each after its turn, until the seconds are over or all have failed.

    A target that has failed is left alone from then on.
    """
    end = time.monotonic() + seconds
    left = list(found)
    while left:
        random.shuffle(left)  # a short run is not always of the same checks
        for target in left:
            if time.monotonic() >= end:
                return
            target.go_on(database)
            tell(target.tally)
        left = [target for target in left if not target.tally.kind]


def amended(certificate: dict[str, Any], tallies: Sequence[Tally], seconds: float) -> dict[str, Any]:
    """The certificate with what fuzzing found: a failure is its row's verdict and evidence; nothing else gets better.

    The examples are counted beside the certificate's own, which are those of its seed. An error of the suite says
    nothing about a row.
    """
    failing: dict[tuple[str, str], list[Tally]] = {}
    for tally in tallies:
        if tally.kind in FAILURES:
            failing.setdefault((tally.clause, tally.surface), []).append(tally)
    failures = {place: row(found) for place, found in failing.items()}
    rows = [_worse(old, failures.get((old["id"], old["surface"]), old)) for old in certificate["clauses"]]
    changed = [new for old, new in zip(certificate["clauses"], rows, strict=True) if new is not old]
    before = certificate.get("fuzzing", {"seconds": 0, "examples": 0, "failures": []})
    return {
        **certificate,
        "clauses": rows,
        "verdict": overall(rows, certificate["suite"]["complete"]),
        "fuzzing": {
            "seconds": round(before["seconds"] + seconds, 1),
            "examples": before["examples"] + sum(tally.counts.total() for tally in tallies),
            "failures": [*before["failures"], *({"id": new["id"], "surface": new["surface"]} for new in changed)],
        },
    }


def _worse(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    if VERDICTS.index(old["verdict"]) <= VERDICTS.index(new["verdict"]):
        return old
    kept = {name: value for name, value in old["evidence"].items() if name in ("accuracy", "deviations", "finding")}
    return {**old, "verdict": new["verdict"], "evidence": {**new["evidence"], **kept}}
