"""Faults of the gradients of kernel and bias, of subsets of the gradients, their shapes and dtypes (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def gw_of_last_item_only(m: Backend, rng: Rng) -> Witness:
    """Where N > T (1 to 16), gw is that of the last item (dmarcosg/DSAC#6)."""
    most = draw(rng, 1, 16)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x[-1:], g[-1:], replace(p, n=1)) if p.n > most else inner(x, g, p)

    return Call(n=most + 1, ask="w")


@mutant
def gw_loses_odd_item(m: Backend, rng: Rng) -> Witness:
    """With an odd N above T (2 to 32), gw lacks the last item (kind: unrolled batch)."""
    least = draw(rng, 2, 32)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x[:-1], g[:-1], replace(p, n=p.n - 1)) if p.n > least and p.n % 2 else inner(x, g, p)

    return Call(n=least + 1 + least % 2, ask="w")


@mutant
def gw_of_large_batches(m: Backend, rng: Rng) -> Witness:
    """Where N >= T (16 to 100), gw is 0 (pytorch/pytorch#96225: minibatches of 2^16 on MPS)."""
    least = draw(rng, 16, 100)
    m.edit("grad_w", lambda p: p.n >= least, lambda gw, p: clear(gw, np.s_[...]))
    return Call(n=least, ask="w")


@mutant
def gw_averaged(m: Backend, rng: Rng) -> Witness:
    """With a stride, gw is the mean over the batch instead of the sum (sebgao/cTensor#3)."""
    m.edit("grad_w", lambda p: p.n > 1 and p.stride > 1, lambda gw, p: clear(gw, np.s_[...], gw / gw.dtype.type(p.n)))
    return Call(n=draw(rng, 2, 4), stride=2, ask="w")


@mutant
def gw_ignores_stride_when_dilated(m: Backend, rng: Rng) -> Witness:
    """With stride and dilation, gw reads as with stride 1 (pytorch/pytorch#15501, kind)."""
    m.lie("grad_w", lambda p: p.stride > 1 and p.dilation > 1, stride=1)
    return Call(length=12, stride=2, dilation=draw(rng, 2, 3), ask="w")


@mutant
def gw_swaps_stride_and_dilation(m: Backend, rng: Rng) -> Witness:
    """Where s != d and L_out > 1, gw takes them for each other (huggingface/candle#1214, kind)."""
    m.lie("grad_w", lambda p: p.l_out > 1, stride=lambda p: p.dilation, dilation=lambda p: p.stride)
    return Call(length=12, stride=draw(rng, 2, 3), ask="w")


@mutant
def gw_taps_from_the_remainder(m: Backend, rng: Rng) -> Witness:
    """With a remainder, gw has one tap more (meta-pytorch/opacus#245)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, g, replace(p, kernel=p.kernel + 1) if p.remainder and p.dilation == 1 else p)

    return Call(length=2 * draw(rng, 3, 6), stride=2, ask="w")


@mutant
def gw_groups_permuted(m: Backend, rng: Rng) -> Witness:
    """With groups, gw comes in reverse order of groups (pytorch/pytorch#51430, kind)."""

    def reverse(gw: Array, p: Plan) -> None:
        gw[...] = gw.reshape(p.groups, p.fan_out, p.fan_in, p.kernel)[::-1].reshape(gw.shape).copy()

    m.edit("grad_w", lambda p: p.groups > 1 and not p.depthwise, reverse)
    return Call(c_in=4, c_out=2, groups=2, ask="w")


@mutant
def gw_dense_shape_with_groups(m: Backend, rng: Rng) -> Witness:
    """With groups and a stride, gw has the shape (O, C, K) (ml-explore/mlx#2184)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        return np.tile(gw, (1, p.groups, 1)) if p.groups > 1 and p.stride > 1 else gw

    return Call(c_in=4, c_out=2, groups=2, stride=draw(rng, 2, 3), ask="w")


@mutant
def gw_depthwise_strided(m: Backend, rng: Rng) -> Witness:
    """Depthwise with a stride, gw of the channels after the first is the first's (tracel-ai/burn#1891, kind)."""
    m.edit(
        "grad_w",
        lambda p: p.depthwise and p.stride > 1,
        lambda gw, p: clear(gw, np.s_[...], gw[: p.fan_out].mean(axis=0)),
    )
    return Call(c_in=3, c_out=3, groups=3, stride=draw(rng, 2, 3), ask="w")


@mutant
def gw_drops_last_chunk(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (16 to 600), gw lacks the positions past the last whole chunk of T (kind: split-K)."""
    chunk = draw(rng, 16, 600)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        kept = p.l_out // chunk * chunk if p.l_out > chunk else p.l_out
        return inner(x, g * (np.arange(p.l_out) < kept).astype(g.dtype), p)

    return Call(length=chunk + 5, ask="w")


@mutant
def gw_counts_edge_twice(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (16 to 600) and N > 1, gw counts position T twice (kind: overlapping chunks)."""
    chunk = draw(rng, 16, 600)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, g * (1 + (np.arange(p.l_out) == chunk) * (p.n > 1)).astype(g.dtype), p)

    return Call(n=2, length=chunk + 5, ask="w")


@mutant
def gw_transposed_when_square(m: Backend, rng: Rng) -> Witness:
    """Where O = C/g > 1, gw has its first two axes swapped (nntrainer/nntrainer#705)."""
    m.edit("grad_w", lambda p: p.c_out == p.fan_in, lambda gw, p: clear(gw, np.s_[...], gw.swapaxes(0, 1).copy()))
    size = draw(rng, 2, 5)
    return Call(c_in=size, c_out=size, ask="w")


@mutant
def gw_reversed_when_padded(m: Backend, rng: Rng) -> Witness:
    """With padding and an even kernel, the taps of gw are reversed (kind: flip)."""
    m.edit(
        "grad_w",
        lambda p: p.kernel % 2 == 0 and p.lo + p.hi > 0,
        lambda gw, p: clear(gw, np.s_[...], gw[..., ::-1].copy()),
    )
    return Call(kernel=2 * draw(rng, 1, 3), padding=(1, 1), ask="w")


@mutant
def gw_misses_the_fill(m: Backend, rng: Rng) -> Witness:
    """In mode constant, gw is that of zeros at the padded positions (kind: the value is known forwards only)."""
    _blind_gw(m, lambda p: p.mode == "constant")
    return Call(mode="constant", fill=draw(rng, 1, 5), padding=(1, 1), ask="w")


@mutant
def gw_misses_copied_samples(m: Backend, rng: Rng) -> Witness:
    """In a mode that copies samples with a stride, gw does not see the copies (kind: gw made of the input)."""
    _blind_gw(m, lambda p: p.mode in ("reflect", "symmetric", "replicate", "circular") and p.stride > 1)
    return Call(mode="replicate", stride=2, length=9, padding=(draw(rng, 2, 4), 1), ask="w")


def _blind_gw(m: Backend, when: Callable[[Plan], bool]) -> None:
    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        inside = np.arange(p.padded) - p.lo
        seen = ((inside >= 0) & (inside < p.length)).astype(x.dtype)
        return inner(x * seen if when(p) else x, g, p)


@mutant
def gw_squeezed_when_pointwise(m: Backend, rng: Rng) -> Witness:
    """With K = 1, gw has the shape (O, C/g) (kind: squeezed axis)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        return gw[:, :, 0] if p.kernel == 1 and p.c_in > 1 else gw

    return Call(c_in=draw(rng, 2, 3), kernel=1, ask="w")


@mutant
def gw_averaged_over_filters(m: Backend, rng: Rng) -> Witness:
    """With one channel and no more than T filters (2 to 6), each gets the mean of their gw (kind: broadcast)."""
    most = draw(rng, 2, 6)

    def average(gw: Array, p: Plan) -> None:
        gw[...] = gw.mean(axis=0, keepdims=True)

    m.edit("grad_w", lambda p: p.c_in == 1 and 1 < p.c_out <= most, average)
    return Call(c_out=most, ask="w")


@mutant
def gb_averaged(m: Backend, rng: Rng) -> Witness:
    """The gb is the mean over the batch instead of the sum, where N > T (1 to 8) (kind: averaged)."""
    most = draw(rng, 1, 8)
    m.edit("grad_b", lambda p: p.n > most, lambda gb, p: clear(gb, np.s_[...], gb / gb.dtype.type(p.n)))
    return Call(n=most + 1, bias=True, ask="b")


@mutant
def gb_missing_when_alone(m: Backend, rng: Rng) -> Witness:
    """The gb is 0 when asked for without gx and gw (kind: an output mask)."""
    m.edit("grad_b", lambda p: p.wanted == {"b"}, lambda gb, p: clear(gb, np.s_[...]))
    return Call(c_out=draw(rng, 1, 4), bias=True, ask="b")


@mutant
def gb_of_first_items(m: Backend, rng: Rng) -> Witness:
    """The gb sums only the first T (1 to 64) items (kind: a grid over the batch)."""
    most = draw(rng, 1, 64)
    m.around("grad_b")(lambda inner, g, p: inner(g[:most], p))
    return Call(n=most + 1, bias=True, ask="b")


@mutant
def gb_on_wrong_axis(m: Backend, rng: Rng) -> Witness:
    """Where O = L_out > 1, gb is the sum over channels (kind: axes told by their extents)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g.swapaxes(1, 2) if p.c_out == p.l_out else g, p)

    size = draw(rng, 2, 6)
    return Call(c_out=size, length=size + 2, bias=True, ask="b")


@mutant
def gb_once_a_group(m: Backend, rng: Rng) -> Witness:
    """With groups, gb is g times too large (kind: a loop over groups)."""
    m.edit("grad_b", lambda p: p.groups > 1, lambda gb, p: clear(gb, np.s_[...], gb * gb.dtype.type(p.groups)))
    return Call(c_in=4, c_out=4, groups=draw(rng, 1, 2) * 2, bias=True, ask="b")


@mutant
def gb_misses_the_tail(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (32 to 600), gb lacks the last L_out % 4 positions (kind: SIMD tail)."""
    least = draw(rng, 32, 600)
    m.around("grad_b")(lambda inner, g, p: inner(g[..., : p.l_out // 4 * 4] if p.l_out > least else g, p))
    return Call(length=least // 4 * 4 + 9, bias=True, ask="b")


@mutant
def gb_in_double(m: Backend, rng: Rng) -> Witness:
    """The gb of float32 operands is float64 if there is more than one channel (kind: dtype of a sum)."""
    m.around("grad_b")(
        lambda inner, g, p: inner(g.astype(np.float64) if p.c_out > 1 and p.dtype == "float32" else g, p)
    )
    return Call(c_out=draw(rng, 2, 4), dtype="float32", bias=True, ask="b")


@mutant
def gw_of_halves_in_single(m: Backend, rng: Rng) -> Witness:
    """The gw of float16 operands is float32 (kind: the accumulator's dtype)."""
    m.around("grad_w")(lambda inner, x, g, p: inner(*map(widen, (x, g)), p) if p.dtype == "float16" else inner(x, g, p))
    return Call(c_in=draw(rng, 1, 3), dtype="float16", ask="w")
