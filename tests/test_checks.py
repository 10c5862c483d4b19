"""No orphan: every clause has a check, every check names a clause that exists, and no two tests share a name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.backend import Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.scheduling import ByClause
from conv1d_cts.conformance.test_identities import adjoint
from conv1d_cts.spec.clauses import clauses
from conv1d_cts.spec.geometry import Geometry

CHECKS = checks()


def test_a_clause_on_a_surface_is_one_unit_of_work() -> None:
    units: dict[str, set[str]] = {}
    for name, check in CHECKS:
        module, _, test = name.rpartition(".")
        scope = ByClause._split_scope(None, f"{module.rpartition('.')[2]}.py::{test}[conv2d]")
        units.setdefault(check.clause, set()).add(scope)
    assert units == {clause: {f"{clause} conv2d"} for clause in units}


def test_every_clause_has_a_check() -> None:
    assert set(clauses()) - {check.clause for _, check in CHECKS} == set()


def test_every_check_names_a_clause_that_exists() -> None:
    assert {check.clause for _, check in CHECKS} - set(clauses()) == set()


def test_every_test_is_named_after_its_clause() -> None:
    for name, check in CHECKS:
        assert name.rpartition(".")[2].startswith(f"test_{check.clause.lower().replace('-', '_')}_"), name


def test_no_two_tests_share_a_name() -> None:
    assert [name for name, count in Counter(name for name, _ in CHECKS).items() if count > 1] == []


def test_every_body_says_what_it_tries() -> None:
    assert [name for name, check in CHECKS if not check.body.__doc__ and check.body.__name__ != "body"] == []


@pytest.mark.parametrize("wrong", [0.0, 0.25, 1.0, np.nan, np.inf])
def test_the_adjoint_is_exact_and_bears_any_number(wrong: float) -> None:
    case = Case(Geometry(1, 2, 2, 7, 3), bias=False)
    given = operands(case)

    class Planted:
        def conv1d(self, *call: Any) -> Any:
            return oracle.forward(case, given)

        def vjp(self, *call: Any) -> Any:
            gradients = {name: gradient.copy() for name, gradient in oracle.gradients(case, given).items()}
            gradients["w"][0, 0, 0] += wrong
            return gradients

    if not wrong:
        adjoint(Planted(), case)
        return
    with pytest.raises(Violation, match="<gw, w>"):
        adjoint(Planted(), case)
