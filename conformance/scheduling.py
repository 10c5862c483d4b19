"""Who does what where several workers of pytest-xdist share a run: a clause on a surface stays with one of them.

Its last check judges, from what came of all of them, whether its deviations are stale.
"""

from __future__ import annotations

from functools import cache

from xdist.scheduler import LoadScopeScheduling

from conv1d_cts.conformance.catalog import checks


class ByClause(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Work units of one clause on one surface, in the order of the spec."""

    def _split_scope(self, nodeid: str) -> str:
        test, _, surface = nodeid.rpartition("::")[2].partition("[")
        return f"{_clauses().get(test, test)} {surface.removesuffix(']')}"


@cache
def _clauses() -> dict[str, str]:
    """The clause of each test by its own name, which says the clause and so is the name of no other."""
    return {name.rpartition(".")[2]: check.clause for name, check in checks()}
