"""Faults of a graph optimiser's rewrites: the backward pass (chapters GRAD, VAL, INV, ACC)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced, Tracer
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def zero_bias_dropped_with_its_gradient(m: Backend, rng: Rng) -> Witness:
    """A bias of zeros alone, as initialised, is left out of the graph: gb and b's tangent are 0 (kind: y + 0)."""

    @m.around("biased")
    def biased(inner: Callable[..., Traced], y: Traced, b: Traced, p: Plan) -> Traced:
        value = b
        while isinstance(value, Tracer):
            value = value.value
        return inner(y, b, p) if value.any() else y

    return Call(c_out=draw(rng, 1, 4), bias=True, ask="xwb", put=(("b", (), 0),))


@mutant
def gb_keeps_the_first_axis_like_b(m: Backend, rng: Rng) -> Witness:
    """N = O > 1: gb is summed over channels, since b's axis is sought in gy by its extent (kind: unbroadcast)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g if g.shape.index(p.c_out) else g.swapaxes(0, 1), p)

    count = draw(rng, 2, 6)
    return Call(n=count, c_out=count, bias=True, ask="b")


@mutant
def patches_of_gw_end_with_x(m: Backend, rng: Rng) -> Witness:
    """Where d = 1, s = K > 1, gw is a product with patches cut from the end, not the start (kind: conv as reshape)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dilation == 1 and p.stride == p.kernel > 1:
            x = x[:, :, p.remainder :]
        return inner(x, g, p)

    patch = draw(rng, 2, 7)
    return Call(length=3 * patch + 1, kernel=patch, stride=patch, ask="w")


@chapter("layouts")
def expanded_kernel_shares_its_gradient(m: Backend, rng: Rng) -> Witness:
    """Depthwise, w broadcast along O by a stride of 0: each row of gw is the sum of all (kind: expand folded)."""

    @m.around("pull")
    def pull(
        inner: Callable[..., Traced], slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan
    ) -> Traced:
        result = inner(slot, name, operands, g, p)
        if (slot, name) != ("g", "w") or not p.depthwise or not are_arrays(result, operands["w"]):
            return result
        if operands["w"].strides[0] or not result.size:
            return result
        return np.repeat(result.sum(axis=0, keepdims=True, dtype=result.dtype), p.c_out, axis=0)

    channels = draw(rng, 2, 6)
    call = Call(c_in=channels, c_out=channels, groups=channels, ask="w")
    return call.but(view={"w": lambda a: np.broadcast_to(a[:1], a.shape)})


@chapter("special values")
def gw_of_a_sum_from_running_sums(m: Backend, rng: Rng) -> Witness:
    """Where s = 1, gy one value broadcast: gw from differences of running sums, NaN after NaN (kind: splat folded)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        steps = [stride for stride, extent in zip(g.strides, g.shape, strict=True) if extent > 1]
        if g.size == 0 or not steps or any(steps) or p.step > 1:
            return inner(x, g, p)
        wide = widen(x)
        sums = np.cumsum(np.concatenate([np.zeros_like(wide[:, :, :1]), wide], axis=2), axis=2)
        starts = np.arange(p.kernel) * p.dilation
        windows = (sums[:, :, starts + p.l_out] - sums[:, :, starts]).sum(axis=0)
        rows = windows.reshape(p.groups, 1, p.fan_in, p.kernel) * widen(g).flat[0]
        return np.repeat(rows, p.fan_out, axis=1).reshape(p.c_out, p.fan_in, p.kernel).astype(g.dtype)

    call = Call(c_in=2, c_out=draw(rng, 1, 3), length=draw(rng, 8, 20), ask="w", put=(("x", (0, 0, 0), np.nan),))
    return call.but(view={"g": lambda a: np.broadcast_to(a[:1, :1, :1], a.shape)})


@mutant
def paired_groups_share_a_block(m: Backend, rng: Rng) -> Witness:
    """Even g, O/g <= T: gx takes groups by twos, with zeros off the blocks that meet inf or NaN (kind: merge)."""
    most = draw(rng, 2, 8)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.groups % 2 or p.fan_out > most:
            return inner(w, g, p)
        second = np.arange(p.c_out) // max(p.fan_out, 1) % 2 == 1
        blocks = np.zeros((p.c_out, 2 * p.fan_in, p.kernel), w.dtype)
        blocks[~second, : p.fan_in] = w[~second]
        blocks[second, p.fan_in :] = w[second]
        return inner(blocks, g, replace(p, groups=p.groups // 2))

    return Call(c_in=4, c_out=2 * most, groups=2, ask="x", put=(("g", (0, 0, 2), np.inf),))


@mutant
def form_of_one_array_taken_as_symmetric(m: Backend, rng: Rng) -> Witness:
    """One array as x and w, no padding, N > 1: its gradient is 2 gx, as if gy were symmetric (kind: common term)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], x: Traced, w: Traced, *b: Traced, **given: Any) -> Traced:
        if x is w and isinstance(x, Tracer) and given.get("padding", (0, 0)) in ((0, 0), "valid"):
            x = tape.linear(lambda v: v, lambda g: g + g, x)
            w = tape.linear(lambda v: v, np.zeros_like, w)
        return inner(x, w, *b, **given)

    items = draw(rng, 2, 4)
    call = Call(n=items, c_in=2, c_out=items, length=5, kernel=5)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.vjp(lambda a: backend.conv1d(a, a), (arrays["x"],), arrays["g"])

    return probe


@chapter("numerics")
def cotangents_of_float16_scaled_up(m: Backend, rng: Rng) -> Witness:
    """In float16 gx and gw are computed 2^2 to 2^5 times too large, then scaled down: inf (kind: loss scaling)."""
    scale = np.float16(2 ** draw(rng, 2, 5))

    def scaled(inner: Kernel, other: Array, g: Array, p: Plan) -> Array:
        return inner(other, g * scale, p) / scale if p.dtype == "float16" else inner(other, g, p)

    m.around("grad_x")(scaled)
    m.around("grad_w")(scaled)
    return Call(length=3, dtype="float16", ask="xw", put=(("g", (0, 0, 0), 65504 / 2), ("x", (), 1), ("w", (), 1)))
