"""Faults of fast mathematics under vmap, jvp, compile and second derivatives (chapters INV, ACC, GRAD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, finite
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

transforms = chapter("transforms")


def _rounded(a: Any, bits: int, axis: int | None) -> Any:
    """Return finite float32 arrays in units of 2^-bits of the largest along the axis; anything else as it is."""
    if not are_arrays(a) or a.dtype != np.float32 or not a.size or not finite(a):
        return a
    exponent = np.frexp(np.abs(a).max(axis=axis, keepdims=True))[1] - bits
    return np.ldexp(np.rint(np.ldexp(a.astype(np.float64), -exponent)), exponent).astype(np.float32)


@transforms
def mapped_items_share_a_scale(m: Backend, rng: Rng) -> Witness:
    """Under vmap a float32 operand is in fixed point of 12 to 16 bits, one scale for the stack (kind: scaling)."""
    bits = draw(rng, 12, 16)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], *args: Any, **given: Any) -> Callable[..., Any]:
        mapped = inner(f, *args, **given)
        return lambda *operands: mapped(*(_rounded(a, bits, None) for a in operands))

    def probe(backend: Backend) -> Any:
        operands = Call(dtype="float32").operands()
        x, w = operands["x"], operands["w"]
        return backend.vmap(lambda item: backend.conv1d(item, w), 0)(np.stack([x, x * np.float32(2**bits)]))

    return probe


@transforms
def tangents_of_float16_saturate(m: Backend, rng: Rng) -> Witness:
    """Float16, finite operands: a tangent that overflows is the largest number, no infinity (kind: saturating)."""

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], f: Any, primals: Any, tangents: Any) -> Traced:
        out = inner(f, primals, tangents)
        operands = (*primals, *tangents)
        if are_arrays(out, *operands) and out.dtype == np.float16 and all(finite(a) for a in operands):
            out = np.clip(out, np.float16(-65504), np.float16(65504))
        return out

    large = (("x", np.s_[..., 2:5], 1000 * draw(rng, 30, 60)),)
    return Call(length=draw(rng, 8, 20), dtype="float16", ask="jvp:xw", put=large)


@transforms
def compiled_padding_times_a_mask(m: Backend, rng: Rng) -> Witness:
    """Compiled, zeros: padded positions read the rows beside theirs, times 0, and NaN is met (kind: masks)."""
    inside: list[bool] = []

    @m.around("compile")
    def compile_masked(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        compiled = inner(f)

        def run(*operands: Any) -> Any:
            inside.append(True)
            try:
                return compiled(*operands)
            finally:
                inside.pop()

        return run

    @m.around("pad")
    def pad(inner: Callable[..., Array], x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if inside and p.mode == "zeros" and x.size and p.dtype in ("float32", "float64"):
            rows = np.arange(p.n * p.c_in)[:, None] * p.length + np.arange(-p.lo, p.length + p.hi)
            beside = x.reshape(-1)[np.clip(rows, 0, x.size - 1)].reshape(padded.shape)
            outside = m.sources(p) < 0
            padded[..., outside] = np.where(np.isfinite(beside), 0, np.nan)[..., outside]
        return padded

    call = Call(n=2, length=draw(rng, 8, 20), padding="same", put=(("x", (0, 0, -1), np.nan),))

    def probe(backend: Backend) -> Any:
        operands = call.operands()
        compiled = backend.compile(lambda x, w: backend.conv1d(x, w, **call.parameters()))
        return compiled(operands["x"], operands["w"])

    return probe


@transforms
def double_backward_rows_share_an_exponent(m: Backend, rng: Rng) -> Witness:
    """Float32: <u, gx> by gy, in reverse: a row of u has 24 to 28 bits below its largest (kind: block floating)."""
    bits = pick(rng, (24, 26, 28))

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if (slot, name) == ("x", "g"):
            g = _rounded(g, bits, 2)
        return inner(slot, name, operands, g, p)

    large = (("x", (0, 0, 0), 2.0 ** draw(rng, 40, 90)),)
    return Call(length=draw(rng, 10, 30), dtype="float32", ask="x/g", put=large)
