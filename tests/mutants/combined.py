"""Faults that show only where two or three things meet: a size and a parameter, a dtype and a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness, after

operator, padding, gradients = chapter("operator"), chapter("padding"), chapter("gradients")
numerics, state = chapter("numerics"), chapter("state")
Kernel = Callable[..., Array]


@operator
def blocked_product_lacks_corner(m: Backend, rng: Rng) -> Witness:
    """Where C/g and O/g are both above T (32 to 64), the last channel's last output is 0 (kind: corner of a tile)."""
    most = draw(rng, 32, 64)
    m.edit("forward", lambda p: min(p.fan_in, p.fan_out) > most, lambda y, p: clear(y, np.s_[:, -1, -1]))
    return Call(c_in=most + 1, c_out=most + 1)


@operator
def batch_and_channels_interleaved(m: Backend, rng: Rng) -> Witness:
    """Where N > T (2 to 4) and O > T, items 0 and 1 exchange their last channel (kind: index n*O + o)."""
    most = draw(rng, 2, 4)

    def exchange(y: Array, p: Plan) -> None:
        y[[0, 1], -1] = y[[1, 0], -1]

    m.edit("forward", lambda p: p.n > most and p.c_out > most, exchange)
    return Call(n=most + 1, c_out=most + 1)


@operator
def grouped_dilated_even_kernel(m: Backend, rng: Rng) -> Witness:
    """With groups and dilation, an even kernel's middle taps are exchanged (kind: a path for odd kernels)."""
    least = pick(rng, [2, 4])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups > 1 and p.dilation > 1 and p.kernel % 2 == 0 and p.kernel >= least:
            order = np.arange(p.kernel)
            order[[p.kernel // 2 - 1, p.kernel // 2]] = order[[p.kernel // 2, p.kernel // 2 - 1]]
            w = w[..., order]
        return inner(x, w, p)

    return Call(c_in=2, c_out=2, groups=2, kernel=4, dilation=2, length=12)


@operator
def bias_of_wide_pointwise(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and O > T (16 to 32), channels from 16 on get the bias of 16 less (kind: a vector register)."""
    most = draw(rng, 16, 32)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if p.kernel == 1 and p.c_out > most:
            b = np.concatenate([b[:16], b[: p.c_out - 16]])
        return inner(b, p)

    return Call(c_out=most + 1, kernel=1, bias=True)


@operator
def outputs_of_exact_tiles_lost(m: Backend, rng: Rng) -> Witness:
    """Where L_out is a multiple of T (32 or 64) and s > 1, the last output is 0 (kind: tile count rounded down)."""
    tile = pick(rng, [32, 64])
    m.edit("forward", lambda p: p.stride > 1 and p.l_out % tile == 0, lambda y, p: clear(y, np.s_[..., -1]))
    return Call(length=2 * (tile - 1) + 3, kernel=3, stride=2)


@padding
def same_lower_with_stride_is_same(m: Backend, rng: Rng) -> Witness:
    """Padding "same_lower" under stride s > T (1 to 3) pads as "same" (kind: a branch forgotten)."""
    most = draw(rng, 1, 3)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = inner(p)
        moved = p.padding == "same_lower" and p.stride > most and p.lo > p.hi
        return np.concatenate([shown[1:], [-1]]) if moved else shown

    return Call(length=9, kernel=4, stride=most + 1, padding="same_lower")


@padding
def causal_dilation_saturates(m: Backend, rng: Rng) -> Witness:
    """Padding "causal" with a dilation above T (2 to 6) is zero-filled one sample less far (kind: clipped)."""
    most = draw(rng, 2, 6)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        return np.roll(padded, -1, axis=2) if p.padding == "causal" and p.dilation > most and p.lo else padded

    return Call(length=20, kernel=2, dilation=most + 1, padding="causal")


@padding
def explicit_swapped_depthwise(m: Backend, rng: Rng) -> Witness:
    """Depthwise with lo > hi > 0, the sides are exchanged (kind: a path of its own)."""
    least = draw(rng, 1, 2)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        return np.roll(padded, p.hi - p.lo, axis=2) if p.depthwise and p.lo > p.hi >= least else padded

    return Call(c_in=2, c_out=2, groups=2, padding=(least + 2, least))


@gradients
def gw_dilated_groups(m: Backend, rng: Rng) -> Witness:
    """In gw with groups and dilation, the last tap is 0 where K > T (1 to 3) (kind: last of a loop)."""
    most = draw(rng, 1, 3)
    m.edit(
        "grad_w", lambda p: p.groups > 1 and p.dilation > 1 and p.kernel > most, lambda gw, p: clear(gw, np.s_[..., -1])
    )
    return Call(c_in=2, c_out=2, groups=2, kernel=most + 1, dilation=2, length=14, ask="w")


@gradients
def gx_of_many_items_in_groups(m: Backend, rng: Rng) -> Witness:
    """In gx with groups, items from T on (4 to 8) are the first one (kind: batch index of a group)."""
    most = draw(rng, 4, 8)
    m.edit("grad_x", lambda p: p.groups > 1 and p.n > most, lambda gx, p: clear(gx, np.s_[most:], gx[:1]))
    return Call(n=most + 1, c_in=2, c_out=2, groups=2, ask="x")


@gradients
def gw_of_single_outputs_scaled(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1 and N > T (1 to 3), gw is averaged over the items (kind: mean for sum)."""
    most = draw(rng, 1, 3)

    def average(gw: Array, p: Plan) -> None:
        gw[...] = gw / gw.dtype.type(p.n)

    m.edit("grad_w", lambda p: p.l_out == 1 and p.n > most, average)
    return Call(n=most + 1, length=3, ask="w")


@gradients
def gb_of_halves_beyond_batch(m: Backend, rng: Rng) -> Witness:
    """The gb of bfloat16 forgets the last item where N > T (1 to 4) (kind: pairs of items)."""
    most = draw(rng, 1, 4)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g[: p.n // 2 * 2] if p.dtype == "bfloat16" and p.n > most else g, p)

    return Call(n=most // 2 * 2 + 3, dtype="bfloat16", bias=True, ask="b")


@gradients
def gx_unread_tail_garbage(m: Backend, rng: Rng) -> Witness:
    """Samples after the last window get the gx of the one before where s > T (1 to 3) (kind: tail not cleared)."""
    most = draw(rng, 1, 3)

    def smear(gx: Array, p: Plan) -> None:
        if p.remainder > 0:
            gx[..., -1] = gx[..., -p.remainder - 1]

    m.edit("grad_x", lambda p: p.stride > most and p.l_out > 0 and p.hi == p.lo == 0, smear)
    return Call(length=2 * (most + 1) + 4, kernel=3, stride=most + 1, ask="x")


@numerics
def gw_of_float64_in_single_when_long(m: Backend, rng: Rng) -> Witness:
    """The gw of float64 is summed in float32 where N*L_out > T (100 to 400) (kind: atomics of 32 bits)."""
    most = draw(rng, 100, 400)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float64" or p.n * p.l_out <= most:
            return inner(x, g, p)
        return inner(x.astype(np.float32), g.astype(np.float32), p).astype(np.float64)

    return Call(length=most + 9, dtype="float64", data=normal, ask="w")


@state
def gw_added_to_the_last(m: Backend, rng: Rng) -> Witness:
    """The gw of a shape with K > T (1 to 4) is added to that of the call before (kind: gradients not set to zero)."""
    most = draw(rng, 1, 4)
    kept: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.kernel > most:
            gw = gw + kept.get(p, gw.dtype.type(0))
            kept[p] = gw
        return gw

    call = Call(kernel=most + 1, ask="w")
    return after(call, call)
