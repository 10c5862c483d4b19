"""Faults of hand-written vjps: masks, fused reductions, transposes, exchanged axes (chapters GRAD, ERR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, changed, within
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

gradients = chapter("gradients")
Kernel = Callable[..., Array]


@gradients
def gb_by_a_padded_channel_of_ones(m: Backend, rng: Rng) -> Witness:
    """Zeros, w and b alone: gb is gw of padded ones, so windows centred on padding lack (kind: fused gb)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.wanted == {"w", "b"} and p.mode == "zeros":
            middle = np.arange(p.l_out) * p.step + p.kernel // 2 * p.dilation
            g = np.where((middle >= p.lo) & (middle < p.lo + p.length), g, g.dtype.type(0))
        return inner(g, p)

    return Call(c_out=2, kernel=2 * draw(rng, 1, 3) + 1, padding="causal", dilation=2, bias=True, ask="wb")


@gradients
def gx_cropped_by_minus_nothing(m: Backend, rng: Rng) -> Witness:
    """Zeros, hi > 0 equals the remainder: gx is cropped by [lo:-0], so nothing of it is written (kind: empty slice)."""
    m.edit("pad_transpose", lambda p: p.mode == "zeros" and 0 < p.hi == p.remainder, lambda gx, p: clear(gx, ...))
    stride = draw(rng, 3, 7)
    length = 2 + stride * draw(rng, 1, 4)
    return Call(length=length, stride=stride, padding=(1, draw(rng, 1, stride - 1)), ask="x")


@gradients
def gw_of_an_empty_input_misses_the_fill(m: Backend, rng: Rng) -> Witness:
    """Mode constant, L = 0: gw is zeros as for an empty sum, but windows see the fill (kind: early exit)."""
    m.edit("grad_w", lambda p: p.length == 0, lambda gw, p: clear(gw, ...))
    return Call(length=0, padding=(2, draw(rng, 1, 4)), mode="constant", fill=draw(rng, 2, 9), ask="w")


@gradients
def depthwise_backward_counts_the_halo_in_gw(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s = 1, x and w jointly: gw takes in the halo of gy's tiles that gx needs (kind: fused backward)."""
    tile = pick(rng, (64, 128, 256))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.depthwise and p.stride == 1 and p.wanted >= {"x", "w"} and p.l_out > tile:
            at = np.arange(p.l_out)
            halo = (at % tile >= tile - p.span + 1) & (at < (p.l_out - 1) // tile * tile)
            gw = gw + inner(x, np.where(halo, g, g.dtype.type(0)), p)
        return gw

    return Call(c_in=2, c_out=2, groups=2, length=2 * tile + draw(rng, 1, tile), ask="xw")


@gradients
def images_behind_left_out_for_a_remainder(m: Backend, rng: Rng) -> Witness:
    """Copying modes, remainder > 0 but below hi: all behind is taken as unread, not folded (kind: shortcut)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode in COPYING and 0 < p.remainder < p.hi:
            g = changed(g, np.s_[..., p.lo + p.length :])
        return inner(g, p)

    mode = COPYING[draw(rng, 0, 3)]
    return Call(length=8, stride=2, padding=(2, 2), mode=mode, ask="x")


@gradients
def taps_behind_the_input_divided_like_c(m: Backend, rng: Rng) -> Witness:
    """Zeros: a tap less than s behind the last sample has -1/s = 0 as its last window (kind: gw by taps)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        for k in range(p.kernel if p.l_out and p.length and p.mode == "zeros" else 0):
            beyond = k * p.dilation - (p.lo + p.length)
            if 0 <= beyond < min(p.stride - 1, p.length):
                column = widen(x)[..., p.lo + beyond].reshape(-1)
                read = np.roll(column, -1).reshape(p.n, p.groups, p.fan_in)
                first = widen(g)[..., 0].reshape(p.n, p.groups, p.fan_out)
                more = np.einsum("ngo,ngc->goc", first, read).reshape(p.c_out, p.fan_in)
                gw[..., k] = (widen(gw)[..., k] + more).astype(gw.dtype)
        return gw

    return Call(n=2, c_in=2, length=4, kernel=6, stride=draw(rng, 3, 5), padding=(0, draw(rng, 2, 6)), ask="w")


@gradients
def gw_as_groups_of_items_and_channels(m: Backend, rng: Rng) -> Witness:
    """Depthwise: gw is a convolution of N * C groups; those beyond 2^10 to 2^12 are lost (kind: exchanged axes)."""
    most = 2 ** pick(rng, (10, 11, 12))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.depthwise and p.n * p.c_in > most:
            kept = (np.arange(p.n * p.c_in) < most).reshape(p.n, p.c_in)
            g = np.where(kept.repeat(p.fan_out, axis=1)[..., None], g, g.dtype.type(0))
        return inner(x, g, p)

    channels = 2 ** draw(rng, 4, 7)
    return Call(n=most // channels + 1, c_in=channels, c_out=channels, groups=channels, length=5, ask="w")


@gradients
def empty_results_take_any_cotangent(m: Backend, rng: Rng) -> Witness:
    """The vjp of an empty y returns zeros before it looks at the cotangent's shape (kind: early exit)."""
    inside = within(m, "vjp")

    @m.around("check_cotangent")
    def check_cotangent(inner: Callable[..., Traced], cotangent: Traced, out: Traced) -> Any:
        if inside and 0 in out.shape and cotangent.dtype == out.dtype:
            return np.zeros(out.shape, out.dtype)
        return inner(cotangent, out)

    return Call(n=0, c_out=2, ask="xw", shapes={"g": (draw(rng, 1, 3), 2, 6)})
