"""Certificates of one backend from several machines or parts of a run: made one, and their contradictions told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from conv1d_cts import reports
from conv1d_cts.cli import main
from conv1d_cts.reports.certificate import Certificate, validate
from conv1d_cts.reports.merging import contradictions, merged
from tests.reports_factory import FAILURE, make_certificate, make_clauses

CLAUSES = {name: make_clauses()[name] for name in ("OP-1", "OP-2", "ACC-1")}


def part(**options: Any) -> Certificate:
    return make_certificate(**{"surfaces": ("functional",), "clauses": CLAUSES, **options})


def changed(certificate: Certificate, **changes: Any) -> Certificate:
    return validate({**certificate, **changes}, "changed")


def verdicts(certificate: Certificate) -> dict[tuple[str, str], str]:
    return {(row["id"], row["surface"]): row["verdict"] for row in certificate["clauses"]}


def test_surfaces_tried_apart_become_columns_of_one() -> None:
    found = {"a": part(), "b": part(surfaces=("layer",), verdicts={"OP-2": "deviation"}), "c": part(name="jax")}
    one = merged(found)
    assert list(one) == ["a", "c"]
    assert one["c"] is found["c"]
    assert one["a"]["backend"]["surfaces"] == ["functional", "layer"]
    assert [(row["id"], row["surface"]) for row in one["a"]["clauses"]] == [
        (clause, surface) for clause in CLAUSES for surface in ("functional", "layer")
    ]
    assert one["a"]["verdict"] == "conformant with deviations"
    assert one["a"]["run"]["merged"] == "a, b"
    assert one["a"]["run"]["seconds"] == found["a"]["run"]["seconds"] + found["b"]["run"]["seconds"]
    validate(one["a"], "merged")
    assert contradictions(found) == []


def test_parts_of_a_run_make_it_whole() -> None:
    halves = {
        "a": part(complete=False, verdict="partial", verdicts={"OP-2": "not run", "ACC-1": "error"}),
        "b": part(complete=False, verdict="partial", verdicts={"OP-1": "not run"}),
    }
    one = merged(halves)["a"]
    assert set(verdicts(one).values()) == {"pass"}
    assert (one["verdict"], one["suite"]["complete"]) == ("conformant", True)
    left = merged({**halves, "b": part(complete=False, verdicts={"OP-1": "not run", "OP-2": "not run"})})["a"]
    assert (left["verdict"], left["suite"]["complete"]) == ("partial", False)


def test_a_failure_outweighs_and_is_a_contradiction() -> None:
    found = {"a": part(), "b": part(verdict="nonconformant", verdicts={"OP-2": "fail"})}
    one = merged(found)["a"]
    assert one["verdict"] == "nonconformant"
    assert verdicts(one)["OP-2", "functional"] == "fail"
    assert next(row for row in one["clauses"] if row["id"] == "OP-2")["evidence"]["reproducer"] == FAILURE["reproducer"]
    assert contradictions(found) == ["torch on cpu: OP-2 on functional: pass in a, fail in b (the same cases)"]
    other = changed(found["b"], suite={**found["b"]["suite"], "seed": 7})
    assert contradictions({"a": other, "b": part()})[0].endswith("fail in a, pass in b (other cases)")


def test_what_has_no_verdict_contradicts_nothing() -> None:
    for verdict in ("vacuous", "refused", "unsupported", "not run", "error"):
        assert contradictions({"a": part(verdicts={"OP-2": "fail"}), "b": part(verdicts={"OP-2": verdict})}) == []


def test_other_processors_stand_side_by_side_and_may_contradict_each_other() -> None:
    def on(processor: str, **options: Any) -> Certificate:
        own = part(**options)
        return changed(own, backend={**own["backend"], "device_facts": {"processor": processor}})

    found = {"a": on("one"), "b": on("two", verdict="nonconformant", verdicts={"ACC-1": "crash"})}
    assert merged(found) == found
    assert contradictions(found) == ["torch on cpu: ACC-1 on functional: pass in a, crash in b (the same cases)"]
    assert contradictions({"a": part(), "b": part(version="2.12.0", verdicts={"ACC-1": "crash"})}) == []


def test_the_loosest_arithmetic_is_kept_and_the_other_told() -> None:
    def computing(kind: str) -> Certificate:
        return changed(part(), arithmetic=[{"surface": "functional", "dtype": "float32", "class": kind, "text": kind}])

    found = {"a": computing("ieee"), "b": computing("tf32")}
    assert [row["class"] for row in merged(found)["a"]["arithmetic"]] == ["tf32"]
    assert contradictions(found) == ["torch on cpu: arithmetic of float32 on functional: ieee in a, tf32 in b"]


def test_fuzzing_adds_up() -> None:
    def fuzzed(*failures: str) -> Certificate:
        told = [{"id": clause, "surface": "functional"} for clause in failures]
        return changed(part(), fuzzing={"seconds": 60, "examples": 100, "failures": told})

    one = merged({"a": fuzzed("OP-1"), "b": fuzzed("OP-1", "OP-2"), "c": part()})["a"]
    assert (one["fuzzing"]["seconds"], one["fuzzing"]["examples"]) == (120, 200)
    assert [failure["id"] for failure in one["fuzzing"]["failures"]] == ["OP-1", "OP-2"]


def test_the_report_says_so(tmp_path: Path) -> None:
    reports.dump(part(), tmp_path / "here.json")
    reports.dump(part(verdict="nonconformant", verdicts={"OP-2": "fail"}), tmp_path / "there.json")
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    line = "torch on cpu: OP-2 on functional: pass in here, fail in there (the same cases)"
    assert done.exit_code == 0
    assert f"contradiction: {line}" in done.output
    assert line in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "**Contradiction:** torch on cpu: OP\\-2" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "badges").glob("*.json")] == ["here.json"]
