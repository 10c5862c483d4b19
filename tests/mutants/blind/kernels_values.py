"""Faults of the kernels that engineers write, under narrow conditions: the operator, shapes and padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, other_source, reciprocal_floor, shape_only
from tests.mutants.compiled import without_data
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

operator, shapes, padding = chapter("operator"), chapter("shapes"), chapter("padding")
Kernel = Callable[..., Array]

# -- operator -----------------------------------------------------------------------------------------------------


@operator
def last_of_tile_minus_one(m: Backend, rng: Rng) -> Witness:
    """Stride 1, L_out = T - 1 mod T above T (8, 16, 32): the last output lacks the last tap (kind: a tile's tail)."""
    tile = pick(rng, (8, 16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.l_out % tile == tile - 1 and p.l_out > tile and p.stride == 1 and p.kernel > 1:
            y[..., -1] = inner(x, changed(w, np.s_[..., -1]), p)[..., -1]
        return y

    return Call(length=2 * tile + 1)


@operator
def register_block_over_o(m: Backend, rng: Rng) -> Witness:
    """With g > 1, O/g = 1 mod B above B (4, 8), a group's last channel has its neighbour's kernel (kind: blocking)."""
    block = pick(rng, (4, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups > 1 and p.fan_out > block and p.fan_out % block == 1:
            w = changed(w, np.s_[p.fan_out - 1 :: p.fan_out], w[p.fan_out - 2 :: p.fan_out])
        return inner(x, w, p)

    return Call(c_in=2, c_out=2 * block + 2, groups=2)


@operator
def common_factor_floor(m: Backend, rng: Rng) -> Witness:
    """Where s and d share a factor q, x is thinned to floor(L/q) samples, a last one lost (kind: floor)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        q = math.gcd(p.stride, p.dilation)
        return inner(changed(x, np.s_[:, :, p.padded // q * q :]) if q > 1 and p.l_out > 1 else x, w, p)

    factor = draw(rng, 2, 4)
    return Call(length=4 * factor + 1, stride=factor, dilation=factor)


@operator
def fft_one_short(m: Backend, rng: Rng) -> Witness:
    """K >= T (17 to 40), s = 1, padded length 2^m + 1: one product wraps into the last output (kind: a short FFT)."""
    least = draw(rng, 17, 40)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        short = p.padded - 1
        if p.kernel >= least and p.stride == p.dilation == 1 and p.l_out and short & (short - 1) == 0:
            first = changed(np.zeros_like(x), np.s_[..., -1], x[..., 0])
            y[..., -1] += inner(first, changed(w, np.s_[..., :-1]), p)[..., -1]
        return y

    return Call(length=65, kernel=least)


@operator
def multiplier_tail(m: Backend, rng: Rng) -> Witness:
    """Depthwise, O/g = 2 mod 4 above 4, C > T (2 to 4): a channel's last two outputs are exchanged (kind: a tail)."""
    most = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.depthwise and p.fan_out % 4 == 2 and p.fan_out > 4 and p.c_in > most:
            y4 = y.reshape(p.n, p.groups, p.fan_out, p.l_out)
            y4[:, :, -2:] = y4[:, :, :-3:-1].copy()
        return y

    return Call(c_in=most + 1, c_out=6 * (most + 1), groups=most + 1)


@operator
def repacked_last_group(m: Backend, rng: Rng) -> Witness:
    """Groups >= G (3 to 5), C/g != O/g, both > 1: the last group's kernel is packed transposed (kind: repacking)."""
    least = draw(rng, 3, 5)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups >= least and 1 < p.fan_in != p.fan_out > 1:
            last = w[-p.fan_out :].reshape(p.fan_in, p.fan_out, p.kernel).swapaxes(0, 1)
            w = changed(w, np.s_[-p.fan_out :], last)
        return inner(x, w, p)

    return Call(c_in=2 * least, c_out=3 * least, groups=least)


@operator
def split_k_remainder(m: Backend, rng: Rng) -> Witness:
    """C/g*K >= T (100 to 300), no multiple of 4: four chunks of floor(n/4) products, the rest is lost (kind: split)."""
    least = draw(rng, 100, 300)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        count = p.fan_in * p.kernel
        if count >= least and count % 4:
            w = changed(w.reshape(p.c_out, count), np.s_[:, count - count % 4 :]).reshape(w.shape)
        return inner(x, w, p)

    return Call(c_in=7, kernel=least // 7 // 2 * 2 + 3, length=70)


@operator
def tap_tail_undilated(m: Backend, rng: Rng) -> Witness:
    """K = 3 mod 4 above 4, d >= D (2 to 4): the last tap reads one sample after the tap before it (kind: a tail)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel % 4 == 3 and p.kernel > 4 and p.dilation >= least and p.l_out:
            y = inner(x, changed(w, np.s_[..., -1]), p)
            moved = np.roll(x, p.dilation - 1, axis=2)
            y += inner(moved, changed(w, np.s_[..., :-1]), p)
        return y

    return Call(kernel=7, dilation=least, length=40)


@operator
def imaginary_bias_of_groups(m: Backend, rng: Rng) -> Witness:
    """Complex operands and groups >= G (2 to 4): the imaginary part of the bias is dropped (kind: cast to real)."""
    least = draw(rng, 2, 4)

    def drop(b: Array, p: Plan) -> None:
        b.imag = 0

    m.edit("spread", lambda p: p.dtype.startswith("complex") and p.groups >= least, drop)
    return Call(c_in=least, c_out=least, groups=least, dtype="complex64", bias=True)


# -- shapes -------------------------------------------------------------------------------------------------------


@shapes
def length_by_cut_quotient(m: Backend, rng: Rng) -> Witness:
    """L_out is cut from slack * (1/s) in float32: one less where that rounds down, as 41/41 (kind: no division)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        small = 0 <= slack < 4096 and stride < 4096
        return min(inner(*sizes), reciprocal_floor(slack, stride) + 1) if small else inner(*sizes)

    found = [(q * s, s) for s in range(2, 100) for q in range(1, 6) if reciprocal_floor(q * s, s) < q]
    slack, stride = found[draw(rng, 0, len(found) - 1)]
    return Call(length=slack + 3, stride=stride)


@shapes
def meta_length_rounds_up(m: Backend, rng: Rng) -> Witness:
    """eval_shape with s >= S (2 to 4), d > 1 and a remainder rounds the length up (kind: a rule of its own)."""
    least, inside = draw(rng, 2, 4), shape_only(m)

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        count, slack = inner(*sizes), length + lo + hi - dilation * (kernel - 1) - 1
        return count + (bool(inside) and stride >= least and dilation > 1 and slack > 0 and slack % stride > 0)

    return without_data(Call(length=2 * least + 6, stride=least, dilation=2))


# -- padding ------------------------------------------------------------------------------------------------------


@padding
def pad_reads_previous_row(m: Backend, rng: Rng) -> Witness:
    """Zeros, lo = 1, V (4, 8) divides C, s = 1: the last channel's pad is the last sample before it (kind: no mask)."""
    lanes = pick(rng, (4, 8))

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        if p.mode == "zeros" and p.lo == 1 and p.c_in and p.c_in % lanes == 0 and p.stride == 1 and x.size:
            xp[:, -1, 0] = x[:, -2, -1]
        return xp

    return Call(c_in=lanes, padding=(1, 1))


@padding
def widest_reflect(m: Backend, rng: Rng) -> Witness:
    """Reflect with lo = L - 1 and L >= T (4 to 8): the first position shows x[L-2] (kind: a bound clamped)."""
    least = draw(rng, 4, 8)
    other_source(
        m, lambda p: p.mode == "reflect" and p.lo == p.length - 1 and p.length >= least, 0, lambda p: p.length - 2
    )
    return Call(length=least, padding=(least - 1, 0), mode="reflect")


@padding
def full_turn_before(m: Backend, rng: Rng) -> Witness:
    """Circular with lo = L: the first position shows the next channel, 0 after the last (kind: index L)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        if p.mode == "circular" and p.lo == p.length > 0:
            rows = x.reshape(-1, p.length)
            xp[:, :, 0] = changed(np.roll(rows[:, 0], -1), -1).reshape(x.shape[:2])
        return xp

    length = draw(rng, 3, 8)
    put = (("x", np.s_[:, 0, 0], 3), ("x", np.s_[:, 1, 0], 4), ("w", np.s_[...], 1))
    return Call(c_in=2, length=length, padding=(length, 0), mode="circular", put=put)


@padding
def fill_through_float32_behind(m: Backend, rng: Rng) -> Witness:
    """A constant of float64 passes through float32 where hi > lo (kind: a C float)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        narrow = p.mode == "constant" and p.hi > p.lo and p.dtype == "float64"
        return inner(x, float(np.float32(fill)) if narrow else fill, p)

    return Call(padding=(1, 2), mode="constant", fill=0.1 * draw(rng, 1, 4))


@padding
def same_of_dilated_even_kernel(m: Backend, rng: Rng) -> Witness:
    """`same`, s = 1, even K >= T (2 to 6), odd d > 1: the odd zero stands before (kind: which side is longer)."""
    least = draw(rng, 1, 3) * 2

    @m.around("resolve")
    def resolve(inner: Callable[..., tuple[int, int]], padding: Any, *sizes: int) -> tuple[int, int]:
        _, kernel, stride, dilation = sizes
        even = kernel % 2 == 0 and kernel >= least
        odd = padding == "same" and stride == 1 and even and dilation > 1 and dilation % 2
        lo, hi = inner(padding, *sizes)
        return (hi, lo) if odd else (lo, hi)

    return Call(length=20, kernel=least, dilation=3, padding="same")


@padding
def causal_aligned_to_stride(m: Backend, rng: Rng) -> Witness:
    """`causal` with s >= S (2 to 4): lo is rounded down to a multiple of s, the rest stands after (kind: alignment)."""
    least = draw(rng, 2, 4)

    @m.around("resolve")
    def resolve(inner: Callable[..., tuple[int, int]], padding: Any, *sizes: int) -> tuple[int, int]:
        lo, hi = inner(padding, *sizes)
        rest = lo % sizes[2] if padding == "causal" and sizes[2] >= least else 0
        return lo - rest, hi + rest

    return Call(length=12, kernel=2 + least, stride=least, padding="causal")
