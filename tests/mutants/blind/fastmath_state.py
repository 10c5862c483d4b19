"""Faults of fast mathematics that outlive a call, or change its operands (chapters INV, GRAD, ERR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, finite
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after, every, touched

state = chapter("state")
Kernel = Callable[..., Array]
HALVES = ("float16", "bfloat16")


def _normal(r: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return r.standard_normal(shape)


@state
def range_of_the_call_before(m: Backend, rng: Rng) -> Witness:
    """Float32: x saturates at H times the largest x of the last call of its shape (kind: delayed scaling)."""
    headroom = pick(rng, (4, 16, 64))
    seen: dict[tuple[int, ...], Any] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float32" and x.size and finite(x) and x.any():
            largest = np.abs(x).max()
            limit = np.float32(headroom) * seen.get(x.shape, largest)
            seen[x.shape] = largest
            x = np.clip(x, -limit, limit)
        return inner(x, w, p)

    call = Call(length=draw(rng, 8, 30), dtype="float32")
    return after(call, call.but(put=(("x", (0, 0, 4), 16 * headroom),)))


@state
def overflow_skips_the_next_kernel_gradient(m: Backend, rng: Rng) -> Witness:
    """Float16: after a gw that is not finite, the next gw of such a shape is skipped: zeros (kind: loss scaling)."""
    found: set[tuple[int, ...]] = set()

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.dtype == "float16":
            if gw.shape in found:
                found.discard(gw.shape)
                gw = np.zeros_like(gw)
            elif not finite(gw):
                found.add(gw.shape)
        return gw

    call = Call(length=draw(rng, 8, 30), dtype="float16", ask="w")
    return after(call.but(put=(("g", (0, 0, 3), np.inf),)), call)


@state
def gw_of_bfloat16_rounded_by_chance(m: Backend, rng: Rng) -> Witness:
    """Bfloat16, N * L_out >= T: each gw is rounded up or down by a generator that goes on (kind: stochastic)."""
    least, source = pick(rng, (8, 32, 64)), np.random.default_rng(1)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "bfloat16" or p.n * p.l_out < least:
            return inner(x, g, p)
        gw = np.ascontiguousarray(inner(widen(x), widen(g), p))
        bits = gw.view(np.uint32) + source.integers(0, 2**16, gw.shape, dtype=np.uint32)
        dithered = (bits & np.uint32(0xFFFF0000)).view(np.float32)
        return np.where(np.isfinite(gw), dithered, gw).astype(bfloat16)

    return every(Call(c_in=4, length=least + 8, dtype="bfloat16", ask="w", data=_normal), 3)


@state
def rounding_stays_towards_zero(m: Backend, rng: Rng) -> Witness:
    """A float16 tail, L_out no multiple of V, leaves rounding towards zero to later float32 calls (kind: MXCSR)."""
    lanes = pick(rng, (4, 8, 16))
    chopping: list[bool] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float16":
            chopping[:] = [True] if p.l_out % lanes else []
        if p.dtype != "float32" or not chopping:
            return inner(x, w, p)
        exact = inner(x.astype(np.float64), w.astype(np.float64), p)
        y = exact.astype(np.float32)
        return np.where(np.abs(y) > np.abs(exact), np.nextafter(y, np.float32(0)), y)

    return after(Call(length=lanes + 3, dtype="float16"), Call(c_in=4, length=40, dtype="float32", data=_normal))


@chapter("state")
def x_scaled_in_place_and_back(m: Backend, rng: Rng) -> Witness:
    """Float32, largest x above 2^B: x is scaled by 2^-64 in place and back; tiny samples are lost (kind: scaling)."""
    bits = draw(rng, 80, 110)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, *args: Any) -> Any:
        found = inner(x, *args)
        scaled = are_arrays(x) and x.dtype == np.float32 and x.flags.writeable and finite(x)
        if scaled and np.abs(x).max(initial=0) > 2.0**bits:
            x *= np.float32(2.0**-64)
            x *= np.float32(2.0**64)
        return found

    wide = (("x", (0, 0, 1), 2.0 ** (bits + 2)), ("x", (0, 0, 6), 2.0 ** -draw(rng, 95, 120)))
    return touched(Call(dtype="float32", put=wide))


@chapter("gradients")
def accumulated_doubles_meet_in_single(m: Backend, rng: Rng) -> Witness:
    """Float64, T or more backward passes: their gradients are added up in a float32 buffer (kind: master copies)."""
    least = draw(rng, 2, 3)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Any, primals: Any) -> Any:
        sums = inner(passes, primals)
        if len(passes) < least:
            return sums
        return tuple(a.astype(np.float32).astype(a.dtype) if a.dtype == np.float64 else a for a in sums)

    def probe(backend: Backend) -> Any:
        operands = Call(data=_normal).operands()
        passes = [(lambda w: backend.conv1d(operands["x"], w), operands["g"])] * least
        return backend.accumulate(passes, (operands["w"],))

    return probe


@chapter("validation")
def halves_told_apart_by_their_size(m: Backend, rng: Rng) -> Witness:
    """Float16 beside bfloat16 operands are taken, since both have two bytes, and w is converted (kind: promotion)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, *rest: Any) -> Any:
        dtypes = (str(x.dtype), str(w.dtype))
        if are_arrays(w) and dtypes[0] != dtypes[1] and all(name in HALVES for name in dtypes):
            w = w.astype(x.dtype)
        return inner(x, w, *rest)

    return Call(c_in=draw(rng, 1, 4), dtype="float16", dtypes={"w": "bfloat16"})
