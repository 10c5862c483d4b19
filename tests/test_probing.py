"""What a surface can do: the dtypes in which its cases are drawn, and the words that it refuses undeclared."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.ledger import Limit
from conv1d_cts.conformance.probing import float_dtypes
from conv1d_cts.conformance.session import Options, Session
from tests.adapter_files import adapter_file

SURFACE: Any = SimpleNamespace(name="functional", backend=SimpleNamespace(device="cpu"))


@pytest.mark.parametrize(
    ("conditions", "dtypes"),
    [
        ([], ("float32", "float64", "float16", "bfloat16")),
        (["bias", "c_in > 1", "kernel > 1"], ("float32", "float64", "float16", "bfloat16")),
        (["dtype in ('float16', 'bfloat16')"], ("float32", "float64")),
        (["dtype != 'int8'"], ("float32",)),
        (["surface == 'layer' and dtype == 'float64'"], ("float32", "float64", "float16", "bfloat16")),
    ],
)
def test_the_dtypes_drawn_are_those_of_the_simplest_call(conditions: list[str], dtypes: tuple[str, ...]) -> None:
    limits = tuple(Limit(Condition(when), "declared") for when in conditions)
    assert set(float_dtypes(SURFACE, limits)) == set(dtypes)


@pytest.mark.parametrize(
    ("refused", "when"),
    [
        ("x.dtype == np.float16", "dtype == 'float16'"),
        ("x.dtype == np.int8", "dtype == 'int8'"),
        ("parameters['padding'] == 'causal'", "padding == 'causal'"),
        ("parameters.get('padding_mode') == 'reflect'", "padding_mode == 'reflect'"),
    ],
)
def test_a_word_that_is_refused_undeclared_is_one_finding_and_hides_no_other(
    tmp_path: Path, refused: str, when: str
) -> None:
    file = adapter_file(tmp_path, f"if {refused}: raise NotImplementedError('not here')")
    session = Session(Options(str(file), profile="quick", python=sys.executable))
    try:
        for _, check in checks():
            if check.clause in ("OP-1", "OP-11", "SHAPE-1", "PAD-7", "CONF-2"):
                session.run(check, "functional")
        rows = [row for row in session.rows() if row["verdict"] == "fail"]
        (found,) = [limit for limit in session.limits() if limit["found"]]
    finally:
        session.close()
    assert found["when"] == f"surface == 'functional' and {when}"
    assert [row["id"] for row in rows] == ["CONF-2"]
    assert rows[0]["evidence"]["message"].endswith("refused when probed: NotImplementedError: not here")


def test_what_no_plain_call_shows_stays_the_finding_of_its_clauses(tmp_path: Path) -> None:
    fault = "if x.dtype == np.float16 and length > 3 or parameters['stride'] > 1: raise NotImplementedError('not here')"
    session = Session(Options(str(adapter_file(tmp_path, fault)), profile="quick", python=sys.executable))
    try:
        (check,) = [check for _, check in checks() if check.clause == "OP-2"]
        assert session.run(check, "functional").verdict == "fail"
        assert not any(limit["found"] for limit in session.limits())
    finally:
        session.close()
