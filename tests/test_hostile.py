"""Hostile backends in real processes: each is named for what it did, leaves no process behind and loses no file."""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conv1d_cts import reports
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.conformance.values import forward_is_exact
from conv1d_cts.spec.clauses import clauses
from tests.adapter_files import adapter_file
from tests.hostile import BANK, certificate, left_behind, wrong


@pytest.mark.parametrize("name", BANK)
def test_a_hostile_backend_gets_its_verdict(tmp_path: Path, name: str) -> None:
    found = certificate(name, tmp_path)
    assert not wrong(name, found)
    assert len(found["clauses"]) == len(clauses())
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".py", ".json"}
    assert not left_behind()


def test_a_crash_at_one_length_is_shrunk_to_it(tmp_path: Path) -> None:
    found = certificate("one length", tmp_path, shrink_seconds=60.0)
    case = next(row["evidence"]["case"] for row in found["clauses"] if row["id"] == "SHAPE-2")
    assert (case["length"], case["n"], case["c_in"], case["c_out"], case["kernel"]) == (17, 1, 1, 1, 1)


def test_a_crash_on_the_second_call_comes_with_the_first(tmp_path: Path) -> None:
    found = certificate("second call", tmp_path)
    evidence = next(row["evidence"] for row in found["clauses"] if row["id"] == "SHAPE-2")
    assert evidence["confirmed"] == "needs history"
    assert len(evidence["history"].splitlines()) == 1


KILLS = 50


def _kill_one(rng: random.Random, delay: float) -> None:
    time.sleep(delay)
    with suppress(psutil.NoSuchProcess, IndexError):
        rng.choice(psutil.Process().children(recursive=True)).kill()


def test_a_backend_killed_from_outside_at_any_moment_leaves_the_certificate_whole(tmp_path: Path) -> None:
    """The check takes about a tenth of a second; a kill finds the process at work, at rest, or on its way."""
    rng, verdicts = random.Random(0), set()
    session = Session(Options("numpy", profile="quick", python=sys.executable, shrink_seconds=0.0))
    check = Check("OP-1", forward_is_exact, lambda cases: cases[:40])
    try:
        for _ in range(KILLS):
            session.tallies.clear()
            killer = threading.Thread(target=_kill_one, args=(rng, rng.uniform(0, 0.1)))
            killer.start()
            tally = session.run(check, "functional")
            killer.join()
            found = reports.load(session.finish(tmp_path, interrupted=False))
            assert {row["id"] for row in found["clauses"]} == set(clauses())
            assert tally.verdict in ("pass", "crash"), tally.failure
            assert tally.verdict == "pass" or "SIGKILL" in tally.failure["message"]
            verdicts.add(tally.verdict)
            assert [path.name for path in tmp_path.iterdir()] == ["numpy-cpu.json"]
    finally:
        session.close()
    assert "crash" in verdicts
    assert not left_behind()


@pytest.mark.parametrize("fault", ["[..., :-1]", "[None]"])
def test_a_result_of_another_shape_is_no_error_of_the_suite(tmp_path: Path, fault: str) -> None:
    file = adapter_file(tmp_path, f"return correct.conv1d(x, w, b, **parameters){fault}")
    session = Session(Options(str(file), profile="quick", python=sys.executable, shrink_seconds=0.0))
    try:
        for name, check in checks():
            if check.clause.startswith(("ACC", "ARITH", "SHAPE")):
                assert session.run(check, "functional").kind in ("", "fail"), name
    finally:
        session.close()


FEWER = """

def fewer(transform):
    return lambda *asked: tuple(transform(*asked))[:-1]


vjp = fewer(correct.vjp)
"""


def test_too_few_gradients_are_no_error_of_the_suite(tmp_path: Path) -> None:
    file = adapter_file(tmp_path)
    file.write_text(file.read_text() + FEWER)
    session = Session(Options(str(file), profile="quick", python=sys.executable, shrink_seconds=0.0))
    told = set()
    try:
        for name, check in checks():
            if check.clause.startswith(("GRAD", "INV-7", "INV-17", "VAL-7", "ERR-13")):
                tally = session.run(check, "functional")
                assert tally.kind in ("", "fail"), name
                told.add(tally.failure["message"] if tally.failure else "")
    finally:
        session.close()
    assert {"vjp returned 2 results for 3", "vjp returned 0 results for 1"} <= told
