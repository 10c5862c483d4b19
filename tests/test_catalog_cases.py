"""The recorded cases of a deviation are such as a check tries, or the file is refused when it is read."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import pytest

from conv1d_cts.adapters.known_deviations import parse
from conv1d_cts.conformance.catalog import require_cases_are_tried
from conv1d_cts.conformance.session import Options, Session, UnknownOptionError

ENTRY = """
[[deviation]]
clauses = ["{clause}"]
surfaces = ["functional"]
when = "n > 0"
kind = "fail"
reason = "known"
reproducer = "raise SystemExit(1)"
cases = [{cases}]
"""
PLAIN = "{ n = 1, c_in = 1, c_out = 1, length = 8, kernel = 3 }"
HUGE = "{ n = 1, c_in = 1, c_out = 1, length = 8, kernel = 3, stride = 1099511627776 }"


@pytest.mark.parametrize(("clause", "case"), [("SHAPE-2", PLAIN), ("ERR-7", HUGE)])
def test_a_case_that_a_check_tries_is_taken(clause: str, case: str) -> None:
    require_cases_are_tried(*parse(ENTRY.format(clause=clause, cases=case), "test"))


@pytest.mark.parametrize(
    ("clause", "case", "message"),
    [
        ("ERR-4", PLAIN, "no check of ERR-4 tries case 1 of 'n > 0'"),
        ("ERR-7", PLAIN, "no check of ERR-7 tries"),
        ("EX-1", PLAIN, "no check of EX-1 tries"),
        ("SHAPE-2", f"{PLAIN}, {{ n = 1 }}", "case 2 of 'n > 0' is none"),
        ("ERR-7", f"{HUGE}, {PLAIN}", "no check of ERR-7 tries case 2 of"),
        ("SHAPE-2", "{ n = 1 }", "case 1 of 'n > 0' is none"),
        ("SHAPE-2", "{ rule = 'stride 0' }", "case 1 of 'n > 0' is none"),
    ],
)
def test_a_case_that_no_check_tries_is_an_error(tmp_path: Path, clause: str, case: str, message: str) -> None:
    text = ENTRY.format(clause=clause, cases=case)
    with pytest.raises(ValueError, match=message):
        require_cases_are_tried(*parse(text, "test"))
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UnknownOptionError, match=message):
        Session(Options("numpy", profile="quick", python=sys.executable, deviations=str(file)))


def test_all_recorded_cases_of_ours_are_tried() -> None:
    for file in resources.files("conv1d_cts.adapters.deviations").iterdir():
        if file.name.endswith(".toml"):
            for deviation in parse(file.read_text(encoding="utf-8"), file.name):
                require_cases_are_tried(deviation)
