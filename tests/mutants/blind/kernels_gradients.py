"""Faults of the kernels that engineers write, under narrow conditions: gradients and transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

gradients, transforms = chapter("gradients"), chapter("transforms")
Kernel = Callable[..., Array]

# -- gradients ----------------------------------------------------------------------------------------------------


@gradients
def output_padding_before(m: Backend, rng: Rng) -> Witness:
    """With d > 1, a remainder of s - 1 >= R (1 to 3): gx has the remainder's zeros before (kind: which side)."""
    least = draw(rng, 1, 3)

    def roll(gx: Array, p: Plan) -> None:
        gx[...] = np.roll(gx, p.remainder, axis=2)

    m.edit("grad_x", lambda p: p.dilation > 1 and p.remainder == p.stride - 1 >= least and p.l_out > 1, roll)
    stride = least + 1
    return Call(length=5 + 3 * stride + least, stride=stride, dilation=2, ask="x")


@gradients
def gw_blocks_in_bfloat16(m: Backend, rng: Rng) -> Witness:
    """float32 gw of N > B (4 to 12) items: the sum of the first B is kept in bfloat16 (kind: short accumulator)."""
    block = draw(rng, 4, 12)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.n <= block or p.dtype != "float32":
            return inner(x, g, p)
        first = inner(x, changed(g, np.s_[block:]), p).astype(bfloat16).astype(g.dtype)
        return first + inner(x, changed(g, np.s_[:block]), p)

    return Call(n=block + 1, length=40, kernel=5, dtype="float32", data=lambda r, s: r.integers(1, 10, s), ask="w")


@gradients
def gb_over_the_wrong_axes(m: Backend, rng: Rng) -> Witness:
    """N = O >= T (3 to 6): gb is the sum over channels and positions, of the right shape (kind: wrong axes)."""
    least = draw(rng, 3, 6)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g.swapaxes(0, 1) if p.n == p.c_out >= least else g, p)

    return Call(n=least, c_out=least, bias=True, ask="b")


@gradients
def gw_tail_channel_unexchanged(m: Backend, rng: Rng) -> Witness:
    """1 < s != d > 1, C/g = 1 mod 4 above 4: in gw of the last channel s and d are not exchanged (kind: a tail)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if 1 < p.stride != p.dilation > 1 and p.fan_in > 4 and p.fan_in % 4 == 1:
            gw[:, -1] = inner(x, g, replace(p, stride=p.dilation, dilation=p.stride))[:, -1]
        return gw

    return Call(c_in=5, length=30, stride=2, dilation=draw(rng, 3, 5), ask="w")


@gradients
def images_of_both_sides(m: Backend, rng: Rng) -> Witness:
    """Reflect or symmetric, C >= T (1 to 4): of images on both sides only the left gives back (kind: overwritten)."""
    least = draw(rng, 1, 4)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode in ("reflect", "symmetric") and p.c_in >= least:
            shown, end = m.sources(p), p.lo + p.length
            twice = end + np.flatnonzero(np.isin(shown[end:], shown[: p.lo]))
            g = changed(g, np.s_[..., twice])
        return inner(g, p)

    return Call(c_in=least, length=6, padding=(4, 4), mode="reflect", ask="x")


@gradients
def one_array_as_both(m: Backend, rng: Rng) -> Witness:
    """One array is x and w, K >= T (3 to 7), with a bias: its gradient is gx alone (kind: = for +=)."""
    least = draw(rng, 3, 7)

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        same = isinstance(x, tape.Tracer) and x is w and b is not None and x.shape[-1] >= least
        return inner(x, w.value if same else w, b, args)

    def probe(backend: Backend) -> Any:
        one = np.arange(1.0, 4 * least + 1).reshape(2, 2, least)
        return backend.vjp(lambda a: backend.conv1d(a, a, np.ones(2)), (one,), np.ones((2, 2, 1)))

    return probe


# -- transforms ---------------------------------------------------------------------------------------------------


@transforms
def bias_tangent_without_kernel(m: Backend, rng: Rng) -> Witness:
    """The jvp along x and b, not w, groups >= G (2 to 4): the bias's tangent is forgotten (kind: a missing rule)."""
    least = draw(rng, 2, 4)

    @m.around("biased")
    def biased(inner: Any, y: Any, b: Any, p: Plan) -> Any:
        forgotten = isinstance(b, tape.Dual) and p.wanted == {"x", "b"} and p.groups >= least
        return inner(y, b.value if forgotten else b, p)

    return Call(c_in=least, c_out=least, groups=least, bias=True, ask="jvp:xb")


@transforms
def double_backward_undilated(m: Backend, rng: Rng) -> Witness:
    """The gradient of gx by w, in reverse, forgets d > 1 where s >= S (2, 3) (kind: a parameter not passed on)."""
    least = draw(rng, 2, 3)

    @m.around("pull")
    def pull(inner: Any, slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        forgets = slot == "x" and name == "w" and p.stride >= least and p.dilation > 1
        return inner(slot, name, operands, g, replace(p, dilation=1) if forgets else p)

    return Call(length=14, stride=least, dilation=2, ask="x/w")


@transforms
def forward_over_reverse_last_group(m: Backend, rng: Rng) -> Witness:
    """The tangent of gw along gy is 0 in the last group, of G (2 to 4) or more, where lo != hi (kind: loop bound)."""
    least = draw(rng, 2, 4)

    @m.around("push")
    def push(inner: Any, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        out = inner(slot, name, operands, tangent, p)
        lost = slot == "w" and name == "g" and p.groups >= least and p.lo != p.hi and are_arrays(out)
        return changed(out, np.s_[-p.fan_out :]) if lost else out

    return Call(c_in=least, c_out=least, groups=least, padding=(0, 1), ask="w>g")


@transforms
def negative_map_axis(m: Backend, rng: Rng) -> Witness:
    """A vmap over axis -1 of rank 4 counts from the unmapped rank, where extents agree (kind: normalised late)."""

    @m.around("slices")
    def slices(inner: Any, operands: Any, axes: Any, i: int) -> Any:
        wrong = [
            2 if axis == -1 and len(a.shape) == 4 and a.shape[2] == a.shape[3] else axis
            for a, axis in zip(operands, axes, strict=True)
        ]
        return inner(operands, wrong, i)

    count = draw(rng, 3, 6)

    def probe(backend: Backend) -> Any:
        x = np.arange(float(count * count)).reshape(1, 1, count, count)
        return backend.vmap(lambda a: backend.conv1d(a, np.array([[[1.0, 10]]])), (-1,))(x)

    return probe


@transforms
def maps_folded_into_groups(m: Backend, rng: Rng) -> Witness:
    """A vmap over x and w, g > 1, B >= T (2, 3) maps: kernels are laid out group by map (kind: folding)."""
    least = draw(rng, 2, 3)

    def permuted(w: Array, axis: int, groups: int) -> Array:
        stacked = np.moveaxis(w, axis, 0)
        split = stacked.reshape(stacked.shape[0], groups, -1, *stacked.shape[2:]).swapaxes(0, 1)
        return np.moveaxis(split.reshape(stacked.shape), 0, axis)

    @m.around("vmap")
    def vmap(inner: Any, f: Any, in_axes: Any = 0) -> Any:
        def mapped(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            x, w, *rest = (*operands, None, None)[: max(2, len(operands))]
            if are_arrays(x, w) and x.ndim == w.ndim == 4 and None not in axes[:2]:
                one_x, one_w = np.moveaxis(x, axes[0], 0).shape, np.moveaxis(w, axes[1], 0).shape
                groups = one_x[2] // max(one_w[2], 1)
                if groups > 1 and one_x[0] >= least and one_w[1] % groups == 0:
                    operands = (x, permuted(w, axes[1], groups), *rest)
            return inner(f, in_axes)(*operands)

        return mapped

    return Call(c_in=2, c_out=4, groups=2, ask="vmap:00")


@transforms
def compiled_pointwise_folded(m: Backend, rng: Rng) -> Witness:
    """A compiled function keeps the values of its first K = 1 kernel of O >= T (2 to 8) (kind: constant folding)."""
    least = draw(rng, 2, 8)

    @m.around("compile")
    def compiled(inner: Any, f: Any) -> Any:
        folded: dict[Any, Array] = {}

        def g(*operands: Any) -> Any:
            later = [
                folded.setdefault((a.shape, str(a.dtype)), a.copy())
                if i == 1 and are_arrays(a) and a.ndim == 3 and a.shape[2] == 1 and a.shape[0] >= least
                else a
                for i, a in enumerate(operands)
            ]
            return inner(f)(*later)

        return g

    def probe(backend: Backend) -> Any:
        fn, x, w = backend.compile(lambda a, b: backend.conv1d(a, b)), np.ones((1, 1, 5)), np.ones((least, 1, 1))
        return fn(x, w), fn(x, 2 * w)

    return probe


@transforms
def compiled_in_buckets(m: Backend, rng: Rng) -> Witness:
    """Compiled, lengths by buckets of B (16, 32, 64): samples beyond the first length read as 0 (kind: buckets)."""
    bucket = pick(rng, (16, 32, 64))

    @m.around("compile")
    def compiled(inner: Any, f: Any) -> Any:
        traced: dict[Any, int] = {}

        def g(*operands: Any) -> Any:
            x, *rest = operands
            if are_arrays(x) and x.ndim == 3:
                first = traced.setdefault((x.shape[:2], -(-x.shape[2] // bucket), str(x.dtype)), x.shape[2])
                x = changed(x, np.s_[..., first:])
            return inner(f)(x, *rest)

        return g

    def probe(backend: Backend) -> Any:
        fn, w = backend.compile(lambda a, b: backend.conv1d(a, b)), np.ones((1, 1, 3))
        return [fn(np.ones((1, 1, bucket - by)), w) for by in (3, 1)]

    return probe
