"""Faults of kernels chosen by heuristics: forward mode, second derivatives, transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")


def keep(a: Traced, index: Any) -> Traced:
    """Return a with zeros outside the index, differentiably."""

    def mask(v: Array) -> Array:
        kept = np.zeros_like(v)
        kept[index] = v[index]
        return kept

    return tape.linear(mask, mask, a)


@mutant
def replicate_tangent_zero_after(m: Backend, rng: Rng) -> Witness:
    """Jvp in x, mode replicate with lo = 0: dx is padded by zeros after (kind: the tangent's pad has no mode)."""

    @m.around("pad_tangent")
    def pad_tangent(inner: Callable[..., Array], x: Array, p: Plan) -> Array:
        padded = inner(x, p)
        if p.mode == "replicate" and p.lo == 0 < p.hi:
            padded[:, :, p.length :] = 0
        return padded

    return Call(mode="replicate", padding=(0, draw(rng, 1, 4)), ask="jvp:x")


@mutant
def complex_kernel_tangent_conjugated(m: Backend, rng: Rng) -> Witness:
    """Jvp in w of complex operands with s > 1 conjugates dw (kind: the vjp's rule reused)."""

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, tangent: Traced, p: Plan) -> Traced:
        turned = slot == "g" and name == "w" and p.stride > 1
        return inner(slot, name, operands, tape.conj(tangent) if turned else tangent, p)

    return Call(length=12, stride=draw(rng, 2, 4), dtype="complex128", ask="jvp:w")


@mutant
def second_gw_by_x_of_one_multiplier(m: Backend, rng: Rng) -> Witness:
    """The vjp of a depthwise gw in x, O = m*C, adds up the first of m outputs alone (kind: double backward)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if slot == "w" and name == "x" and p.depthwise and p.fan_out > 1:
            g = keep(g, np.s_[:: p.fan_out])
        return inner(slot, name, operands, g, p)

    multiplier = draw(rng, 2, 4)
    return Call(c_in=2, c_out=2 * multiplier, groups=2, ask="w/x")


@mutant
def tangent_of_gw_along_g_of_one_block(m: Backend, rng: Rng) -> Witness:
    """The jvp of gw along gy sees the first T positions of dgy alone (kind: one block of forward over reverse)."""
    block = pick(rng, (16, 32, 64))

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, tangent: Traced, p: Plan) -> Traced:
        if slot == "w" and name == "g" and p.l_out > block:
            tangent = keep(tangent, np.s_[..., :block])
        return inner(slot, name, operands, tangent, p)

    return Call(length=block + 2 + draw(rng, 1, 9), ask="w>g")


@mutant
def second_gx_by_w_drops_items(m: Backend, rng: Rng) -> Witness:
    """The vjp of gx in w, g > 1, leaves out the last N mod g items (kind: batch as channels of a grouped call)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if slot == "x" and name == "w" and p.groups > 1 and p.n % p.groups:
            g = keep(g, np.s_[: p.n - p.n % p.groups])
        return inner(slot, name, operands, g, p)

    groups = draw(rng, 2, 4)
    return Call(n=groups + 1, c_in=groups, c_out=groups, groups=groups, ask="x/w")


@mutant
def shared_operand_counted_once(m: Backend, rng: Rng) -> Witness:
    """Where one array is x and w, N > 1 and C > T, its gradient is gx alone (kind: gradients stored by address)."""
    above = draw(rng, 1, 4)

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Traced, w: Traced, b: Traced = None, **given: Any) -> Traced:
        if x is w and isinstance(x, tape.Var) and x.shape[0] > 1 and x.shape[1] > above:
            w = w.value
        return inner(x, w, b, **given)

    def probe(backend: Backend) -> Any:
        a = np.arange(1.0, 1 + 2 * (above + 1) * 4).reshape(2, above + 1, 4)
        g = np.arange(1.0, 13).reshape(2, 2, 3)
        return backend.vjp(lambda p: backend.conv1d(p, p, None, padding=(1, 1)), (a,), g)

    return probe


@mutant
def vmap_swaps_axes(m: Backend, rng: Rng) -> Witness:
    """Vmap over axis 2 swaps it with axis 0 instead of moving it: seen where two extents agree (kind: swapaxes)."""

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Sequence[Any], axes: Sequence[Any], i: int) -> list[Any]:
        parts = inner(operands, axes, i)
        for place, (axis, part) in enumerate(zip(axes, parts, strict=True)):
            if axis == 2 and len(part.shape) == 3 and part.shape[0] == part.shape[1] > 1:
                parts[place] = tape.linear(_swap, _swap, part)
        return parts

    channels = draw(rng, 2, 4)
    return Call(c_in=channels, c_out=channels, ask="vmap:-2")


def _swap(v: Array) -> Array:
    return np.ascontiguousarray(v.swapaxes(0, 1))


@mutant
def eval_shape_divides_like_c(m: Backend, rng: Rng) -> Witness:
    """Without data, an input less than s samples too short gets L_out = 1 (kind: the shape rule divides like C)."""
    abstract: list[bool] = []

    @m.around("eval_shape")
    def eval_shape(inner: Callable[..., Any], f: Callable[..., Any], operands: Sequence[Array]) -> Any:
        abstract.append(True)
        try:
            return inner(f, operands)
        finally:
            abstract.pop()

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        return 1 if abstract and -stride < slack < 0 else inner(*sizes)

    kernel = draw(rng, 4, 8)

    def probe(backend: Backend) -> Any:
        operands = np.zeros((1, 1, kernel - 1)), np.zeros((2, 1, kernel))
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, None, stride=2), operands)

    return probe


@mutant
def cotangent_checked_by_size(m: Backend, rng: Rng) -> Witness:
    """A cotangent of shape (N, L_out, O) is taken and reshaped to (N, O, L_out) (kind: numel checked, not shape)."""

    @m.around("check_cotangent")
    def check(inner: Callable[..., Any], cotangent: Traced, out: Traced) -> Traced:
        shape = tuple(out.shape)
        if isinstance(cotangent, np.ndarray) and len(shape) == 3 and cotangent.shape == (shape[0], shape[2], shape[1]):
            cotangent = cotangent.reshape(shape)
        return inner(cotangent, out)

    outputs = draw(rng, 2, 5)
    return Call(c_out=outputs, shapes={"g": (1, 6, outputs)}, ask="x")
