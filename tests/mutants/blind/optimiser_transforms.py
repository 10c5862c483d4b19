"""Faults of a graph optimiser's rewrites: maps, second derivatives, shapes without data (chapters INV, GRAD, SHAPE)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, shape_only, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Dual, Traced
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
Axes = int | Sequence[int | None]


@dataclass(slots=True)
class _Map:
    """A map that runs: its extent, its item's slices, and whether its axis will change places with an inner one's."""

    count: int
    slices: list[Traced] = field(default_factory=list)
    exchange: bool = False


def _mapped(operands: Sequence[Traced], in_axes: Axes) -> list[tuple[Traced, int]]:
    """Return the operands that are mapped, each with its axis."""
    axes = [in_axes] * len(operands) if isinstance(in_axes, int) else in_axes
    return [(a, axis) for a, axis in zip(operands, axes, strict=True) if axis is not None]


@mutant
def last_chunk_of_a_map_overlaps(m: Backend, rng: Rng) -> Witness:
    """A map of above T items, no multiple of T: gradients of those in two chunks count twice (kind: batched map)."""
    chunk = draw(rng, 2, 5)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Axes = 0) -> Callable[..., Any]:
        def whole(*operands: Traced) -> Any:
            a, axis = _mapped(operands, in_axes)[0]
            first, items = a.shape[axis] - chunk, itertools.count()

            def item(*slices: Traced) -> Any:
                i, y = next(items), f(*slices)
                twice = 0 < first <= i < first + -first % chunk
                return tape.linear(lambda v: v, lambda g: g + g, y) if twice and not isinstance(y, tuple) else y

            return inner(item, in_axes)(*operands)

        return whole

    call = Call(c_in=2)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        x, g = (np.stack([arrays[key] * (i + 1) for i in range(chunk + 1)]) for key in "xg")
        return backend.vjp(lambda x, w: backend.vmap(backend.conv1d, (0, None))(x, w), (x, arrays["w"]), g)

    return probe


@mutant
def nested_maps_of_one_extent_exchanged(m: Backend, rng: Rng) -> Witness:
    """A map in a map, of another operand and as long: the first two axes change places (kind: transposes cancel)."""
    maps: list[_Map] = []

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Any, axes: Any, i: int) -> Any:
        own = inner(operands, axes, i)
        maps[-1].slices = [a for a, axis in zip(own, axes, strict=True) if axis is not None]
        return own

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Axes = 0) -> Callable[..., Any]:
        def whole(*operands: Traced) -> Any:
            own = _mapped(operands, in_axes)
            this, outer = _Map(own[0][0].shape[own[0][1]]), maps[-1] if maps else _Map(-1)
            if not any(a is part for a, _ in own for part in outer.slices):
                outer.exchange = this.count == outer.count
            maps.append(this)
            try:
                y = inner(f, in_axes)(*operands)
            finally:
                maps.pop()
            if not this.exchange or isinstance(y, tuple):
                return y
            return tape.linear(lambda v: v.swapaxes(0, 1), lambda g: g.swapaxes(0, 1), y)

        return whole

    call, items = Call(), draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        x, w = (np.stack([arrays[key] + i for i in range(items)]) for key in "xw")
        return backend.vmap(lambda x: backend.vmap(backend.conv1d, (None, 0))(x, w))(x)

    return probe


@mutant
def map_over_biases_hoists_the_rest(m: Backend, rng: Rng) -> Witness:
    """Mapped over b alone, F(x, w) leaves the loop: gx and gw are those of the first item (kind: invariant code)."""
    item: dict[str, Any] = {"i": 0, "slices": []}

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Any, axes: Any, i: int) -> Any:
        own = inner(operands, axes, i)
        item.update(i=i, slices=[a for a, axis in zip(own, axes, strict=True) if axis is not None])
        return own

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], x: Traced, w: Traced, b: Traced = None, **given: Any) -> Traced:
        by_x, by_w, by_b = (any(a is part for part in item["slices"]) for a in (x, w, b))
        if by_b and not by_x and not by_w and item["i"]:
            x, w = (tape.linear(lambda v: v, np.zeros_like, a) for a in (x, w))
        return inner(x, w, b, **given)

    call, items = Call(c_out=2, bias=True), draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        b, g = (np.stack([arrays[key] * (i + 1) for i in range(items)]) for key in "bg")
        primals = arrays["x"], arrays["w"], b
        return backend.vjp(lambda *a: backend.vmap(backend.conv1d, (None, None, 0))(*a), primals, g)

    return probe


@mutant
def tangents_of_gx_joined_across_groups(m: Backend, rng: Rng) -> Witness:
    """Where g > 1, the tangent of gx along w and gy at once joins both along O, not within groups (kind: concat)."""

    @m.around("contract")
    def contract(inner: Callable[..., Traced], slot: str, operands: Any, p: Plan) -> Traced:
        w, g = operands.get("w"), operands.get("g")
        both = slot == "x" and isinstance(w, Dual) and isinstance(g, Dual) and w.level == g.level
        if not both or p.groups == 1 or not are_arrays(w.value, w.tangent, g.value, g.tangent):
            return inner(slot, operands, p)
        joined = np.concatenate([w.tangent, w.value]), np.concatenate([g.value, g.tangent], axis=1)
        tangent = m.grad_x(*joined, replace(p, c_out=2 * p.c_out))
        return Dual(inner(slot, {"w": w.value, "g": g.value}, p), w.level, tangent)

    groups = draw(rng, 2, 4)
    call = Call(c_in=groups, c_out=groups, groups=groups)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()

        def gradient(w: Traced, g: Traced) -> Any:
            return backend.vjp(lambda x: backend.conv1d(x, w, groups=groups), (arrays["x"],), g)[0]

        primals = arrays["w"], arrays["g"]
        return backend.jvp(gradient, primals, [np.ascontiguousarray(np.flip(p)) for p in primals])

    return probe


@mutant
def tangent_padded_anew_with_the_fill(m: Backend, rng: Rng) -> Witness:
    """Constant, xp of above T elements: the tangent of gw along x has the fill in it (kind: rematerialised pad)."""
    most = draw(rng, 16, 96)
    reverse, forwards = within(m, "vjp"), within(m, "jvp")

    @m.around("pad_tangent")
    def pad_tangent(inner: Callable[..., Array], x: Array, p: Plan) -> Array:
        anew = reverse and forwards and p.mode == "constant" and p.n * p.c_in * p.padded > most
        return m.pad(x, p.fill, p) if anew else inner(x, p)

    return Call(length=most, padding=(1, 1), mode="constant", fill=2, ask="w>x")


@mutant
def double_backward_pads_with_zeros(m: Backend, rng: Rng) -> Witness:
    """Modes that copy, lo = hi: in a vjp of gx its cotangent's pad folds into the conv, as zeros (kind: pad fold)."""
    reverse, forwards = within(m, "vjp"), within(m, "jvp")

    @m.around("pad_tangent")
    def pad_tangent(inner: Callable[..., Array], x: Array, p: Plan) -> Array:
        folded = reverse and not forwards and p.mode in COPYING and p.lo == p.hi
        return inner(x, replace(p, mode="zeros") if folded else p)

    wide = draw(rng, 1, 3)
    return Call(padding=(wide, wide), mode=COPYING[draw(rng, 0, 3)], ask="x/w")


@chapter("shapes")
def shapes_without_the_domain(m: Backend, rng: Rng) -> Witness:
    """In eval_shape modes are zeros: a pad beyond the domain of its mode has a shape (kind: lowered before checks)."""
    inside = shape_only(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        lowered = inside and args["padding_mode"] in COPYING
        return inner(x, w, b, {**args, "padding_mode": "zeros"} if lowered else args)

    length = draw(rng, 3, 6)
    call = Call(length=length, padding=(length + 1, 0), mode="reflect")

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, **call.parameters()), (arrays["x"], arrays["w"]))

    return probe
