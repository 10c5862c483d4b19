"""Faults of fast paths that a release might add: maps, compiled functions, and rules of differentiation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, last_plan
from tests.mutants.blind.layers_compiled import compiled
from tests.mutants.blind.layers_maps import mapped
from tests.mutants.blind.layers_state import raw
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

transforms = chapter("transforms")
Rule = Callable[..., Any]


def over(result: Any, change: Callable[[Array], Array]) -> Any:
    """Change a plain result, or each of several."""
    if isinstance(result, tuple):
        return tuple(over(part, change) for part in result)
    return change(result) if isinstance(result, np.ndarray) else result


# -- maps -------------------------------------------------------------------------------------------------------------


@transforms
def mapped_kernel_in_groups(m: Backend, rng: Rng) -> Witness:
    """Mapped over w alone, g > 1 and O/g > 1: outputs of the groups are interleaved (kind: batching into groups)."""
    last = last_plan(m)

    @m.around("vmap")
    def vmap(inner: Rule, f: Rule, in_axes: Any = 0) -> Rule:
        go = inner(f, in_axes)

        def wrapped(*operands: Any) -> Any:
            result = go(*operands)
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            chosen = [(a, axis) for a, axis in zip(operands, axes, strict=True) if axis is not None]
            if len(chosen) != 1 or not last or last[0].groups == 1:
                return result
            p, shape = last[0], list(chosen[0][0].shape)
            del shape[chosen[0][1]]
            if shape != [p.c_out, p.fan_in, p.kernel]:
                return result

            def swap(y: Array) -> Array:
                if y.shape[1:] != p.y_shape:
                    return y
                parts = y.reshape(-1, p.n, p.groups, p.fan_out, p.l_out)
                return np.ascontiguousarray(parts.swapaxes(2, 3)).reshape(y.shape)

            return over(result, swap)

        return wrapped

    return Call(c_in=2, c_out=2 * draw(rng, 2, 3), groups=2, ask="vmap:-0")


@transforms
def vmap_last_axis_counted_late(m: Backend, rng: Rng) -> Witness:
    """A map over axis -1 takes axis -2 where their extents agree (kind: ndim counted before batching)."""

    @m.around("slices")
    def slices(inner: Rule, operands: Sequence[Any], axes: Sequence[int | None], i: int) -> Any:
        fixed = [
            -2 if axis == -1 and len(a.shape) > 2 and a.shape[-1] == a.shape[-2] else axis
            for a, axis in zip(operands, axes, strict=True)
        ]
        return inner(operands, fixed, i)

    size = draw(rng, 3, 6)
    return mapped(Call(n=2, length=size), {"x": -1}, size)


@transforms
def vmap_chunks_of_four(m: Backend, rng: Rng) -> Witness:
    """A map of n > T (4, 8), no multiple of T: the last chunk holds earlier calls' results (kind: chunk_size)."""
    size = pick(rng, [4, 8])

    def late(y: Array) -> Array:
        count, rest = len(y), len(y) % size
        if count <= size or not rest:
            return y
        return np.concatenate([y[: count - rest], y[count - size : count - size + rest]])

    @m.around("vmap")
    def vmap(inner: Rule, f: Rule, in_axes: Any = 0) -> Rule:
        go = inner(f, in_axes)
        return lambda *operands: over(go(*operands), late)

    return mapped(Call(), {"x": 0}, size + 2)


@transforms
def per_example_bias_gradient(m: Backend, rng: Rng) -> Witness:
    """A map of a vjp: each call's gb, of three gradients, is the sum over all calls (kind: reduced over the batch)."""

    @m.around("vmap")
    def vmap(inner: Rule, f: Rule, in_axes: Any = 0) -> Rule:
        go = inner(f, in_axes)

        def wrapped(*operands: Any) -> Any:
            result = go(*operands)
            if isinstance(result, tuple) and len(result) == 3:
                *rest, gb = result
                if isinstance(gb, np.ndarray) and gb.ndim == 2:
                    gb = np.broadcast_to(gb.sum(axis=0, keepdims=True), gb.shape).astype(gb.dtype)
                return *rest, gb
            return result

        return wrapped

    a = Call(n=draw(rng, 2, 4), c_out=2, bias=True).operands()

    def probe(backend: Backend) -> Any:
        each = backend.vmap(lambda x, g: backend.vjp(backend.conv1d, (x, a["w"], a["b"]), g), (0, 0))
        return each(a["x"][:, None], a["g"][:, None])

    return probe


@transforms
def cross_product_of_maps(m: Backend, rng: Rng) -> Witness:
    """A map over one operand of a map over another, of one n: their two axes change places (kind: moveaxis)."""
    started: list[bool] = []  # of the outermost map and those within it: whether each is over some operands only

    def exchange(y: Array) -> Array:
        return np.ascontiguousarray(y.swapaxes(0, 1)) if y.ndim == 5 and y.shape[0] == y.shape[1] else y

    @m.around("vmap")
    def vmap(inner: Rule, f: Rule, in_axes: Any = 0) -> Rule:
        go, partly = inner(f, in_axes), not isinstance(in_axes, int) and None in in_axes

        def wrapped(*operands: Any) -> Any:
            if started:
                started.append(partly)
                return go(*operands)
            started.append(partly)
            try:
                result = go(*operands)
                crossed = partly and len(started) > 1 and started[-1]
            finally:
                started.clear()
            return over(result, exchange) if crossed else result

        return wrapped

    count = draw(rng, 2, 4)
    x, w = Call(n=count).operands()["x"][:, None], Call(c_out=count).operands()["w"][:, None]
    return lambda backend: backend.vmap(backend.vmap(backend.conv1d, (None, 0)), (0, None))(x, w)


# -- compiled functions -----------------------------------------------------------------------------------------------


@transforms
def compile_folds_zero_bias(m: Backend, rng: Rng) -> Witness:
    """A compiled function that was first called with a bias of zeros adds none later (kind: constant folding)."""

    @m.around("compile")
    def compile_(inner: Rule, f: Rule) -> Rule:
        go, zero = inner(f), {}

        def call(*operands: Any) -> Any:
            folded = []
            for i, a in enumerate(operands):
                vector = len(a.shape) == 1
                if vector and i not in zero:
                    zero[i] = a.shape[0] > 0 and not np.any(raw(a))
                folded.append(np.zeros(a.shape, a.dtype) if vector and zero[i] else a)
            return go(*folded)

        return call

    call = Call(c_out=draw(rng, 1, 4), bias=True)
    return compiled(call.but(put=(("b", np.s_[...], 0),)), call)


@transforms
def compile_pads_to_bucket(m: Backend, rng: Rng) -> Witness:
    """A compiled function pads a later, shorter x with zeros to its first length, crops y (kind: bucketed lengths)."""

    @m.around("compile")
    def compile_(inner: Rule, f: Rule) -> Rule:
        go, first = inner(f), {}

        def call(*operands: Any) -> Any:
            y = go(*operands)
            if not (are_arrays(*operands, y) and operands[0].ndim == y.ndim == 3):
                return y
            x = operands[0]
            length = first.setdefault("length", x.shape[2])
            if 0 < x.shape[2] < length:
                longer = np.concatenate([x, np.zeros((*x.shape[:2], length - x.shape[2]), x.dtype)], axis=2)
                return np.ascontiguousarray(go(longer, *operands[1:])[:, :, : y.shape[2]])
            return y

        return call

    call = Call(length=12, padding=(1, 1), mode=("reflect", "replicate", "circular")[draw(rng, 0, 2)])
    return compiled(call, call.but(length=9))


@transforms
def compile_saves_constant_input(m: Backend, rng: Rng) -> Witness:
    """Under a vjp in w alone, a compiled function keeps the x of the first such call (kind: saved as a constant)."""

    @m.around("compile")
    def compile_(inner: Rule, f: Rule) -> Rule:
        go, saved = inner(f), {}

        def call(*operands: Any) -> Any:
            x, *others = operands
            if isinstance(x, np.ndarray) and any(isinstance(a, tape.Var) for a in others):
                x = saved.setdefault((x.shape, str(x.dtype)), x.copy())
            return go(x, *others)

        return call

    a = Call(length=draw(rng, 6, 12)).operands()

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w: backend.conv1d(x, w))
        return [backend.vjp(lambda w, x=x: f(x, w), (a["w"],), a["g"]) for x in (a["x"], a["x"] + 1)]

    return probe


@transforms
def recompile_limit(m: Backend, rng: Rng) -> Witness:
    """From signature T + 1 (T = 4 to 8) on, a compiled function's odd last output is 0 (kind: recompile limit)."""
    most = draw(rng, 4, 8)

    @m.around("compile")
    def compile_(inner: Rule, f: Rule) -> Rule:
        go, seen = inner(f), {}

        def call(*operands: Any) -> Any:
            rank = seen.setdefault(tuple((tuple(a.shape), str(a.dtype)) for a in operands), len(seen))
            y = go(*operands)
            if rank >= most and isinstance(y, np.ndarray) and y.ndim == 3 and y.shape[2] % 2:
                y = y.copy()
                y[:, :, -1] = 0
            return y

        return call

    return compiled(*(Call(length=length) for length in range(6, 6 + most + 5)))


# -- rules of differentiation -----------------------------------------------------------------------------------------


@transforms
def forward_over_reverse_taps(m: Backend, rng: Rng) -> Witness:
    """The tangent of gx along w, g > 1 and d > 1: the taps of dw are reversed (kind: the transposed op's rule)."""

    @m.around("push")
    def push(inner: Rule, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        if slot == "x" and name == "w" and p.groups > 1 < p.dilation and isinstance(tangent, np.ndarray):
            tangent = np.ascontiguousarray(tangent[:, :, ::-1])
        return inner(slot, name, operands, tangent, p)

    return Call(c_in=2, c_out=2, groups=2, length=12, dilation=draw(rng, 2, 3), ask="x>w")
