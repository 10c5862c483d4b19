"""The definition against hand-computed numbers, against numpy.pad, and against itself through exact identities."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv1d_cts.spec.definition import Number, Tensor, Vector, conv1d, conv1d_jvp, conv1d_vjp
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES, widest

NUMPY_MODES = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
}
ROW = Geometry(n=1, c_in=1, c_out=1, length=4, kernel=2)
X: Tensor = [[[0, 3, 4, 5]]]
W: Tensor = [[[1, 2]]]


def _vector(rng: random.Random, extent: int) -> Vector:
    return [Fraction(rng.randint(-9, 9), rng.choice((1, 1, 3))) for _ in range(extent)]


def _tensor(rng: random.Random, shape: tuple[int, int, int]) -> Tensor:
    return [[_vector(rng, shape[2]) for _ in range(shape[1])] for _ in range(shape[0])]


def _dot(a: Tensor, b: Tensor) -> Number:
    pairs = zip(_flat(a), _flat(b), strict=True)
    return sum((p * q for p, q in pairs), start=Fraction(0))


def _flat(a: Tensor) -> Vector:
    return [value for item in a for row in item for value in row]


def _plus(a: Tensor, b: Tensor) -> Tensor:
    pairs = [zip(i, j, strict=True) for i, j in zip(a, b, strict=True)]
    return [[[p + q for p, q in zip(r, s, strict=True)] for r, s in rows] for rows in pairs]


@st.composite
def _problems(draw: st.DrawFn) -> tuple[Geometry, str, random.Random]:
    """Draw a small geometry, zero extents included, a padding mode inside its domain, and a source of numbers."""
    mode, length = draw(st.sampled_from(PADDING_MODES)), draw(st.integers(0, 6))
    limit = widest(mode, length)
    pads = st.integers(0, 5 if limit is None else min(limit, 5))
    groups, small = draw(st.integers(1, 3)), st.integers(0, 2)
    geometry = Geometry(
        n=draw(small),
        c_in=groups * draw(small),
        c_out=groups * draw(small),
        length=length,
        kernel=draw(st.integers(1, 4)),
        stride=draw(st.integers(1, 4)),
        dilation=draw(st.integers(1, 3)),
        groups=groups,
        padding=(draw(pads), draw(pads)),
    )
    return geometry, mode, random.Random(draw(st.integers(0, 2**32)))


def test_op_1_the_kernel_is_not_flipped() -> None:
    assert conv1d(X, W, None, ROW) == [[[6, 11, 14]]]


def test_op_6_bias_is_added_once() -> None:
    assert conv1d(X, W, [Fraction(1, 2)], ROW) == [[[Fraction(13, 2), Fraction(23, 2), Fraction(29, 2)]]]


def test_op_5_depth_multiplier() -> None:
    geometry = Geometry(n=1, c_in=2, c_out=4, length=1, kernel=1, groups=2)
    x: Tensor = [[[1], [10]]]
    w: Tensor = [[[1]], [[2]], [[3]], [[4]]]
    assert conv1d(x, w, None, geometry) == [[[1], [2], [30], [40]]]
    assert conv1d_vjp(x, w, None, [[[1], [2], [3], [4]]], geometry)[0] == [[[5], [25]]]


def test_grad_by_hand() -> None:
    assert conv1d_vjp(X, W, [7], [[[1, -1, 2]]], ROW) == ([[[1, 1, 0, 4]]], [[[5, 9]]], [2])
    assert conv1d_vjp(X, W, None, [[[1, -1, 2]]], ROW)[2] is None


def test_grad_12_by_hand() -> None:
    assert conv1d_jvp(X, W, [0], [[[1, 0, 0, 1]]], [[[0, 1]]], [10], ROW) == [[[14, 14, 17]]]
    assert conv1d_jvp(X, W, None, None, None, None, ROW) == [[[0, 0, 0]]]


@pytest.mark.parametrize("change", ["n", "c_in", "c_out", "length"])
def test_shape_5_to_8_a_zero_extent_leaves_empty_sums(change: str) -> None:
    extents = {"n": 1, "c_in": 1, "c_out": 1, "length": 3} | {change: 0}
    geometry = Geometry(kernel=2, padding=(1, 1), **extents)
    x = [[[1] * geometry.length for _ in range(geometry.c_in)] for _ in range(geometry.n)]
    w = [[[1, 1] for _ in range(geometry.c_in)] for _ in range(geometry.c_out)]
    b: Vector = [5] * geometry.c_out
    expected = {"n": [], "c_in": [[[5, 5, 5, 5]]], "c_out": [[]], "length": [[[5]]]}
    y = conv1d(x, w, b, geometry)
    assert y == expected[change]
    gx, gw, gb = conv1d_vjp(x, w, b, y, geometry)
    assert (len(gx), len(gw)) == (geometry.n, geometry.c_out)
    assert gb == {"n": [0], "c_in": [20], "c_out": [], "length": [5]}[change]


@given(_problems())
def test_inv_16_vjp_is_the_transpose_of_jvp(problem: tuple[Geometry, str, random.Random]) -> None:
    """<gy, jvp(dx, dw, db)> = <gx, dx> + <gw, dw> + <gb, db> for every geometry and mode."""
    geometry, mode, rng = problem
    x, dx = (_tensor(rng, geometry.x_shape) for _ in range(2))
    w, dw = (_tensor(rng, geometry.w_shape) for _ in range(2))
    b, db = (_vector(rng, geometry.c_out) for _ in range(2))
    gy = _tensor(rng, geometry.y_shape)
    gx, gw, gb = conv1d_vjp(x, w, b, gy, geometry, mode, 7)
    assert gb is not None
    tangent = conv1d_jvp(x, w, b, dx, dw, db, geometry, mode, 7)
    assert _dot(gy, tangent) == _dot(gx, dx) + _dot(gw, dw) + _dot([[gb]], [[db]])


@given(_problems())
def test_inv_16_adjoint_identity(problem: tuple[Geometry, str, random.Random]) -> None:
    """<gy, F(x, w)> = <gx, x> = <gw, w> with fill 0."""
    geometry, mode, rng = problem
    x, w, gy = (_tensor(rng, s) for s in (geometry.x_shape, geometry.w_shape, geometry.y_shape))
    gx, gw, _ = conv1d_vjp(x, w, None, gy, geometry, mode)
    assert _dot(gy, conv1d(x, w, None, geometry, mode)) == _dot(gx, x) == _dot(gw, w)


@given(_problems())
def test_grad_12_jvp_is_the_linear_part(problem: tuple[Geometry, str, random.Random]) -> None:
    """F(x + dx, w + dw) = F(x, w) + jvp + F(dx, dw), the last with fill 0: exact, for F is bilinear."""
    geometry, mode, rng = problem
    x, dx = (_tensor(rng, geometry.x_shape) for _ in range(2))
    w, dw = (_tensor(rng, geometry.w_shape) for _ in range(2))
    moved = conv1d(_plus(x, dx), _plus(w, dw), None, geometry, mode, 7)
    rest = _plus(conv1d_jvp(x, w, None, dx, dw, None, geometry, mode, 7), conv1d(dx, dw, None, geometry, mode))
    assert moved == _plus(conv1d(x, w, None, geometry, mode, 7), rest)


@given(_problems())
def test_pad_modes_are_those_of_numpy(problem: tuple[Geometry, str, random.Random]) -> None:
    """A padded call equals numpy.pad followed by the same call without padding."""
    geometry, mode, rng = problem
    lo, hi = geometry.pads
    n, c, length = geometry.x_shape
    array = np.array([rng.randint(-9, 9) for _ in range(n * c * length)], dtype=int).reshape(n, c, length)
    w = _tensor(rng, geometry.w_shape)
    keywords = {"constant_values": 7 if mode == "constant" else 0} if NUMPY_MODES[mode] == "constant" else {}
    padded = np.pad(array, ((0, 0), (0, 0), (lo, hi)), NUMPY_MODES[mode], **keywords) if lo or hi else array  # type: ignore[call-overload]  # mode is a str here
    bare = replace(geometry, length=geometry.length + lo + hi, padding=(0, 0))
    assert conv1d(array.tolist(), w, None, geometry, mode, 7) == conv1d(padded.tolist(), w, None, bare)


@pytest.mark.parametrize(("mode", "pads"), [("reflect", (4, 0)), ("symmetric", (0, 5)), ("circular", (5, 5))])
def test_pad_14_outside_the_domain(mode: str, pads: tuple[int, int]) -> None:
    geometry = Geometry(n=1, c_in=1, c_out=1, length=4, kernel=1, padding=pads)
    with pytest.raises(ValueError, match=f"{mode} padding of an input of length 4"):
        conv1d(X, [[[1]]], None, geometry, mode)


def test_shape_2_length_is_the_number_of_windows() -> None:
    """L_out and the remainder against a count of the windows that fit into the padded input."""
    for length, kernel, stride, dilation, lo, hi in product(
        range(7), range(1, 5), range(1, 5), range(1, 4), *[range(3)] * 2
    ):
        geometry = Geometry(1, 1, 1, length, kernel, stride, dilation, padding=(lo, hi))
        total = length + lo + hi
        ends = [start + dilation * (kernel - 1) for start in range(0, total, stride)]
        fitting = [end for end in ends if end < total]
        assert geometry.l_out == len(fitting)
        assert geometry.remainder == (total - 1 - fitting[-1] if fitting else 0)


def test_pad_4_to_8_names() -> None:
    """`same` and `same_lower` are the least padding with ceil(L/s) outputs, split evenly; the others as PAD says."""
    for length, kernel, stride, dilation in product(range(9), range(1, 6), range(1, 5), range(1, 4)):
        pads, lengths = {}, {}
        for name in PADDING_NAMES:
            geometry = Geometry(1, 1, 1, length, kernel, stride, dilation, padding=name)
            pads[name], lengths[name] = geometry.pads, geometry.l_out
        reach, outputs = dilation * (kernel - 1), -(-length // stride)
        assert (pads["valid"], pads["causal"], pads["full"]) == ((0, 0), (reach, 0), (reach, reach))
        assert pads["same"] == pads["same_lower"][::-1]
        assert 0 <= pads["same"][1] - pads["same"][0] <= 1
        assert lengths["same"] == lengths["same_lower"] == lengths["causal"] == outputs
        total = sum(pads["same"])
        if total and outputs:
            assert Geometry(1, 1, 1, length, kernel, stride, dilation, padding=(0, total - 1)).l_out < outputs
