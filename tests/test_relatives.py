"""The nearest relative of a case: legal, possible, no further away than it must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conv1d_cts.conformance import huge, malformed
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.pool import FLOATS, PROFILES, pool
from conv1d_cts.conformance.recipes import lattice_fits
from conv1d_cts.conformance.relatives import nearest, relatives
from conv1d_cts.conformance.selection import Selection
from conv1d_cts.conformance.values import with_bias
from conv1d_cts.spec.geometry import Geometry

POOL = pool(PROFILES["quick"], 0, FLOATS)
CASE = Case(Geometry(2, 4, 6, 9, 3, 2, 2, 2, (3, 1)), "float16", True, "circular")


def test_a_possible_case_is_its_own_relative() -> None:
    assert nearest(CASE, lambda case: True) is CASE


def test_where_nothing_is_possible_there_is_none() -> None:
    assert nearest(CASE, lambda case: False) is None


@pytest.mark.parametrize(
    ("possible", "want"),
    [
        (lambda c: c.padding_mode == "zeros", replace(CASE, padding_mode="zeros")),
        (lambda c: c.geometry.pads[0] == c.geometry.pads[1] > 0, CASE.with_geometry(padding=(3, 3))),
        (lambda c: c.geometry.pads == (0, 0), CASE.with_geometry(padding=(0, 0), length=13)),
        (lambda c: c.geometry.stride == 1, CASE.with_geometry(stride=1)),
        (lambda c: c.geometry.dilation == 1, CASE.with_geometry(dilation=1)),
        (lambda c: c.geometry.groups == 1, CASE.with_geometry(groups=1, c_in=2, c_out=3)),
        (lambda c: c.dtype == "float32", replace(CASE, dtype="float32")),
        (lambda c: not c.bias, replace(CASE, bias=False)),
    ],
)
def test_one_lack_costs_one_change(possible: object, want: Case) -> None:
    assert nearest(CASE, possible) == want  # type: ignore[arg-type]  # a parametrized function


def test_a_pool_keeps_its_size_and_variety_on_a_surface_that_pads_alike() -> None:
    """A surface that knows no names and no modes, and pads both sides alike: half of the pool is outside its reach."""

    def possible(case: Case) -> bool:
        g = case.geometry
        return case.padding_mode == "zeros" and not isinstance(g.padding, str) and g.padding[0] == g.padding[1]

    able = sum(map(possible, POOL))
    found = {nearest(case, possible) for case in POOL}
    assert None not in found
    assert able < 0.9 * len(POOL) < len(found)


def test_relatives_hold_a_lattice() -> None:
    for case in POOL[::7]:
        assert all(lattice_fits(r.geometry, r.dtype, r.padding_mode) for r in list(relatives(case))[1:])


def test_a_malformed_call_is_tried_without_the_bias_that_a_surface_lacks() -> None:
    selection = Selection(lambda cases: malformed.mixed_dtypes(), lambda example: bool(example.facts()["bias"]))
    able = [call for call in selection.examples((), (), (), 0) if not call.base.bias]
    assert {call.rule for call in able} == {call.rule for call in malformed.mixed_dtypes() if "b" not in call.dtypes}
    assert all(call.call().arrays["b"] is None for call in able)


@pytest.mark.parametrize("bias_aside", [True, False])
def test_a_case_is_tried_without_the_bias_that_a_surface_lacks_where_it_is_aside(bias_aside: bool) -> None:
    cases = tuple(Case(Geometry(1, 2, 2, length, 3)) for length in range(3, 9))
    selection = Selection(
        lambda given: map(with_bias, given), lambda example: bool(example.facts()["bias"]), bias_aside=bias_aside
    )
    bare = [replace(case, bias=False) for case in cases] if bias_aside else []
    recorded = bare[:1] or list(cases[:1])
    assert selection.examples(cases[:1], cases[1:], (), 0) == [*recorded, *bare[1:]]


def test_a_gradient_is_asked_for_without_a_bias_where_a_surface_has_none() -> None:
    check = next(check for _, check in checks() if check.clause == "GRAD-7")
    case = Case(Geometry(1, 2, 2, 9, 3, stride=2), bias=False)
    assert check.made_of(case) == case
    assert check.made_of(replace(case, bias=True)) == replace(case, bias=True)


def test_a_sample_is_taken_of_the_pool_alone() -> None:
    own = [Case(Geometry(1, 1, 1, length, 1)) for length in range(1, 6)]
    selection = Selection(lambda cases: [*own, *cases], lambda example: False, sample=2)
    chosen = selection.examples((), tuple(POOL), (), 0)
    assert chosen[:5] == own
    assert len(chosen) == 7


def test_a_check_is_given_some_of_its_own_cases_and_every_broken_call_of_its_own() -> None:
    own = [Case(Geometry(1, 1, 1, length, 1)) for length in range(1, 6)]
    broken = list(malformed.mixed_dtypes())
    selection = Selection(lambda cases: [*own, *broken, *cases], lambda example: False, sample=2, most=3, turn=1)
    chosen = selection.examples((), tuple(POOL), (), 0)
    assert chosen[: len(broken)] == broken
    assert len(set(own) & set(chosen)) == 3
    assert len(chosen) == len(broken) + 5


def test_huge_padding_is_not_written_out_as_samples() -> None:
    for case in huge.cases(()):
        assert all(relative.geometry.length <= 2**21 for relative in relatives(case))
