"""Fuzzing: new cases until stopped, what failed kept and tried first, findings in the certificate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from conv1d_cts import reports
from conv1d_cts.cli import main
from conv1d_cts.conformance import fuzz
from conv1d_cts.conformance.interruption import Interruption
from conv1d_cts.conformance.ledger import Tally
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.spec.clauses import clauses
from tests.adapter_files import adapter_file
from tests.reports_factory import make_certificate

COMMAND = [sys.executable, "-c", "from conv1d_cts.cli import main; main()", "fuzz"]
RARE = "x = x + 1 if parameters['stride'] == 4 and length % 7 == 3 else x"


def fuzzed(file: Path, database: Path, seconds: float) -> Tally:
    """What came of the checks of OP-2, which must be one, until they fail or the seconds are over."""
    session = Session(Options(str(file), profile="quick", python=sys.executable))
    try:
        (target,) = fuzz.targets(session, {("OP-2", "functional")})
        fuzz.fuzz([target], database, seconds, lambda tally: None)
        return target.tally
    finally:
        session.close()


def test_a_rare_fault_is_found_shrunk_and_tried_first_by_the_next_run(tmp_path: Path) -> None:
    file = adapter_file(tmp_path, RARE)
    tally = fuzzed(file, tmp_path / "kept", seconds=300)
    case = tally.failure["case"]
    assert (tally.kind, tally.failure["confirmed"]) == ("fail", "fresh process")
    assert (case["stride"], case["length"] % 7, case["n"]) == (4, 3, 1)
    again = fuzzed(file, tmp_path / "kept", seconds=300)
    assert (again.kind, again.counts.total()) == ("fail", 1)


def test_a_ci_is_no_reason_to_draw_the_same_cases_again(tmp_path: Path) -> None:
    code = "import sys; from tests.test_fuzz import *; print(fuzzed(Path(sys.argv[1]), Path(sys.argv[2]), 300).kind)"
    command = [sys.executable, "-c", code, str(adapter_file(tmp_path, RARE)), str(tmp_path / "kept")]
    done = subprocess.run(command, env={**os.environ, "CI": "true"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fail", done.stdout + done.stderr


def test_what_was_mended_fails_no_more(tmp_path: Path) -> None:
    assert fuzzed(adapter_file(tmp_path, RARE), tmp_path / "kept", seconds=300).kind == "fail"
    mended = fuzzed(adapter_file(tmp_path), tmp_path / "kept", seconds=1)
    assert mended.kind == ""
    assert mended.counts["held"] > 0


def test_an_error_of_the_suite_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*anything: object) -> None:
        raise ZeroDivisionError("of the suite")

    monkeypatch.setattr("conv1d_cts.conformance.trial.Trial.attempt", broken)
    tally = fuzzed(adapter_file(tmp_path), tmp_path / "kept", seconds=300)
    assert tally.kind == "error"
    assert "ZeroDivisionError: of the suite" in tally.failure["message"]


def test_an_interruption_that_an_error_hides_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(*anything: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert not anything, "as Hypothesis asserts when it is interrupted before it has begun"

    monkeypatch.setattr("conv1d_cts.conformance.trial.Trial.attempt", broken_off)
    with pytest.raises(KeyboardInterrupt):
        fuzzed(adapter_file(tmp_path), tmp_path / "kept", seconds=300)


def test_an_interruption_that_got_lost_ends_the_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, signalled = adapter_file(tmp_path), Interruption(number=2)  # raised where nobody heard it
    session = Session(Options(str(file), profile="quick", python=sys.executable))
    session.finish(tmp_path, interrupted=True)
    session.close()
    monkeypatch.setattr("conv1d_cts.commands.fuzzing.Interruption", lambda: signalled)
    done = CliRunner().invoke(main, ["fuzz", str(file), "--minutes", "1", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "stopped" in done.output


def failing(clause: str, kind: str, message: str) -> Tally:
    tally = Tally(clause, "functional", 1, kind=kind, failure={"message": message})
    tally.counts.update(held=4, failed=1)
    return tally


def test_failures_are_added_to_the_certificate_and_nothing_gets_better() -> None:
    before = make_certificate(
        surfaces=("functional",), verdicts={"OP-2": "crash", "OP-3": "deviation"},
        clauses={name: clauses()[name] for name in ("OP-1", "OP-2", "OP-3", "OP-4")},
    )  # fmt: skip
    held = Tally("OP-4", "functional", 1)
    held.counts.update(held=7)
    found = [
        failing("OP-1", "fail", "wrong"),
        failing("OP-1", "crash", "died"),
        failing("OP-2", "fail", "milder"),
        held,
    ]
    after = fuzz.amended(dict(before), found, seconds=60)
    assert [r["verdict"] for r in after["clauses"]] == ["crash", "crash", "deviation", "pass"]
    assert after["clauses"][0]["evidence"]["message"] == "died"
    assert after["clauses"][1:] == before["clauses"][1:]
    assert after["verdict"] == "nonconformant"
    assert after["fuzzing"] == {
        "seconds": 60, "examples": 22, "failures": [{"id": "OP-1", "surface": "functional"}],
    }  # fmt: skip
    twice = fuzz.amended(after, [held], seconds=30)
    assert (twice["fuzzing"]["seconds"], twice["fuzzing"]["examples"]) == (90, 29)
    assert twice["clauses"] == after["clauses"]
    reports.certificate.validate(twice, "twice")
    assert reports.facts.fuzzing(reports.certificate.validate(after, "after")).endswith("1 more failed")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups that receive SIGINT")
def test_from_the_command_line_until_it_is_stopped(tmp_path: Path) -> None:
    file = adapter_file(tmp_path, "x = x + 1")
    session = Session(Options(str(file), profile="quick", python=sys.executable))
    path = session.finish(tmp_path, interrupted=True)
    session.close()
    process = subprocess.Popen(
        [*COMMAND, str(file), "--out", str(tmp_path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert first.startswith("fail: ")
    assert "Traceback" not in rest
    after = reports.load(path)
    (place, *_) = after["fuzzing"]["failures"]
    (found,) = [r for r in after["clauses"] if (r["id"], r["surface"]) == (place["id"], place["surface"])]
    assert found["verdict"] == "fail"
    assert "reproducer" in found["evidence"] or "no reproducer" in found["evidence"]
    assert clauses()[place["id"]].level == found["level"]
    musts = [failure for failure in after["fuzzing"]["failures"] if clauses()[failure["id"]].level == "MUST"]
    assert process.returncode == bool(musts), rest  # the checks are shuffled, and the first may be of another level


@pytest.mark.parametrize(
    ("certified", "said"),
    [
        ((), "to go on from: conv1d-cts certify"),
        (("functional",), "is of scratch 0.1, and here is numpy"),
        (("layer",), "has no surface 'functional'; it has: layer"),
    ],
)
def test_it_goes_on_from_a_certificate_of_the_same_backend(
    tmp_path: Path, certified: tuple[str, ...], said: str
) -> None:
    if certified:
        reports.dump(make_certificate("scratch", version="0.1", surfaces=certified), tmp_path / "scratch-cpu.json")
    done = subprocess.run(
        [*COMMAND, str(adapter_file(tmp_path)), "--minutes", "1", "--surface", "functional", "--out", str(tmp_path)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "fuzzing").exists()
