"""Faults of algorithms that merge or lower the calls of a transform (chapters GRAD, INV and SHAPE)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, last_plan
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Dual, Traced
from tests.mutants.witness import Call, Witness

transforms = chapter("transforms")
Kernel = Callable[..., Array]


@transforms
def jvp_of_stacked_channels(m: Backend, rng: Rng) -> Witness:
    """The jvp by x and w, g > 1, C/g > 1: a convolution of [x, dx] with [dw, w] across groups (kind: one product)."""

    @m.around("contract")
    def contract(inner: Callable[..., Traced], slot: str, operands: Mapping[str, Traced], p: Plan) -> Traced:
        x, w = operands.get("x"), operands.get("w")
        if slot != "g" or not isinstance(x, Dual) or not isinstance(w, Dual) or x.level != w.level:
            return inner(slot, operands, p)
        if p.groups == 1 or p.fan_in < 2 or not are_arrays(x.value, x.tangent, w.value, w.tangent):
            return inner(slot, operands, p)
        stacked = np.concatenate([x.value, x.tangent], axis=1), np.concatenate([w.tangent, w.value], axis=1)
        tangent = m.forward(*stacked, replace(p, c_in=2 * p.c_in))
        return Dual(m.forward(x.value, w.value, p), x.level, tangent)

    groups = draw(rng, 2, 4)
    return Call(c_in=2 * groups, c_out=groups, groups=groups, ask="jvp:xw")


@transforms
def second_gradient_in_lowered_layout(m: Backend, rng: Rng) -> Witness:
    """Groups of C/g = O/g > 1: the derivative of gx by w keeps their channels exchanged (kind: lowering)."""

    @m.around("pull")
    def pull(
        inner: Callable[..., Traced], slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan
    ) -> Traced:
        found = inner(slot, name, operands, g, p)
        if (slot, name) != ("x", "w") or p.groups == 1 or p.fan_in != p.fan_out or not are_arrays(found):
            return found
        split = found.reshape(p.groups, p.fan_out, p.fan_in, p.kernel)
        return split.swapaxes(1, 2).reshape(found.shape)

    groups = draw(rng, 2, 4)
    return Call(c_in=2 * groups, c_out=2 * groups, groups=groups, ask="x/w")


@transforms
def gw_of_each_item_keeps_last_taps(m: Backend, rng: Rng) -> Witness:
    """A map of gw, remainder >= d: of the K + remainder // d taps found the last K stay (kind: items as groups)."""
    mapping: list[bool] = []

    @m.around("vmap")
    def vmap(
        inner: Callable[..., Any], f: Callable[..., Any], in_axes: int | Sequence[int | None] = 0
    ) -> Callable[..., Any]:
        mapped = inner(f, in_axes)

        def run(*operands: Traced) -> Any:
            mapping.append(True)
            try:
                return mapped(*operands)
            finally:
                mapping.pop()

        return run

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        more = p.remainder // p.dilation if mapping else 0
        return np.ascontiguousarray(inner(x, g, replace(p, kernel=p.kernel + more))[:, :, more:])

    stride = draw(rng, 2, 5)
    call = Call(length=4 * stride + 2, stride=stride)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()

        def gradient(x: Traced, g: Traced) -> Any:
            return backend.vjp(lambda w: backend.conv1d(x, w, stride=stride), (arrays["w"],), g)[0]

        return backend.vmap(gradient)(*(np.stack([arrays[key], 2 * arrays[key]]) for key in "xg"))

    return probe


@chapter("shapes")
def eval_shape_before_the_crop(m: Backend, rng: Rng) -> Witness:
    """Shapes without data, s = 1 < d: L_out is d times that of the longest phase (kind: space to batch, uncropped)."""
    last = last_plan(m)

    @m.around("eval_shape")
    def eval_shape(inner: Callable[..., Any], f: Callable[..., Any], operands: Sequence[Array]) -> Any:
        shape, dtype = inner(f, operands)
        p = last[0] if last else None
        if p and shape == p.y_shape and p.stride == 1 and p.l_out:
            rows = -(-p.padded // p.dilation) - p.kernel + 1
            shape = (*shape[:2], rows * p.dilation)
        return shape, dtype

    dilation = draw(rng, 2, 5)
    call = Call(length=8 * dilation + 1, dilation=dilation)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, dilation=dilation), (arrays["x"], arrays["w"]))

    return probe
