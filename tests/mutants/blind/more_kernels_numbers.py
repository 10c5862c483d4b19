"""More faults of the kernels, by the same author: rounding and special values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

numerics, special = chapter("numerics"), chapter("special values")
Kernel = Callable[..., Array]

# -- numerics -----------------------------------------------------------------------------------------------------


@numerics
def int8_bias_saturates(m: Backend, rng: Rng) -> Witness:
    """int8, V (4, 8) divides O: the addition of the bias saturates, whereas all else wraps (kind: saturating add)."""
    lanes = pick(rng, (4, 8))

    @m.around("biased")
    def biased(inner: Any, y: Any, b: Any, p: Plan) -> Any:
        if not are_arrays(y, b) or p.dtype != "int8" or p.c_out % lanes:
            return inner(y, b, p)
        return np.clip(y.astype(np.int16) + m.spread(b, p), -128, 127).astype(np.int8)

    put = (("x", np.s_[...], 10), ("w", np.s_[...], 10), ("b", np.s_[...], 100))
    return Call(c_out=lanes, kernel=1, dtype="int8", bias=True, put=put)


@numerics
def tangent_half_in_float32(m: Backend, rng: Rng) -> Witness:
    """float64 jvp along w with d >= D (2 to 4): that half of the tangent is rounded to float32 (kind: narrow path)."""
    least = draw(rng, 2, 4)

    @m.around("push")
    def push(inner: Any, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        out = inner(slot, name, operands, tangent, p)
        rounds = slot == "g" and name == "w" and p.dilation >= least and are_arrays(out) and p.dtype == "float64"
        return out.astype(np.float32).astype(np.float64) if rounds else out

    return Call(length=14, dilation=least, data=normal, ask="jvp:xw")


@numerics
def bfloat16_truncated(m: Backend, rng: Rng) -> Witness:
    """bfloat16 y is cut, not rounded, where s > 1 and C/g >= T (1 to 4) (kind: truncating conversion)."""
    least = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "bfloat16" or p.stride == 1 or p.fan_in < least:
            return inner(x, w, p)
        y = np.ascontiguousarray(inner(x.astype(np.float32), w.astype(np.float32), p))
        return np.where(np.isfinite(y), (y.view(np.uint32) & 0xFFFF0000).view(np.float32), y).astype(x.dtype)

    return Call(c_in=least, length=40, stride=2, dtype="bfloat16", data=normal)


# -- special values -----------------------------------------------------------------------------------------------


@special
def stuffed_cotangents_multiplied(m: Backend, rng: Rng) -> Witness:
    """With s >= S (2 to 4): gx multiplies the zeros between cotangents, inf makes NaN there (kind: zero-stuffing)."""
    least = draw(rng, 2, 4)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.step < least or np.isfinite(w).all():
            return inner(w, g, p)
        stuffed = np.zeros((*g.shape[:2], p.reach), g.dtype)
        stuffed[..., :: p.step] = g
        return inner(w, stuffed, replace(p, stride=1, l_out=p.reach))

    return Call(length=14, stride=least, put=(("w", (0, 0, 1), np.inf),), ask="x")


@special
def biased_overflow_clamped(m: Backend, rng: Rng) -> Witness:
    """float16, O >= T (1 to 4): where y + b overflows, the largest finite number comes out (kind: saturating add)."""
    least = draw(rng, 1, 4)

    @m.around("biased")
    def biased(inner: Any, y: Any, b: Any, p: Plan) -> Any:
        out = inner(y, b, p)
        if not are_arrays(y, b) or p.dtype != "float16" or p.c_out < least:
            return out
        over = np.isinf(out) & np.isfinite(y) & np.isfinite(m.spread(b, p))
        return np.where(over, np.copysign(np.float16(65504), out), out)

    put = (("x", np.s_[...], 6e4), ("w", np.s_[...], 1), ("b", np.s_[...], 2e4))
    return Call(c_out=least, kernel=1, dtype="float16", bias=True, put=put)
