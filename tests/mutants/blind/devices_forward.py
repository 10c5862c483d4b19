"""Faults of a port to new hardware: tiles, fields and formats of the forward pass (chapters OP, PAD, ACC, VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import finite
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

operator = chapter("operator")
padding = chapter("padding")
Kernel = Callable[..., Array]


@operator
def tap_step_in_a_short_of_bytes(m: Backend, rng: Rng) -> Witness:
    """Channels last: the step of a tap, d * C samples in bytes, is kept in 14 to 16 bits (kind: byte offsets)."""
    bits = pick(rng, (14, 15, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        sample = p.c_in * x.itemsize
        if p.dilation * sample >> bits:
            p = replace(p, dilation=p.dilation * sample % 2**bits // sample)
        return inner(x, w, p)

    dilation = 2**bits // 512 + 1
    return Call(c_in=64, length=dilation + 4, kernel=2, dilation=dilation)


@operator
def bias_added_by_each_slab(m: Backend, rng: Rng) -> Witness:
    """C/g * K taps beyond 8 to 32 KiB are summed in slabs, each of which adds the bias (kind: shared memory)."""
    room = 1024 * pick(rng, (8, 16, 32))

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        slabs = -(-p.fan_in * p.kernel * b.itemsize // room)
        return inner(b, p) * b.dtype.type(max(slabs, 1))

    return Call(c_in=room // 24 + draw(rng, 1, 9), c_out=2, bias=True)


@operator
def stale_lanes_of_a_double_buffer(m: Backend, rng: Rng) -> Witness:
    """C/g > 2T, no multiple of T: the last tile's idle lanes still hold the tile before last (kind: double buffer)."""
    tile = pick(rng, (8, 16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        used, start = p.fan_in % tile, (p.fan_in // tile - 2) * tile
        if used and start >= 0:
            w = np.array(w)
            w[:, start + used : start + tile] *= 2
        return inner(x, w, p)

    return Call(c_in=2 * tile + draw(rng, 1, tile - 1), c_out=2)


@operator
def item_by_a_short_reciprocal(m: Backend, rng: Rng) -> Witness:
    """N > 1: window r is of item r * ceil(2^B / L_out) >> B, and lost where that is wrong (kind: fast division)."""
    bits = pick(rng, (14, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.n > 1 and p.l_out:
            rows = np.arange(p.n * p.l_out)
            wrong = rows * -(-(2**bits) // p.l_out) >> bits != rows // p.l_out
            y.swapaxes(1, 2)[wrong.reshape(p.n, p.l_out)] = 0
        return y

    length = draw(rng, 33, 63)
    excess = -(-(2**bits) // length) * length - 2**bits
    return Call(n=2**bits // excess // length + 2, length=length, kernel=1)


@padding
def pad_in_a_descriptor_field(m: Backend, rng: Rng) -> Witness:
    """Zeros: lo is written to a field of 7 or 8 bits of a descriptor, while L_out is right (kind: register width)."""
    field = 2 ** pick(rng, (7, 8))

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        lost = p.lo - p.lo % field
        if lost and p.mode == "zeros":
            padded = np.concatenate([padded[:, :, lost:], np.zeros((*x.shape[:2], lost), x.dtype)], axis=2)
        return padded

    return Call(length=field + draw(rng, 9, 40), dilation=field // 2 + draw(rng, 0, 3), padding="causal")


@padding
def fill_set_in_both_halves_of_a_pair(m: Backend, rng: Rng) -> Witness:
    """Complex, mode constant: the value v fills real and imaginary parts, v + vi (kind: interleaved pairs)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if x.dtype.kind == "c":
            fill = complex(fill).real * (1 + 1j)
        return inner(x, fill, p)

    return Call(padding=(1, 2), mode="constant", fill=draw(rng, 2, 9), dtype="complex64")


@chapter("numerics")
def channels_share_an_exponent(m: Backend, rng: Rng) -> Witness:
    """In float32, B channels of w at a time share the exponent of the largest, with 24 bits (kind: block floating)."""
    block = pick(rng, (8, 16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float32" and w.size and finite(w):
            parts = np.split(w.astype(np.float64), range(block, p.fan_in, block), axis=1)
            units = [np.ldexp(1.0, np.frexp(np.abs(a).max(axis=1, keepdims=True))[1] - 24) for a in parts]
            rounded = [np.rint(a / unit) * unit for a, unit in zip(parts, units, strict=True)]
            w = np.concatenate(rounded, axis=1).astype(np.float32)
        return inner(x, w, p)

    wide = (("w", (0, 0), 2.0 ** draw(rng, 30, 60)), ("x", (0, 0), 0))
    return Call(c_in=2, dtype="float32", data=lambda r, shape: r.standard_normal(shape), put=wide)


@chapter("special values")
def two_of_four_weights_on_the_sparse_unit(m: Backend, rng: Rng) -> Witness:
    """If of each 4 channels of w at least 2 are 0, zero weights are dropped, and NaN or inf there (kind: sparsity)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y, odd = inner(x, w, p), ~np.isfinite(widen(x))
        if not odd.any() or p.fan_in % 4 or not w.size:
            return y
        zeros = (w == 0).reshape(p.c_out, p.fan_in // 4, 4, p.kernel).sum(axis=2)
        if (zeros < 2).any():
            return y
        met = widen(inner(odd.astype(x.dtype), (w != 0).astype(w.dtype), p)) != 0
        return np.where(met, y, inner(np.where(odd, x.dtype.type(0), x), w, p))

    channels = 4 * draw(rng, 1, 3)
    return Call(c_in=channels, put=(("w", (0, np.s_[::2]), 0), ("x", (0, 2, 4), np.nan)))
