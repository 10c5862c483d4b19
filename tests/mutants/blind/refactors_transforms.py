"""Faults of batching rules and of compiled functions (chapter INV)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced, Tracer
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
Kernel = Callable[..., Array]


def bare(a: Traced) -> Any:
    """Return the array that a tracer stands for, through all levels."""
    while isinstance(a, Tracer):
        a = a.value
    return a


@dataclass
class Map:
    """The item of a map that is being computed: its operands, the axes, the slices, and its place."""

    operands: Sequence[Traced] = ()
    axes: Sequence[int | None] = ()
    slices: list[Any] = field(default_factory=list)
    index: int = 0

    def axis_of(self, a: Traced) -> int | None:
        """Return which operand of the map a is a slice of; None where it is not mapped."""
        mapped = [i for i, axis in enumerate(self.axes) if axis is not None and self.slices[i] is bare(a)]
        return mapped[0] if mapped else None

    def count(self, i: int) -> int:
        """Return the extent of the mapped axis of operand i."""
        return int(self.operands[i].shape[self.axes[i]])


def mapping(m: Backend) -> Map:
    """Return what describes the item of the map that is being computed."""
    current = Map()

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Sequence[Traced], axes: Sequence[int | None], i: int) -> Any:
        found = inner(operands, axes, i)
        current.operands, current.axes, current.slices, current.index = operands, axes, [bare(a) for a in found], i
        return found

    return current


def compiling(m: Backend) -> list[dict[str, Any]]:
    """Return the stack of the compiled functions that are running, each with what it remembers."""
    running: list[dict[str, Any]] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        fast, memory = inner(f), dict[str, Any]()

        def call(*operands: Any) -> Any:
            running.append(memory)
            try:
                return fast(*operands)
            finally:
                running.pop()

        return call

    return running


@mutant
def mapped_kernels_fold_across_groups(m: Backend, rng: Rng) -> Witness:
    """A map over w but not x, with groups: its axis is folded before O, not within groups (kind: batching rule)."""
    current, folded = mapping(m), list[tuple[Plan, int, int]]()

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, *rest: Any) -> Any:
        found = inner(x, w, *rest)
        own = current.axis_of(w)
        folds = own is not None and current.axis_of(x) is None
        folded[:] = [(found[3], current.index, current.count(own))] if folds and own is not None else []
        return found

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups == 1 or not p.c_out or not folded or folded[0][0] is not p:
            return inner(x, w, p)
        _, index, count = folded[0]
        group = (index * p.c_out + np.arange(p.c_out)) // (count * p.c_out // p.groups)
        channels = (group[:, None] * p.fan_in + np.arange(p.fan_in)).ravel()
        return inner(x[:, channels], w, replace(p, groups=p.c_out, c_in=channels.size))

    groups = draw(rng, 2, 3)
    return Call(c_in=2 * groups, c_out=2 * groups, groups=groups, ask="vmap:-0-")


@mutant
def mapped_bias_on_batch_axis(m: Backend, rng: Rng) -> Witness:
    """A map over b alone, as long as the batch: item n of x gets the n-th bias (kind: broadcast of a map)."""
    current, met = mapping(m), list[tuple[Plan, Array]]()

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, b: Traced, args: Any) -> Any:
        found = inner(x, w, b, args)
        own = current.axis_of(b) if are_arrays(x, w, b) else None
        met.clear()
        if own is not None and current.axis_of(x) is None is current.axis_of(w):
            stack = np.moveaxis(bare(current.operands[own]), current.axes[own] or 0, 0)
            met[:] = [(found[3], stack)] if len(stack) == x.shape[0] else []
        return found

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if met and met[0][0] is p:
            return np.array(np.broadcast_to(met[0][1][:, :, None], p.y_shape))
        return inner(b, p)

    return Call(n=3, c_out=draw(rng, 1, 3), bias=True, ask="vmap:--0")


@mutant
def compiled_for_one_item(m: Backend, rng: Rng) -> Witness:
    """A compiled function first called with N = 1 later gives each item what the first gets (kind: 0/1 guard)."""
    running = compiling(m)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if running and running[-1].setdefault("n", p.n) == 1 < p.n:
            x = np.array(np.broadcast_to(x[:1], x.shape))
        return inner(x, w, p)

    items = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        f = backend.compile(backend.conv1d)
        one, several = Call().operands(), Call(n=items).operands()
        return f(one["x"], one["w"]), f(several["x"], several["w"])

    return probe


@mutant
def compiled_without_zero_bias(m: Backend, rng: Rng) -> Witness:
    """A compiled function whose first bias is all zeros never adds a bias (kind: constant folding)."""
    running = compiling(m)

    @m.around("biased")
    def biased(inner: Callable[..., Traced], y: Traced, b: Traced, p: Plan) -> Traced:
        if not running or not are_arrays(y, b):
            return inner(y, b, p)
        folded = running[-1].setdefault("zero", not np.any(b != 0))
        return y if folded else inner(y, b, p)

    call = Call(c_out=draw(rng, 1, 4), bias=True)

    def probe(backend: Backend) -> Any:
        f = backend.compile(backend.conv1d)
        arrays = call.operands()
        x, w, b = (arrays[key] for key in "xwb")
        return f(x, w, np.zeros_like(b)), f(x, w, b)

    return probe


@mutant
def compiled_gw_reads_cotangent_as_dense(m: Backend, rng: Rng) -> Witness:
    """The gw of a compiled function reads a permuted cotangent in the order of its memory (kind: guessed layout)."""
    running, own = compiling(m), deque[Plan](maxlen=64)

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        if running:
            own.append(found[3])
        return found

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if any(p is q for q in own) and min(g.strides) > 0:
            g = g.ravel(order="K").reshape(g.shape)
        return inner(x, g, p)

    call = Call(n=2, c_in=2, c_out=draw(rng, 2, 4), view={"g": np.asfortranarray})

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.vjp(backend.compile(backend.conv1d), (arrays["x"], arrays["w"]), arrays["g"])

    return probe


@mutant
def compiled_operands_deduplicated(m: Backend, rng: Rng) -> Witness:
    """A compiled function given one array as x and w has only the derivative by x (kind: deduplicated inputs)."""
    running = compiling(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, *rest: Any) -> Any:
        found = inner(x, w, *rest)
        once = running and x is w and isinstance(w, Tracer)
        return (found[0], w.value, *found[2:]) if once else found

    call = Call(n=2, c_in=draw(rng, 1, 3), c_out=2, length=4, kernel=4)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        f = backend.compile(backend.conv1d)
        return backend.vjp(lambda a: f(a, a), (arrays["x"],), arrays["g"])

    return probe
