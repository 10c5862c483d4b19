"""More faults of the kernels, by the same author: the operator, shapes and padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, other_source
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

operator, shapes, padding = chapter("operator"), chapter("shapes"), chapter("padding")
Kernel = Callable[..., Array]

# -- operator -----------------------------------------------------------------------------------------------------


@operator
def channel_tail_of_even_kernel(m: Backend, rng: Rng) -> Witness:
    """C/g = 1 mod V above V (4, 8) and K even: the last channel's first tap is skipped (kind: vector tail)."""
    lanes = pick(rng, (4, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.fan_in > lanes and p.fan_in % lanes == 1 and p.kernel % 2 == 0:
            w = changed(w, np.s_[:, -1, 0])
        return inner(x, w, p)

    return Call(c_in=lanes + 1, kernel=4)


@operator
def winograd_odd_edge(m: Backend, rng: Rng) -> Witness:
    """K = 3, s = d = 1, odd L_out, C/g >= T (4 to 9): the last output, half a tile, flips its taps (kind: Winograd)."""
    least = draw(rng, 4, 9)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel == 3 and p.stride == p.dilation == 1 and p.l_out % 2 and p.fan_in >= least:
            y[..., -1] = inner(x, w[..., ::-1], p)[..., -1]
        return y

    return Call(c_in=least, length=9)


@operator
def pointwise_bounds(m: Backend, rng: Rng) -> Witness:
    """K = 1, s > 1, d >= D (2 to 5): outputs with i*s + d beyond the padded length are 0 (kind: d*K for d*(K-1))."""
    least = draw(rng, 2, 5)

    def cut(y: Array, p: Plan) -> None:
        y[..., np.arange(p.l_out) * p.stride + p.dilation > p.padded] = 0

    m.edit("forward", lambda p: p.kernel == 1 and p.stride > 1 and p.dilation >= least, cut)
    return Call(kernel=1, stride=2, dilation=least, length=9)


@operator
def batch_block_tail(m: Backend, rng: Rng) -> Witness:
    """N = 1 mod B above B (8, 16), L_out > 1: the last item is computed on the item before it (kind: batch block)."""
    block = pick(rng, (8, 16))

    def stale(y: Array, p: Plan) -> None:
        y[-1] = y[-2]

    m.edit("forward", lambda p: p.n > block and p.n % block == 1 and p.l_out > 1, stale)
    return Call(n=block + 1)


# -- shapes -------------------------------------------------------------------------------------------------------


@shapes
def no_channels_bias_of_first_item(m: Backend, rng: Rng) -> Witness:
    """With C = 0, N > 1 and a stride, the bias is written to the first item only (kind: early return)."""
    m.edit("spread", lambda p: p.c_in == 0 and p.stride > 1, lambda b, p: clear(b, np.s_[1:]))
    return Call(n=draw(rng, 2, 4), c_in=0, c_out=2, stride=2, bias=True)


@shapes
def empty_input_same_gives_one(m: Backend, rng: Rng) -> Witness:
    """With L = 0, d > 1 and `same` or `same_lower`, y has one output (kind: max(1, ceil(L/s)))."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        total = max(dilation * (kernel - 1) + 1 - stride, 0)
        named = length == 0 and dilation > 1 and lo + hi == total > 0 and abs(lo - hi) < 2
        return max(inner(*sizes), 1) if named else inner(*sizes)

    return Call(length=0, kernel=3, dilation=draw(rng, 2, 4), padding="same")


# -- padding ------------------------------------------------------------------------------------------------------


@padding
def widest_symmetric_after(m: Backend, rng: Rng) -> Witness:
    """Symmetric with hi = L > lo: the last position shows x[1] (kind: a bound clamped)."""
    other_source(m, lambda p: p.mode == "symmetric" and p.hi == p.length > max(p.lo, 1), -1, lambda p: 1)
    length = draw(rng, 4, 9)
    return Call(length=length, padding=(1, length), mode="symmetric")


@padding
def replicate_of_one_vector(m: Backend, rng: Rng) -> Witness:
    """Replicate with hi > V (8, 16, 32): V positions after the end show x[L-1], the rest x[L-2] (kind: one vector)."""
    lanes = pick(rng, (8, 16, 32))

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = np.array(inner(p))
        if p.mode == "replicate" and p.hi > lanes and p.length > 1:
            shown[p.lo + p.length + lanes :] = p.length - 2
        return shown

    return Call(length=5, padding=(0, lanes + 2), mode="replicate")


@padding
def padding_windows_lose_bias(m: Backend, rng: Rng) -> Witness:
    """Windows in the hi padding alone, d > 1, L >= T (4 to 9), are 0 and not the bias (kind: windows skipped)."""
    least = draw(rng, 4, 9)

    def skip(b: Array, p: Plan) -> None:
        b[:, :, np.arange(p.l_out) * p.step >= p.lo + p.length] = 0

    m.edit("spread", lambda p: p.dilation > 1 and p.length >= least and p.mode == "zeros", skip)
    return Call(length=least, dilation=2, padding=(0, 7), bias=True)
