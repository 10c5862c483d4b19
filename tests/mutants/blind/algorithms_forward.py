"""Faults of other algorithms for y: transforms, blocks, tiles and phases in place of the direct loop (OP, PAD)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

operators = chapter("operator")
padding = chapter("padding")
Kernel = Callable[..., Array]


@operators
def overlap_add_tail_past_next_block(m: Backend, rng: Rng) -> Witness:
    """Span - 1 > B (32 to 128), s = 1: tails of blocks of xp reach one block of y, not two (kind: overlap-add)."""
    block = draw(rng, 32, 128)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.stride > 1 or p.span - 1 <= block:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        at = np.arange(p.l_out)
        for k, (matrix, columns) in enumerate(zip(split_w(w, p), taps(x, p), strict=True)):
            near = (at + k * p.dilation) // block - at // block < 2
            y += matrix @ np.where(near, columns, columns.dtype.type(0))
        return y.reshape(p.y_shape).astype(x.dtype)

    return Call(length=3 * block, kernel=3, dilation=block)


@operators
def fft_size_from_unpadded_length(m: Backend, rng: Rng) -> Witness:
    """Span >= T (9 to 31), s = 1: xp wraps at the power of two that holds L, not L + lo + hi (kind: FFT size)."""
    least = draw(rng, 9, 31)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.stride == 1 and p.span >= least and p.length:
            x = x[:, :, np.arange(p.padded) % (1 << (p.length - 1).bit_length())]
        return inner(x, w, p)

    return Call(length=64, kernel=least, padding="same")


@operators
def complex_spectrum_conjugated(m: Backend, rng: Rng) -> Witness:
    """In complex, K >= T (6 to 20), the kernel is conjugated: conj(W) reverses real ones alone (kind: spectrum)."""
    least = draw(rng, 6, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, np.conj(w) if p.dtype.startswith("complex") and p.kernel >= least else w, p)

    return Call(length=2 * least, kernel=least, dtype="complex128")


@operators
def winograd_halves_of_integers(m: Backend, rng: Rng) -> Witness:
    """Signed integers, dense K = 3, C/g >= T (2 to 4): F(2, 3) halves odd sums of w by a shift (kind: Winograd)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if not p.dtype.startswith("int") or (p.kernel, p.stride, p.dilation) != (3, 1, 1) or p.fan_in < least:
            return inner(x, w, p)
        odd = (w.sum(axis=2) & 1).astype(w.dtype)
        first, second = np.array(w), np.array(w)
        first[:, :, 2] -= odd
        second[:, :, 0] -= odd
        y = inner(x, first, p)
        y[:, :, 1::2] = inner(x, second, p)[:, :, 1::2]
        return y

    return Call(c_in=least, c_out=2, length=9, dtype="int32")


@padding
def circulant_whatever_the_split(m: Backend, rng: Rng) -> Witness:
    """Circular, s = 1, lo + hi = span - 1: a circulant product, split as in `same` (kind: sees lo + hi alone)."""
    m.lie(
        "sources",
        lambda p: p.mode == "circular" and p.stride == 1 and 0 < p.lo + p.hi == p.span - 1,
        lo=lambda p: (p.span - 1) // 2,
        hi=lambda p: p.span - 1 - (p.span - 1) // 2,
    )
    return Call(length=12, kernel=draw(rng, 3, 7), padding="causal", mode="circular")


@padding
def circular_wrapped_phase_by_phase(m: Backend, rng: Rng) -> Witness:
    """Circular, L >= s > 1, s no divisor of L: each of s phases of x is wrapped in itself (kind: polyphase)."""

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = inner(p)
        if p.mode != "circular" or not 1 < p.stride <= p.length:
            return shown
        at = np.arange(-p.lo, p.length + p.hi)
        phase, row = at % p.stride, at // p.stride
        rows = -((phase - p.length) // p.stride)
        return np.where((at < 0) | (at >= p.length), phase + p.stride * (row % rows), shown)

    stride = draw(rng, 2, 4)
    return Call(length=4 * stride + 1, kernel=stride + 1, stride=stride, padding=(stride, stride), mode="circular")


@padding
def history_of_the_item_before(m: Backend, rng: Rng) -> Witness:
    """Causal zeros, lo >= T (4 to 16): lo of item n > 0 shows the end of item n - 1 (kind: overlap-save)."""
    least = draw(rng, 4, 16)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: float, p: Plan) -> Array:
        padded = inner(x, fill, p)
        causal = p.mode == "zeros" and p.stride == 1 and p.hi == 0 and p.lo == p.span - 1
        if causal and p.length >= p.lo >= least:
            padded[1:, :, : p.lo] = x[:-1, :, p.length - p.lo :]
        return padded

    return Call(n=2, length=2 * least, dilation=least, kernel=2, padding="causal")
