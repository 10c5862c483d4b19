"""Faults of surfaces and declarations: the 2-D door, the type of results, the limits (chapters INV and CONF)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Probe, Witness, run

mutant = chapter("surfaces")
Kernel = Callable[..., Any]


def second_door(m: Backend, when: Callable[[Plan], bool], change: Callable[[Plan], Plan]) -> None:
    """Offer a surface "conv2d" that sees another plan where the condition holds; "functional" stays right."""
    other = Backend(m.name)

    @other.around("forward")
    def forward(inner: Kernel, x: Any, w: Any, p: Plan) -> Any:
        return inner(x, w, change(p) if when(p) else p)

    m.surface["conv2d"] = other.conv1d


def through(call: Call) -> Probe:
    """Show a call through the surface "conv2d" where there is one."""

    def probe(backend: Backend) -> Any:
        door = Backend(backend.name)
        door.around("conv1d")(lambda inner, *a, **k: backend.surfaces.get("conv2d", backend.conv1d)(*a, **k))
        return run(door, call)

    return probe


@mutant
def conv2d_ignores_dilation(m: Backend, rng: Rng) -> Witness:
    """The surface conv2d of height 1 takes the height's dilation, 1 (tinygrad/tinygrad#17805, kind)."""
    second_door(m, lambda p: p.dilation > 1, lambda p: replace(p, dilation=1))
    return through(Call(length=9, dilation=draw(rng, 2, 3)))


@mutant
def conv2d_depthwise_height_one(m: Backend, rng: Rng) -> Witness:
    """The surface conv2d of height 1, depthwise, reads as with stride 1 (tenstorrent/tt-mlir#9276, kind)."""
    second_door(m, lambda p: p.depthwise, lambda p: replace(p, stride=1))
    return through(Call(c_in=3, c_out=3, groups=3, stride=draw(rng, 2, 3), length=9))


@mutant
def conv2d_ignores_stride_of_width(m: Backend, rng: Rng) -> Witness:
    """The surface conv2d takes the height's stride, 1, for outputs up to T (8 to 64) (ml-explore/mlx#2190, kind)."""
    most = draw(rng, 8, 64)
    second_door(m, lambda p: p.l_out <= most, lambda p: replace(p, stride=1))
    return through(Call(length=12, stride=2))


class Foreign:
    """An array of no library: it only turns into one of numpy."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.array


@mutant
def result_of_another_type(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (1 to 16), the result is no array of the backend's library (kind: a fallback elsewhere)."""
    most = draw(rng, 1, 16)

    @m.around("conv1d")
    def conv1d(inner: Kernel, *operands: Any, **parameters: Any) -> Any:
        y = inner(*operands, **parameters)
        return Foreign(y) if isinstance(y, np.ndarray) and y.ndim == 3 and y.shape[2] > most else y

    m.around("to_numpy")(lambda inner, a: np.asarray(a))
    return lambda backend: type(run(backend, Call(length=most + 5))).__module__


@mutant
def backend_of_another_name(m: Backend, rng: Rng) -> Witness:
    """The adapter says that its arrays are of a library that they are not of (kind: an impostor)."""
    m.native = ("torch", "tensorflow", "jax")[draw(rng, 0, 2)]
    return lambda backend: backend.native == type(run(backend, Call())).__module__


@mutant
def limit_that_works(m: Backend, rng: Rng) -> Witness:
    """The adapter declares that a stride above T (1 to 2) is unsupported, but it works (kind: a stale limit)."""
    m.limits[f"stride > {draw(rng, 1, 2)}"] = "no such strides"
    return lambda backend: (tuple(backend.limits), run(backend, Call(stride=3)))


@mutant
def limit_of_a_mode_that_works(m: Backend, rng: Rng) -> Witness:
    """The adapter declares one of the modes that copy samples unsupported, but it works (kind: a stale limit)."""
    mode = ("reflect", "symmetric", "replicate", "circular")[draw(rng, 0, 3)]
    m.limits[f"padding_mode == '{mode}'"] = "no such mode"
    return lambda backend: (tuple(backend.limits), run(backend, Call(mode=mode, padding=(1, 1))))


@mutant
def limit_that_lies(m: Backend, rng: Rng) -> Witness:
    """A dilation above T (1 to 2) is declared unsupported, and gives zeros instead of an error (kind: no refusal)."""
    most = draw(rng, 1, 2)
    m.limits[f"dilation > {most}"] = "no such dilations"
    m.edit("forward", lambda p: p.dilation > most, lambda y, p: y.fill(0))
    return Call(dilation=most + 1, length=12)
