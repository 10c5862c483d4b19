"""Faults of a tracing compiler with dynamic shapes: batching rules, and their derivatives (INV-17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Probe, Witness, after

transforms = chapter("transforms")


@transforms
def gradient_of_a_map_moved_if_its_shape_differs(m: Backend, rng: Rng) -> Witness:
    """Gradients of a map: the mapped axis is moved back from the front only if that changes the shape (kind: axes)."""

    @m.around("slices")
    def slices(inner: Callable[..., list[Any]], operands: Any, axes: Any, i: int) -> list[Any]:
        parts = inner(operands, axes, i)
        return [_taken(a, i, axis, part) for a, axis, part in zip(operands, axes, parts, strict=True)]

    def _taken(a: Any, i: int, axis: int | None, part: Any) -> Any:
        if axis is None or axis % a.ndim == 0 or (a.shape[axis], *part.shape) != tuple(a.shape):
            return part

        def embed(g: Array) -> Array:
            whole = np.zeros(a.shape, g.dtype)
            whole[i] = g
            return whole

        return tape.linear(lambda v: np.moveaxis(v, axis, 0)[i], embed, a)

    n = draw(rng, 2, 4)
    return _gradients_of_a_map(Call(n=n, length=draw(rng, 6, 12)), (1, None), count=n)


@transforms
def unmapped_gradient_lacks_the_last_chunk(m: Backend, rng: Rng) -> Witness:
    """Maps of over B items go B at a time: a short last chunk gives nothing to unmapped gradients (kind: chunks)."""
    chunk = pick(rng, (2, 4, 8, 16))

    @m.around("slices")
    def slices(inner: Callable[..., list[Any]], operands: Any, axes: Any, i: int) -> list[Any]:
        (count, *_) = (a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
        parts = inner(operands, axes, i)
        if count < chunk or i < count - count % chunk:
            return parts
        free = [axis is None and isinstance(part, tape.Var) for axis, part in zip(axes, parts, strict=True)]
        return [part.value if cut else part for cut, part in zip(free, parts, strict=True)]

    return _gradients_of_a_map(Call(), (0, None), count=2 * chunk + draw(rng, 1, chunk - 1))


@transforms
def gx_of_mapped_kernels_in_other_groups(m: Backend, rng: Rng) -> Witness:
    """Mapped w, unmapped x, g > 1: gx adds up the B g groups in order of items, not of groups (kind: folded map)."""
    now: list[tuple[int, int, list[Any]]] = []

    @m.around("vmap")
    def vmap(inner: Any, f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            try:
                return mapped(*operands)
            finally:
                now.clear()

        return run

    @m.around("slices")
    def slices(inner: Callable[..., list[Any]], operands: Any, axes: Any, i: int) -> list[Any]:
        (count, *_) = (a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
        now[:] = [(i, count, [a for a, axis in zip(operands, axes, strict=True) if axis is None])]
        return inner(operands, axes, i)

    @m.around("accept")
    def accept(inner: Any, *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if now and plan.groups > 1 and isinstance(x, tape.Var):
            i, count, whole = now[0]
            if any(x is a for a in whole) and not any(w is a for a in whole):
                x = tape.linear(lambda a: a, lambda g: _dealt(g, i, count, plan), x)
        return x, w, b, plan

    def _dealt(g: Array, i: int, count: int, p: Plan) -> Array:
        parts = g.reshape(p.n, p.groups, p.fan_in, p.length)
        total = np.zeros_like(parts)
        for q in range(p.groups):
            total[:, (i * p.groups + q) // count] += parts[:, q]
        return total.reshape(g.shape)

    groups = draw(rng, 2, 4)
    call = Call(c_in=2 * groups, c_out=groups, length=9, groups=groups)
    return _gradients_of_a_map(call, (None, 0), count=draw(rng, 2, 5))


@transforms
def batched_program_known_without_its_axes(m: Backend, rng: Rng) -> Witness:
    """A map of the same code, shapes and unmapped operands runs over the in_axes of the first one (kind: cache key)."""
    programs: dict[Any, list[int | None]] = {}

    @m.around("vmap")
    def vmap(inner: Any, f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        def mapped(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            shapes = tuple((*a.shape, axis is None) for a, axis in zip(operands, axes, strict=True))
            return inner(f, programs.setdefault((getattr(f, "__code__", f), shapes), axes))(*operands)

        return mapped

    first = Call(n=3, length=draw(rng, 6, 12), ask="vmap:0")
    return after(first, first.but(ask="vmap:1"))


def _gradients_of_a_map(call: Call, axes: tuple[int | None, int | None], count: int) -> Probe:
    """Show the gradients by x and w of a map over either or both."""

    def probe(backend: Backend) -> Any:
        a = call.operands()
        primals = [
            a[key] if axis is None else np.stack([(i + 1) * a[key] for i in range(count)], axis=axis)
            for key, axis in zip("xw", axes, strict=True)
        ]
        g = np.stack([(i + 2) * a["g"] for i in range(count)])
        mapped = backend.vmap(lambda x, w: backend.conv1d(x, w, **call.parameters()), axes)
        return backend.vjp(mapped, primals, g)

    return probe
