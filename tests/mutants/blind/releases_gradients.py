"""Faults of fast paths that a release might add: gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after

gradients = chapter("gradients")
Kernel = Callable[..., Array]


@gradients
def gw_depthwise_batch_tail(m: Backend, rng: Rng) -> Witness:
    """Depthwise gw, N = 1 mod 4 above T (4, 8): the last item is left out (kind: batch unrolled by four)."""
    least = pick(rng, [4, 8])

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, changed(g, -1) if p.depthwise and p.n > least and p.n % 4 == 1 else g, p)

    return Call(n=least + 1, c_in=2, c_out=2, groups=2, ask="w")


@gradients
def gx_empty_phases(m: Backend, rng: Rng) -> Witness:
    """Where s and d share a factor, g > 1: gx of samples no tap reads repeats others' (kind: polyphase)."""

    def smear(gx: Array, p: Plan) -> None:
        common = math.gcd(p.stride, p.dilation)
        for phase in range(1, common):
            cut = gx[:, :, phase::common]
            cut[...] = gx[:, :, ::common][:, :, : cut.shape[2]]

    m.edit("grad_x", lambda p: p.groups > 1 and math.gcd(p.step, p.dilation) > 1 and p.kernel > 1, smear)
    step = draw(rng, 2, 3)
    return Call(c_in=2, c_out=2, groups=2, length=20, stride=step, dilation=step, ask="x")


@gradients
def gb_partials(m: Backend, rng: Rng) -> Witness:
    """The gb of N*L_out > T (1024 to 4096), O no multiple of 4: the last partial sum is lost (kind: two passes)."""
    block = 1 << draw(rng, 10, 12)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        count = p.n * p.l_out
        if count > block and p.c_out % 4:
            flat = widen(g.swapaxes(0, 1).reshape(p.c_out, count))
            return np.asarray(flat[:, : count // block * block].sum(axis=1, dtype=flat.dtype)).astype(g.dtype)
        return inner(g, p)

    return Call(n=2, c_out=2, length=block // 2 + 8, bias=True, ask="b")


@gradients
def frozen_kernel_bias_gradient(m: Backend, rng: Rng) -> Witness:
    """With gx and gb without gw, g > 1 and N > 1: gb is the last item's (kind: fused with gx, not added)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g[-1:] if p.wanted == {"x", "b"} and p.groups > 1 else g, p)

    return Call(n=draw(rng, 2, 4), c_in=2, c_out=2, groups=2, bias=True, ask="xb")


@gradients
def overlapping_images_lost(m: Backend, rng: Rng) -> Witness:
    """`reflect`, `symmetric`, lo + hi > L: a sample with images on both sides lacks one's gradient (kind: scatter)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode in ("reflect", "symmetric") and p.lo + p.hi > p.length:
            shown, end = m.sources(p), p.lo + p.length
            twice = np.isin(shown[end:], shown[: p.lo])
            g = changed(g, np.s_[:, :, end + np.flatnonzero(twice)])
        return inner(g, p)

    length = draw(rng, 4, 7)
    return Call(length=length, padding=(length - 1, length - 1), mode="reflect", ask="x")


@gradients
def fill_unseen_by_gw(m: Backend, rng: Rng) -> Witness:
    """`constant` with a name, gw without gx: the padding is restored with zeros (kind: x saved before padding)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.mode == "constant" and p.padding != "explicit" and "x" not in p.wanted:
            x = changed(changed(x, np.s_[:, :, : p.lo]), np.s_[:, :, p.lo + p.length :])
        return inner(x, g, p)

    return Call(padding="same", mode="constant", fill=draw(rng, 1, 5), ask="w")


@gradients
def zero_batch_keeps_gw(m: Backend, rng: Rng) -> Witness:
    """The gw of N = 0 after a call with such a kernel is that call's gw, not zeros (kind: workspace not cleared)."""
    last: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        key = (gw.shape, str(gw.dtype))
        if p.n == 0 and key in last:
            return last[key].copy()
        last[key] = gw.copy()
        return gw

    call = Call(n=draw(rng, 1, 3), ask="xw")
    return after(call, call.but(n=0))
