"""The a-priori bounds hold for every honest order of summation and not for rounded operands; values and memory too."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from conv1d_cts.reference import bench, conv1d, conv1d_vjp
from conv1d_cts.reference.bounds import conv1d_bound, conv1d_vjp_bound, gamma
from conv1d_cts.reference.contractions import BLOCK

F32 = {"unit_roundoff_accumulate": 2.0**-24, "unit_roundoff_result": 2.0**-24}
Array = npt.NDArray[Any]


def random_tree(rng: np.random.Generator, terms: Array) -> Array:
    """Return the float32 sum over the last axis in a random order and a random bracketing."""
    rows = [terms[..., i] for i in rng.permutation(terms.shape[-1])]
    while len(rows) > 1:
        i = int(rng.integers(len(rows) - 1))
        rows[i : i + 2] = [rows[i] + rows[i + 1]]
    return rows[0]


def windows(x: Array, kernel: int) -> Array:
    """(N, 1, L_out, C K): the samples that each output reads."""
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=2)
    return view.transpose(0, 2, 1, 3).reshape(x.shape[0], 1, -1, x.shape[1] * kernel)


@pytest.mark.parametrize("n", [1, 3, 24, 200])
def test_random_summation_orders_are_within_the_bound(n: int) -> None:
    rng = np.random.default_rng(n)
    for cancel in (False, True):
        x = rng.standard_normal((2, n, 9)).astype(np.float32)
        w = rng.standard_normal((3, n, 2)).astype(np.float32)
        if cancel:
            x = np.concatenate([x, -x * np.float32(1 + 2**-20)], axis=1)
            w = np.concatenate([w, w], axis=1)
        exact = conv1d(x.astype(np.float64), w.astype(np.float64))
        bound = conv1d_bound(x, w, **F32)
        products = windows(x, 2) * w.reshape(1, 3, 1, -1)
        for _ in range(10):
            assert (np.abs(random_tree(rng, products) - exact) <= bound).all()
        assert (np.abs(conv1d(x, w) - exact) <= bound).all()


def test_gradients_are_within_the_bound_in_every_mode() -> None:
    rng = np.random.default_rng(0)
    for mode in ("zeros", "reflect", "symmetric", "replicate", "circular"):
        how: dict[str, Any] = {"stride": 2, "padding": (5, 4), "dilation": 2, "groups": 2, "padding_mode": mode}
        x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((3, 4, 9), (6, 2, 3), (6,)))
        g = rng.standard_normal(conv1d(x, w, b, **how).shape).astype(np.float32)
        exact = conv1d_vjp(*(a.astype(np.float64) for a in (x, w, b, g)), **how)
        bounds = conv1d_vjp_bound(x, w, b, g, **how, **F32)
        for got, want, bound in zip(conv1d_vjp(x, w, b, g, **how), exact, bounds, strict=True):
            assert bound.shape == got.shape
            assert (np.abs(got - want) <= bound).all()
            assert (bound < 1e-4).all()


def test_bfloat16_operands_break_the_bound_where_n_is_small() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 4, 16):
        x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, n, 200), (1, n, 1)))
        rounded = conv1d(*(a.astype(ml_dtypes.bfloat16).astype(np.float32) for a in (x, w)))
        exact = conv1d(x.astype(np.float64), w.astype(np.float64))
        assert (np.abs(rounded - exact) > conv1d_bound(x, w, **F32)).mean() > 0.9


def test_samples_that_no_tap_reads_have_the_bound_zero() -> None:
    x, w = np.ones((1, 1, 7), dtype=np.float32), np.ones((1, 1, 1), dtype=np.float32)
    bx, _, gb = conv1d_vjp_bound(x, w, None, np.ones((1, 1, 3), dtype=np.float32), stride=3, **F32)
    assert gb is None
    assert (bx[0, 0] > 0).tolist() == [True, False, False, True, False, False, True]
    assert (conv1d_bound(x, 0 * w, **F32) == 0).all()


def test_exact_arithmetic_has_no_room_and_no_arithmetic_has_all() -> None:
    x, w = np.ones((1, 3000, 4)), np.ones((1, 3000, 1))
    integers = conv1d_bound(x, w, unit_roundoff_accumulate=0.0, unit_roundoff_result=0.0)
    assert (integers < 1e-5).all()  # what is left is the float64 of the reference
    assert np.isinf(conv1d_bound(x, w, unit_roundoff_accumulate=2.0**-11, unit_roundoff_result=2.0**-11)).all()
    assert gamma(np, np.array([1.0, 4.0]), 0.25).tolist() == [1 / 3, np.inf]
    with pytest.raises(ValueError, match="no format"):
        conv1d_bound(x, w, unit_roundoff_accumulate=0.3, unit_roundoff_result=0.0)


def test_halves_and_complex_operands_have_bounds() -> None:
    rng = np.random.default_rng(0)
    for dtype, u in ((np.float16, 2.0**-11), (ml_dtypes.bfloat16, 2.0**-8)):
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((2, 3, 9), (4, 3, 3)))
        exact = conv1d(x.astype(np.float64), w.astype(np.float64))
        bound = conv1d_bound(x, w, unit_roundoff_accumulate=2.0**-24, unit_roundoff_result=u)
        got = conv1d(x.astype(np.float32), w.astype(np.float32)).astype(dtype).astype(np.float64)
        assert (np.abs(got - exact) <= bound).all()
    z, v = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((2, 3, 9), (4, 3, 3)))
    z, v = z.astype(np.complex64), v.astype(np.complex64)
    exact = conv1d(z.astype(np.complex128), v.astype(np.complex128))
    assert (np.abs(conv1d(z, v) - exact) <= conv1d_bound(z, v, **F32)).all()


def test_non_finite_values_reach_exactly_what_reads_them() -> None:
    for value in (np.nan, np.inf):
        for channels, groups in ((4, 2), (4, 4), (130, 1)):
            x, w = np.ones((2, channels, 12)), np.ones((channels, channels // groups, 2))
            x[0, 0, 5] = value
            y = conv1d(x, w, stride=2, dilation=3, groups=groups)
            reads = np.zeros(y.shape, dtype=bool)
            reads[0, : channels // groups, 1] = True  # positions 2 and 5 of the input
            assert np.array_equal(~np.isfinite(y), reads)


def test_a_zero_times_infinity_is_nan_wherever_a_tap_reads_it_and_nowhere_else() -> None:
    x, w = np.zeros((1, 1, 4)), np.array([[[np.inf, 1.0]]])
    with np.errstate(invalid="ignore"):
        assert np.isnan(conv1d(x, w)).all()
        assert np.isnan(conv1d(x + 1, w, padding=(1, 0))).tolist() == [[[True, False, False, False]]]
        gx, _, _ = conv1d_vjp(x, w, None, np.array([[[0.0, 1.0]]]), stride=2)
        _, gw, _ = conv1d_vjp(x, w, None, np.array([[[np.inf, 1.0]]]), stride=2)
    assert np.array_equal(gx, [[[np.nan, 0, np.inf, 1]]], equal_nan=True)
    assert np.isnan(gw).all()


def test_memory_stays_that_of_the_arrays() -> None:
    for g in bench.GEOMETRIES:
        if bench.elements(g) > BLOCK:
            x, w = np.ones(g.x_shape), np.ones(g.w_shape)
            how: dict[str, Any] = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups}
            peak = bench.peak_memory(lambda x=x, w=w, how=how: conv1d(x, w, **how))  # type: ignore[misc]  # bound now
            assert peak <= bench.MOST_MEMORY * 8 * bench.elements(g)
