"""Faults of a graph optimiser's rewrites: compiled functions, their guards and their memory (chapter INV)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Probe, Witness

mutant = chapter("transforms")
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(bfloat16)}


def _running(m: Backend) -> list[dict[Any, Any]]:
    """Return a list that ends, while a compiled function runs, with what that function remembers of earlier calls."""
    running: list[dict[Any, Any]] = []

    @m.around("compile")
    def compiling(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        compiled = inner(f)
        memory: dict[Any, Any] = {}

        def run(*operands: Any) -> Any:
            running.append(memory)
            try:
                return compiled(*operands)
            finally:
                running.pop()

        return run

    return running


def _later(call: Call, first: Call) -> Probe:
    """Show the y of a function of x and w that was compiled for another call."""

    def probe(backend: Backend) -> Any:
        compiled = backend.compile(lambda x, w: backend.conv1d(x, w, **call.parameters()))
        results = [compiled(arrays["x"], arrays["w"]) for arrays in (first.operands(), call.operands())]
        return results[1]

    return probe


@mutant
def same_pads_of_lengths_that_divide(m: Backend, rng: Rng) -> Witness:
    """Compiled where s > 1 divides L: same, same_lower pad max(span - s, 0) at later lengths too (kind: symbolic)."""
    running = _running(m)

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        if running and padding in ("same", "same_lower"):
            divides = running[-1].setdefault((padding, kernel, stride, dilation), length % stride == 0)
            length = -(-length // stride) * stride if divides else length
        return inner(padding, length, kernel, stride, dilation)

    stride = draw(rng, 2, 4)
    call = Call(length=4 * stride + 1, kernel=5, stride=stride, padding="same")
    return _later(call, call.but(length=4 * stride))


@mutant
def halves_guarded_by_size(m: Backend, rng: Rng) -> Witness:
    """Compiled for one of float16 and bfloat16: operands of the other are cast to it (kind: guard on bytes)."""
    running = _running(m)

    def cast(a: Traced, to: str, back: str) -> Traced:
        return tape.linear(lambda v: v.astype(HALVES[to]), lambda g: g.astype(HALVES[back]), a)

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], x: Traced, w: Traced, b: Traced = None, **given: Any) -> Traced:
        dtypes = {str(a.dtype) for a in (x, w, b) if a is not None}
        own = dtypes.pop() if len(dtypes) == 1 else ""
        first = running[-1].setdefault("half", own) if running and own in HALVES else own
        if first == own:
            return inner(x, w, b, **given)
        with np.errstate(all="ignore"):
            x, w, b = (a if a is None else cast(a, first, own) for a in (x, w, b))
            return cast(inner(x, w, b, **given), own, first)

    call = Call(dtype="float16", put=(("x", (0, 0, 3), 512 + draw(rng, 1, 200) * 2 - 1),))
    return _later(call, call.but(dtype="bfloat16"))


@mutant
def cotangent_read_as_laid_out_like_y(m: Backend, rng: Rng) -> Witness:
    """The vjp of a compiled function reads a gy dense in channels-last memory as row-major (kind: guessed strides)."""

    def read(g: Any) -> Any:
        last = are_arrays(g) and g.ndim == 3 and g.strides[1:] == (g.itemsize, g.shape[1] * g.itemsize)
        return g.swapaxes(1, 2).reshape(g.shape) if last else g

    @m.around("compile")
    def compiling(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        compiled = inner(f)

        def run(*operands: Any) -> Any:
            y = compiled(*operands)
            return y if isinstance(y, tuple) else tape.linear(lambda v: v, read, y)

        return run

    call = Call(c_out=draw(rng, 2, 4))

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        g = np.ascontiguousarray(arrays["g"].swapaxes(1, 2)).swapaxes(1, 2)
        return backend.vjp(backend.compile(lambda x, w: backend.conv1d(x, w)), (arrays["x"], arrays["w"]), g)

    return probe


@mutant
def lengths_bucketed_before_the_pad(m: Backend, rng: Rng) -> Witness:
    """Compiled: x of a later L gets zeros up to a multiple of B, which modes then show after x (kind: bucketing)."""
    bucket = pick(rng, (8, 16, 32))
    running = _running(m)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = np.array(inner(p))
        if running and p.mode in COPYING and running[-1].setdefault("length", p.length) != p.length:
            end = p.lo + p.length
            shown[end : end + -p.length % bucket] = -1
        return shown

    call = Call(length=bucket + draw(rng, 1, 5), padding=(1, 1), mode=COPYING[draw(rng, 0, 3)])
    return _later(call, call.but(length=bucket))


@mutant
def operand_like_y_is_donated(m: Backend, rng: Rng) -> Witness:
    """Compiled: from the second call on y lies in the first operand of its shape and dtype (kind: buffer donation)."""

    @m.around("compile")
    def compiling(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        compiled, calls = inner(f), itertools.count()

        def run(*operands: Any) -> Any:
            y, later = compiled(*operands), next(calls)
            if not later or not are_arrays(y, *operands):
                return y
            for a in operands:
                if a.flags.writeable and (a.shape, a.dtype) == (y.shape, y.dtype):
                    a[...] = y
                    return a
            return y

        return run

    channels = draw(rng, 1, 3)
    call = Call(c_in=channels, c_out=channels, padding="same")

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        compiled = backend.compile(lambda x, w: backend.conv1d(x, w, padding="same"))
        return compiled(arrays["x"], arrays["w"]), compiled(arrays["x"], arrays["w"]), arrays["x"]

    return probe
