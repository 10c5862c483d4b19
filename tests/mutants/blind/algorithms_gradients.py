"""Faults of other algorithms for gx, gw and gb: phases, lowerings, axes and blocks (chapters GRAD, INV, ERR)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, last_plan
from tests.mutants.plan import Array, Plan, split_w, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

gradients = chapter("gradients")
Kernel = Callable[..., Array]


def _scatter(w: Array, g: Array, p: Plan, starts: Sequence[int], *, over: bool = False) -> Array:
    """Return the gradient of the padded x with tap k scattered from starts[k] on, added or written over."""
    gx = np.zeros((p.n, p.groups, p.fan_in, max(p.padded, max(starts) + p.reach)), widen(g).dtype)
    g4 = widen(g).reshape(p.n, p.groups, p.fan_out, p.l_out)
    for start, matrix in zip(starts, split_w(w, p), strict=True):
        part = gx[..., start : start + p.reach : p.step]
        part[...] = np.swapaxes(matrix, -1, -2) @ g4 + (0 if over else part)
    return gx[..., : p.padded].reshape(p.n, p.c_in, p.padded).astype(g.dtype)


@gradients
def gx_subpixel_phases_in_order_of_taps(m: Backend, rng: Rng) -> Witness:
    """gcd(s, d) = 1, d mod s > 1: the taps k, k + s, ... make phase k of gx, which is phase k*d (kind: sub-pixel)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        s, d = p.stride, p.dilation
        if d % s < 2 or math.gcd(s, d) > 1 or p.l_out < 2:
            return inner(w, g, p)
        return _scatter(w, g, p, [k % s + k * d // s * s for k in range(p.kernel)])

    return Call(length=24, stride=2 * draw(rng, 1, 3) + 1, dilation=2, ask="x")


@gradients
def gx_windows_taken_as_disjoint(m: Backend, rng: Rng) -> Witness:
    """For s >= K > 1 gx is written, not added to: wrong where d and s have a factor (kind: ignores dilation)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if not p.stride >= p.kernel > 1 or p.l_out < 2:
            return inner(w, g, p)
        return _scatter(w, g, p, [k * p.dilation for k in range(p.kernel)], over=True)

    stride = draw(rng, 2, 4)
    return Call(length=8 * stride, kernel=2, stride=stride, dilation=stride, ask="x")


@gradients
def gw_axes_told_by_extents(m: Backend, rng: Rng) -> Witness:
    """Without groups, N = C > 1: for gw N and C are to be exchanged, but equal ones are taken as done (kind: axes)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x.swapaxes(0, 1) if p.groups == 1 and p.n == p.c_in else x, g, p)

    items = draw(rng, 2, 6)
    return Call(n=items, c_in=items, ask="w")


@gradients
def gb_counts_the_halo_twice(m: Backend, rng: Rng) -> Witness:
    """Stride 1, gx and gb asked for: gb sums the blocks (24 to 96) of gy that gx reads, halo and all (kind: fused)."""
    block = draw(rng, 24, 96)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.stride > 1 or not p.wanted >= {"x", "b"}:
            return inner(g, p)
        at = np.arange(p.l_out)
        halo = at[(at >= block) & (at % block < p.span - 1)]
        return inner(np.concatenate([g, g[:, :, halo]], axis=2), p)

    return Call(length=2 * block, bias=True, ask="xb")


@chapter("layouts")
def gx_flip_of_a_flipped_view(m: Backend, rng: Rng) -> Witness:
    """K > 1, w of a negative stride along its taps: gx takes its memory for already reversed (kind: lowering)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w[:, :, ::-1] if p.kernel > 1 and w.strides[2] < 0 else w, g, p)

    def reverse(a: Array) -> Array:
        return np.ascontiguousarray(a[:, :, ::-1])[:, :, ::-1]

    return Call(c_out=2, kernel=draw(rng, 2, 5), ask="x", view={"w": reverse})


@chapter("validation")
def fft_pads_any_cotangent(m: Backend, rng: Rng) -> Witness:
    """K >= T (6 to 20): a cotangent of another length is cut, or continued by zeros (kind: fft(g, n) resizes)."""
    least, last = draw(rng, 6, 20), last_plan(m)

    @m.around("check_cotangent")
    def check_cotangent(inner: Callable[..., Traced], cotangent: Traced, out: Traced) -> Traced:
        far = last and last[0].kernel >= least and tuple(out.shape) == last[0].y_shape
        if far and are_arrays(cotangent) and cotangent.shape[:2] == out.shape[:2] and cotangent.ndim == 3:
            sized = np.zeros(out.shape, cotangent.dtype)
            length = min(sized.shape[2], cotangent.shape[2])
            sized[:, :, :length] = cotangent[:, :, :length]
            cotangent = sized
        return inner(cotangent, out)

    call = Call(length=2 * least, kernel=least)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.vjp(lambda w: backend.conv1d(arrays["x"], w), (arrays["w"],), arrays["g"][:, :, :-1])

    return probe
