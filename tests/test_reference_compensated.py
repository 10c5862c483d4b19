"""The compensated reference against exact rationals, in every derivative, mode and dtype that it has."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import array_api_strict
import numpy as np
import pytest

from conv1d_cts import reference
from conv1d_cts.reference import compensated
from conv1d_cts.spec import definition
from conv1d_cts.spec.geometry import Geometry
from tests.chapter_formulas import gamma
from tests.emulators.rounding import Array

V = Fraction(1, 2**53)
CASES = [
    (Geometry(2, 4, 6, 9, 3, stride=2, dilation=2, groups=2, padding=(5, 4)), "zeros"),
    (Geometry(2, 2, 3, 7, 2, stride=3), "zeros"),
    (Geometry(1, 40, 2, 4, 3, padding=(1, 2)), "constant"),
    (Geometry(1, 2, 2, 6, 3, padding=(2, 1)), "reflect"),
    (Geometry(1, 2, 2, 6, 3, stride=2, padding=(4, 5)), "symmetric"),
    (Geometry(2, 2, 1, 6, 3, padding=(9, 7)), "replicate"),
    (Geometry(1, 2, 2, 6, 4, dilation=2, padding=(4, 5)), "circular"),
    (Geometry(1, 1, 2, 3, 1, stride=7, padding=(0, 4)), "zeros"),
    (Geometry(0, 2, 2, 6, 3), "zeros"),
    (Geometry(1, 0, 2, 6, 3), "zeros"),
    (Geometry(1, 2, 2, 2, 3), "zeros"),
]


def fractions(a: Array) -> Any:
    """Nested lists of exact numbers."""
    return [fractions(row) for row in a] if a.ndim else Fraction(float(a))


def flat(nested: Any) -> Iterator[Fraction]:
    if isinstance(nested, list):
        for row in nested:
            yield from flat(row)
    else:
        yield Fraction(nested)


def keywords(g: Geometry, mode: str) -> dict[str, Any]:
    how = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups, "padding_mode": mode}
    return how | ({"padding_value": -3} if mode == "constant" else {})


def ill_conditioned(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal values times powers of two, so that sums cancel from far above."""
    return rng.standard_normal(shape) * np.exp2(rng.integers(-30, 30, shape))


@pytest.mark.parametrize(("g", "mode"), CASES)
def test_the_error_is_that_of_twice_the_precision(g: Geometry, mode: str) -> None:
    rng, how, fill = np.random.default_rng(0), keywords(g, mode), -3 if mode == "constant" else 0
    x, w, b = (ill_conditioned(rng, shape) for shape in (g.x_shape, g.w_shape, g.b_shape))
    tx, tw, tb = (ill_conditioned(rng, a.shape) for a in (x, w, b))
    c = ill_conditioned(rng, g.y_shape)

    def exact(*arrays: Array) -> list[Any]:
        x, w, b, c, tx, tw, tb = map(fractions, arrays)
        value = abs(fill) if arrays[0] is not numbers[0] else fill
        grads = definition.conv1d_vjp(x, w, b, c, g, mode, value)
        jvp = definition.conv1d_jvp(x, w, b, tx, tw, tb, g, mode, value)
        return [definition.conv1d(x, w, b, g, mode, value), *grads, jvp]

    numbers = x, w, b, c, tx, tw, tb
    got = [
        compensated.conv1d(x, w, b, **how),
        *compensated.conv1d_vjp(x, w, b, c, **how),
        compensated.conv1d_jvp(x, w, b, tx, tw, tb, **how),
    ]
    room = gamma(Fraction(2 * 400 + 6), V) ** 2
    for result, right, size in zip(got, exact(*numbers), exact(*map(np.abs, numbers)), strict=True):
        for value, want, s in zip(result.ravel(), flat(right), flat(size), strict=True):
            assert abs(Fraction(float(value)) - want) <= V * abs(want) + room * s


def test_plain_float64_would_not_do() -> None:
    rng = np.random.default_rng(0)
    x, w = ill_conditioned(rng, (1, 200, 30)), ill_conditioned(rng, (1, 200, 1))
    x, w = np.concatenate([x, -x], axis=1), np.concatenate([w, w * (1 + 2.0**-40)], axis=1)
    near, far = compensated.conv1d(x, w), reference.conv1d(x, w)
    exact = [sum(Fraction(a) * Fraction(b) for a, b in zip(x[0, :, i], w[0, :, 0], strict=True)) for i in range(30)]
    errors = [[abs(Fraction(float(v)) / e - 1) for v, e in zip(y[0, 0], exact, strict=True)] for y in (near, far)]
    assert max(errors[0]) <= 2 * V
    assert max(errors[1]) > 2**10 * V


@pytest.mark.parametrize(("g", "mode"), CASES)
def test_complex_operands_and_lattices_agree_with_the_plain_reference(g: Geometry, mode: str) -> None:
    rng, how = np.random.default_rng(0), keywords(g, mode)

    def lattice(shape: tuple[int, ...]) -> Array:
        return rng.integers(-9, 9, shape) + 1j * rng.integers(-9, 9, shape)

    for draw in (lattice, lambda shape: lattice(shape).real):
        x, w, b, c = (draw(shape) for shape in (g.x_shape, g.w_shape, g.b_shape, g.y_shape))
        pairs = [
            (compensated.conv1d(x, w, b, **how), reference.conv1d(x, w, b, **how)),
            (compensated.conv1d(x, w, **how), reference.conv1d(x, w, **how)),
            *zip(compensated.conv1d_vjp(x, w, b, c, **how), reference.conv1d_vjp(x, w, b, c, **how), strict=True),
            (compensated.conv1d_jvp(x, w, b, x, w, None, **how), reference.conv1d_jvp(x, w, b, x, w, None, **how)),
        ]
        for got, want in pairs:
            assert np.array_equal(got, want)
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert compensated.conv1d_vjp(x, w, None, c, **how)[2] is None


def test_it_runs_on_the_strictest_array_library() -> None:
    rng = np.random.default_rng(0)
    x, w, b, c = (rng.standard_normal(shape) for shape in ((2, 4, 9), (6, 2, 3), (6,), (2, 6, 7)))
    native = [array_api_strict.asarray(a) for a in (x, w, b, c)]
    for got, want in zip(
        compensated.conv1d_vjp(*native, groups=2), compensated.conv1d_vjp(x, w, b, c, groups=2), strict=True
    ):
        assert np.array_equal(np.asarray(got), want)


def test_a_large_call_is_cut_into_blocks() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, (3, 60, 400)).astype(float), rng.integers(-9, 9, (50, 60, 5)).astype(float)
    assert 100 * compensated.BLOCK < 3 * 50 * 396 * 300
    assert np.array_equal(compensated.conv1d(x, w), reference.conv1d(x, w))


def test_sums_and_products_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(1000) * np.exp2(rng.integers(-200, 200, 1000)) for _ in range(2))
    for f, exact in ((compensated.two_sum, Fraction.__add__), (compensated.two_product, Fraction.__mul__)):
        value, lost = f(a, b)
        for p, q, v, e in zip(a, b, value, lost, strict=True):
            assert Fraction(float(v)) + Fraction(float(e)) == exact(Fraction(float(p)), Fraction(float(q)))
