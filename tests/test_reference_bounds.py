"""The bounds are those of chapter ACC, and rounded operands fall outside; values and memory of the reference too."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from conv1d_cts.reference import bench, conv1d, conv1d_vjp
from conv1d_cts.reference.bounds import (
    SMALLEST_NORMAL,
    Forms,
    Reading,
    Units,
    conv1d_bound,
    conv1d_vjp_bound,
    error_bounds,
    gamma,
)
from conv1d_cts.reference.contractions import BLOCK
from conv1d_cts.spec import definition
from conv1d_cts.spec.geometry import Geometry
from tests.chapter_formulas import accuracy

F32 = Units(2.0**-24, 2.0**-24)
Array = npt.NDArray[Any]


def fractions(a: Array) -> Any:
    """Nested lists of exact numbers."""
    return [fractions(row) for row in a] if a.ndim else Fraction(float(a))


def flat(nested: Any) -> list[Fraction]:
    return [number for row in nested for number in flat(row)] if isinstance(nested, list) else [Fraction(nested)]


UNITS = [
    Units(2.0**-24, 2.0**-24), Units(2.0**-11, 2.0**-11), Units(2.0**-24, 2.0**-8), Units(2.0**-53, 2.0**-53),
    Units(2.0**-24, 2.0**-24, operands=2.0**-11),
]  # fmt: skip
GEOMETRIES = [
    (Geometry(2, 4, 2, 7, 3, stride=2, groups=2, padding=(2, 1)), "zeros"),
    (Geometry(1, 2, 3, 5, 2, dilation=2, padding=(2, 1)), "reflect"),
    (Geometry(1, 1, 1, 4, 3, padding=(1, 1)), "constant"),
]


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize(("g", "mode"), GEOMETRIES)
@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("subnormal", [False, True])
def test_the_bound_is_the_chapters(units: Units, g: Geometry, mode: str, compensate: bool, subnormal: bool) -> None:
    """T as printed in the chapter, from n, S, D and the exact value by the definition's loops over rationals."""
    rng, fill = np.random.default_rng(3), 2 if mode == "constant" else 0
    tiny = SMALLEST_NORMAL[units.result]
    shapes = {"x": g.x_shape, "w": g.w_shape, "b": g.b_shape, "c": g.y_shape, "tx": g.x_shape, "tw": g.w_shape}
    given = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    if subnormal:
        given["x"][..., 1] = tiny / 4

    def f(read: Reading, forms: Forms) -> dict[str, Array]:
        x, w, b, c, tx, tw = (read.term(a) if name == "b" else read.factor(a) for name, a in given.items())
        how = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups}
        how |= {"padding_mode": mode, "padding_value": read.fill(fill)}
        gx, gw, gb = forms.conv1d_vjp(x, w, b, c, **how)
        y, t = forms.conv1d(x, w, b, **how), forms.conv1d_jvp(x, w, b, tx, tw, b, **how)
        return {"y": y, "gx": gx, "gw": gw, "gb": gb, "jvp": t}

    def by_definition(change: Callable[[Array], Array], of_bias: Callable[[Array], Array], fill: int) -> list[Any]:
        x, w, b, c, tx, tw = (fractions((of_bias if n == "b" else change)(a)) for n, a in given.items())
        grads = definition.conv1d_vjp(x, w, b, c, g, mode, fill)
        jvp = definition.conv1d_jvp(x, w, b, tx, tw, b, g, mode, fill)
        return [flat(part) for part in (definition.conv1d(x, w, b, g, mode, fill), *grads, jvp)]

    def without(a: Array) -> Array:
        return np.where(np.abs(a) < tiny, 0.0, np.abs(a))

    exact, size = by_definition(np.array, np.array, fill), by_definition(np.abs, np.abs, fill)
    rest, n = by_definition(without, without, fill), by_definition(np.ones_like, np.zeros_like, 1)
    symbols = {"u_in": units.operands, "u_acc": units.accumulate, "u_out": units.result, "v": 2.0**-53,
               "omega_acc": SMALLEST_NORMAL[units.accumulate], "omega_out": tiny}  # fmt: skip
    known = {name: Fraction(value) for name, value in symbols.items()}
    for (ref, bounds), *parts in zip(error_bounds(f, units, compensate).values(), exact, size, rest, n, strict=True):
        for value, bound, e, s, r, count in zip(ref.ravel(), bounds.ravel(), *parts, strict=True):
            shown = {"n": count, "exact": Fraction(float(value)), "ref": Fraction(float(value)), "S": s}
            own = accuracy(D=Fraction(0), compensated=compensate, **shown, **known)["G"]
            lost = s - r + 2 * own * s if subnormal else Fraction(0)
            t = accuracy(D=lost, compensated=compensate, **shown, **known)["T"] if s else Fraction(0)
            assert abs(Fraction(float(bound)) - t) <= own * (t + 4 * s)  # computed in float64, as the chapter says
            honest = accuracy(D=s - r, compensated=compensate, **shown | {"exact": e}, **known)["B"] if s else 0
            assert honest + abs(Fraction(float(value)) - e) <= Fraction(float(bound)), "the judge's own error is inside"


def test_gradients_are_within_the_bound_in_every_mode() -> None:
    rng = np.random.default_rng(0)
    for mode in ("zeros", "reflect", "symmetric", "replicate", "circular"):
        how: dict[str, Any] = {"stride": 2, "padding": (5, 4), "dilation": 2, "groups": 2, "padding_mode": mode}
        x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((3, 4, 9), (6, 2, 3), (6,)))
        g = rng.standard_normal(conv1d(x, w, b, **how).shape).astype(np.float32)
        exact = conv1d_vjp(*(a.astype(np.float64) for a in (x, w, b, g)), **how)
        bounds = conv1d_vjp_bound(x, w, b, g, **how, units=F32)
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
        assert (np.abs(rounded - exact) > conv1d_bound(x, w, units=F32)).mean() > 0.9


def test_samples_that_no_tap_reads_have_the_bound_zero() -> None:
    x, w = np.ones((1, 1, 7), dtype=np.float32), np.ones((1, 1, 1), dtype=np.float32)
    bx, _, gb = conv1d_vjp_bound(x, w, None, np.ones((1, 1, 3), dtype=np.float32), stride=3, units=F32)
    assert gb is None
    assert (bx[0, 0] > 0).tolist() == [True, False, False, True, False, False, True]
    assert (conv1d_bound(x, 0 * w, units=F32) == 0).all()


def test_exact_arithmetic_has_no_room_and_no_arithmetic_has_all() -> None:
    x, w = np.ones((1, 3000, 4)), np.ones((1, 3000, 1))
    integers = conv1d_bound(x, w, units=Units(0.0, 0.0))
    assert (integers < 1e-5).all()  # what is left is the float64 of the reference
    assert np.isinf(conv1d_bound(x, w, units=Units(2.0**-11, 2.0**-11))).all()
    assert gamma(np, np.array([1.0, 4.0]), 0.25).tolist() == [1 / 3, np.inf]
    with pytest.raises(ValueError, match="no format"):
        conv1d_bound(x, w, units=Units(0.3, 0.0))


def test_halves_and_complex_operands_have_bounds() -> None:
    rng = np.random.default_rng(0)
    for dtype, u in ((np.float16, 2.0**-11), (ml_dtypes.bfloat16, 2.0**-8)):
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((2, 3, 9), (4, 3, 3)))
        exact = conv1d(x.astype(np.float64), w.astype(np.float64))
        bound = conv1d_bound(x, w, units=Units(2.0**-24, u))
        got = conv1d(x.astype(np.float32), w.astype(np.float32)).astype(dtype).astype(np.float64)
        assert (np.abs(got - exact) <= bound).all()
    z, v = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((2, 3, 9), (4, 3, 3)))
    z, v = z.astype(np.complex64), v.astype(np.complex64)
    exact = conv1d(z.astype(np.complex128), v.astype(np.complex128))
    assert (np.abs(conv1d(z, v) - exact) <= conv1d_bound(z, v, units=F32)).all()


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
