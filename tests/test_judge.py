"""The judge of errors: what is within a bound, how far, in which units, and what no bound can judge."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Violation

WANT = np.array([1.0, -3.0, 0.0, 1000.0])


def test_the_worst_error_is_the_one_nearest_to_its_bound() -> None:
    got = np.array([1.0, -3.0 - 2**-22, 0.0, 1000.0], dtype=np.float32)
    found = judge.within(got, (WANT, np.array([1.0, 2**-20, 0.5, 1.0])), "y")
    assert (found.of_bound, found.ulps, found.at, found.judged) == (0.25, 1.0, "y[1]", 4)
    assert found.power == (2**-20 + 2**-22) / 3


def test_an_error_above_its_bound_is_a_violation_that_names_the_element() -> None:
    got = np.array([1.0, -3.0, 0.0, 1001.0])
    with pytest.raises(Violation, match=r"y\[3\] is 1001.0, off by 1 from 1000.0; its bound is 0.5"):
        judge.within(got, (WANT, np.full(4, 0.5)), "y")
    with pytest.raises(Violation, match=r"y\[0\] is nan"):
        judge.within(np.array([np.nan, -3, 0, 1000]), (WANT, np.full(4, 0.5)), "y")
    with pytest.raises(Violation, match="shape"):
        judge.within(got[:2], (WANT, np.full(4, 0.5)), "y")


def test_an_infinite_bound_judges_nothing() -> None:
    bound = np.array([np.inf, 1.0, 1.0, np.inf])
    found = judge.within(np.array([np.nan, -3.0, 0.5, -7.0]), (WANT, bound), "y")
    assert (found.of_bound, found.at, found.judged) == (0.5, "y[2]", 2)
    nothing = judge.within(WANT, (WANT, np.full(4, np.inf)), "y")
    assert (nothing.judged, nothing.of_bound, nothing.power) == (0, 0.0, np.inf)
    assert judge.within(WANT[:0], (WANT[:0], WANT[:0]), "y").judged == 0


@pytest.mark.parametrize(
    ("dtype", "ulp"), [(np.float16, 2**-9), (ml_dtypes.bfloat16, 2**-6), (np.float32, 2**-22), (np.float64, 2**-51)]
)
def test_an_ulp_is_that_of_the_dtype(dtype: type, ulp: float) -> None:
    got = np.array([3 + ulp]).astype(dtype)
    assert judge.within(got, (np.array([3.0]), np.array([1.0])), "y").ulps == 1.0


def test_each_part_of_a_complex_number_has_the_bound() -> None:
    got, want = np.array([1 + 1j]), np.array([1.25 + 0.75j])
    assert judge.within(got, (want, np.array([0.5])), "y").of_bound == 0.5
    with pytest.raises(Violation):
        judge.within(got, (want, np.array([0.2])), "y")


def test_of_several_results_the_worst_counts() -> None:
    bounds = np.full(4, 1.0)
    one, other = judge.within(WANT, (WANT, bounds), "gx"), judge.within(WANT + 0.5, (WANT, bounds), "gw")
    found = judge.worst([one, other])
    assert (found.of_bound, found.at, found.judged, found.power) == (0.5, "gw[0]", 8, 1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex128"])
def test_differing_bits_name_their_element_and_both_results(dtype: str) -> None:
    want = np.zeros((2, 3), dtype)
    got = want.copy()
    got[1, 2] = 1
    with pytest.raises(Violation, match="the bits of 1 of 6 elements differ") as violation:
        judge.same_bits(got, want, "y")
    flaw = violation.value.flaw
    assert flaw is not None
    assert (flaw.kind, flaw.at) == ("bits", (1, 2))
    assert flaw.got is got
    assert flaw.want is want


def test_complex_numbers_are_no_real_ones() -> None:
    with pytest.raises(Violation, match="y is complex128, where real numbers are due"):
        judge.equal(WANT.astype(complex), WANT, "y")
    with pytest.raises(Violation, match="y is complex64"):
        judge.within(WANT.astype(np.complex64), (WANT, np.full(4, 1.0)), "y")
    judge.equal(WANT, WANT.astype(complex), "y")
