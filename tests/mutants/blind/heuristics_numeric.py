"""Faults of kernels chosen by heuristics: formats of sums, casts, complex numbers, special values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Tracer
from tests.mutants.witness import Call, Witness

mutant = chapter("numerics")
Kernel = Callable[..., Array]


def uneven(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers with full significands."""
    return rng.uniform(1, 2, shape)


@mutant
def split_k_adds_bias_in_each_part(m: Backend, rng: Rng) -> Witness:
    """N*L_out <= 16 and C/g*K above T: the bias is added once for each T products (kind: split-K epilogue)."""
    part = pick(rng, (256, 512, 1024, 2048))

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        once = inner(b, p)
        total = once
        if p.n * p.l_out <= 16:
            for _ in range(part, p.fan_in * p.kernel, part):
                total = total + once
        return total

    return Call(c_in=part // 4, kernel=5, length=9, bias=True)


@mutant
def float16_epilogue_clamps(m: Backend, rng: Rng) -> Witness:
    """float16 with a bias, O a multiple of V: y is clamped to +-65504, inf included (kind: saturating vector store)."""
    width = pick(rng, (4, 8))

    @m.around("biased")
    def biased(inner: Callable[..., Any], y: Any, b: Any, p: Plan) -> Any:
        result = inner(y, b, p)
        if isinstance(result, Tracer) or p.dtype != "float16" or p.c_out % width:
            return result
        return np.clip(result, np.float16(-65504), np.float16(65504))

    return Call(c_out=width, bias=True, dtype="float16", put=(("b", (draw(rng, 0, width - 1),), np.inf),))


@mutant
def complex_single_output_by_vdot(m: Backend, rng: Rng) -> Witness:
    """Complex, N = O = L_out = 1, g = 1: w is conjugated (kind: vdot for the single dot product)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        lone = p.n == p.c_out == p.l_out == p.groups == 1
        return inner(x, np.conj(w) if lone and p.dtype.startswith("complex") else w, p)

    kernel = draw(rng, 2, 6)
    return Call(c_in=2, length=kernel, kernel=kernel, dtype="complex64")


@mutant
def complex_bias_of_groups_by_floats(m: Backend, rng: Rng) -> Witness:
    """Complex bias with g > 1: group q's bias starts q*(O/g) floats on, half way (kind: interleaved pointers)."""

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if b.dtype.kind == "c" and p.groups > 1 and p.fan_out:
            floats = np.ascontiguousarray(b).view(b.real.dtype)
            group, place = np.divmod(np.arange(p.c_out), p.fan_out)
            first = group * p.fan_out + 2 * place
            b = (floats[first] + 1j * floats[first + 1]).astype(b.dtype)
        return inner(b, p)

    groups = draw(rng, 2, 4)
    return Call(c_in=groups, c_out=2 * groups, groups=groups, bias=True, dtype="complex64")


@mutant
def bfloat16_pointwise_through_float16(m: Backend, rng: Rng) -> Witness:
    """bfloat16, K = s = g = 1, C and O from T on: operands pass through float16, above 65504 is inf (kind: cast)."""
    least = draw(rng, 2, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "bfloat16" and p.kernel == p.stride == p.groups == 1 and min(p.c_in, p.c_out) >= least:
            x, w = (a.astype(np.float32).astype(np.float16).astype(a.dtype) for a in (x, w))
        return inner(x, w, p)

    return Call(c_in=least, c_out=least, kernel=1, dtype="bfloat16", put=(("x", (0, 0, 3), 2.0**20),))


@mutant
def gb_of_float64_in_float32(m: Backend, rng: Rng) -> Witness:
    """Gb of float64 is summed in float32 where N*L_out reaches T (kind: accumulator of the blocked reduction)."""
    least = pick(rng, (64, 128, 256, 512))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.dtype == "float64" and p.n * p.l_out >= least:
            return np.asarray(g.sum(axis=(0, 2), dtype=np.float32)).astype(g.dtype)
        return inner(g, p)

    return Call(n=2, length=least // 2 + 2, bias=True, data=uneven, ask="b")


@mutant
def gw_of_float32_in_tf32(m: Backend, rng: Rng) -> Witness:
    """Gw of float32, g = 1, C and O multiples of V, keeps 11 bits of the operands (kind: tensor cores if aligned)."""
    width = pick(rng, (4, 8, 16))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.groups == 1 and p.c_in % width == 0 and p.c_out % width == 0:
            parts = (np.ascontiguousarray(a).view(np.uint32) & np.uint32(0xFFFFE000) for a in (x, g))
            x, g = (part.view(np.float32) for part in parts)
        return inner(x, g, p)

    return Call(c_in=width, c_out=width, dtype="float32", data=uneven, ask="w")


@mutant
def gw_skips_zero_cotangents(m: Backend, rng: Rng) -> Witness:
    """L_out from T on: rows (n, o) of gy that are all 0 are skipped in gw, so inf*0 is lost (kind: sparse shortcut)."""
    least = pick(rng, (4, 8, 16, 32))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        idle = ~g.astype(bool).any(axis=2)
        if p.l_out < least or not idle.any() or np.isfinite(x).all():
            return inner(x, g, p)
        one = replace(p, n=1)
        total = np.zeros((p.c_out, p.fan_in, p.kernel), widen(g).dtype)
        for n in range(p.n):
            part = widen(inner(x[n : n + 1], g[n : n + 1], one))
            total += np.where(idle[n][:, None, None], part.dtype.type(0), part)
        return total.astype(g.dtype)

    put = (("x", (0, 0, 3), np.inf), ("g", np.s_[0, 1], 0))
    return Call(c_out=3, length=least + 4, put=put, ask="w")


@mutant
def depthwise_gw_reads_gaps(m: Backend, rng: Rng) -> Witness:
    """Depthwise gw with s from T on puts zeros between the cotangents: NaN in a gap spoils it (kind: zero-stuffing)."""
    least = draw(rng, 2, 4)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.depthwise and p.step >= least and gw.size and not np.isfinite(x).all():
            gap = np.arange(p.reach) % p.step != 0
            for k in range(p.kernel):
                seen = x[:, :, k * p.dilation : k * p.dilation + p.reach][:, :, gap]
                spoilt = ~np.isfinite(seen).all(axis=(0, 2))
                gw[np.repeat(spoilt, p.fan_out), 0, k] = np.nan
        return gw

    stride = least + 1
    put = (("x", (0, 1, stride - 1), np.nan),)
    return Call(c_in=2, c_out=2, groups=2, kernel=2, length=4 * stride + 2, stride=stride, put=put, ask="w")
