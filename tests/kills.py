"""The table clause -> check -> mutants: which check of which clause has killed which mutants, kept as data.

`python -m tests.power --record` adds to it, `python -m tests.proofs` looks for a mutant where a clause has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

TABLE = Path(__file__).parent / "mutants" / "kills.json"
Kills = dict[str, dict[str, list[str]]]


def load() -> Kills:
    """Mutants by clause and check."""
    table: Kills = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def killers(mutant: str) -> set[str]:
    """The checks that are known to kill a mutant."""
    return {check for checks in load().values() for check, mutants in checks.items() if mutant in mutants}


def add(kills: Iterable[tuple[str, str, str]]) -> None:
    """Keep (clause, check, mutant) triples beside those that are there."""
    table = load()
    for clause, check, mutant in kills:
        mutants = table.setdefault(clause, {}).setdefault(check, [])
        mutants[:] = sorted({*mutants, mutant})
    write(TABLE, table)


def write(path: Path, table: Kills) -> None:
    """Write a table of mutants; who reads it meanwhile sees the old one or the new."""
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)
