"""No honest arithmetic is ever called wrong, and a wrong element is found even where n is large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conv1d_cts.conformance import bounds, judge
from conv1d_cts.conformance.backend import Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.spec.geometry import Geometry
from tests.emulators.bank import HONEST, emulator
from tests.false_alarms import run


def test_random_summation_trees_stay_within_their_bounds() -> None:
    for name, count in run(70_000, seed=1).items():
        assert count.elements >= 70_000
        assert count.outside == 0, name
        assert 0.05 < count.nearest <= 1, "a bound that nothing comes near would judge nothing"


@pytest.mark.parametrize("name", list(HONEST))
def test_every_honest_emulator_is_within_the_bound_of_its_dtype(name: str) -> None:
    backend = emulator(name)
    (dtype,) = backend.dtypes
    geometry = Geometry(2, 40, 6, 30, 3, stride=2, dilation=2, groups=2, padding=(3, 1))
    for recipe in ("gaussian", "cancelling", "wide"):
        case = Case(geometry, dtype, recipe=recipe)
        given, unit = operands(case), bounds.UNIT_ROUNDOFF[dtype]
        y = backend.conv1d(given.x, given.w, given.b, **case.attributes)
        assert judge.within(y, bounds.forward(case, given, unit), "y").judged == y.size
        grads = backend.gradients(given.x, given.w, given.b, given.cotangent, **case.attributes)
        judged = bounds.gradients(case, given, unit)
        for wrt, grad in zip("xwb", grads, strict=True):
            assert judge.within(grad, judged[wrt], f"g{wrt}").of_bound <= 1


@pytest.mark.parametrize("name", ["fp32_bf16", "fp32_winograd_4", "fp32_fft", "fp64_through_fp32", "fp32_tf32"])
def test_what_is_not_honest_falls_outside_where_n_is_small_or_magnitudes_differ(name: str) -> None:
    backend = emulator(name)
    case = Case(
        Geometry(2, 2, 3, 400, 3), backend.dtypes[0], recipe="wide" if "wino" in name or "fft" in name else "gaussian"
    )
    given = operands(case)
    y = backend.conv1d(given.x, given.w, given.b, **case.attributes)
    with pytest.raises(Violation):
        judge.within(y, bounds.forward(case, given, bounds.UNIT_ROUNDOFF[case.dtype]), "y")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_error_of_four_times_the_bounds_scale_in_one_element_is_found_at_n_2000(dtype: str) -> None:
    case = Case(Geometry(2, 500, 4, 40, 4), dtype, recipe="gaussian")
    given, unit = operands(case), bounds.UNIT_ROUNDOFF[dtype]
    judged = bounds.forward(case, given, unit)
    y = emulator("fp64" if dtype == "float64" else "fp32_tree").conv1d(given.x, given.w, given.b)
    assert judge.within(y, judged, "y").of_bound < 0.1
    size = bounds.forward(replace(case, bias=False), replace(given, x=abs(given.x), w=abs(given.w), b=None), unit)[0]
    for at in ((0, 0, 0), (1, 3, 36), (0, 2, 17)):
        wrong = y.copy()
        wrong[at] += 4 * 2001 * unit * size[at]
        with pytest.raises(Violation, match=rf"y\[{at[0]}, {at[1]}, {at[2]}\] is"):
            judge.within(wrong, judged, "y")


def test_the_power_is_the_smallest_error_that_is_surely_found() -> None:
    case = Case(Geometry(1, 3, 2, 20, 3), recipe="gaussian")
    given = operands(case)
    judged = bounds.forward(case, given, bounds.UNIT_ROUNDOFF[case.dtype])
    y = emulator("fp32_serial").conv1d(given.x, given.w, given.b)
    power = judge.within(y, judged, "y").power
    assert 1e-8 < power < 1e-5
    with pytest.raises(Violation):  # of the same sign everywhere, so that it adds to the error in that element at least
        judge.within(y.astype(np.float64) + 1.001 * power * np.abs(judged[0]) * np.sign(y - judged[0]), judged, "y")
