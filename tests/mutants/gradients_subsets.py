"""Faults of gradients asked for in subsets, and of zero-size gradients (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def gx_alone_with_groups(m: Backend, rng: Rng) -> Witness:
    """The gx asked for alone with groups lacks the last group (kind: an output mask)."""
    m.edit(
        "grad_x",
        lambda p: p.wanted == {"x"} and p.groups > 1,
        lambda gx, p: clear(gx, np.s_[:, p.c_in - p.fan_in :]),
    )
    return Call(c_in=4, c_out=4, groups=draw(rng, 1, 2) * 2, ask="x")


@mutant
def gx_jointly_with_gw(m: Backend, rng: Rng) -> Witness:
    """The gx asked for together with gw and with a stride is that of the reversed kernel (kind: a shared buffer)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w[..., ::-1] if {"x", "w"} <= p.wanted and p.stride > 1 else w, g, p)

    return Call(stride=draw(rng, 2, 3), length=9, ask="xw")


@mutant
def gw_alone_when_dilated(m: Backend, rng: Rng) -> Witness:
    """The gw asked for alone with dilation is that of dilation 1 (kind: another path for each subset)."""
    m.lie("grad_w", lambda p: p.wanted == {"w"} and p.dilation > 1, dilation=1)
    return Call(dilation=draw(rng, 2, 3), length=9, ask="w")


@mutant
def gw_jointly_with_gb(m: Backend, rng: Rng) -> Witness:
    """The gw asked for with gb but without gx is doubled (kind: fused sums)."""
    m.edit("grad_w", lambda p: p.wanted == {"w", "b"}, lambda gw, p: clear(gw, np.s_[...], gw + gw))
    return Call(c_out=draw(rng, 1, 3), bias=True, ask="wb")


@mutant
def gb_jointly_when_pointwise(m: Backend, rng: Rng) -> Witness:
    """With K = 1, gb asked for with the others lacks the last position (kind: fused sums)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g[..., :-1] if p.kernel == 1 and len(p.wanted) == 3 else g, p)

    return Call(kernel=1, c_out=draw(rng, 1, 3), bias=True, ask="xwb")


@mutant
def gw_of_empty_batch_unwritten(m: Backend, rng: Rng) -> Witness:
    """With N = 0, gw is memory that nobody wrote (FluxML/NNlib.jl#763)."""
    stale = draw(rng, 1, 1000)
    m.edit("grad_w", lambda p: p.n == 0, lambda gw, p: clear(gw, np.s_[...], stale))
    return Call(n=0, ask="w")


@mutant
def gb_of_empty_batch_is_nan(m: Backend, rng: Rng) -> Witness:
    """With N = 0, gb is NaN: a sum made of a mean (kind: 0/0)."""
    m.edit("grad_b", lambda p: p.n == 0, lambda gb, p: clear(gb, np.s_[...], np.nan))
    return Call(n=0, c_out=draw(rng, 1, 3), bias=True, ask="b")


@mutant
def gx_without_windows_unwritten(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 0, gx is memory that nobody wrote (kind: an early return)."""
    stale = draw(rng, 1, 1000)
    m.edit("grad_x", lambda p: p.l_out == 0, lambda gx, p: clear(gx, np.s_[...], stale))
    return Call(length=3, kernel=draw(rng, 4, 9), ask="x")


@mutant
def gw_without_windows_unwritten(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 0 and dilated, gw is memory that nobody wrote (Theano/Theano#5286, kind)."""
    stale = draw(rng, 1, 1000)
    m.edit("grad_w", lambda p: p.l_out == 0 and p.dilation > 1, lambda gw, p: clear(gw, np.s_[...], stale))
    return Call(length=4, dilation=draw(rng, 2, 5), ask="w")


@mutant
def gx_of_no_outputs_loses_length(m: Backend, rng: Rng) -> Witness:
    """With O = 0, gx is empty instead of zeros in the shape of x (pytorch/pytorch#12013, kind)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g, p)[:, :, : 0 if p.c_out == 0 else None]

    return Call(c_out=0, length=draw(rng, 4, 9), ask="x")


@mutant
def gw_of_empty_input_loses_taps(m: Backend, rng: Rng) -> Witness:
    """With L = 0 and padding, gw has no taps (kind: an early return)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, g, p)[:, :, : 0 if p.length == 0 else None]

    return Call(length=0, padding=(draw(rng, 2, 4), 1), ask="w")
