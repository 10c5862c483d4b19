"""What a clause adds to the others: `python -m tests.alone` looks for a mutant that only its checks kill.

Tried are the mutants that the clause has killed (tests/mutants/kills.json). Many clauses can have none: whoever breaks
a worked example breaks the formula as well.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from tests.kills import load
from tests.power import CLAUSES, attack

TABLE = Path(__file__).parent / "mutants" / "alone.json"


def killed_alone(clause: str, seed: int, profile: str) -> str:
    """A mutant that dies of this clause's checks and lives through those of all others; empty where none is known."""
    for mutant in sorted({m for mutants in load()[clause].values() for m in mutants}):
        own, others = (attack(mutant, seed, profile, tried).check for tried in ({clause}, CLAUSES - {clause}))
        if own and not others:
            return mutant
    return ""


@click.command()
@click.option("--seed", default=0, help="Seed of the suite and of the thresholds.")
@click.option("--profile", default="standard", help="Profile of the suite.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Clauses at a time.")
def main(seed: int, profile: str, jobs: int) -> None:
    """Look for a mutant of its own for each clause, and keep those that were found in tests/mutants/alone.json."""
    wanted, found = sorted(load()), {}
    with ProcessPoolExecutor(jobs) as workers:
        for clause, mutant in zip(
            wanted, workers.map(killed_alone, wanted, [seed] * len(wanted), [profile] * len(wanted)), strict=True
        ):
            print(clause, mutant or "none alone", flush=True)
            found |= {clause: mutant} if mutant else {}
    TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} of {len(wanted)} clauses, seed {seed}, profile {profile}")


if __name__ == "__main__":
    main()
