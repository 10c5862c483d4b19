"""Faults of the kernels that engineers write, under narrow conditions: rounding and special values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed
from tests.mutants.plan import Array, Plan, split_w, taps
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

numerics, special = chapter("numerics"), chapter("special values")
Kernel = Callable[..., Array]

# -- numerics -----------------------------------------------------------------------------------------------------


@numerics
def winograd_two_three(m: Backend, rng: Rng) -> Witness:
    """float32, K = 3, s = d = 1, even L_out, C/g >= T (2 to 8): by F(2,3), no sum of products (kind: Winograd)."""
    least = draw(rng, 2, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        fits = p.kernel == 3 and p.stride == p.dilation == 1 and p.l_out and p.l_out % 2 == 0
        if not fits or p.fan_in < least or p.dtype != "float32" or not p.n:
            return inner(x, w, p)
        a = x.reshape(p.n, p.groups, p.fan_in, p.padded)
        d0, d1, d2, d3 = (a[..., j : j + p.l_out - 1 : 2] for j in range(4))
        g0, g1, g2 = np.moveaxis(w.reshape(p.groups, p.fan_out, p.fan_in, 3), -1, 0)

        def product(left: Array, right: Array) -> Array:
            return np.einsum("gfc,ngct->ngft", left, right)

        half = w.dtype.type(0.5)
        m1, m4 = product(g0, d0 - d2), product(g2, d1 - d3)
        m2, m3 = product((g0 + g1 + g2) * half, d1 + d2), product((g0 - g1 + g2) * half, d2 - d1)
        return np.stack([m1 + m2 + m3, m2 - m3 - m4], axis=-1).reshape(p.y_shape).astype(x.dtype)

    put = (("w", np.s_[..., 0], 2.0**26), ("x", np.s_[..., 0], 0))
    return Call(c_in=least, length=8, dtype="float32", put=put)


@numerics
def gw_by_fft(m: Backend, rng: Rng) -> Witness:
    """float32 gw by FFT, L_out >= T (64 to 160), s = 1: small taps drown, NaN reaches every tap (kind: a norm)."""
    least = draw(rng, 64, 160)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.l_out < least or p.stride > 1 or p.dtype != "float32" or p.groups > 1 or not x.size:
            return inner(x, g, p)
        fx, fg = np.fft.rfft(x, 2 * p.padded), np.fft.rfft(g, 2 * p.padded)
        whole = np.fft.irfft(np.einsum("ncf,nof->ocf", fx, fg.conj()), 2 * p.padded)
        return whole[..., : p.span : p.dilation].astype(g.dtype)

    put = (("x", np.s_[..., 0], 2.0**60), ("g", np.s_[..., 0], 0))
    return Call(length=least + 2, dtype="float32", put=put, ask="w")


@numerics
def float16_prescaled(m: Backend, rng: Rng) -> Witness:
    """float16, s > 1 and C/g*K >= T (3 to 9): results are formed 16-fold, 4096 overflows (kind: prescaled sums)."""
    least = draw(rng, 3, 9)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        scaled = p.dtype == "float16" and p.stride > 1 and p.fan_in * p.kernel >= least
        return (y * np.float16(16)) / np.float16(16) if scaled else y

    return Call(length=12, kernel=least, stride=2, dtype="float16", put=(("x", (0, 0, 0), 8192), ("w", (0, 0, 0), 1)))


# -- special values -----------------------------------------------------------------------------------------------


@special
def empty_taps_skipped(m: Backend, rng: Rng) -> Witness:
    """K >= T (4 to 9): a tap of 0 in all channels is skipped, with the NaN and inf it reads (kind: pruning)."""
    least = draw(rng, 4, 9)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        keep = w.any(axis=(0, 1))
        if p.kernel < least or keep.all():
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), split_w(w, p).dtype)
        for k, columns in enumerate(taps(x, p)):
            y += split_w(w, p)[k] @ columns if keep[k] else 0
        return y.reshape(p.y_shape).astype(x.dtype)

    return Call(length=least + 3, kernel=least, put=(("w", np.s_[..., 1], 0), ("x", (0, 0, 3), np.nan)))


@special
def taps_rounded_up(m: Backend, rng: Rng) -> Witness:
    """K = 3 mod 4 above 4, C/g >= T (1 to 4): a tap of weight 0 reads the sample after the window (kind: vectors)."""
    least = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel % 4 != 3 or p.kernel < 5 or p.fan_in < least or not p.l_out:
            return inner(x, w, p)
        return inner(x, np.concatenate([w, 0 * w[..., :1]], axis=2), replace(p, kernel=p.kernel + 1))

    return Call(c_in=least, length=12, kernel=7, put=(("x", (0, 0, 8), np.inf),))


@special
def bias_maximum_is_nan(m: Backend, rng: Rng) -> Witness:
    """A bias with a NaN in it is left out whole where O >= T (1 to 4) (kind: `abs(b).max() > 0` is false)."""
    least = draw(rng, 1, 4)

    @m.around("biased")
    def biased(inner: Any, y: Any, b: Any, p: Plan) -> Any:
        nan = are_arrays(y, b) and b.dtype.kind == "f" and p.c_out >= least and np.isnan(b).any()
        return y if nan else inner(y, b, p)

    return Call(c_out=least, bias=True, put=(("b", 0, np.nan),))


@special
def zero_items_skipped_in_gw(m: Backend, rng: Rng) -> Witness:
    """N >= T (2 to 5): gw skips items of x that are 0 throughout, and inf*0 of their cotangents (kind: sparsity)."""
    least = draw(rng, 2, 5)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, changed(g, ~x.any(axis=(1, 2))) if p.n >= least else g, p)

    return Call(n=least, put=(("x", 0, 0), ("g", (0, 0, 1), np.inf)), ask="w")
