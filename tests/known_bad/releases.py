"""The releases and their published bugs, as data: releases.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conv1d_cts.adapters.conditions import FACTS, Condition, Fact
from conv1d_cts.conformance.cases import Case, case_from
from conv1d_cts.conformance.ledger import FAILURES

DATA = Path(__file__).parent / "releases.toml"


@dataclass(frozen=True)
class Bug:
    """A published bug: where it is published, the clauses that it breaks, and the calls on which it shows.

    `reproducer` is plain framework code, which exits with 1, or dies, where the bug is, and with 0 where it is not.
    """

    name: str
    summary: str
    link: str
    clauses: tuple[str, ...]
    region: Condition
    reproducer: str

    def shown_by(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """A certificate's row, with that of its findings which is a failure of the bug's on a call in its region."""
        if row["id"] not in self.clauses:
            return None
        told = ({"verdict": row["verdict"], **row["evidence"]}, *row["evidence"].get("further", ()))
        shown = (
            {**row, "verdict": evidence["verdict"], "evidence": evidence}
            for evidence in told
            if evidence["verdict"] in FAILURES and self._holds(evidence.get("case"), row["surface"])
        )
        return next(shown, None)

    def _holds(self, case: dict[str, Any] | None, surface: str) -> bool:
        return case is not None and self.region.holds(facts(case, surface))


@dataclass(frozen=True)
class Release:
    """What pip installs, the surface of the adapter that is certified, a release without the bugs, and the bugs."""

    name: str
    adapter: str
    surface: str
    requires: tuple[str, ...]
    fixed: tuple[str, ...]
    bugs: tuple[Bug, ...]


def facts(case: dict[str, Any], surface: str) -> dict[str, Fact]:
    """What a condition may ask of the case that a certificate shows."""
    own = {"padding": "explicit", **{name: value for name, value in case.items() if name in FACTS}}
    of_case = {k: v for k, v in case.items() if k in Case.__dataclass_fields__ or k in _GEOMETRY}
    return {**own, **case_from(of_case).facts(), "surface": surface}


_GEOMETRY = ("n", "c_in", "c_out", "length", "kernel", "stride", "dilation", "groups", "padding")


def _bug(table: dict[str, Any]) -> Bug:
    return Bug(**table | {"clauses": tuple(table["clauses"]), "region": Condition(table["region"])})


def load(text: str) -> tuple[Release, ...]:
    """The releases of a TOML document. Raises TypeError, KeyError and ValueError for anything outside the format."""
    return tuple(
        Release(
            **table
            | {"requires": tuple(table["requires"]), "fixed": tuple(table["fixed"])}
            | {"bugs": tuple(_bug(bug) for bug in table["bugs"])}
        )
        for table in tomllib.loads(text)["release"]
    )
