"""The command line: what it prints, its exit codes, and that no mistake of a user's shows a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import conv1d_cts
from conv1d_cts import reports
from conv1d_cts.adapters import registry
from conv1d_cts.cli import main
from conv1d_cts.spec.clauses import clauses
from tests.reports_factory import make_certificate, make_set


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, certificate in make_set().items():
        reports.dump(certificate, tmp_path / f"{name}.json")
    return tmp_path


MISTAKES = {
    "certify numpy -q -v": "--quiet or --verbose, not both",
    "certify tortch": "unknown backend 'tortch'; nearest: torch",
    "certify nothing.py": "no adapter file nothing.py",
    "certify": "Missing argument",
    "certify numpy --devise cpu": "--device",
    "certify numpy --profile quik": "'quick', 'standard', 'thorough'",
    "certify numpy --seed one": "'one' is not a valid integer",
    "certify numpy --seed -1": "-1 is not in the range",
    "certify numpy --python /no/such/python": "no interpreter '/no/such/python'",
    "certify numpy --deviations nothing.toml": "'nothing.toml' does not exist",
    "certify numpy torch --deviations {here}": "--deviations belongs to one backend",
    "certify numpy --out {here}": "is a file",
    "certify numpy --out {here}/below": "cannot write to",
    "certfy numpy": "No such command 'certfy'",
    "new-adapter": "Missing argument",
    "new-adapter 2lib": "'2lib' is no name",
    "new-adapter a/b": "'a/b' is no name",
    "vectors": "give --out DIR, or --check DIR RESULTS",
    "vectors --out {empty} --check {empty} {here}": "give --out DIR, or --check DIR RESULTS",
    "vectors --check {empty}": "give --out DIR, or --check DIR RESULTS",
    "vectors --check {empty} {here}": "vectors.json",
    "report nothing": "'nothing' does not exist",
    "report {empty}": "no certificate in",
    "diff nothing.json {here}": "'nothing.json' does not exist",
    "diff {here} {here}": "test_cli.py: not JSON",
    "explain": "give a clause, or both --length and --kernel",
    "explain SHAPE-22": "no clause 'SHAPE-22'; nearest: SHAPE-2",
    "explain SHAPE-2 --length 4": "give a clause, or both --length and --kernel",
    "explain --length 4": "give a clause, or both --length and --kernel",
    "explain --length 4 --kernel 0": "0 is not in the range",
    "explain --length 4 --kernel 3 --padding samee": "unknown padding 'samee'; nearest: same",
    "explain --length 4 --kernel 3 --padding 1,2,3": "padding is LO,HI",
    "explain --length 4 --kernel 3 --padding -1": "padding is LO,HI",
}


@pytest.mark.parametrize(("line", "said"), MISTAKES.items())
def test_a_mistake_is_exit_code_2_and_says_what_there_is(tmp_path: Path, line: str, said: str) -> None:
    result = run(*line.format(here=__file__, empty=tmp_path).split())
    assert result.exit_code == 2
    assert said in result.output


def test_the_output_folder_is_checked_before_anything_runs(broken: Path) -> None:
    assert run("certify", broken, "--out", broken).exit_code == 2
    assert run("certify", broken, "--out", broken.parent / "out").exit_code == 3


def test_nothing_is_lost_when_one_of_several_fails(tmp_path: Path, broken: Path) -> None:
    (tmp_path / "other.py").write_text("x = (\n", encoding="utf-8")
    out = tmp_path / "a" / "b"
    result = run("certify", broken, tmp_path / "other.py", "--out", out)
    assert result.exit_code == 3
    assert sorted(path.name for path in out.iterdir()) == ["broken-cpu.json", "other-cpu.json"]
    assert f"ZeroDivisionError: division by zero ({broken}:1)" in result.output
    assert "SyntaxError" in result.output


def test_list_says_what_there_is_and_why_something_is_missing(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = {"numpy": registry.known()["numpy"], "broken": registry.AdapterSource("broken", path=str(broken))}
    monkeypatch.setattr(registry, "known", lambda: adapters)
    result = run("list")
    assert result.exit_code == 0
    first, second = result.output.splitlines()
    assert first.startswith("numpy   numpy ")
    assert first.endswith(" on cpu; surfaces functional")
    assert second == f"broken  missing: ZeroDivisionError: division by zero ({broken}:1)"


def test_the_four_adapters_are_known() -> None:
    assert {"numpy", "torch", "tensorflow", "jax"} <= set(registry.known())


def test_report_merges_a_folder(folder: Path) -> None:
    result = run("report", folder)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == str(folder / "index.html")
    assert "nonconformant" in result.output
    for name in ("index.html", "summary.md", "junit.xml", "badges"):
        assert (folder / name).exists()


def test_report_names_a_file_that_is_no_certificate(folder: Path) -> None:
    (folder / "other.json").write_text("{", encoding="utf-8")
    result = run("report", folder)
    assert result.exit_code == 3
    assert "other.json: not JSON" in result.output
    assert (folder / "index.html").exists()


def test_diff_shows_what_changed(tmp_path: Path) -> None:
    for name, verdicts in (("old", {"SHAPE-2": "pass"}), ("new", {"SHAPE-2": "fail"})):
        reports.dump(make_certificate(verdicts=verdicts), tmp_path / f"{name}.json")
    result = run("diff", tmp_path / "old.json", tmp_path / "new.json")
    assert result.exit_code == 0
    assert "## Lost (2)" in result.output
    found = json.loads(run("diff", "--format", "json", tmp_path / "old.json", tmp_path / "new.json").output)
    assert [change["clause"] for change in found["lost"]] == ["SHAPE-2", "SHAPE-2"]
    page = run("diff", "--format", "html", tmp_path / "old.json", tmp_path / "new.json").output
    assert page.startswith("<!doctype html>")
    assert "Lost (2)" in page


def test_history_tells_which_release_changed_what(tmp_path: Path) -> None:
    for version, verdict in (("2.9.0", "pass"), ("2.10.0", "fail"), ("2.11.0", "pass")):
        (tmp_path / version).mkdir()
        issued = make_certificate(version=version, surfaces=("functional",), verdicts={"SHAPE-2": verdict})
        reports.dump(issued, tmp_path / version / "torch-cpu.json")
    result = run("history", tmp_path)
    assert result.exit_code == 0
    html = (tmp_path / "history.html").read_text(encoding="utf-8")
    assert html.index("torch 2.10.0 on cpu</a>") < html.index("torch 2.11.0 on cpu</a>")
    assert html.index("Lost (1)") < html.index("Gained (1)")
    (tmp_path / "other.json").write_text("{", encoding="utf-8")
    broken = run("history", tmp_path)
    assert broken.exit_code == 3
    assert "other.json: not JSON" in broken.output


@pytest.mark.parametrize("clause", clauses())
def test_explain_shows_every_clause_with_its_checks(clause: str) -> None:
    result = run("explain", clause.lower())
    assert result.exit_code == 0
    assert result.output.startswith(f"{clause} ({clauses()[clause].level}) {clauses()[clause].title}\n")
    assert "\nchecks:\n  conv1d_cts.conformance.test_" in result.output


def test_explain_a_geometry() -> None:
    result = run("explain", "--length", 10, "--kernel", 3, "--stride", 4, "--padding", "1,0")
    assert result.exit_code == 0
    assert "lo = 1, hi = 0" in result.output
    assert "L_out       3 = " in result.output
    assert "never read  2 of 10 samples: 2, 6" in result.output


def test_version_and_help() -> None:
    assert conv1d_cts.__version__ in run("--version").output
    for command in ("list", "certify", "new-adapter", "vectors", "report", "diff", "history", "explain"):
        assert command in run("--help").output
        assert run(command, "-h").exit_code == 0
