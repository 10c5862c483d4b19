"""The power of the suite: the standard profile against the bank of mutants. `python -m tests.power --help`.

A mutant is killed by the first check that fails on it. Printed per chapter: killed of all, and for each mutant the
check that killed it, the examples it took and the seconds; then the survivors, with the fault that nobody saw.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.isolation.process import Broken, Died
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.spec.clauses import clauses
from tests.mutants.bank import MUTANTS

ADAPTER = Path(__file__).parent / "mutants" / "adapter.py"
CORRECT = ""  # the name of the backend without a fault
_CHAPTERS = list(dict.fromkeys(clause.partition("-")[0] for clause in clauses()))


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant; `check` is empty for a survivor."""

    mutant: str
    check: str
    verdict: str
    examples: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        said = f"{self.mutant:45} {self.verdict:5} {self.check or 'SURVIVED':50}"
        return f"{said} {self.examples:6} examples {self.seconds:6.1f} s"


def attack(mutant: str, seed: int, profile: str) -> Outcome:
    """Try every check on one mutant, in the order of the spec, until one fails."""
    os.environ["CONV1D_CTS_MUTANT"], os.environ["CONV1D_CTS_MUTANT_SEED"] = mutant, str(seed)
    started, examples = time.monotonic(), 0
    options = Options(
        str(ADAPTER), profile=profile, seed=seed, python=sys.executable, call_seconds=5.0, shrink_seconds=0.0
    )
    try:
        session = Session(options)
    except (Broken, Died) as problem:
        return Outcome(mutant, "loading", str(problem), 0, time.monotonic() - started)
    try:
        for name, check in sorted(checks(), key=lambda entry: _CHAPTERS.index(entry[1].clause.partition("-")[0])):
            for surface in session.surface_names:
                tally = session.run(check, surface)
                examples += sum(tally.counts.values())
                if tally.kind:
                    where = f"{check.clause} {name.rpartition('.')[2]}"
                    return Outcome(mutant, where, tally.kind, examples, time.monotonic() - started)
        stale = [row for row in session.rows() if row["id"] == "CONF-2" and row["verdict"] == "fail"]
        seconds = time.monotonic() - started
        return Outcome(mutant, "CONF-2 limits" if stale else "", "fail" if stale else "", examples, seconds)
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
def main(seed: int, profile: str, jobs: int, only: str) -> None:
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
    survivors = report(outcomes)
    print(f"{time.monotonic() - started:.0f} s, seed {seed}, profile {profile}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
