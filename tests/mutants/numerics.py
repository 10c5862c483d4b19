"""Faults of arithmetic: precision of operands and accumulators, result dtypes, overflow, range (chapter ACC)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("numerics")
Kernel = Callable[..., Array]
Condition = Callable[[Plan], bool]


def normal(rng: Rng, shape: tuple[int, ...]) -> Array:
    """Standard normal data."""
    return rng.standard_normal(shape)


def through(m: Backend, seam: str, when: Condition, change: Callable[[Array], Array]) -> None:
    """Compute a contraction on operands changed by a function, where the condition holds."""

    @m.around(seam)
    def changed(inner: Kernel, a: Array, b: Array, p: Plan) -> Array:
        return inner(change(a), change(b), p).astype(a.dtype) if when(p) else inner(a, b, p)


def keep_bits(bits: int) -> Callable[[Array], Array]:
    """Return the rounding to a significand of so many bits, the leading one included."""

    def rounded(a: Array) -> Array:
        mantissa, exponent = np.frexp(a)
        return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(a.dtype)

    return rounded


def serial(x: Array, w: Array, p: Plan, dtype: Any) -> Array:
    """Return y summed one product after another in a dtype."""
    y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), dtype)
    for matrix, columns in zip(split_w(w, p), taps(x, p), strict=True):
        for c in range(p.fan_in):
            y = (y + (matrix[None, :, :, c, None] * columns[:, :, None, c, :]).astype(dtype)).astype(dtype)
    return y.reshape(p.y_shape)


@mutant
def double_through_single(m: Backend, rng: Rng) -> Witness:
    """Float64 is computed in float32 where (C/g)K > T (1 to 64) (kind: no double kernel)."""
    most = draw(rng, 1, 64)
    through(m, "forward", lambda p: p.dtype == "float64" and p.fan_in * p.kernel > most, lambda a: a.astype(np.float32))
    return Call(c_in=most + 1, data=normal)


@mutant
def double_gw_through_single(m: Backend, rng: Rng) -> Witness:
    """Gw of float64 is computed in float32 where N > T (1 to 8) (pytorch/pytorch#119677, kind)."""
    most = draw(rng, 1, 8)
    through(m, "grad_w", lambda p: p.dtype == "float64" and p.n > most, lambda a: a.astype(np.float32))
    return Call(n=most + 1, data=normal, ask="w")


@mutant
def double_gx_through_single(m: Backend, rng: Rng) -> Witness:
    """Gx of float64 is computed in float32 with a stride (kind: no double kernel)."""
    through(m, "grad_x", lambda p: p.dtype == "float64" and p.stride > 1, lambda a: a.astype(np.float32))
    return Call(stride=draw(rng, 2, 3), data=normal, ask="x")


@mutant
def double_bias_through_single(m: Backend, rng: Rng) -> Witness:
    """A float64 bias is rounded to float32 if there is more than 1 channel (kind: parameters kept in float32)."""
    m.around("spread")(lambda inner, b, p: inner(b.astype(np.float32) if _many_doubles(p) else b, p).astype(b.dtype))
    return Call(c_out=draw(rng, 2, 5), bias=True, data=normal)


def _many_doubles(p: Plan) -> bool:
    return p.dtype == "float64" and p.c_out > 1


@mutant
def complex_through_single(m: Backend, rng: Rng) -> Witness:
    """Complex128 is computed in complex64 (kind: no double kernel)."""
    through(m, "forward", lambda p: p.dtype == "complex128", lambda a: a.astype(np.complex64))
    return Call(c_in=draw(rng, 1, 4), dtype="complex128", data=normal)


@mutant
def single_returns_double(m: Backend, rng: Rng) -> Witness:
    """The result of float32 operands with groups is float64 (kind: dtype promoted)."""
    m.around("forward")(lambda inner, x, w, p: inner(x, w, p).astype(np.float64 if _grouped_single(p) else x.dtype))
    return Call(c_in=2, c_out=2 * draw(rng, 1, 3), groups=2, dtype="float32")


def _grouped_single(p: Plan) -> bool:
    return p.dtype == "float32" and p.groups > 1


@mutant
def half_returns_single(m: Backend, rng: Rng) -> Witness:
    """The result of float16 operands with C/g > T (1 to 32) is float32 (kind: the accumulator returned)."""
    most = draw(rng, 1, 32)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(widen(x), widen(w), p) if p.dtype == "float16" and p.fan_in > most else inner(x, w, p)

    return Call(c_in=most + 1, dtype="float16")


@mutant
def single_with_tf32_operands(m: Backend, rng: Rng) -> Witness:
    """Float32 operands are rounded to 11 bits where C/g is a multiple of V (4, 8, 16 or 32) (ml-explore/mlx#4242)."""
    lanes = pick(rng, [4, 8, 16, 32])
    through(m, "forward", lambda p: p.dtype == "float32" and p.fan_in % lanes == 0, keep_bits(11))
    return Call(c_in=lanes, dtype="float32", data=normal)


@mutant
def single_with_bf16_operands(m: Backend, rng: Rng) -> Witness:
    """Float32 operands are rounded to bfloat16 with K = 1 and C/g > T (1 to 64) (kind: fast matrix product)."""
    most = draw(rng, 1, 64)
    through(
        m, "forward", lambda p: p.dtype == "float32" and p.kernel == 1 and p.fan_in > most, lambda a: a.astype(bfloat16)
    )
    return Call(c_in=most + 1, kernel=1, dtype="float32", data=normal)


@mutant
def single_gradients_with_tf32_operands(m: Backend, rng: Rng) -> Witness:
    """Gw of float32 operands uses 11 bits where L_out > T (4 to 64) (tensorflow/community#287, kind)."""
    most = draw(rng, 4, 64)
    through(m, "grad_w", lambda p: p.dtype == "float32" and p.l_out > most, keep_bits(11))
    return Call(length=most + 3, dtype="float32", data=normal, ask="w")


@mutant
def half_accumulates_in_half(m: Backend, rng: Rng) -> Witness:
    """Float16 is accumulated in float16 where (C/g)K > T (8 to 32) (uxlfoundation/oneDNN#5041)."""
    most = draw(rng, 8, 32)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        low = p.dtype == "float16" and p.fan_in * p.kernel > most
        return serial(x, w, p, np.float16) if low else inner(x, w, p)

    return Call(c_in=most, dtype="float16", data=normal)


@mutant
def bfloat_accumulates_in_bfloat(m: Backend, rng: Rng) -> Witness:
    """Bfloat16 is accumulated in bfloat16 where (C/g)K > T (8 to 32) (ml-explore/mlx#3909, kind)."""
    most = draw(rng, 8, 32)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        low = p.dtype == "bfloat16" and p.fan_in * p.kernel > most
        return serial(x, w, p, bfloat16) if low else inner(x, w, p)

    return Call(c_in=most, dtype="bfloat16", data=normal)


@mutant
def half_gb_accumulates_in_half(m: Backend, rng: Rng) -> Witness:
    """Gb of float16 is accumulated in float16 where L_out > T (16 to 64) (ml-explore/mlx#3909, kind)."""
    most = draw(rng, 16, 64)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        low = p.dtype == "float16" and p.l_out > most
        return np.cumsum(g, axis=2, dtype=np.float16)[:, :, -1].sum(axis=0, dtype=np.float16) if low else inner(g, p)

    return Call(c_out=4, length=most + 400, dtype="float16", bias=True, data=normal, ask="b")


@mutant
def bias_rounded_to_half(m: Backend, rng: Rng) -> Witness:
    """A float32 bias is rounded to float16 if K = 1 or depthwise (kind: autocast)."""

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        low = p.dtype == "float32" and (p.kernel == 1 or p.depthwise)
        return inner(b.astype(np.float16).astype(b.dtype) if low else b, p)

    return Call(kernel=1, c_out=draw(rng, 1, 4), dtype="float32", bias=True, data=normal)


@mutant
def bfloat_result_truncated(m: Backend, rng: Rng) -> Witness:
    """A bfloat16 result is truncated, not rounded (kind: the upper half of the bits)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "bfloat16":
            return inner(x, w, p)
        bits = np.ascontiguousarray(inner(widen(x), widen(w), p)).view(np.uint32)
        return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(bfloat16)

    return Call(c_in=draw(rng, 1, 3), length=40, dtype="bfloat16", data=normal)
