"""Known-bad releases as data: well-formed, plain framework code, and a bug is found only inside its region."""

from __future__ import annotations

from typing import Any

import pytest

from conv1d_cts.adapters import registry
from conv1d_cts.spec.clauses import clauses
from tests.known_bad.releases import DATA, Bug, Release, load

RELEASES = load(DATA.read_text(encoding="utf-8"))
BUGS = [bug for release in RELEASES for bug in release.bugs]
WIDE = """
[[release]]
name = "lib 1.0"
adapter = "lib"
surface = "functional"
requires = ["lib==1.0"]
fixed = ["lib==1.1"]

[[release.bugs]]
name = "lib#1"
summary = "the input gradient is too short where the padding exceeds the window"
link = "https://example.org/1"
clauses = ["GRAD-5"]
region = "function == 'vjp' and lo >= span"
reproducer = "raise SystemExit(1)"
"""


def a_row(clause: str = "GRAD-5", verdict: str = "fail", **case: Any) -> dict[str, Any]:
    geometry = {"n": 1, "c_in": 1, "c_out": 1, "length": 5, "kernel": 2, "padding": [2, 2]}
    return {
        "id": clause, "surface": "functional", "verdict": verdict,
        "evidence": {"case": {**geometry, "function": "vjp", "wrt": "x", **case}},
    }  # fmt: skip


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_a_release_names_an_adapter_and_exact_versions(release: Release) -> None:
    assert registry.find(release.adapter).name == release.adapter
    assert release.bugs
    assert all("==" in requirement for requirement in (*release.requires, *release.fixed))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.name} {bug.clauses[0]}")
def test_a_bug_is_published_and_reproduced_without_the_suite(bug: Bug) -> None:
    assert set(bug.clauses) <= set(clauses())
    assert bug.link.startswith("https://")
    compile(bug.reproducer, bug.name, "exec")
    assert "conv1d_cts" not in bug.reproducer
    assert "exit" in bug.reproducer.lower()


def test_a_bug_is_shown_by_a_failure_of_its_clause_inside_its_region_only() -> None:
    ((bug,),) = (release.bugs for release in load(WIDE))
    assert bug.shown_by(a_row())
    assert bug.shown_by(a_row(verdict="crash"))
    assert not bug.shown_by(a_row(verdict="pass"))
    assert not bug.shown_by(a_row("GRAD-7"))
    assert not bug.shown_by(a_row(padding=[1, 2]))
    assert not bug.shown_by(a_row(function="conv1d"))


def test_a_bug_that_another_finding_of_its_clause_precedes_is_shown_all_the_same() -> None:
    ((bug,),) = (release.bugs for release in load(WIDE))
    own, other = a_row(), a_row(verdict="crash", padding=[1, 2])
    other["evidence"]["further"] = [{"verdict": "fail", "message": "too short", **own["evidence"]}]
    shown = bug.shown_by(other)
    assert shown is not None
    assert (shown["verdict"], shown["evidence"]["case"]["padding"]) == ("fail", [2, 2])


def test_a_failure_without_a_case_shows_nothing() -> None:
    ((bug,),) = (release.bugs for release in load(WIDE))
    row = a_row()
    del row["evidence"]["case"]
    assert not bug.shown_by(row)


def test_an_unknown_name_in_a_region_is_refused() -> None:
    with pytest.raises(ValueError, match="nearest"):
        load(WIDE.replace("lo >= span", "low >= span"))
