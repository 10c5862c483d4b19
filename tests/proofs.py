"""Proof that each clause can fail: `python -m tests.proofs` finds a mutant that its checks kill, where none is known.

The mutants of the chapters that go against the clause are tried first, each with the checks of that clause alone.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor

import click

from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.isolation.process import Broken, Died
from tests.kills import add, load
from tests.mutants.bank import MUTANTS
from tests.power import LIKELY, chapter_of, session_on


def unproven() -> list[str]:
    """The clauses with checks of which no mutant is known to die."""
    return sorted({check.clause for _, check in checks()} - set(load()))


def _likely_first(clause: str) -> list[str]:
    return sorted(MUTANTS, key=lambda name: chapter_of(clause) not in LIKELY[MUTANTS[name].chapter])


def prove(clause: str, seed: int, profile: str) -> tuple[str, str, str] | None:
    """A clause, a check of it and the first mutant found that the check kills; None where all live."""
    of_clause = [(name.rpartition(".")[2], check) for name, check in checks() if check.clause == clause]
    for mutant in _likely_first(clause):
        try:
            session = session_on(mutant, seed, profile)
        except (Broken, Died):
            continue
        try:
            for name, check in of_clause:
                if session.run(check, session.surface_names[0]).kind:
                    return clause, name, mutant
        finally:
            session.close()
    return None


@click.command()
@click.option("--seed", default=0, help="Seed of the suite and of the thresholds.")
@click.option("--profile", default="standard", help="Profile of the suite.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Clauses at a time.")
def main(seed: int, profile: str, jobs: int) -> None:
    """Find a mutant for each clause that has none, and keep it in tests/mutants/kills.json."""
    lacking = unproven()
    with ProcessPoolExecutor(jobs) as workers:
        for clause, found in zip(
            lacking, workers.map(prove, lacking, [seed] * len(lacking), [profile] * len(lacking)), strict=True
        ):
            print(*(found or (clause, "no mutant dies of its checks")), flush=True)
            add([found] if found else [])
    sys.exit(1 if unproven() else 0)


if __name__ == "__main__":
    main()
