"""Faults of kernels that compute in blocks of channels, each in one kind of call alone (chapters OP and GRAD)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

operator, gradients = chapter("operator"), chapter("gradients")
Kernel = Callable[..., Array]
_LANES = 8


def blocked(p: Plan) -> bool:
    """Whether both numbers of channels fill blocks of 16, in one group."""
    return p.groups == 1 and p.c_in % 16 == p.c_out % 16 == 0 < p.c_in


def blocked_groups(p: Plan) -> bool:
    """Whether the channels of each of several groups fill square blocks of 8 under three taps, one after another."""
    square = p.groups > 1 and p.fan_in == p.fan_out and p.fan_in % 8 == 0
    return square and p.kernel == 3 and p.stride == p.dilation == 1


def undivided(p: Plan) -> bool:
    """Whether a dense plain kernel of several taps takes more or fewer channels than it gives, in blocks of 16."""
    return blocked(p) and p.c_in != p.c_out and p.kernel > 1 and p.stride == p.dilation == 1


def _call(rest: int, **more: int) -> Call:
    """A call of 16 channels with so many outputs past a vector of 8."""
    sizes = {"c_in": 16, "c_out": 16, "length": _LANES + rest + 2, **more}
    return Call(**sizes)


@operator
def wide_blocks_of_partial_vectors(m: Backend, rng: Rng) -> Witness:
    """From blocks of 16 to other blocks of 16, L_out % 8 = R (1 to 7): the last y is its neighbour (kind: tail)."""
    rest = draw(rng, 1, 7)
    m.edit(
        "forward",
        lambda p: undivided(p) and p.l_out % _LANES == rest < p.l_out,
        lambda y, p: clear(y, np.s_[..., -1], y[..., -2].copy()),
    )
    return _call(rest, c_out=32)


@operator
def strided_blocks_of_partial_vectors(m: Backend, rng: Rng) -> Witness:
    """With s > 1, blocks of 16 channels and L_out % 8 = R (1 to 7), the last output is lost (kind: masked store)."""
    rest = draw(rng, 1, 7)
    m.edit(
        "forward",
        lambda p: blocked(p) and p.stride > 1 and p.l_out % _LANES == rest < p.l_out,
        lambda y, p: clear(y, np.s_[..., -1]),
    )
    return _call(rest, stride=2, length=2 * (_LANES + rest) + 1)


@operator
def dilated_blocks_lose_far_tap(m: Backend, rng: Rng) -> Witness:
    """With d > 1 and blocks of 16 channels, outputs past the vectors of V (4, 8) lack the last tap (kind: tail)."""
    lanes = pick(rng, [4, 8])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if blocked(p) and p.dilation > 1 and p.kernel > 1 and p.l_out > lanes:
            rest = np.s_[..., p.l_out // lanes * lanes :]
            y[rest] = inner(x, w * (np.arange(p.kernel) < p.kernel - 1).astype(w.dtype), p)[rest]
        return y

    return _call(3, dilation=2)


@operator
def later_groups_packed_transposed(m: Backend, rng: Rng) -> Witness:
    """Groups of 8 by 8 channels, L_out % 8 = R (0 to 7): all but the first are packed transposed (kind: packing)."""
    rest = draw(rng, 0, 7)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if blocked_groups(p) and p.l_out % _LANES == rest:
            blocks = w.reshape(p.groups, p.fan_out, p.fan_in, p.kernel).copy()
            blocks[1:] = blocks[1:].swapaxes(1, 2)
            w = blocks.reshape(w.shape)
        return inner(x, w, p)

    return _call(rest, groups=2)


@operator
def depthwise_quads_past_a_tile(m: Backend, rng: Rng) -> Witness:
    """Depthwise by quads of channels, the output at T (40 to 63) repeats the one before it (kind: tile edge)."""
    tile = draw(rng, 40, 63)

    def quads(p: Plan) -> bool:
        return p.depthwise and p.fan_out == p.stride == p.dilation == 1 < p.kernel and p.c_in % 4 == 0 < p.l_out - tile

    m.edit("forward", quads, lambda y, p: clear(y, np.s_[..., tile], y[..., tile - 1].copy()))
    return Call(c_in=4, c_out=4, groups=4, length=tile + 4)


@operator
def pointwise_blocks_of_partial_vectors(m: Backend, rng: Rng) -> Witness:
    """With K = 1, from blocks of 16 to other blocks of 16, the last L_out % V (2, 4) are lost (kind: matrix tail)."""
    lanes = pick(rng, [2, 4])

    def partial(p: Plan) -> bool:
        return blocked(p) and p.c_in != p.c_out and p.kernel == 1 and p.l_out % lanes > 0 and p.l_out > lanes

    m.edit("forward", partial, lambda y, p: clear(y, np.s_[..., p.l_out // lanes * lanes :]))
    return _call(3, c_out=32, kernel=1)


@operator
def complex_blocks_of_later_groups(m: Backend, rng: Rng) -> Witness:
    """Complex weights of the later groups are conjugated where K < T (4 to 6) (FluxML/Flux.jl#1876, kind)."""
    most = draw(rng, 4, 6)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if w.dtype.kind == "c" and p.groups > 1 and p.kernel < most and not p.wanted:
            w = w.copy()
            w[p.fan_out :] = w[p.fan_out :].conj()
        return inner(x, w, p)

    return Call(c_in=2, c_out=2, groups=2, dtype="complex64")


@operator
def single_window_flattened_by_channel(m: Backend, rng: Rng) -> Witness:
    """One window of K taps, a multiple of B (16, 32), and of all C > 1, is flattened position first (kind: dense)."""
    block = pick(rng, [16, 32])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        whole = p.groups == p.dilation == 1 < p.c_in and p.kernel == p.padded > 16 and p.kernel % block == 0
        if whole:
            x = np.ascontiguousarray(x.swapaxes(1, 2)).reshape(x.shape)
        return inner(x, w, p)

    return Call(c_in=2, kernel=32, length=32)


@gradients
def gx_alone_of_wide_blocks(m: Backend, rng: Rng) -> Witness:
    """The gx alone, from blocks of 16 to other blocks of 16, L_out % 8 = R (1 to 7), lacks the last gy (kind: tail)."""
    rest = draw(rng, 1, 7)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        wrong = undivided(p) and p.wanted == {"x"} and p.l_out % _LANES == rest
        return inner(w, g * (np.arange(p.l_out) < p.l_out - 1).astype(g.dtype) if wrong else g, p)

    return _call(rest, c_out=32).but(ask="x")


@gradients
def gw_alone_of_wide_blocks(m: Backend, rng: Rng) -> Witness:
    """The gw alone, from blocks of 16 to other blocks of 16, L_out % 8 = R (1 to 7), lacks the last gy (kind: tail)."""
    rest = draw(rng, 1, 7)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        wrong = undivided(p) and p.wanted == {"w"} and p.l_out % _LANES == rest
        return inner(x, g * (np.arange(p.l_out) < p.l_out - 1).astype(g.dtype) if wrong else g, p)

    return _call(rest, c_out=32).but(ask="w")


@gradients
def gw_of_strided_blocks(m: Backend, rng: Rng) -> Witness:
    """The gw with s > 1, blocks of 16 channels and L_out % 8 = R (1 to 7) counts the last gy twice (kind: overlap)."""
    rest = draw(rng, 1, 7)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        wrong = blocked(p) and p.stride > 1 and p.l_out % _LANES == rest
        return inner(x, g * (1 + (np.arange(p.l_out) == p.l_out - 1)).astype(g.dtype) if wrong else g, p)

    return _call(rest, stride=2, length=2 * (_LANES + rest) + 1).but(ask="w")


@gradients
def gx_of_later_groups_packed_transposed(m: Backend, rng: Rng) -> Witness:
    """The gx of groups of 8 by 8 channels, L_out % 8 = R (0 to 7), takes later groups transposed (kind: packing)."""
    rest = draw(rng, 0, 7)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if blocked_groups(p) and p.l_out % _LANES == rest:
            blocks = w.reshape(p.groups, p.fan_out, p.fan_in, p.kernel).copy()
            blocks[1:] = blocks[1:].swapaxes(1, 2)
            w = blocks.reshape(w.shape)
        return inner(w, g, p)

    return _call(rest, groups=2).but(ask="x")
