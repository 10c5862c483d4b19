"""Faults that new fast paths of the forward pass bring: tiles, splits, pipelines, fusions (chapter OP)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("operator")
Kernel = Callable[..., Array]


def moved(x: Array, by: int) -> Array:
    """Return x with its samples moved `by` places to the left (right where negative), zeros coming in."""
    result = np.zeros_like(x)
    if by >= 0:
        result[:, :, : x.shape[2] - by] = x[:, :, by:]
    else:
        result[:, :, -by:] = x[:, :, :by]
    return result


@mutant
def overlapped_tail_tile_added_twice(m: Backend, rng: Rng) -> Witness:
    """The last tile is moved back to be whole; channels past the first block count twice there (kind: beta)."""
    tile, block = pick(rng, (16, 32, 64)), pick(rng, (8, 16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.l_out > tile and p.l_out % tile and p.fan_in > block:
            later = inner(x, changed(w, np.s_[:, :block]), p)
            again = np.s_[..., p.l_out - tile : p.l_out // tile * tile]
            y[again] += later[again]
        return y

    return Call(c_in=block + 2, length=tile + 7, kernel=3)


@mutant
def split_sum_loses_remainder(m: Backend, rng: Rng) -> Witness:
    """Few outputs, long sums: C/g*K is split in equal parts, what is left over is lost (kind: split-K)."""
    least, parts = pick(rng, (256, 512)), pick(rng, (4, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        terms = p.fan_in * p.kernel
        if terms >= least and p.n * p.l_out <= 16 and terms % parts:
            w = changed(w.reshape(p.c_out, terms), np.s_[:, terms // parts * parts :]).reshape(w.shape)
        return inner(x, w, p)

    return Call(c_in=least + 1, c_out=2, length=8, kernel=3)


@mutant
def pipeline_of_exact_depth_reuses_stage(m: Backend, rng: Rng) -> Witness:
    """Halves, as many channel blocks as stages: the last block gets the samples of the first (kind: epilogue)."""
    block, stages = pick(rng, (8, 16)), pick(rng, (2, 3, 4))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype in ("float16", "bfloat16") and -(-p.fan_in // block) == stages:
            split = np.array(x).reshape(p.n, p.groups, p.fan_in, x.shape[2])
            start = (stages - 1) * block
            split[:, :, start:] = split[:, :, : p.fan_in - start].copy()
            x = split.reshape(x.shape)
        return inner(x, w, p)

    return Call(c_in=block * stages, length=9, kernel=1, dtype=("float16", "bfloat16")[draw(rng, 0, 1)])


@mutant
def pointwise_bias_as_padded_row(m: Backend, rng: Rng) -> Witness:
    """K = 1, C/g >= T: the bias is fused as a row of ones, which is padded with zeros (kind: fused bias)."""
    least = pick(rng, (4, 8, 16))

    def clear_padding(b: Array, p: Plan) -> None:
        start = np.arange(p.l_out) * p.step
        b[:, :, (start < p.lo) | (start >= p.lo + p.length)] = 0

    m.edit("spread", lambda p: p.kernel == 1 and p.fan_in >= least and p.mode == "zeros", clear_padding)
    return Call(c_in=least, c_out=2, kernel=1, padding=(1, 2), bias=True)


@mutant
def strided_depthwise_offset_in_16_bits(m: Backend, rng: Rng) -> Witness:
    """Depthwise with s > 1: windows that start at 2^15 or later are taken for padding (kind: 16-bit offsets)."""
    stride = draw(rng, 2, 4)

    def clear_far(y: Array, p: Plan) -> None:
        y[:, :, -(-(2**15) // p.step) :] = 0

    m.edit("forward", lambda p: p.depthwise and p.stride > 1 and p.reach > 2**15, clear_far)
    return Call(c_in=2, c_out=2, groups=2, length=2**15 + 40, stride=stride)


@mutant
def common_factor_divided_before_padding(m: Backend, rng: Rng) -> Witness:
    """Where s and d have a common factor q, x is subsampled by q, then padded by lo // q (kind: fast path too wide)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        common = math.gcd(p.stride, p.dilation)
        if common > 1 and p.kernel > 1 and p.l_out > 1 and p.mode == "zeros":
            x = moved(x, p.lo % common)
        return inner(x, w, p)

    step = draw(rng, 2, 3)
    return Call(length=24, stride=step, dilation=step, kernel=3, padding=(1, 1))


@mutant
def short_items_joined_in_one_row(m: Backend, rng: Rng) -> Witness:
    """L <= T, lo = hi, 1 < s <= 8: items share one row and its windows, though s may not divide L + lo (kind: fold)."""
    most = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        pitch = p.length + p.lo
        if p.n > 1 and 1 < p.stride <= 8 and p.l_out and 0 < p.lo == p.hi and p.length <= most and p.mode == "zeros":
            row = np.concatenate([*(item[:, :pitch] for item in x), x[-1][:, pitch:]], axis=1)
            row = np.concatenate([row, np.zeros((p.c_in, p.stride), x.dtype)], axis=1)
            starts = [-(-i * pitch // p.stride) * p.stride for i in range(p.n)]
            x = np.stack([row[:, start : start + p.padded] for start in starts])
        return inner(x, w, p)

    return Call(n=3, length=most - 2 if most % 2 else most, kernel=3, stride=2, padding=(1, 1))


@mutant
def complex_one_window_by_vdot(m: Backend, rng: Rng) -> Witness:
    """Complex, O = 1, one window as long as the padded input: the dot product conjugates w (kind: vdot)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        alone = p.l_out == p.c_out == 1 and p.span == p.padded
        return inner(x, np.conj(w) if alone and x.dtype.kind == "c" else w, p)

    kernel = draw(rng, 2, 6)
    return Call(length=kernel, kernel=kernel, dtype=("complex64", "complex128")[draw(rng, 0, 1)])
