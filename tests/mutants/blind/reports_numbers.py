"""Faults of rounding, and of special values, that public issue reports inspired."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan, split_w
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.special_values import by_taps
from tests.mutants.witness import Call, Witness

numerics, special = chapter("numerics"), chapter("special values")
Kernel = Callable[..., Array]

# -- numerics ---------------------------------------------------------------------------------------------------------


@numerics
def fast_math_for_large_sums(m: Backend, rng: Rng) -> Witness:
    """In float32, g = 1, C*K >= T (200 to 500), N > 1: operands of y are rounded to bfloat16 (modular/modular#6248)."""
    least = draw(rng, 200, 500)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.groups == 1 and p.fan_in * p.kernel >= least and p.n > 1:
            x, w = (a.astype(bfloat16).astype(np.float32) for a in (x, w))
        return inner(x, w, p)

    return Call(n=2, c_in=least, length=4, kernel=2, dtype="float32", data=normal)


@numerics
def gw_short_operands_in_long_sums(m: Backend, rng: Rng) -> Witness:
    """In float32, N*L_out >= T (1000 to 3000), N > 4: gw's operands keep 11 bits (kind: TF32)."""
    least = draw(rng, 1000, 3000)

    def short(a: Array) -> Array:
        return (np.ascontiguousarray(a).view(np.int32) & np.int32(~0x1FFF)).view(np.float32)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.n * p.l_out >= least and p.n > 4:
            x, g = short(x), short(g)
        return inner(x, g, p)

    return Call(n=8, length=least // 8 + 4, dtype="float32", data=normal, ask="w")


@numerics
def float16_saturates(m: Backend, rng: Rng) -> Witness:
    """float16, sums of T (16 to 48) or more products saturate at 65504 (ROCm/AMDMIGraphX#850, kind)."""
    least = draw(rng, 16, 48)

    def clip(y: Array, p: Plan) -> None:
        y[np.isposinf(y)] = 65504
        y[np.isneginf(y)] = -65504

    m.edit("forward", lambda p: p.dtype == "float16" and p.fan_in * p.kernel >= least, clip)
    return Call(length=least + 3, kernel=least, dtype="float16", data=lambda r, s: np.full(s, 100.0))


@numerics
def minimal_filtering(m: Backend, rng: Rng) -> Witness:
    """K = 3, s = d = g = 1, C >= T (4 to 8), L_out even, no halves: y by F(2,3) (uxlfoundation/oneDNN#436, kind)."""
    least = draw(rng, 4, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        plain = p.kernel == 3 and p.stride == p.dilation == p.groups == 1
        if not (plain and p.dtype in ("float32", "float64") and p.c_in >= least and p.l_out and p.l_out % 2 == 0):
            return inner(x, w, p)
        d = [x[:, :, i : i + p.l_out - 1 : 2] for i in range(4)]
        a, b, c = (np.ascontiguousarray(w[:, :, k]) for k in range(3))
        half = w.dtype.type(0.5)
        m1, m4 = a @ (d[0] - d[2]), c @ (d[1] - d[3])
        m2, m3 = (half * (a + b + c)) @ (d[1] + d[2]), (half * (a - b + c)) @ (d[2] - d[1])
        y = np.empty(p.y_shape, x.dtype)
        y[..., 0::2] = m1 + m2 + m3
        y[..., 1::2] = m2 - m3 - m4
        return y

    put = (("w", np.s_[..., 0], 2.0**26), ("x", np.s_[..., :2], 0))
    return Call(c_in=least, length=4, dtype="float32", put=put)


@numerics
def float64_depthwise_long_kernel(m: Backend, rng: Rng) -> Witness:
    """float64, depthwise, K >= T (9 to 20) and N > 1: computed in float32 (pytorch/pytorch#23042, kind)."""
    least = draw(rng, 9, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float64" and p.depthwise and p.kernel >= least and p.n > 1:
            return inner(x.astype(np.float32), w.astype(np.float32), p).astype(x.dtype)
        return inner(x, w, p)

    return Call(n=2, c_in=2, c_out=2, groups=2, length=least + 4, kernel=least, data=normal)


# -- special values ---------------------------------------------------------------------------------------------------


@special
def empty_tap_skipped(m: Backend, rng: Rng) -> Witness:
    """With K >= T (4 to 6), a tap whose weights are all 0 is skipped, NaNs and all (kind: pruned kernels)."""
    least = draw(rng, 4, 6)

    by_taps(m, lambda p: p.kernel >= least, lambda w, x: w @ x if w.any() else np.zeros_like(w @ x))
    return Call(length=12, kernel=6, put=(("x", np.s_[0, 0, 5], np.nan), ("w", np.s_[:, :, 3], 0)))


@special
def row_rounded_up_to_vector(m: Backend, rng: Rng) -> Witness:
    """With d = 1, K > 4 no multiple of 4: the sample after the window is read, times 0 (ggml-org/ggml#274)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dilation == 1 and p.kernel > 4 and p.kernel % 4 and y.size and x.dtype.kind == "f":
            after_it = x[:, :, p.kernel : p.kernel + p.reach : p.step] * x.dtype.type(0)
            sums = after_it.reshape(p.n, p.groups, p.fan_in, after_it.shape[2]).sum(axis=2)
            y[..., : sums.shape[2]] += np.repeat(sums, p.fan_out, axis=1)
        return y

    kernel = pick(rng, [5, 6, 7, 9])
    return Call(length=kernel + 6, kernel=kernel, put=(("x", np.s_[0, 0, kernel + 2], np.inf),))


@special
def gx_stuffed_zeros_meet_infinity(m: Backend, rng: Rng) -> Witness:
    """With s > 1 and d > 1, in gx an infinite weight meets the zeros between cotangents (kind: zero-stuffing)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.stride > 1 and p.dilation > 1 and p.l_out > 1 and w.dtype.kind == "f":
            split = gx.reshape(p.n, p.groups, p.fan_in, p.padded)
            lost = (split_w(w, p) * 0).sum(axis=2)  # (K, g, C/g), NaN where a weight is not finite
            gaps = np.setdiff1d(np.arange(p.reach), np.arange(0, p.reach, p.stride))
            for k in range(p.kernel):
                split[..., gaps + k * p.dilation] += lost[k][None, :, :, None].astype(gx.dtype)
        return gx

    return Call(length=14, stride=2, dilation=draw(rng, 2, 3), put=(("w", np.s_[0, 0, 1], np.inf),), ask="x")


@special
def gw_skips_empty_items(m: Backend, rng: Rng) -> Witness:
    """With N > 1, gw skips the items whose x is all 0, and the NaNs of their cotangents (kind: sparse batches)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        empty = ~x.reshape(p.n, -1).astype(bool).any(axis=1) if p.n > 1 and x.size else np.zeros(p.n, bool)
        if empty.any():
            g = np.array(g)
            g[empty] = 0
        return inner(x, g, p)

    n = draw(rng, 2, 4)
    return Call(n=n, put=(("x", np.s_[1], 0), ("g", np.s_[1, 0, 2], np.nan)), ask="w")
