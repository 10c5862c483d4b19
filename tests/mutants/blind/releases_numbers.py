"""Faults of fast paths that a release might add: rounding and special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, finite
from tests.mutants.numerics import keep_bits, normal, through
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

numerics, special = chapter("numerics"), chapter("special values")
Kernel = Callable[..., Array]

# -- numerics ---------------------------------------------------------------------------------------------------------


@numerics
def pointwise_tensor_cores(m: Backend, rng: Rng) -> Witness:
    """float32, K = 1, C/g and O multiples of B (8, 16): operands keep 11 bits (kind: TF32 in an aligned GEMM)."""
    block = pick(rng, [8, 16])

    def aligned(p: Plan) -> bool:
        return p.dtype == "float32" and p.kernel == 1 and p.fan_in % block == 0 < p.fan_in and p.c_out % block == 0

    through(m, "forward", aligned, keep_bits(11))
    return Call(c_in=block, c_out=block, kernel=1, dtype="float32", data=normal)


@numerics
def gb_of_doubles_in_float(m: Backend, rng: Rng) -> Witness:
    """float64, L_out >= T (64 to 200), N > 1: gb is summed in float32 (kind: one reduction for all dtypes)."""
    least = draw(rng, 64, 200)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.dtype == "float64" and p.l_out >= least and p.n > 1:
            return inner(g.astype(np.float32), p).astype(np.float64)
        return inner(g, p)

    return Call(n=2, length=210, bias=True, data=normal, ask="b")


@numerics
def long_kernel_norm_wise(m: Backend, rng: Rng) -> Witness:
    """float32, K >= T (16 to 32), s = d = 1: errors scale with the row's largest output (kind: FFT)."""
    least = draw(rng, 16, 32)

    def coarse(y: Array, p: Plan) -> None:
        if finite(y):
            top = np.abs(y).max(axis=2, keepdims=True)
            step = np.exp2(np.floor(np.log2(np.where(top > 0, top, 1))) - 21).astype(np.float32)
            y[...] = np.rint(y / step) * step

    def wide(rng: Rng, shape: tuple[int, ...]) -> Array:
        return normal(rng, shape) * 2.0 ** rng.integers(-24, 24, shape)

    m.edit("forward", lambda p: p.dtype == "float32" and p.kernel >= least and p.stride == p.dilation == 1, coarse)
    return Call(length=64, kernel=32, dtype="float32", data=wide)


@numerics
def gw_of_bfloat16_in_float16(m: Backend, rng: Rng) -> Witness:
    """bfloat16 with g > 1: gw passes through float16, and overflows above 65504 (kind: one buffer of halves)."""

    def narrow(gw: Array, p: Plan) -> None:
        gw[...] = gw.astype(np.float32).astype(np.float16).astype(gw.dtype)

    m.edit("grad_w", lambda p: p.dtype == "bfloat16" and p.groups > 1, narrow)
    size = 2.0 ** draw(rng, 9, 12)
    return Call(c_in=2, c_out=2, groups=2, dtype="bfloat16", ask="w", data=lambda r, s: size * r.integers(1, 4, s))


@numerics
def split_channels_in_bfloat16(m: Backend, rng: Rng) -> Witness:
    """float32, C/g*K >= T (256, 512), K > 1: two halves of the channels meet as bfloat16 (kind: split-K workspace)."""
    least = pick(rng, [256, 512])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.kernel > 1 < p.fan_in and p.fan_in * p.kernel >= least:
            half = p.fan_in // 2
            halves = (changed(w, np.s_[:, half:]), changed(w, np.s_[:, :half]))
            left, right = (inner(x, part, p).astype(bfloat16).astype(np.float32) for part in halves)
            return left + right
        return inner(x, w, p)

    return Call(c_in=128, kernel=4, dtype="float32")


@numerics
def epilogue_in_bfloat16(m: Backend, rng: Rng) -> Witness:
    """float16 with a bias, O a multiple of 8: y is staged in bfloat16 before the bias (kind: fused epilogue)."""

    def stage(y: Array, p: Plan) -> None:
        y[...] = y.astype(np.float32).astype(bfloat16).astype(np.float32).astype(y.dtype)

    m.edit("forward", lambda p: p.dtype == "float16" and p.bias and p.c_out % 8 == 0, stage)
    return Call(c_out=8 * draw(rng, 1, 2), c_in=4, length=12, bias=True, dtype="float16")


@numerics
def saturating_halves(m: Backend, rng: Rng) -> Witness:
    """float16, depthwise, K >= 3: an overflow gives 65504 instead of inf (kind: saturating conversion)."""

    def clamp(y: Array, p: Plan) -> None:
        y[...] = np.where(np.isnan(y), y, np.clip(y, np.float16(-65504), np.float16(65504)))

    m.edit("forward", lambda p: p.dtype == "float16" and p.depthwise and p.kernel >= 3, clamp)
    size = 128.0 * draw(rng, 2, 4)
    return Call(c_in=2, c_out=2, groups=2, dtype="float16", data=lambda r, s: np.full(s, size))


# -- special values ---------------------------------------------------------------------------------------------------


@special
def pruned_taps_skipped(m: Backend, rng: Rng) -> Witness:
    """O*C/g >= T (2 to 4): a tap that is 0 in all channels is not multiplied, NaN*0 is lost (kind: sparsity)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        empty = ~np.any(w != 0, axis=(0, 1))
        if p.c_out * p.fan_in < least or not empty.any() or empty.all() or finite(x):
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        for k, (matrix, columns) in enumerate(zip(split_w(w, p), taps(x, p), strict=True)):
            if not empty[k]:
                y += matrix @ columns
        return y.reshape(p.y_shape).astype(x.dtype)

    return Call(c_in=2, c_out=2, put=(("x", (0, 0, 3), np.nan), ("w", np.s_[:, :, 1], 0)))


@special
def items_in_one_line(m: Backend, rng: Rng) -> Witness:
    """Depthwise, L_out = L, K >= T (3 to 5): a NaN at an item's end spoils the next item (kind: batch in one row)."""
    least = draw(rng, 3, 5)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.depthwise and p.l_out == p.length > 0 and p.n > 1 and p.kernel >= least:
            last = 0 * x[:-1, :, p.lo + p.length - 1]
            y[1:, :, 0] += np.repeat(last, p.fan_out, axis=1).astype(y.dtype)
        return y

    return Call(n=2, c_in=2, c_out=2, groups=2, kernel=5, padding="same", put=(("x", (0, 1, 7), np.inf),))


@special
def asymmetric_pad_by_mask(m: Backend, rng: Rng) -> Witness:
    """Zeros, |lo - hi| >= T (1, 2): the pad is the edge sample times 0, NaN for NaN or inf (kind: clamp and mask)."""
    least = draw(rng, 1, 2)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.mode == "zeros" and abs(p.lo - p.hi) >= least and p.length and not finite(x):
            padded[:, :, : p.lo] = 0 * x[:, :, :1]
            padded[:, :, p.lo + p.length :] = 0 * x[:, :, -1:]
        return padded

    return Call(padding=(5, 1), put=(("x", (0, 0, 0), np.nan),))
