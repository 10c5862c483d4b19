"""The bench: its lines, and the runs that it measures. No figure is asserted: machines are noisy."""

from __future__ import annotations

import subprocess

import pytest

from conv1d_cts.conformance.bench import Row, Run, certify, reference


def test_a_row_is_a_line_of_markdown() -> None:
    assert str(Row("what", "5 s", "4.0 s", True)) == "| what | 5 s | 4.0 s | yes |"
    assert str(Row("what", "5 s", "not installed")).endswith("| not installed | - |")


def test_the_share_of_the_backend_is_that_of_the_whole_run() -> None:
    assert Run(8.0, 0, {"run": {"backend_seconds": 2.0}}).backend_share == 0.25


def test_the_examples_are_those_of_all_rows() -> None:
    rows = [{"examples": {"run": number}} for number in (3, 4)]
    assert Run(8.0, 0, {"clauses": rows}).examples == 7


def test_the_reference_is_timed_against_torch() -> None:
    pytest.importorskip("torch")
    (row,) = reference()
    assert float(row.measured) > 0


def test_a_run_that_fails_is_no_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        certify("numpi")
