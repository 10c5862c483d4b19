"""Faults of maps, compiled functions and shapes without data, after public bug reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, shape_only
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
Kernel = Callable[..., Array]


class Marked(str):
    """The padding of a plan that was made inside a transform."""


def mapping(m: Backend, least: int) -> list[bool]:
    """Return a list that is not empty while a function mapped over so many operands runs."""
    inside: list[bool] = []

    @m.around("vmap")
    def vmap(inner: Any, f: Any, in_axes: Any = 0) -> Any:
        def noted(*operands: Any) -> Any:
            inside.append(True)
            try:
                return f(*operands)
            finally:
                inside.pop()

        def mapped(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else in_axes
            enough = sum(axis is not None for axis in axes) >= least
            return inner(noted if enough else f, in_axes)(*operands)

        return mapped

    return inside


def compiled(m: Backend) -> list[bool]:
    """Return a list that is not empty while a compiled function runs; the plans it makes have a marked padding."""
    inside: list[bool] = []

    @m.around("compile")
    def compile_(inner: Any, f: Any) -> Any:
        g = inner(f)

        def run(*operands: Any) -> Any:
            inside.append(True)
            try:
                return g(*operands)
            finally:
                inside.pop()

        return run

    @m.around("accept")
    def accept(inner: Any, *args: Any) -> Any:
        *operands, plan = inner(*args)
        return (*operands, replace(plan, padding=Marked(plan.padding)) if inside else plan)

    return inside


@mutant
def joint_map_without_bias_mixes_groups(m: Backend, rng: Rng) -> Witness:
    """Vmap of x and w at once, g > 1, O/g > 1, no bias: y is in group-minor order (pytorch/functorch#338, kind)."""
    inside = mapping(m, 2)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if inside and p.groups > 1 and p.fan_out > 1 and not p.bias:
            y = y.reshape(p.n, p.groups, p.fan_out, p.l_out).swapaxes(1, 2).reshape(p.y_shape)
        return y

    groups = draw(rng, 2, 3)
    return Call(c_in=groups, c_out=2 * groups, groups=groups, ask="vmap:00")


@mutant
def mapped_kernel_gradient_pads_other_side(m: Backend, rng: Rng) -> Witness:
    """Gw under vmap, same with an odd T: the extra zero is before, not after (meta-pytorch/opacus#451, kind)."""
    inside = mapping(m, 1)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        uneven = inside and p.padding == "same" and p.lo < p.hi and p.mode == "zeros"
        return inner(np.roll(x, p.hi - p.lo, axis=2) if uneven else x, g, p)

    kernel = 2 * draw(rng, 1, 3)

    def probe(backend: Backend) -> Any:
        arrays = Call(n=1, length=9, kernel=kernel, padding="same").operands()
        w = arrays["w"]

        def gradient(x: Any, g: Any) -> Any:
            return backend.vjp(lambda v: backend.conv1d(x, v, padding="same"), (w,), g)[0]

        stacked = [np.stack([arrays[key], 2 * arrays[key]]) for key in "xg"]
        return backend.vmap(gradient, (0, 0))(*stacked)

    return probe


@mutant
def compiled_reflect_gradient_one_sided(m: Backend, rng: Rng) -> Witness:
    """Compiled, reflect: a sample with images on both sides gets no gradient of the right (pytorch/pytorch#100793)."""
    compiled(m)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if isinstance(p.padding, Marked) and p.mode == "reflect":
            both = [j for j in range(1, p.hi + 1) if 1 <= p.length - 1 - j <= p.lo]
            g = changed(g, np.s_[:, :, [p.lo + p.length - 1 + j for j in both]]) if both else g
        return inner(g, p)

    call = Call(length=draw(rng, 4, 7), ask="x", mode="reflect")
    wide = call.but(padding=(call.length - 1, call.length - 1))

    def probe(backend: Backend) -> Any:
        arrays = wide.operands()
        f = backend.compile(lambda x: backend.conv1d(x, arrays["w"], **wide.parameters()))
        return backend.vjp(f, (arrays["x"],), arrays["g"])

    return probe


@mutant
def compiled_reads_channels_last_in_order(m: Backend, rng: Rng) -> Witness:
    """Compiled, first called on contiguous arrays: channels-last ones are misread later (pytorch/executorch#21837)."""

    @m.around("compile")
    def compile_(inner: Any, f: Any) -> Any:
        g, dense = inner(f), list[bool]()

        def plain(a: Any) -> bool:
            return not isinstance(a, np.ndarray) or a.flags.c_contiguous

        def in_order(a: Any) -> Any:
            last = not plain(a) and a.ndim == 3 and a.transpose(0, 2, 1).flags.c_contiguous
            return np.array(a.transpose(0, 2, 1)).reshape(a.shape) if last else a

        def run(*operands: Any) -> Any:
            dense.append(all(plain(a) for a in operands))
            return g(*(in_order(a) for a in operands)) if dense[0] else g(*operands)

        return run

    channels = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        arrays = Call(c_in=channels, n=2).operands()
        x, w = arrays["x"], arrays["w"]
        f = backend.compile(lambda a: backend.conv1d(a, w))
        f(x)
        return f(np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1))

    return probe


@mutant
def fused_pad_divided_apart(m: Backend, rng: Rng) -> Witness:
    """Compiled, explicit padding, s > 1: L_out is that of L plus (lo + hi) // s (tensorflow/tensorflow#25500)."""
    inside = compiled(m)
    explicit: list[bool] = []

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        explicit[:] = [True] * (not isinstance(args["padding"], str))
        return inner(x, w, b, args)

    @m.around("out_length")
    def out_length(
        inner: Callable[..., int], length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int
    ) -> int:
        bare = inner(length, kernel, stride, dilation, 0, 0)
        if inside and explicit and stride > 1 and bare > 0:
            return bare + (lo + hi) // stride
        return inner(length, kernel, stride, dilation, lo, hi)

    stride = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        arrays = Call(length=3 * stride + 2).operands()
        f = backend.compile(lambda x, w: backend.conv1d(x, w, stride=stride, padding=(1, stride - 1)))
        g = backend.compile(lambda x, w: backend.conv1d(x, w, stride=stride, padding=(1, 0)))
        return f(arrays["x"], arrays["w"]), g(arrays["x"], arrays["w"])

    return probe


@mutant
def inferred_length_without_stride(m: Backend, rng: Rng) -> Witness:
    """Shapes without data, lo != hi, s > 1: the length is that of stride 1 (onnx/onnx#7721, kind)."""
    inside = shape_only(m)

    @m.around("out_length")
    def out_length(
        inner: Callable[..., int], length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int
    ) -> int:
        return inner(length, kernel, 1 if inside and lo != hi else stride, dilation, lo, hi)

    stride = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        arrays = Call(length=11).operands()
        return backend.eval_shape(
            lambda x, w: backend.conv1d(x, w, stride=stride, padding=(1, 0)), (arrays["x"], arrays["w"])
        )

    return probe
