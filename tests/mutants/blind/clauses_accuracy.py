"""Faults against the letter of a clause: accuracy and range (chapter ACC)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("numerics")
Kernel = Callable[..., Array]


def shorten(a: Array) -> Array:
    """Return float32 numbers rounded to 11 bits; others than finite ones as they are."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    short = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(a), short, a)


@mutant
def half_bias_saturates(m: Backend, rng: Rng) -> Witness:
    """float16: where adding the bias overflows, y is the largest finite number (kind: a saturating epilogue)."""

    @m.around("biased")
    def biased(inner: Callable[..., Any], y: Any, b: Any, p: Plan) -> Any:
        out = inner(y, b, p)
        if isinstance(out, np.ndarray) and out.dtype == np.float16:
            over = np.isinf(out) & np.isfinite(y) & np.isfinite(m.spread(b, p))
            out[over] = np.copysign(np.float16(65504), out[over])
        return out

    put = (("x", np.s_[...], 300), ("w", np.s_[...], 200), ("b", np.s_[...], 1000 * draw(rng, 8, 30)))
    return Call(length=4, kernel=1, bias=True, dtype="float16", put=put)


@mutant
def bfloat16_depthwise_gx_in_float16(m: Backend, rng: Rng) -> Witness:
    """bfloat16, depthwise: gx goes through float16, beyond whose range it is inf or 0 (kind: one kernel for halves)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.dtype == "bfloat16" and p.depthwise:
            return inner(w.astype(np.float16), g.astype(np.float16), p).astype(g.dtype)
        return inner(w, g, p)

    groups = draw(rng, 2, 4)
    put = (("w", np.s_[...], 300), ("g", np.s_[...], 300))
    return Call(c_in=groups, c_out=groups, groups=groups, kernel=1, dtype="bfloat16", put=put, ask="x")


@mutant
def half_gw_scales_by_the_largest_cotangent(m: Backend, rng: Rng) -> Witness:
    """float16, a gy of 2^T (T 6 to 10) or more: gw divides gy by the largest, and small ones sink (kind: scaling)."""
    least = draw(rng, 6, 10)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        top = float(np.abs(g).max()) if g.size else 0.0
        if g.dtype != np.float16 or not np.isfinite(top) or top < 2.0**least:
            return inner(x, g, p)
        scale = np.float32(2.0 ** int(np.log2(top)))
        small = (g.astype(np.float32) / scale).astype(np.float16).astype(np.float32)
        return inner(x.astype(np.float32), small * scale, p).astype(g.dtype)

    put = (("g", np.s_[:, 0], 32768), ("g", np.s_[:, 1], 0.1), ("x", np.s_[...], 1))
    return Call(c_out=2, length=3, dtype="float16", put=put, ask="w")


@mutant
def tiny_gw_is_zero(m: Backend, rng: Rng) -> Witness:
    """float32: elements of gw below 10^-T (T 24 to 30) are 0, far above subnormal (kind: noise cleaned away)."""
    tiny = 10.0 ** -draw(rng, 24, 30)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if gw.dtype == np.float32:
            gw[np.abs(gw) < tiny] = 0
        return gw

    return Call(dtype="float32", data=lambda r, shape: r.uniform(1, 2, shape) * 1e-16, ask="w")


@mutant
def long_gb_on_tensor_cores(m: Backend, rng: Rng) -> Witness:
    """float32, N * L_out >= T (400 to 900): gb sums gy rounded to 11 bits (kind: a product with ones in TF32)."""
    least = draw(rng, 400, 900)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(shorten(g) if g.dtype == np.float32 and p.n * p.l_out >= least else g, p)

    return Call(n=2, length=least, bias=True, dtype="float32", data=lambda r, s: r.standard_normal(s), ask="b")
