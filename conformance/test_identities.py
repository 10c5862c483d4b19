"""Chapter INV, the identities: a backend compared with itself, and so with no reference that could share its fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Surface, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import non_empty
from conv1d_cts.spec.geometry import Geometry

Array = np.ndarray[Any, Any]


def _explicit(case: Case) -> bool:
    """Lattice cases of moderate size with explicit zeros: what the identities are stated for."""
    g = case.geometry
    explicit = not isinstance(g.padding, str) and case.padding_mode == "zeros"
    return (
        explicit
        and non_empty(case)
        and max(*g.x_shape, *g.w_shape, *g.y_shape) <= 300
        and case.dtype in ("float32", "float64")
    )


def _without_bias(case: Case) -> Case:
    return replace(case, bias=False)


def _shiftable(case: Case) -> bool:
    g = case.geometry
    return _explicit(case) and g.pads[0] == 0 and g.length > g.stride and g.l_out > 1


def _spread(case: Case) -> bool:
    g = case.geometry
    return _explicit(case) and g.dilation > 1 and g.kernel > 1 and g.span < 300


def linear_in_both(surface: Surface, case: Case) -> None:
    """F(x + z, w) = F(x, w) + F(z, w), and the same in w; F(-x, w) = -F(x, w)."""
    given, other = operands(case), operands(replace(case, seed=case.seed + 1))
    one = surface.conv1d(case, given)
    for name in "xw":
        mine, theirs = getattr(given, name), getattr(other, name)
        two = surface.conv1d(case, replace(given, **{name: theirs}))
        both = surface.conv1d(case, replace(given, **{name: mine + theirs}))
        judge.agree(both, one.astype(np.float64) + two, f"F of a sum in {name}")
        judge.agree(surface.conv1d(case, replace(given, **{name: -mine})), -one.astype(np.float64), f"F of -{name}")


def shifted(surface: Surface, case: Case) -> None:
    """With lo = 0, the input without its first s samples gives the output without its first."""
    g = case.geometry
    given = operands(case)
    later = case.with_geometry(length=g.length - g.stride)
    whole = surface.conv1d(case, given)
    rest = surface.conv1d(later, replace(given, x=given.x[..., g.stride :].copy()))
    judge.agree(rest, whole[..., 1:], "F of the shifted input")


def true_convolution(surface: Surface, case: Case) -> None:
    """For one channel, F under full padding is numpy.convolve with the reversed kernel."""
    given = operands(case)
    want = np.convolve(given.x[0, 0].astype(np.float64), given.w[0, 0, ::-1].astype(np.float64), "full")
    judge.equal(surface.conv1d(case, given), want[None, None], "F under full padding")


def _single_channel(case: Case) -> Case:
    g = case.geometry
    return Case(
        Geometry(1, 1, 1, g.length, g.kernel, padding=(g.kernel - 1, g.kernel - 1)),
        case.dtype,
        bias=False,
        seed=case.seed,
    )


def subsampled(surface: Surface, case: Case) -> None:
    """F with stride s is every s-th element of F with stride 1."""
    given = operands(case)
    dense = surface.conv1d(case.with_geometry(stride=1), given)
    judge.agree(surface.conv1d(case, given), dense[..., :: case.geometry.stride], "F with a stride")


def zero_stuffed(surface: Surface, case: Case) -> None:
    """F with dilation d is F with the zero-stuffed kernel."""
    g = case.geometry
    given = operands(case)
    stuffed = np.zeros((*g.w_shape[:2], g.span), given.w.dtype)
    stuffed[..., :: g.dilation] = given.w
    plain = surface.conv1d(case.with_geometry(dilation=1, kernel=g.span), replace(given, w=stuffed))
    judge.agree(surface.conv1d(case, given), plain, "F with a dilation")


def _part(array: Array | None, axis: int, index: int, parts: int) -> Array | None:
    return None if array is None else np.split(array, parts, axis)[index].copy()


def concatenated(surface: Surface, case: Case) -> None:
    """F with g groups is the concatenation of g convolutions."""
    g = case.geometry
    given = operands(case)
    single = case.with_geometry(c_in=g.c_in // g.groups, c_out=g.c_out // g.groups, groups=1)
    parts = []
    for i in range(g.groups):
        x, w, b = _part(given.x, 1, i, g.groups), _part(given.w, 0, i, g.groups), _part(given.b, 0, i, g.groups)
        assert x is not None
        assert w is not None
        parts.append(surface.conv1d(single, Operands(x, w, b, given.cotangent)))
    judge.agree(surface.conv1d(case, given), np.concatenate(parts, axis=1), "F with groups")


def as_two_dimensions(surface: Surface, case: Case) -> None:
    """The surface agrees with the backend's 2-D convolution of height 1."""
    given = operands(case)
    high = Surface(surface.backend, "conv2d").conv1d(case, given)
    judge.agree(surface.conv1d(case, given), high, "F in one dimension")


def adjoint(surface: Surface, case: Case) -> None:
    """<gy, F(x, w)> = <gx, x> = <gw, w>, exactly."""
    given = operands(case)
    y, gradients = surface.conv1d(case, given), surface.vjp(case, given, "xw")
    judge.same_shape(y, given.cotangent.shape, "y")
    want = _inner(given.cotangent, y)
    for name in "xw":
        judge.same_shape(gradients[name], getattr(given, name).shape, f"g{name}")
        got = _inner(gradients[name], getattr(given, name))
        if got != want:
            raise Violation(f"<g{name}, {name}> is {got}, <gy, F(x, w)> is {want}", want, got)


def _inner(a: Array, b: Array) -> Fraction | float:
    """The inner product, exactly; NaN, which equals nothing, where an element is not finite."""
    one, other = (array.ravel().astype(np.float64) for array in (a, b))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return math.nan
    whole = (one == np.trunc(one)).all() and (other == np.trunc(other)).all()
    number: Callable[[float], Fraction | int] = int if whole else Fraction
    return Fraction(sum(number(p) * number(q) for p, q in zip(one.tolist(), other.tolist(), strict=True)))


# What one call says of another: they are made one right after the other, so that what a backend keeps of a call shows.
_relates = partial(tries, in_a_row=True)

test_inv_9_linearity = _relates("INV-9", linear_in_both, _explicit, prepare=_without_bias, sampled=True)
test_inv_10_shift = _relates("INV-10", shifted, _shiftable, sampled=True)
test_inv_11_flip = _relates(
    "INV-11", true_convolution, lambda c: _explicit(c) and c.geometry.kernel > 1, prepare=_single_channel, sampled=True
)
test_inv_12_subsampling = _relates(
    "INV-12", subsampled, lambda c: _explicit(c) and c.geometry.stride > 1 and c.geometry.l_out > 1, sampled=True
)
_DILATED = [  # without padding or bias, which some surfaces lack
    Case(Geometry(2, 3, 4, 12, kernel, dilation=dilation), bias=False, seed=seed)
    for seed, (kernel, dilation) in enumerate(((3, 2), (2, 5), (4, 3), (2, 3)))
]
test_inv_13_zero_stuffing = _relates("INV-13", zero_stuffed, _spread, own=_DILATED, sampled=True)
test_inv_14_groups = _relates(
    "INV-14", concatenated, lambda c: _explicit(c) and 1 < c.geometry.groups <= 8, sampled=True
)
test_inv_15_two_dimensions = _relates(
    "INV-15", as_two_dimensions, _explicit, extra={"function": "conv2d"}, sampled=True
)
test_inv_16_adjoint = _relates(
    "INV-16", adjoint, _explicit, prepare=_without_bias, extra={"function": "vjp", "wrt": "xw"}
)
