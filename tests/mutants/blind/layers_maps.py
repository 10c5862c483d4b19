"""Faults above the kernels: the rules of batching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Probe, Witness

transforms = chapter("transforms")
Kernel = Callable[..., Any]


def mapped(call: Call, axes: dict[str, int], count: int = 3) -> Probe:
    """Map the call over `count` multiples of some operands, each along its axis."""

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()
        stacked = [_copies(arrays[key], count, axis) for key, axis in axes.items()]

        def f(*operands: Any) -> Any:
            v = {**arrays, **dict(zip(axes, operands, strict=True))}
            return backend.conv1d(v["x"], v["w"], v["b"], **given)

        return backend.vmap(f, tuple(axes.values()))(*stacked)

    return probe


def _copies(a: Array, count: int, axis: int) -> Array:
    if count:
        return np.stack([(i + 1) * a for i in range(count)], axis=axis)
    return np.moveaxis(np.zeros((0, *a.shape), a.dtype), 0, axis)


@transforms
def vmap_bias_alone_first_slice(m: Backend, rng: Rng) -> Witness:
    """Where b alone is mapped, over T (3, 4) slices or more, all get the first (kind: bias read before batching)."""
    least = draw(rng, 3, 4)

    @m.around("slices")
    def slices(inner: Kernel, operands: Any, axes: Any, i: int) -> Any:
        on = [(a, axis) for a, axis in zip(operands, axes, strict=True) if axis is not None]
        alone = len(on) == 1 and len(on[0][0].shape) == 2 and on[0][0].shape[on[0][1]] >= least
        return inner(operands, axes, 0 if alone else i)

    return mapped(Call(c_out=2, bias=True), {"b": 0}, least)


@transforms
def nested_map_swaps_equal_axes(m: Backend, rng: Rng) -> Witness:
    """A map over another axis than 0 of a map of the same n >= T (2, 3) has its axes exchanged (kind: merged axes)."""
    least = draw(rng, 2, 3)
    depth: list[list[int]] = []

    @m.around("vmap")
    def vmap(inner: Kernel, f: Kernel, in_axes: Any = 0) -> Any:
        go = inner(f, in_axes)
        axes = [in_axes] if isinstance(in_axes, int) else [a for a in in_axes if a is not None]

        def batched(*operands: Any) -> Any:
            depth.append([])
            try:
                out = go(*operands)
            finally:
                inside = depth.pop()
            if not isinstance(out, np.ndarray):
                return out
            if depth:
                depth[-1].append(len(out))
            if out.ndim == 5 and set(inside) == {len(out)} and len(out) >= least and any(axes):
                out = np.ascontiguousarray(out.swapaxes(0, 1))
            return out

        return batched

    def probe(backend: Backend) -> Any:
        arrays = Call().operands()
        x, w = _copies(arrays["x"], least, 1), _copies(arrays["w"], least, 0) + 1

        def row(a: Any) -> Any:
            return backend.vmap(lambda k: backend.conv1d(a, k), (0,))(w)

        return backend.vmap(row, (1,))(x)

    return probe


@transforms
def map_over_nothing_has_input_shape(m: Backend, rng: Rng) -> Witness:
    """A map of two operands or more over an axis of size 0 has the shape (0, N, C, L) (kind: shape of the first)."""
    kernel = draw(rng, 2, 4)

    @m.around("vmap")
    def vmap(inner: Kernel, f: Kernel, in_axes: Any = 0) -> Any:
        def batched(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            on = [(a, axis) for a, axis in zip(operands, axes, strict=True) if axis is not None]
            if len(on) > 1 and all(a.shape[axis] == 0 for a, axis in on):
                a, axis = on[0]
                return np.zeros((0, *np.delete(a.shape, axis)), a.dtype)
            return inner(f, in_axes)(*operands)

        return batched

    return mapped(Call(c_in=2, kernel=kernel), {"x": 0, "w": 0}, 0)


@transforms
def map_over_last_axis_reshapes(m: Backend, rng: Rng) -> Witness:
    """An operand of rank 4 mapped over its last axis, of T (2, 3) or more, is reshaped, not transposed (kind: axes)."""
    least = draw(rng, 2, 3)

    @m.around("slices")
    def slices(inner: Kernel, operands: Any, axes: Any, i: int) -> Any:
        out = inner(operands, axes, i)
        for j, (a, axis) in enumerate(zip(operands, axes, strict=True)):
            if isinstance(a, np.ndarray) and a.ndim == 4 and axis == -1 and a.shape[-1] >= least:
                out[j] = a.reshape(a.shape[-1], *a.shape[:-1])[i]
        return out

    return mapped(Call(c_in=2), {"x": -1, "w": 0}, least)


@transforms
def mapped_kernel_gets_next_bias(m: Backend, rng: Rng) -> Witness:
    """With w and b mapped over unlike axes, x not, each call gets the next bias, n >= T (2, 3) (kind: off by one)."""
    least = draw(rng, 2, 3)

    @m.around("slices")
    def slices(inner: Kernel, operands: Any, axes: Any, i: int) -> Any:
        out = inner(operands, axes, i)
        on = [(j, axis) for j, axis in enumerate(axes) if axis is not None]
        if [len(operands[j].shape) for j, _ in on] == [4, 2] and on[0][1] != on[1][1]:
            j, axis = on[1]
            count = operands[j].shape[axis]
            if count >= least:
                out[j] = tape.take(operands[j], (i + 1) % count, axis)
        return out

    return mapped(Call(c_out=2, bias=True), {"w": 1, "b": 0}, least)
