"""Faults against the letter of a clause: special values (chapter VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, split_w, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("special values")
Kernel = Callable[..., Array]


@mutant
def pruned_taps_skipped_again(m: Backend, rng: Rng) -> Witness:
    """K >= T (3 to 6): a tap that is 0 in all channels is skipped, so NaN * 0 is missing (kind: pruned kernels)."""
    least = draw(rng, 3, 6)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        zero = (widen(w) == 0).all(axis=(0, 1)) if w.size else np.zeros(p.kernel, bool)
        if p.kernel < least or not zero.any() or not p.l_out or np.isfinite(widen(x)).all():
            return inner(x, w, p)
        y = np.zeros(p.y_shape, widen(x).dtype)
        for k in np.flatnonzero(~zero):
            one = replace(p, kernel=1, dilation=1)
            y += inner(widen(x)[:, :, k * p.dilation :], widen(w)[:, :, k : k + 1], one)
        return y.astype(x.dtype)

    put = (("w", np.s_[:, :, 1], 0), ("x", np.s_[0, 0, 5], np.nan))
    return Call(length=12, kernel=least, c_in=2, c_out=2, put=put)


@mutant
def silent_windows_skipped_in_gx(m: Backend, rng: Rng) -> Witness:
    """Gx skips windows whose gy is 0 in every channel, though w has a NaN or inf (kind: sparse cotangents)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        silent = (widen(g) == 0).all(axis=1)[:, None, None, :]
        if not silent.any() or np.isfinite(widen(w)).all():
            return inner(w, g, p)
        room = max(p.padded, p.reach + p.span - 1)
        gx = np.zeros((p.n, p.groups, p.fan_in, room), widen(g).dtype)
        g4 = widen(g).reshape(p.n, p.groups, p.fan_out, p.l_out)
        for k, matrix in enumerate(split_w(w, p)):
            at = np.s_[..., k * p.dilation : k * p.dilation + p.reach : p.step]
            gx[at] += np.where(silent, 0, np.swapaxes(matrix, -1, -2) @ g4)
        return gx[..., : p.padded].reshape(p.n, p.c_in, p.padded).astype(g.dtype)

    put = (("w", np.s_[0, 0, draw(rng, 0, 2)], np.inf), ("g", np.s_[:, :, 2], 0))
    return Call(length=9, c_out=2, put=put, ask="x")


@mutant
def output_channels_packed_as_complex(m: Backend, rng: Rng) -> Witness:
    """S > 1, O/g even: a NaN or inf in one of two neighbouring outputs makes the other NaN (kind: packed in pairs)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.stride > 1 and p.fan_out % 2 == 0 and y.size and np.dtype(widen(y).dtype).kind == "f":
            finite = np.isfinite(widen(y))
            pairs = finite.reshape(p.n, p.c_out // 2, 2, p.l_out)
            lost = np.flip(~pairs, axis=2).reshape(finite.shape)
            y[lost] = np.nan
        return y

    put = (("w", np.s_[1, 0, draw(rng, 0, 2)], np.inf),)
    return Call(length=9, c_out=2, stride=2, put=put)


@mutant
def gw_by_stuffed_cotangents(m: Backend, rng: Rng) -> Witness:
    """G > 1, s > 1: a NaN or inf of x between two windows' samples makes gw NaN (kind: gy stuffed with zeros)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        bad = ~np.isfinite(widen(x))
        if p.groups > 1 and p.step > 1 and bad.any() and gw.size:
            for k in range(p.kernel):
                gaps = bad[:, :, k * p.dilation : k * p.dilation + p.reach].copy()
                gaps[:, :, :: p.step] = False
                met = gaps.any(axis=(0, 2)).reshape(p.groups, p.fan_in)
                gw[:, :, k][np.repeat(met, p.fan_out, axis=0)] = np.nan
        return gw

    stride = draw(rng, 2, 4)
    put = (("x", np.s_[0, 1, stride + 1], np.inf),)
    return Call(c_in=2, c_out=2, groups=2, length=4 * stride + 1, kernel=1, stride=stride, put=put, ask="w")


@mutant
def replicate_blends_the_two_edges(m: Backend, rng: Rng) -> Witness:
    """Replicate on both sides: a NaN or inf at one edge makes the other side's padding NaN (kind: a masked sum)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        if p.mode == "replicate" and p.lo and p.hi and xp.size and np.dtype(widen(x).dtype).kind in "fc":
            zero = x.dtype.type(0)
            xp[:, :, : p.lo] += zero * x[:, :, -1:]
            xp[:, :, p.lo + p.length :] += zero * x[:, :, :1]
        return xp

    return Call(padding=(1, draw(rng, 1, 3)), mode="replicate", put=(("x", np.s_[0, 0, 0], np.nan),))


@mutant
def gb_skips_nan(m: Backend, rng: Rng) -> Witness:
    """N > 1: a NaN in gy is left out of gb (kind: nansum)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.n == 1 or not np.isnan(widen(g)).any():
            return inner(g, p)
        return np.asarray(np.nansum(widen(g), axis=(0, 2), dtype=widen(g).dtype)).astype(g.dtype)

    return Call(n=draw(rng, 2, 3), c_out=2, bias=True, put=(("g", np.s_[1, 0, 2], np.nan),), ask="b")
