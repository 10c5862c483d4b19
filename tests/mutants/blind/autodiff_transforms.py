"""Faults of a custom rule under maps and in forward mode (chapters GRAD, INV)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, last_plan
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

transforms = chapter("transforms")
Kernel = Callable[..., Array]


def _mapping(m: Backend) -> list[bool]:
    """Return a list that is not empty while a mapped function runs."""
    inside: list[bool] = []

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], *args: Any, **given: Any) -> Callable[..., Any]:
        f = inner(*args, **given)

        def mapped(*operands: Traced) -> Any:
            inside.append(True)
            try:
                return f(*operands)
            finally:
                inside.pop()

        return mapped

    return inside


@transforms
def padded_inputs_of_a_map_saved_in_one_buffer(m: Backend, rng: Rng) -> Witness:
    """Gradients of a map over x, with padding: gw of each slice reads the padded x of the last (kind: saved tensor)."""
    saved: dict[Plan, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.wanted and p.padded > p.length:
            saved.clear()
            saved[p] = x
        return inner(x, w, p)

    @m.around("pull")
    def pull(inner: Callable[..., Traced], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if (slot, name) == ("g", "w") and are_arrays(operands["x"]):
            operands = {**operands, "x": saved.get(p, operands["x"])}
        return inner(slot, name, operands, g, p)

    call = Call(padding=(draw(rng, 1, 3), draw(rng, 0, 2)))

    def probe(backend: Backend) -> Any:
        x, w, g = (call.operands()[key] for key in "xwg")
        stacked = np.stack([x, 2 * x, x + 1])

        def mapped(kernel: Traced) -> Traced:
            return backend.vmap(lambda a: backend.conv1d(a, kernel, **call.parameters()))(stacked)

        return backend.vjp(mapped, (w,), np.stack([g, g + 1, -g]))

    return probe


@transforms
def mapped_gw_ordered_by_copies(m: Backend, rng: Rng) -> Witness:
    """Map of the gradients, depthwise, O/C > 1: each gw has its filters by copies (kind: map turned into groups)."""
    inside = _mapping(m)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if inside and p.depthwise and p.fan_out > 1:
            by_channel = gw.reshape(p.groups, p.fan_out, p.fan_in, p.kernel)
            gw = np.ascontiguousarray(by_channel.swapaxes(0, 1)).reshape(gw.shape)
        return gw

    copies = draw(rng, 2, 4)
    call = Call(c_in=3, c_out=3 * copies, groups=3)

    def probe(backend: Backend) -> Any:
        x, w, g = (call.operands()[key] for key in "xwg")

        def gw(a: Traced, cotangent: Traced) -> Any:
            return backend.vjp(lambda kernel: backend.conv1d(a, kernel, groups=3), (w,), cotangent)

        return backend.vmap(gw)(np.stack([x, 2 * x]), np.stack([g, g + 1]))

    return probe


@transforms
def zero_tangents_of_x_and_w_silence_db(m: Backend, rng: Rng) -> Witness:
    """Tangents of x, w and b, those of x and w all 0: the tangent is zeros, without db (kind: early exit)."""
    last = last_plan(m)

    @m.around("jvp")
    def jvp(inner: Callable[..., Traced], f: Any, primals: Any, tangents: Any) -> Traced:
        out = inner(f, primals, tangents)
        joint = len(tangents) == 3 and bool(last) and last[0].wanted == {"x", "w", "b"}
        if joint and are_arrays(out, *tangents) and not any(widen(t).any() for t in tangents[:2]):
            return np.zeros_like(out)
        return out

    call = Call(c_out=draw(rng, 1, 4), bias=True)

    def probe(backend: Backend) -> Any:
        x, w, b = (call.operands()[key] for key in "xwb")
        return backend.jvp(backend.conv1d, (x, w, b), (np.zeros_like(x), np.zeros_like(w), b))

    return probe
