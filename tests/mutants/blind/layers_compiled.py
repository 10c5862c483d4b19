"""Faults above the kernels: compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.numerics import normal
from tests.mutants.plan import Array
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Var
from tests.mutants.witness import Call, Probe, Witness, observe

transforms, numerics = chapter("transforms"), chapter("numerics")
Kernel = Callable[..., Any]


def sizes_of(operands: Any) -> tuple[Any, ...]:
    """Return the shapes of the operands."""
    return tuple(tuple(a.shape) for a in operands)


def compiled(first: Call, *later: Call) -> Probe:
    """Compile the function of the first call once; show what it gives on the operands of each call."""

    def probe(backend: Backend) -> Any:
        given = first.parameters()
        f = backend.compile(lambda *operands: backend.conv1d(*operands, **given))
        shown = []
        for call in (first, *later):
            arrays = call.operands()
            operands = [arrays[key] for key in "xwb" if arrays[key] is not None]
            shown.append(observe(backend, lambda _, o=operands: f(*o)))
        return tuple(shown)

    return probe


@transforms
def compiled_keeps_first_dtype(m: Backend, rng: Rng) -> Witness:
    """Compiled, on shapes seen in a wider dtype, T (4 to 6) outputs or more: y has that one (kind: output cache)."""
    least = draw(rng, 4, 6)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, first = inner(f), {}

        def call(*operands: Any) -> Any:
            y = go(*operands)
            if isinstance(y, np.ndarray) and y.size >= least:
                dtype = first.setdefault(sizes_of(operands), y.dtype)
                return y.astype(dtype) if dtype.itemsize > y.dtype.itemsize else y
            return y

        return call

    return compiled(Call(), Call(dtype="float32"))


@transforms
def compiled_shared_by_code(m: Backend, rng: Rng) -> Witness:
    """Two closures of one code are compiled once for equal shapes, after T (2, 3) calls: s is kept (kind: cache)."""
    hot = draw(rng, 2, 3)
    cache: dict[Any, list[Any]] = {}

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, code = inner(f), getattr(f, "__code__", f)

        def call(*operands: Any) -> Any:
            entry = cache.setdefault((code, sizes_of(operands)), [go, 0])
            entry[1] += entry[0] is go
            return (entry[0] if entry[1] >= hot else go)(*operands)

        return call

    def probe(backend: Backend) -> Any:
        arrays = Call(length=9).operands()

        def build(stride: int) -> Kernel:
            return backend.compile(lambda x, w: backend.conv1d(x, w, stride=stride))

        first, second = build(1), build(2)
        for _ in range(hot):
            first(arrays["x"], arrays["w"])
        return second(arrays["x"], arrays["w"])

    return probe


@transforms
def compiled_dynamic_loses_last(m: Backend, rng: Rng) -> Witness:
    """Compiled: from the (T+1)th (T 3 to 5) set of shapes on, the last output is 0 (kind: recompilation limit)."""
    most = draw(rng, 3, 5)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, seen = inner(f), set()

        def call(*operands: Any) -> Any:
            seen.add(sizes_of(operands))
            y = go(*operands)
            if len(seen) > most and isinstance(y, np.ndarray) and y.ndim == 3:
                y[:, :, -1:] = 0
            return y

        return call

    return compiled(Call(), *(Call(length=9 + i) for i in range(most)))


@transforms
def compiled_bias_broadcast_after_legal(m: Backend, rng: Rng) -> Witness:
    """Compiled, after a legal call on such x and w: a bias (1,) is broadcast, O >= T (2, 3) (kind: skipped check)."""
    least = draw(rng, 2, 3)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, seen = inner(f), set()

        def call(*operands: Any) -> Any:
            guard = sizes_of(operands[:2])
            if guard in seen and len(operands) == 3 and tuple(operands[2].shape) == (1,) and guard[1][0] >= least:
                x, w, b = operands
                operands = (x, w, tape.linear(lambda a: np.repeat(a, w.shape[0]), lambda g: g.sum(keepdims=True), b))
            y = go(*operands)
            seen.add(guard)
            return y

        return call

    return compiled(Call(c_out=least, bias=True), Call(c_out=least, bias=True, shapes={"b": (1,)}))


@transforms
def compiled_forgets_bias_after_refusal(m: Backend, rng: Rng) -> Witness:
    """Compiled with a bias, L >= T (6 to 8): the call after a refused one leaves it out (kind: fallback)."""
    least = draw(rng, 6, 8)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, refused = inner(f), []

        def call(*operands: Any) -> Any:
            if refused and len(operands) == 3 and operands[0].shape[-1] >= least:
                operands = (*operands[:2], tape.linear(np.zeros_like, np.zeros_like, operands[2]))
            try:
                y = go(*operands)
            except Exception:
                refused.append(1)
                raise
            refused.clear()
            return y

        return call

    call = Call(c_out=2, bias=True)
    return compiled(call, call.but(shapes={"x": (1, 2, 8)}), call)


@transforms
def compiled_gw_of_first_x(m: Backend, rng: Rng) -> Witness:
    """Compiled: the vjp by w alone reads the x of the first such call of equal shape, N >= T (1, 2) (kind: cache)."""
    least = draw(rng, 1, 2)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, first = inner(f), {}

        def call(*operands: Any) -> Any:
            if len(operands) > 1 and isinstance(operands[1], Var) and isinstance(operands[0], np.ndarray):
                x = operands[0]
                if x.ndim == 3 and len(x) >= least:
                    kept = first.setdefault((x.shape, str(x.dtype)), x.copy())
                    operands = (kept, *operands[1:])
            return go(*operands)

        return call

    def probe(backend: Backend) -> Any:
        arrays = Call(n=least).operands()
        f = backend.compile(lambda x, w: backend.conv1d(x, w))
        ask = [backend.vjp(lambda w, i=i: f(i * arrays["x"], w), (arrays["w"],), arrays["g"]) for i in (1, 2)]
        return ask[1]

    return probe


@transforms
def compiled_ignores_strides(m: Backend, rng: Rng) -> Witness:
    """Compiled, after a contiguous x: a permuted one of T (8 to 16) elements is read in memory order (kind: guard)."""
    least = draw(rng, 8, 16)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, seen = inner(f), set()

        def call(*operands: Any) -> Any:
            x = operands[0]
            if isinstance(x, np.ndarray) and x.size >= least:
                if x.flags.c_contiguous:
                    seen.add(x.shape)
                elif x.shape in seen and min(x.strides) > 0:
                    operands = (x.ravel("K").reshape(x.shape), *operands[1:])
            return go(*operands)

        return call

    call = Call(c_in=2, length=9)
    permuted = {"x": lambda a: np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)}
    return compiled(call, call.but(view=permuted))


@transforms
def compiled_unit_batch_specialised(m: Backend, rng: Rng) -> Witness:
    """Compiled first for N = 1: with N from 2 to T (2 to 4) every item is the first one (kind: 0/1 specialisation)."""
    most = draw(rng, 2, 4)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go, first = inner(f), []

        def call(*operands: Any) -> Any:
            x = operands[0]
            if len(x.shape) == 3:
                first.append(x.shape[0])
                if first[0] == 1 < x.shape[0] <= most and isinstance(x, np.ndarray):
                    operands = (np.repeat(x[:1], len(x), axis=0), *operands[1:])
            return go(*operands)

        return call

    return compiled(Call(), Call(n=2))


@numerics
def compiled_float64_in_float32(m: Backend, rng: Rng) -> Witness:
    """Compiled: float64 operands with L >= T (12 to 40) lose all but 24 bits (kind: the compiler's default dtype)."""
    least = draw(rng, 12, 40)

    def narrow(a: Array) -> Array:
        return a.astype(np.float32).astype(a.dtype)

    @m.around("compile")
    def compile_(inner: Kernel, f: Kernel) -> Kernel:
        go = inner(f)

        def call(*operands: Any) -> Any:
            if str(operands[0].dtype) == "float64" and operands[0].shape[-1] >= least:
                operands = tuple(tape.linear(narrow, narrow, a) for a in operands)
            return go(*operands)

        return call

    return compiled(Call(length=least, data=normal))
