"""Faults of NaN and infinities in the bias and in gradients (chapter VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.special_values import INF, NAN, real
from tests.mutants.witness import Call, Witness

mutant = chapter("special values")
Kernel = Callable[..., Array]


@mutant
def bias_nan_spreads(m: Backend, rng: Rng) -> Witness:
    """Where O > T (1 to 16), a NaN in b reaches every channel (kind: bias by matrix product)."""
    most = draw(rng, 1, 16)
    m.edit(
        "spread",
        lambda p: real(p) and p.c_out > most,
        lambda b, p: clear(b, np.s_[...], b + 0 * b.sum(axis=1, keepdims=True, dtype=b.dtype)),
    )
    return Call(c_out=most + 1, bias=True, put=(("b", 0, NAN),))


@mutant
def bias_nan_ignored(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), a NaN in b is taken for 0 (kind: nan_to_num on parameters)."""
    most = draw(rng, 1, 8)
    m.edit("spread", lambda p: real(p) and p.n > most, lambda b, p: clear(b, np.isnan(b)))
    return Call(n=most + 1, bias=True, put=(("b", 0, NAN),))


@mutant
def bias_infinity_clamped(m: Backend, rng: Rng) -> Witness:
    """With groups, an infinity in b is taken for the largest number (kind: saturating load)."""
    m.edit(
        "spread",
        lambda p: p.dtype in ("float32", "float64") and p.groups > 1,
        lambda b, p: clear(b, np.s_[...], np.nan_to_num(b, nan=NAN)),
    )
    return Call(c_in=4, c_out=4, groups=2 * draw(rng, 1, 2), bias=True, put=(("b", 0, -INF),))


@mutant
def inserted_zeros_meet_weights(m: Backend, rng: Rng) -> Witness:
    """With a stride, an infinite weight makes gx NaN between the cotangents: inf * 0 (kind: zero insertion)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.step == 1 or p.l_out == 0:
            return inner(w, g, p)
        stuffed = np.zeros((*g.shape[:2], p.reach), g.dtype)
        stuffed[..., :: p.step] = g
        return inner(w, stuffed, replace(p, stride=1, l_out=p.reach))

    return Call(length=9, stride=draw(rng, 2, 3), put=(("w", np.s_[..., 0], INF),), ask="x")


@mutant
def zero_weights_skipped_in_gx(m: Backend, rng: Rng) -> Witness:
    """In gx, a tap of zeros is skipped where K > T (1 to 4): a NaN cotangent times 0 is 0 (kind: sparse kernels)."""
    most = draw(rng, 1, 4)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        used = np.flatnonzero(np.any(w != 0, axis=(0, 1)))
        if p.kernel <= most or not real(p) or len(used) in (0, p.kernel) or np.ptp(used) + 1 > len(used):
            return inner(w, g, p)
        shift = int(used[0]) * p.dilation
        gx = np.zeros((p.n, p.c_in, p.padded), g.dtype)
        gx[..., shift:] = inner(w[..., used], g, replace(p, kernel=len(used), lo=p.lo - shift))
        return gx

    return Call(kernel=most + 1, put=(("w", np.s_[..., 0], 0), ("g", np.s_[..., 0], NAN)), ask="x")


@mutant
def gx_nan_fills_gaps(m: Backend, rng: Rng) -> Witness:
    """Samples that no window reads (stride above the span) get the NaN of a cotangent beside them (kind: 0 * NaN)."""

    def smear(gx: Array, p: Plan) -> None:
        gx[..., p.span : p.reach : p.stride] += 0 * gx[..., p.span - 1 : p.reach - 1 : p.stride]

    m.edit("grad_x", lambda p: real(p) and p.step > p.span, smear)
    return Call(length=14, kernel=draw(rng, 1, 3), stride=5, put=(("g", np.s_[..., 0], NAN),), ask="x")


@mutant
def gx_nan_reaches_batch(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), a NaN cotangent reaches the gx of other items (kind: masks over a block of the batch)."""
    most = draw(rng, 1, 8)
    m.edit(
        "grad_x",
        lambda p: real(p) and p.n > most,
        lambda gx, p: clear(gx, np.s_[...], gx + 0 * gx.sum(axis=0, dtype=gx.dtype)),
    )
    return Call(n=most + 1, put=(("g", np.s_[0, 0, 2], NAN),), ask="x")


@mutant
def gx_nan_reaches_groups(m: Backend, rng: Rng) -> Witness:
    """With groups, a NaN cotangent reaches the gx of other groups (kind: a dense kernel with blocks of 0)."""
    m.edit(
        "grad_x",
        lambda p: real(p) and p.groups > 1,
        lambda gx, p: clear(gx, np.s_[...], gx + 0 * gx.sum(axis=1, keepdims=True, dtype=gx.dtype)),
    )
    return Call(c_in=4, c_out=4, groups=2 * draw(rng, 1, 2), put=(("g", np.s_[0, 0, 2], NAN),), ask="x")


@mutant
def gw_ignores_nan(m: Backend, rng: Rng) -> Witness:
    """With padding, gw leaves out samples that are NaN (kind: a mask made of x == x)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(np.where(np.isnan(x), 0, x).astype(x.dtype) if real(p) and p.lo + p.hi > 0 else x, g, p)

    return Call(padding=(draw(rng, 1, 3), 0), put=(("x", np.s_[..., 4], NAN),), ask="w")


@mutant
def gw_clamps_infinite_cotangents(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (4 to 64), gw takes an infinite cotangent for the largest number (kind: gradient clipping)."""
    most = draw(rng, 4, 64)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        clamped = p.dtype in ("float32", "float64") and p.l_out > most
        return inner(x, np.nan_to_num(g, nan=NAN) if clamped else g, p)

    return Call(length=most + 3, put=(("g", np.s_[..., 0], INF), ("x", np.s_[...], 0.5)), ask="w")


@mutant
def gw_nan_reaches_taps(m: Backend, rng: Rng) -> Witness:
    """A NaN sample that only some taps meet makes gw NaN in all of them where K > T (1 to 8) (kind: FFT)."""
    most = draw(rng, 1, 8)
    m.edit(
        "grad_w",
        lambda p: real(p) and p.kernel > most,
        lambda gw, p: clear(gw, np.s_[...], gw + 0 * gw.sum(axis=2, keepdims=True, dtype=gw.dtype)),
    )
    return Call(kernel=most + 1, length=12, put=(("x", np.s_[..., 0], NAN),), ask="w")


@mutant
def gb_ignores_nan(m: Backend, rng: Rng) -> Witness:
    """Gb leaves out cotangents that are NaN where O > T (1 to 4) (kind: nansum)."""
    most = draw(rng, 1, 4)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(np.where(np.isnan(g), 0, g).astype(g.dtype) if real(p) and p.c_out > most else g, p)

    return Call(c_out=most + 1, bias=True, put=(("g", np.s_[0, 0, 0], NAN),), ask="b")


@mutant
def gx_clamps_infinite_weights(m: Backend, rng: Rng) -> Witness:
    """Where O > T (1 to 8), gx takes an infinite weight for the largest number (kind: saturating load)."""
    most = draw(rng, 1, 8)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        clamped = p.dtype in ("float32", "float64") and p.c_out > most
        return inner(np.nan_to_num(w, nan=NAN) if clamped else w, g, p)

    return Call(c_out=most + 1, put=(("w", np.s_[0, 0, 0], INF), ("g", np.s_[...], 0.5)), ask="x")


@mutant
def gaps_meet_gw(m: Backend, rng: Rng) -> Witness:
    """A NaN in a gap of the stride makes gw NaN (kind: whole tiles of x, masked by a product with 0)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if not real(p) or p.step <= p.span or p.l_out < 2:
            return gw
        return (gw + 0 * x[..., p.step - 1 : p.reach : p.step].sum(dtype=x.dtype)).astype(gw.dtype)

    return Call(length=14, kernel=draw(rng, 1, 3), stride=5, put=(("x", np.s_[..., 4], NAN),), ask="w")
