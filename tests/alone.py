"""What a clause adds to the others: `python -m tests.alone` finds for each clause a mutant that only its checks kill.

One by one, a proof costs a whole run of the suite. So the candidates are planted together: the checks of each clause
run on a backend that has the mutants of all *other* clauses at once, and must pass, as if it had none. Two runs of the
suite prove nearly the whole table; mutants that cannot share a backend are tried alone. A candidate that another clause
sees is entered in tests/mutants/kills.json, and its clause has the next one the next time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import click

from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.session import LIMITS_CLAUSE
from conv1d_cts.spec.clauses import clauses
from tests.kills import Kills, add, write
from tests.kills import load as kills
from tests.mutants.bank import MUTANTS
from tests.mutants.base import Backend
from tests.mutants.witness import Call, run
from tests.power import CLAUSES, TOGETHER, attack

_KERNELS = ("forward", "grad_x", "grad_w", "grad_b")
_ORDINARY = Call(n=2, c_in=4, c_out=6, length=12, kernel=5, bias=True, ask="xwb")
TABLE = Path(__file__).parent / "mutants" / "alone.json"
Chosen = dict[str, str]  # a mutant for each clause
Seen = list[tuple[str, str, str]]  # clause, check, mutant


def tried() -> list[str]:
    """The clauses with checks, in the order of the spec."""
    return [clause for clause in clauses() if clause in {check.clause for _, check in checks()}]


def load() -> Kills:
    """Mutants by clause and check."""
    table: Kills = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def own(table: Kills) -> Chosen:
    """The mutant of each clause."""
    return {clause: mutants[0] for clause, by_check in table.items() for mutants in by_check.values()}


def candidates(wanted: Iterable[str]) -> Chosen:
    """For each clause the first mutant of kills.json that has died of no other; none where there is none."""
    known = {clause: {m for mutants in by_check.values() for m in mutants} for clause, by_check in kills().items()}
    found = {}
    for clause in wanted:
        others = set().union(*(mutants for other, mutants in known.items() if other != clause))
        if alone := sorted(known.get(clause, set()) - others):
            found[clause] = alone[0]
    return found


@cache
def shares(mutant: str) -> bool:
    """Whether other mutants can be seen beside this one in one backend.

    They can't where it changes what the backend says of itself, and so the cases that it is tried on; nor where it
    takes over the computation of ordinary calls, which then don't come to what was planted before.
    """
    backend, plain, reached = Backend(), Backend(), set[str]()
    for seam in _KERNELS:
        backend.around(seam)(_noting(seam, reached))
    MUTANTS[mutant].plant_in(backend, 0)
    for dtype in ("float32", "float64"):
        run(backend, replace(_ORDINARY, dtype=dtype))
    declared = any(getattr(plain, name) != getattr(backend, name) for name in ("native", "limits", "surface", "dtypes"))
    return reached == set(_KERNELS) and not declared


def _noting(seam: str, reached: set[str]) -> Callable[..., Any]:
    def noted(inner: Callable[..., Any], *args: Any) -> Any:
        reached.add(seam)
        return inner(*args)

    return noted


def _seen(clause: str, mutants: list[str], seed: int, profile: str) -> Seen:
    """Which of the mutants the checks of a clause see: all that share a backend on which they pass are not seen.

    Where they fail, each half is tried by itself, down to single ones: two faults may show in company only.
    """
    outcome = attack(TOGETHER.join(mutants), seed, profile, {clause}) if mutants else None
    if outcome is None or not outcome.check:
        return []
    if len(mutants) == 1:
        return [(clause, outcome.check, mutants[0])]
    middle = len(mutants) // 2
    return [one for half in (mutants[:middle], mutants[middle:]) for one in _seen(clause, half, seed, profile)]


def prove(clause: str, chosen: Chosen, seed: int, profile: str) -> tuple[str, Seen]:
    """The check of a clause that kills its mutant (empty where none does), and who else is seen by its checks."""
    killed = attack(chosen[clause], seed, profile, {clause}).check if clause in chosen else ""
    others = [m for other, m in chosen.items() if other != clause and shares(m)]
    seen = _seen(clause, others, seed, profile)
    if clause in chosen and not shares(chosen[clause]):
        alone = attack(chosen[clause], seed, profile, CLAUSES - {clause})
        seen += [(alone.clause or LIMITS_CLAUSE, alone.check, chosen[clause])] if alone.check else []
    return killed, seen


def proofs(chosen: Chosen, seed: int, profile: str, jobs: int) -> Iterator[tuple[str, str, Seen]]:
    """The proof of each clause, as it comes."""
    with ProcessPoolExecutor(jobs) as workers:
        futures = {clause: workers.submit(prove, clause, chosen, seed, profile) for clause in tried()}
        for clause, future in futures.items():
            yield clause, *future.result()


@click.command()
@click.argument("wanted", nargs=-1)
@click.option("--again", is_flag=True, help="Prove what the table says once more, beside what it lacks.")
@click.option("--seed", default=0, help="Seed of the suite and of the thresholds.")
@click.option("--profile", default="standard", help="Profile of the suite.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Clauses at a time.")
def main(wanted: tuple[str, ...], again: bool, seed: int, profile: str, jobs: int) -> None:
    """Find and prove a mutant of its own for each clause that is WANTED, or lacks one in tests/mutants/alone.json."""
    table = load()
    lacking = [clause for clause in tried() if clause in wanted or (not wanted and clause not in table)]
    chosen = candidates(lacking) | ({c: m for c, m in own(table).items() if again or c in wanted})
    killers = {}
    for clause, killed, seen in proofs(chosen, seed, profile, jobs):
        killers[clause] = killed
        add(seen)
        chosen = {c: m for c, m in chosen.items() if m not in {mutant for _, _, mutant in seen}}
        print(clause, killed or "-", *(f"sees {mutant}" for _, _, mutant in seen), flush=True)
    table = {c: entry for c, entry in table.items() if c not in lacking and not again} | {
        c: {killers[c]: [m]} for c, m in chosen.items() if killers[c]
    }
    write(TABLE, table)
    print(f"{len(table)} of {len(tried())} clauses have a mutant of their own, seed {seed}, profile {profile}")
    sys.exit(len(table) < len(tried()))


if __name__ == "__main__":
    main()
