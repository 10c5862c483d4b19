"""The power of the suite: the standard profile against the bank of mutants. `python -m tests.power --help`.

A mutant is killed by the first check that fails on it; those that are known to kill it are tried first. Printed per
chapter: killed of all, and for each mutant the check that killed it, the examples it took and the seconds; then the
survivors, with the fault that nobody saw.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Container, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.isolation.process import Broken, Died
from conv1d_cts.conformance.session import LIMITS_CLAUSE, Options, Session
from conv1d_cts.spec.clauses import clauses
from tests.kills import add, killers
from tests.mutants.bank import MUTANTS

ADAPTER = Path(__file__).parent / "mutants" / "adapter.py"
CORRECT = ""  # the name of the backend without a fault
TOGETHER = ","  # between the names of mutants that are planted in one backend


def chapter_of(clause: str) -> str:
    """The letters of a clause: SHAPE of SHAPE-2."""
    return clause.partition("-")[0]


CLAUSES = frozenset(clauses())
_CHAPTERS = list(dict.fromkeys(map(chapter_of, clauses())))
# Where the clauses are that a chapter of the bank goes against: tried first, to come to the kill sooner.
LIKELY = {
    "operator": ("OP", "ACC"),
    "shapes": ("SHAPE", "OP", "GRAD"),
    "padding": ("PAD", "SHAPE", "GRAD"),
    "gradients": ("GRAD", "ACC"),
    "transforms": ("GRAD", "INV"),
    "numerics": ("ACC", "ARITH"),
    "special values": ("VAL", "ACC"),
    "validation": ("ERR",),
    "layouts": ("INV", "OP"),
    "state": ("INV", "ERR"),
    "process": ("SHAPE", "OP", "ERR", "GRAD"),
    "surfaces": ("CONF", "OP", "SHAPE"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant; clause and check are empty for a survivor."""

    mutant: str
    clause: str
    check: str
    verdict: str
    examples: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        said = f"{self.mutant:45} {self.verdict:5} {f'{self.clause} {self.check}' if self.check else 'SURVIVED':50}"
        return f"{said} {self.examples:6} examples {self.seconds:6.1f} s"


def in_order(mutant: str) -> list[tuple[str, Check]]:
    """Every check by its name: those that have killed the mutant, those of likely chapters, the rest in order."""
    known = {check for name in mutant.split(TOGETHER) for check in killers(name)}
    likely = LIKELY[MUTANTS[mutant].chapter] if mutant in MUTANTS else ()
    order = [*likely, *(chapter for chapter in _CHAPTERS if chapter not in likely)]
    named = [(name.rpartition(".")[2], check) for name, check in checks()]
    return sorted(named, key=lambda entry: (entry[0] not in known, order.index(chapter_of(entry[1].clause))))


def session_on(mutant: str, seed: int, profile: str) -> Session:
    """A session on a mutant, or several; the nameless one is the correct backend. Raises Broken, Died: not loaded."""
    os.environ["CONV1D_CTS_MUTANT"], os.environ["CONV1D_CTS_MUTANT_SEED"] = mutant, str(seed)
    return Session(
        Options(str(ADAPTER), profile=profile, seed=seed, python=sys.executable, call_seconds=5.0, shrink_seconds=0.0)
    )


def _wrong(limits: Iterable[dict[str, Any]]) -> bool:
    """Whether one of the limits of a backend that declares its own is stale, or not declared."""
    return any(limit["verdict"] == "stale" or limit["found"] for limit in limits)


def attack(mutant: str, seed: int, profile: str, tried: Container[str] = CLAUSES) -> Outcome:
    """Try the checks of those clauses on one mutant until one fails, or shows that a limit is none."""
    started, examples = time.monotonic(), 0

    def outcome(clause: str, check: str, verdict: str) -> Outcome:
        return Outcome(mutant, clause, check, verdict, examples, time.monotonic() - started)

    try:
        session = session_on(mutant, seed, profile)
    except (Broken, Died) as problem:
        return outcome("", "loading", str(problem))
    try:
        for name, check in in_order(mutant):
            for surface in session.surface_names if check.clause in tried else ():
                tally = session.run(check, surface)
                examples += sum(tally.counts.values())
                if tally.kind:
                    return outcome(check.clause, name, tally.kind)
                if LIMITS_CLAUSE in tried and _wrong(session.limits()):
                    return outcome(LIMITS_CLAUSE, name, "fail")
        return outcome("", "", "")
    finally:
        session.close()


def report(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Print the table; the survivors are returned."""
    chapters: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        chapters[MUTANTS[outcome.mutant].chapter].append(outcome)
    for chapter, found in chapters.items():
        print(f"\n{chapter}: {sum(bool(o.check) for o in found)} of {len(found)} killed")
        for o in found:
            print(f"  {o}")
    everyone = [o for found in chapters.values() for o in found]
    survivors = [o for o in everyone if not o.check]
    killed = [o.seconds for o in everyone if o.check]
    print(f"\nkilled {len(killed)} of {len(everyone)}; median {median(killed or [0]):.1f} s to the kill")
    for o in survivors:
        print(f"SURVIVED {o.mutant}: {' '.join(MUTANTS[o.mutant].fault.split())}")
    return survivors


@click.command()
@click.option("--seed", default=0, help="Seed of the suite and of the thresholds.")
@click.option("--profile", default="standard", help="Profile of the suite.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Mutants at a time.")
@click.option("--only", default="", help="Only mutants whose name or chapter holds this text.")
@click.option("--record", is_flag=True, help="Keep who killed whom in tests/mutants/kills.json.")
def main(seed: int, profile: str, jobs: int, only: str, record: bool) -> None:
    """Set the suite on the bank of mutants."""
    names = [n for n, m in MUTANTS.items() if only in n or only in m.chapter]
    started = time.monotonic()
    with ProcessPoolExecutor(jobs) as workers:
        control = workers.submit(attack, CORRECT, seed, profile)
        outcomes = []
        for outcome in workers.map(attack, names, [seed] * len(names), [profile] * len(names)):
            print(outcome, file=sys.stderr, flush=True)
            outcomes.append(outcome)
    if control.result().check:
        sys.exit(f"the correct backend fails, so no kill proves anything: {control.result()}")
    if record:
        add((o.clause, o.check, o.mutant) for o in outcomes if o.clause)
    survivors = report(outcomes)
    print(f"{time.monotonic() - started:.0f} s, seed {seed}, profile {profile}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
