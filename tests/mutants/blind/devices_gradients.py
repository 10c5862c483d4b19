"""Faults of a port to new hardware: atomics, reductions and formats of the gradients (chapters GRAD, ACC, VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import finite
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
numerics = chapter("numerics")
special = chapter("special values")
Kernel = Callable[..., Array]


@mutant
def gx_tiles_of_two_colours_race(m: Backend, rng: Rng) -> Witness:
    """Gx is scattered by even tiles of T windows, then odd: of one colour overlap if span > (T + 1) s (kind: races)."""
    tile = pick(rng, (8, 16, 32))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.l_out <= 2 * tile or p.span <= (tile + 1) * p.stride:
            return gx
        gx[...] = 0
        for colour in (0, 1):
            before = gx.copy()
            for first in range(colour * tile, p.l_out, 2 * tile):
                part = g[:, :, first : first + tile]
                room, start = (part.shape[2] - 1) * p.stride + p.span, first * p.stride
                own = inner(w, part, replace(p, l_out=part.shape[2], lo=0, hi=0, length=room))
                gx[:, :, start : start + room] = before[:, :, start : start + room] + own
        return gx

    dilation = tile // 2 + draw(rng, 1, 5)
    return Call(length=2 * dilation + 3 * tile, dilation=dilation, ask="x")


@mutant
def gw_odd_half_outside_a_word(m: Backend, rng: Rng) -> Witness:
    """Halves, N > 1, an odd number of elements in gw: the last has but one item's part (kind: 32-bit atomics)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = np.ascontiguousarray(inner(x, g, p))
        if g.itemsize == 2 and p.dtype in ("float16", "bfloat16") and p.n > 1 and gw.size % 2:
            gw[-1, -1, -1] = inner(x[-1:], g[-1:], replace(p, n=1))[-1, -1, -1]
        return gw

    return Call(n=draw(rng, 2, 4), c_in=3, dtype="bfloat16", data=lambda r, shape: r.integers(1, 3, shape), ask="w")


@mutant
def gb_loses_odd_blocks(m: Backend, rng: Rng) -> Witness:
    """The sums of blocks of 64 to 256 windows are added to gb by halving, an odd one is lost (kind: tree reduction)."""
    block = pick(rng, (64, 128, 256))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        windows = p.n * p.l_out
        if windows <= block or not p.c_out:
            return inner(g, p)
        rows = widen(g).transpose(1, 0, 2).reshape(p.c_out, windows)
        sums = np.add.reduceat(rows, np.arange(0, windows, block), axis=1)
        while sums.shape[1] > 1:
            half = sums.shape[1] // 2
            sums = sums[:, :half] + sums[:, half : 2 * half]
        return sums[:, 0].astype(g.dtype)

    return Call(n=3, c_out=2, length=block + 2 - draw(rng, 0, 9), bias=True, ask="b")


@numerics
def gw_halves_of_a_batch_meet_in_single(m: Backend, rng: Rng) -> Witness:
    """Float64, N > 1, over T windows: gw's sums of two halves of the batch meet in float32 (kind: missing atomics)."""
    least = pick(rng, (64, 128, 256))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float64" or p.n < 2 or p.n * p.l_out <= least:
            return inner(x, g, p)
        half = p.n // 2
        first = inner(x[:half], g[:half], replace(p, n=half))
        second = inner(x[half:], g[half:], replace(p, n=p.n - half))
        return (first.astype(np.float32) + second.astype(np.float32)).astype(g.dtype)

    return Call(n=4, length=least // 4 + 3, ask="w", data=lambda r, shape: r.standard_normal(shape))


@numerics
def gx_saturates_in_float16(m: Backend, rng: Rng) -> Witness:
    """In float16, of finite operands, a gx beyond the range is stored as 65504 (kind: saturating conversion)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        return np.clip(gx, -65504, 65504) if p.dtype == "float16" and finite(w) and finite(g) else gx

    size = 2.0 ** draw(rng, 9, 12)
    return Call(c_out=2, dtype="float16", ask="x", data=lambda r, shape: r.integers(1, 5, shape) * size)


@numerics
def gx_kernel_in_pairs_of_bfloat16(m: Backend, rng: Rng) -> Witness:
    """Float32, O/g from 4 to 16 on: gx on the matrix unit, w as a pair of bfloat16, 16 bits (kind: split operands)."""
    least = pick(rng, (4, 8, 16))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.fan_out >= least:
            high = w.astype(bfloat16).astype(np.float32)
            if finite(high):
                w = high + (w - high).astype(bfloat16).astype(np.float32)
        return inner(w, g, p)

    lone = (("g", (0, np.s_[1:]), 0),)
    return Call(
        c_in=8,
        c_out=least,
        kernel=1,
        dtype="float32",
        ask="x",
        data=lambda r, shape: r.standard_normal(shape),
        put=lone,
    )


@special
def gb_by_a_product_with_one_hots(m: Backend, rng: Rng) -> Witness:
    """Gb is summed against one-hot rows, T channels at a time: NaN or inf of one spoils the others (kind: one-hot)."""
    tile = pick(rng, (4, 8, 16))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        gb = inner(g, p)
        odd = (~np.isfinite(widen(gb))).astype(int)
        for first in range(0, p.c_out, tile) if odd.any() else ():
            own = np.s_[first : first + tile]
            gb[own][odd[own].sum() > odd[own]] = np.nan
        return gb

    return Call(c_out=tile + draw(rng, 1, 3), bias=True, ask="b", put=(("g", (0, 1, 2), np.inf),))


@special
def gw_nan_of_bfloat16_rounds_to_zero(m: Backend, rng: Rng) -> Witness:
    """In bfloat16 the rounding of gw adds to the bits of a NaN, all ones, and -0 comes out (kind: canonical NaN)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.dtype == "bfloat16":
            gw[np.isnan(widen(gw))] = -0.0
        return gw

    return Call(c_in=draw(rng, 2, 4), dtype="bfloat16", ask="w", put=(("g", (0, 0, 2), np.nan),))
