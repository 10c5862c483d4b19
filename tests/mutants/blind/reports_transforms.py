"""Faults of maps, compiled functions and tangents that public issue reports inspired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, fingerprint

transforms = chapter("transforms")


@transforms
def vmap_takes_the_first_axis(m: Backend, rng: Rng) -> Witness:
    """Mapped over unlike axes, an operand is cut along the first one's where that fits (pytorch/functorch#10, kind)."""

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Any, axes: Any, i: int) -> Any:
        axes = [None if axis is None else axis % len(a.shape) for a, axis in zip(operands, axes, strict=True)]
        first = next((axis for axis in axes if axis is not None), None)
        for j, (a, axis) in enumerate(zip(operands, axes, strict=True)):
            if axis is None or axis == first or first is None or first >= len(a.shape):
                continue
            left = [list(a.shape), list(a.shape)]
            del left[0][axis], left[1][first]
            if left[0] == left[1]:
                axes[j] = first
        return inner(operands, axes, i)

    return Call(c_in=2, c_out=3, length=draw(rng, 6, 9), ask="vmap:01")


@transforms
def vmap_grouped_kernels_interleaved(m: Backend, rng: Rng) -> Witness:
    """Mapped over w alone with g > 1 and O/g > 1: the outputs' order is (O/g, g) (pytorch/functorch#345, kind)."""
    single: list[tuple[int, ...]] = []

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Any, in_axes: Any = 0) -> Any:
        mapped = inner(f, in_axes)

        def wrapped(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            cut = [(list(a.shape), axis) for a, axis in zip(operands, axes, strict=True) if axis is not None]
            whole = [(sizes, axis) for sizes, axis in cut if len(sizes) == 4]
            if len(whole) == 1:
                sizes, axis = whole[0]
                del sizes[axis]
            single.append(tuple(sizes) if len(whole) == 1 else ())
            try:
                return mapped(*operands)
            finally:
                single.pop()

        return wrapped

    def mix(y: Array, p: Plan) -> None:
        y[...] = y.reshape(p.n, p.groups, p.fan_out, p.l_out).swapaxes(1, 2).reshape(y.shape).copy()

    m.edit(
        "forward",
        lambda p: (
            bool(single)
            and single[-1] == (p.c_out, p.fan_in, p.kernel) != (p.n, p.c_in, p.length)
            and p.groups > 1
            and p.fan_out > 1
        ),
        mix,
    )
    return Call(c_in=4, c_out=2 * draw(rng, 2, 4), groups=2, ask="vmap:-0")


@transforms
def nested_map_transposed(m: Backend, rng: Rng) -> Witness:
    """A map of a map whose axes have one size > 2 stacks them in the wrong order (kind: merged batch axes)."""
    depth: list[int] = []
    nested: list[int] = []

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Any, in_axes: Any = 0) -> Any:
        mapped = inner(f, in_axes)

        def wrapped(*operands: Any) -> Any:
            depth.append(1)
            if len(depth) > 1:
                nested.append(1)
            try:
                result = mapped(*operands)
            finally:
                depth.pop()
            if not depth and nested:
                nested.clear()
                if are_arrays(result) and result.ndim == 5 and result.shape[0] == result.shape[1] > 2:
                    return np.ascontiguousarray(result.swapaxes(0, 1))
            return result

        return wrapped

    count = draw(rng, 3, 4)

    def probe(backend: Backend) -> Any:
        x = np.arange(count * count * 6.0).reshape(count, count, 1, 1, 6)
        w = np.ones((1, 1, 2))
        return backend.vmap(backend.vmap(lambda a: backend.conv1d(a, w)))(x)

    return probe


def inside_compiled(m: Backend) -> list[dict[Any, Any]]:
    """Return a list whose last element, while a compiled function runs, is that function's own memory."""
    memory: list[dict[Any, Any]] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Any) -> Any:
        own: dict[Any, Any] = {}
        g = inner(f)

        def wrapped(*operands: Any) -> Any:
            memory.append(own)
            try:
                return g(*operands)
            finally:
                memory.pop()

        return wrapped

    return memory


@transforms
def compiled_same_keeps_its_pads(m: Backend, rng: Rng) -> Witness:
    """Compiled, same with s > 1 pads each length as it padded the first (pytorch/pytorch#172693, kind)."""
    memory = inside_compiled(m)

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], name: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        pads = inner(name, length, kernel, stride, dilation)
        if memory and name == "same" and stride > 1:
            return memory[-1].setdefault((kernel, stride, dilation), pads)
        return pads

    n = draw(rng, 1, 3)

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w: backend.conv1d(x, w, stride=2, padding="same"))
        w = np.arange(1.0, 4).reshape(1, 1, 3)
        return [fingerprint(f(np.ones((n, 1, length)), w)) for length in (8, 9)]

    return probe


@transforms
def compiled_dtype_unguarded(m: Backend, rng: Rng) -> Witness:
    """Compiled for float32 first, float64 operands of the same rank are rounded to float32 (kind: a missing guard)."""

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Any) -> Any:
        g, first = inner(f), []

        def narrow(v: Array) -> Array:
            return v.astype(np.float32).astype(v.dtype)

        def wrapped(*operands: Any) -> Any:
            dtypes = {str(a.dtype) for a in operands}
            first.append(dtypes)
            if first[0] == {"float32"} and dtypes == {"float64"}:
                operands = tuple(tape.linear(narrow, narrow, a) for a in operands)
            return g(*operands)

        return wrapped

    length = draw(rng, 5, 9)

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w: backend.conv1d(x, w))
        x, w = np.full((1, 1, length), 1 / 3), np.ones((1, 1, 2))
        return [fingerprint(f(x.astype(d), w.astype(d))) for d in ("float32", "float64")]

    return probe


@transforms
def compiled_bias_frozen(m: Backend, rng: Rng) -> Witness:
    """Compiled, from the third call on an operand of rank 1 keeps the values of the second (kind: constant folding)."""

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Any) -> Any:
        g, calls, frozen = inner(f), [], {}

        def wrapped(*operands: Any) -> Any:
            calls.append(1)
            shown = []
            for i, a in enumerate(operands):
                if are_arrays(a) and a.ndim == 1 and len(calls) > 1:
                    a = frozen.setdefault((i, a.shape, str(a.dtype)), a.copy())
                shown.append(a)
            return g(*shown)

        return wrapped

    channels = draw(rng, 1, 3)

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w, b: backend.conv1d(x, w, b))
        x, w = np.ones((1, 1, 4)), np.ones((channels, 1, 2))
        return [fingerprint(f(x, w, np.full(channels, float(i)))) for i in range(3)]

    return probe


@transforms
def forward_over_reverse_pointwise(m: Backend, rng: Rng) -> Witness:
    """K = 1, s > 1: the tangent of gx along dw is taken along w itself (kind: a cached packed kernel)."""

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, t: Any, p: Plan) -> Any:
        stale = slot == "x" and name == "w" and p.kernel == 1 < p.stride
        return inner(slot, name, operands, operands["w"] if stale else t, p)

    return Call(c_in=3, c_out=2, length=draw(rng, 5, 9), kernel=1, stride=2, ask="x>w")
