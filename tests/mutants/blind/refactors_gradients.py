"""Faults of rewritten gradients: decompositions, lazy zeros, thread ranges, reductions (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def gw_narrowed_at_wrong_end(m: Backend, rng: Rng) -> Witness:
    """The gw, a convolution of stride d > 1, is longer than K if the remainder >= d: the last K stay (kind: narrow)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        extra = p.remainder // p.dilation if p.l_out > 1 and p.stride > 1 and p.dilation > 1 else 0
        return inner(x[:, :, extra * p.dilation :], g, p)

    stride = draw(rng, 4, 7)
    return Call(length=3 + 2 * stride + 2, kernel=2, stride=stride, dilation=2, ask="w")


@mutant
def gx_zeroed_in_whole_blocks(m: Backend, rng: Rng) -> Witness:
    """The gx is zeroed in blocks of V: unread samples in the last size mod V elements are stale (kind: lazy zeros)."""
    width, stale = pick(rng, (16, 32, 64)), draw(rng, 1, 9)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.l_out and p.lo == p.hi == 0 and gx.size > width:
            unread = np.ones(p.padded, bool)
            for k in range(p.kernel):
                unread[k * p.dilation : k * p.dilation + p.reach : p.step] = False
            late = np.arange(gx.size).reshape(gx.shape) >= gx.size // width * width
            gx[late & unread] = stale
        return gx

    return Call(n=3, c_in=5, length=2 * width + 8, kernel=2, stride=7, ask="x")


@mutant
def gx_thread_range_crosses_groups(m: Backend, rng: Rng) -> Witness:
    """Large gx: a thread's channels all get the group of its first one (kind: thread partition)."""
    grain, threads = pick(rng, (2**13, 2**14)), pick(rng, (4, 8))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.groups > 1 and gx.size >= grain and not p.depthwise:
            chunk = -(-p.c_in // threads)
            channel = np.arange(p.c_in)
            first = channel // chunk * chunk
            gx = gx[:, first // p.fan_in * p.fan_in + channel % p.fan_in]
        return gx

    return Call(c_in=22, c_out=2, groups=2, length=grain // 22 + 1, ask="xw")


@mutant
def reflect_images_overwrite(m: Backend, rng: Rng) -> Witness:
    """Mode reflect, lo + hi >= L - 1: where images of both sides meet, the left one is overwritten (kind: = for +=)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == "reflect":
            both = np.arange(max(1, p.length - 1 - p.hi), min(p.lo, p.length - 2) + 1)
            g = changed(g, (np.s_[:], np.s_[:], p.lo - both)) if both.size else g
        return inner(g, p)

    length = draw(rng, 4, 8)
    return Call(length=length, padding=(length - 2, 2), mode="reflect", ask="x")


@mutant
def gb_tree_drops_leftover(m: Backend, rng: Rng) -> Witness:
    """The gb adds items in pairs; an odd one out is kept in the first round only (kind: tree reduction)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.n < 6:
            return inner(g, p)
        rows = widen(g).sum(axis=2, dtype=widen(g).dtype)
        if len(rows) % 2:
            rows = np.concatenate([rows[:1] + rows[-1:], rows[1:-1]])
        while len(rows) > 1:
            half = len(rows) // 2
            rows = rows[:half] + rows[half : 2 * half]
        return rows[0].astype(g.dtype)

    return Call(n=pick(rng, (6, 7, 12, 14)), c_out=2, bias=True, ask="b")


@mutant
def second_derivative_block_transposed(m: Backend, rng: Rng) -> Witness:
    """Derivative of gx in w with groups, C/g = O/g > 1: each group's block is transposed (kind: double backward)."""

    @m.around("pull")
    def pull(
        inner: Callable[..., Traced], slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan
    ) -> Traced:
        result = inner(slot, name, operands, g, p)
        if (slot, name) != ("x", "w") or p.groups == 1 or p.fan_in != p.fan_out:
            return result

        def swap(a: Array) -> Array:
            blocks = a.reshape(p.groups, p.fan_out, p.fan_in, p.kernel)
            return np.ascontiguousarray(blocks.swapaxes(1, 2)).reshape(a.shape)

        return tape.linear(swap, swap, result)

    fan = draw(rng, 2, 3)
    return Call(c_in=2 * fan, c_out=2 * fan, groups=2, ask="x/w")


@mutant
def jvp_halves_joined_across_groups(m: Backend, rng: Rng) -> Witness:
    """A jvp in x and w with groups: x and dx are joined along all channels, not within groups (kind: fused jvp)."""
    waiting: list[Array] = []

    @m.around("push")
    def push(
        inner: Callable[..., Traced], slot: str, name: str, operands: Mapping[str, Traced], tangent: Traced, p: Plan
    ) -> Traced:
        joint = slot == "g" and p.groups > 1 and {"x", "w"} <= p.wanted
        if not joint or not are_arrays(tangent, *operands.values()):
            return inner(slot, name, operands, tangent, p)
        if name == "x":
            waiting[:] = [tangent]
        elif not waiting or waiting[0].shape != operands["x"].shape:
            return inner(slot, name, operands, tangent, p)
        both = np.concatenate([operands["x"], waiting[0]], axis=1)
        group, channel = np.divmod(np.arange(p.c_in), p.fan_in)
        seen = both[:, group * 2 * p.fan_in + (p.fan_in if name == "x" else 0) + channel]
        if name == "x":
            return inner(slot, name, operands, seen, p)
        waiting.clear()
        return inner(slot, name, {**operands, "x": seen}, tangent, p)

    return Call(c_in=4, c_out=2, groups=2, length=draw(rng, 6, 9), kernel=3, ask="jvp:xw")
