"""Faults of the gradients after public reports on engines other than those that are certified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call

gradients = chapter("gradients")

Kernel = Callable[[Array, Array, Plan], Array]  # grad_w of x and g, or grad_x of w and g


@gradients
def depthwise_grad_w_takes_the_last_row_for_padding(m: Backend, rng: Rng) -> Call:
    """Depthwise blocks, s > 1, hi unread: gw's last tap loses the last output (kind: uxlfoundation/oneDNN#4124)."""
    block = pick(rng, (4, 8, 12))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.depthwise and p.c_in % block == 0 and p.stride > 1 and 0 < p.hi <= p.remainder and p.l_out:
            gw[..., -1] = inner(x, changed(g, np.s_[..., -1]), p)[..., -1]
        return gw

    return Call(c_in=block, c_out=block, groups=block, length=6, stride=2, padding=(1, 1), ask="w")


@gradients
def grad_x_miscounts_the_taps_of_a_phase(m: Backend, rng: Rng) -> Call:
    """A phase of gx beyond K / ceil(K/s) sums K mod ceil(K/s) taps in place of its own (kind: ROCm/MIOpen#575)."""

    def lost(p: Plan) -> list[int]:
        most = -(-p.kernel // p.stride)
        counts = [most if (phase + 1) * most <= p.kernel else p.kernel % most for phase in range(p.kernel)]
        return [k for k in range(p.kernel) if k // p.stride >= counts[k % p.stride]]

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(changed(w, np.s_[..., lost(p)]) if p.stride > 2 and p.dilation == 1 else w, g, p)

    return Call(length=14, kernel=pick(rng, (4, 7)), stride=3, ask="x")


@gradients
def grouped_pointwise_grad_w_swaps_pairs(m: Backend, rng: Rng) -> Call:
    """Groups, K = s = 1, no padding, C/g even: gw of a pair of channels swap (kind: ROCm/composable_kernel#2478)."""

    def pairwise(p: Plan) -> bool:
        return p.groups > 1 and p.kernel == p.stride == 1 and p.lo == p.hi == 0 and p.fan_in % 2 == 0

    def swap(gw: Array, p: Plan) -> None:
        gw[:] = gw.reshape(p.c_out, -1, 2)[:, :, ::-1].reshape(gw.shape)

    m.edit("grad_w", pairwise, swap)
    groups = draw(rng, 2, 4)
    return Call(c_in=2 * groups, c_out=groups, groups=groups, kernel=1, length=5, ask="w")


@gradients
def strided_pointwise_grad_x_fills_its_gaps(m: Backend, rng: Rng) -> Call:
    """K = 1, s = 2: a sample between two windows keeps the gradient before it (kind: ROCm/composable_kernel#105)."""
    m.edit(
        "grad_x",
        lambda p: p.kernel == 1 and p.stride == 2 and p.l_out > 1,
        lambda gx, p: clear(gx, np.s_[..., 1 : p.reach : 2], gx[..., : p.reach - 1 : 2].copy()),
    )
    return Call(c_in=2, kernel=1, length=draw(rng, 5, 9), stride=2, ask="x")


@gradients
def short_row_of_a_second_block_loses_its_end(m: Backend, rng: Rng) -> Call:
    """Strided gx with L < 17: channels past the first 16 lose the last sample's gradient (kind: fujitsu/oneDNN#43)."""
    block = pick(rng, (8, 16))
    m.edit(
        "grad_x",
        lambda p: p.stride > 1 and p.groups == 1 and p.c_in > block and 0 < p.length < 17,
        lambda gx, p: clear(gx, np.s_[:, block:, p.lo + p.length - 1]),
    )
    return Call(c_in=block + 1, length=8, stride=2, padding=(1, 1), ask="x")


@gradients
def grad_w_of_a_later_thread_overwrites(m: Backend, rng: Rng) -> Call:
    """Where N exceeds one thread's share, gw loses the items of the first thread (kind: FluxML/NNlib.jl#197)."""
    share = draw(rng, 3, 6)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x[share:], g[share:], replace(p, n=p.n - share)) if p.n > share else inner(x, g, p)

    return Call(n=share + 1, c_in=3, length=7, ask="w")


@gradients
def double_backward_asks_the_wrong_operand_for_cover_all(m: Backend, rng: Rng) -> Call:
    """Derivatives of gx by w are refused where the last window leaves a remainder (kind: chainer/chainer#8624)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, *rest: Any) -> Any:
        if (slot, name) == ("x", "w") and rest[-1].remainder:
            raise ValueError("not enough values to unpack")
        return inner(slot, name, *rest)

    stride = draw(rng, 2, 4)
    return Call(length=2 * stride + 4, stride=stride, ask="x/w")


@gradients
def grouped_grad_w_keeps_the_late_taps(m: Backend, rng: Rng) -> Call:
    """Groups, remainder >= d: gw has more than K taps, of which the last K are kept (kind: tracel-ai/burn#1891)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        surplus = p.remainder // p.dilation if p.groups > 1 else 0
        return inner(x, g, replace(p, kernel=p.kernel + surplus))[..., surplus:]

    groups = draw(rng, 2, 4)
    return Call(c_in=groups, c_out=groups, groups=groups, length=4, stride=2, padding=(1, 1), ask="w")


@gradients
def grad_x_is_cropped_by_dilated_padding(m: Backend, rng: Rng) -> Call:
    """Explicit zeros on both sides, d > 1: gx is cropped from lo * d on in place of lo (kind: Theano/Theano#4874)."""

    def dilated(p: Plan) -> bool:
        return p.padding == "explicit" and p.mode == "zeros" and p.dilation > 1 and min(p.lo, p.hi) > 0

    m.lie(
        "pad_transpose",
        dilated,
        lo=lambda p: min(p.lo * p.dilation, p.lo + p.hi),
        hi=lambda p: max(p.lo + p.hi - p.lo * p.dilation, 0),
    )
    dilation = draw(rng, 2, 4)
    return Call(length=12, dilation=dilation, padding=(dilation, dilation), ask="x")


@gradients
def grad_w_of_one_output_reads_the_first_item(m: Backend, rng: Rng) -> Call:
    """Where L_out = 1, gw sums over N and pairs each item's gy with the first item's x (kind: iree-org/iree#23731)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(np.broadcast_to(x[:1], x.shape) if p.l_out == 1 and p.n > 1 else x, g, p)

    kernel = draw(rng, 3, 6)
    return Call(n=2, c_in=2, length=kernel, kernel=kernel, ask="w")
