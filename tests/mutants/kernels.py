"""Faults of blocked, packed and split kernels: panels, tiles, reductions, chunks of the batch (chapter OP)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("operator")
Kernel = Callable[..., Array]


@mutant
def panel_rows_of_later_groups(m: Backend, rng: Rng) -> Witness:
    """In later groups, a last filter outside the panels of R (3, 4 or 6) is the one before (kind: packing)."""
    rows = pick(rng, [3, 4, 6])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups > 1 and p.fan_out > rows and p.fan_out % rows:
            blocks = w.reshape(p.groups, p.fan_out, p.fan_in, p.kernel).copy()
            blocks[1:, -1] = blocks[1:, -2]
            w = blocks.reshape(w.shape)
        return inner(x, w, p)

    return Call(c_in=2, c_out=2 * rows + 2, groups=2)


@mutant
def columns_of_strided_dilated_block(m: Backend, rng: Rng) -> Witness:
    """With s, d > 1, outputs past the blocks of B (12 to 40) miss the last tap (tenstorrent/tt-metal#38002, kind)."""
    block = draw(rng, 12, 40)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.stride > 1 and p.dilation > 1 and p.l_out > block:
            rest = np.s_[..., p.l_out // block * block :]
            y[rest] = inner(x, w * (np.arange(p.kernel) < p.kernel - 1).astype(w.dtype), p)[rest]
        return y

    return Call(length=2 * block + 8, stride=2, dilation=2)


@mutant
def depth_block_splits_taps(m: Backend, rng: Rng) -> Witness:
    """Where a block of D (48 to 160) of the C/g*K products ends between taps, the next is lost (kind: K blocks)."""
    depth = draw(rng, 48, 160)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.fan_in * p.kernel > depth and depth % p.kernel:
            flat = w.reshape(p.c_out, -1).copy()
            flat[:, depth] = 0
            w = flat.reshape(w.shape)
        return inner(x, w, p)

    kernel = 5 if depth % 5 else 7 if depth % 7 else 11
    return Call(c_in=depth // kernel + 1, kernel=kernel, length=12)


@mutant
def corner_of_register_tiles(m: Backend, rng: Rng) -> Witness:
    """Where tiles of 4 or 6 channels by 8 or 14 outputs leave 1 and 1, that element is its neighbour (kind: corner)."""
    rows, columns = pick(rng, [4, 6]), pick(rng, [8, 14])

    def repeat(y: Array, p: Plan) -> None:
        y[:, -1, -1] = y[:, -1, -2]

    m.edit("forward", lambda p: p.c_out > rows and p.c_out % rows == 1 and p.l_out > columns == p.l_out - 1, repeat)
    return Call(c_out=rows + 1, length=columns + 3)


@mutant
def winograd_last_tile_of_blocked_channels(m: Backend, rng: Rng) -> Witness:
    """With K = 3, s = d = g = 1, B (4, 8, 16) dividing C and O, L_out % 4 = 2: the last two wrong (kind: Winograd)."""
    block = pick(rng, [4, 8, 16])

    def chosen(p: Plan) -> bool:
        blocked = p.c_in % block == p.c_out % block == 0
        return p.kernel == 3 and p.stride == p.dilation == p.groups == 1 and blocked and p.l_out % 4 == 2 < p.l_out

    m.edit("forward", chosen, lambda y, p: clear(y, np.s_[..., -2:], y[..., -6:-4].copy()))
    return Call(c_in=block, c_out=block, length=12)


@mutant
def transform_too_short_for_padding(m: Backend, rng: Rng) -> Witness:
    """With s = d = 1 and K > T (12 to 40), padding beyond the power of two that holds L wraps (kind: FFT length)."""
    most = draw(rng, 12, 40)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        size = 1 << max(p.length - 1, 0).bit_length()
        if p.kernel <= most or p.stride * p.dilation > 1 or not size < p.padded <= 2 * size:
            return inner(x, w, p)
        folded = x[..., :size].copy()
        folded[..., : p.padded - size] += x[..., size:]
        return inner(np.concatenate([folded, folded], axis=2)[..., : p.padded], w, p)

    return Call(length=60, kernel=most + 1, padding=(6, 6))


@mutant
def dilated_depthwise_tile_unwritten(m: Backend, rng: Rng) -> Witness:
    """Depthwise with dilation, outputs from T (16 to 64) on stay 0 (Tencent/ncnn#315, kind)."""
    tile = draw(rng, 16, 64)
    m.edit(
        "forward", lambda p: p.depthwise and p.dilation > 1 and p.l_out > tile, lambda y, p: clear(y, np.s_[..., tile:])
    )
    return Call(c_in=2, c_out=2, groups=2, dilation=2, length=tile + 6)


@mutant
def pointwise_product_over_batch(m: Backend, rng: Rng) -> Witness:
    """With K = s = 1, no padding and N*L > T (16 to 64), odd, its last column is 0 (kind: batch folded into a GEMM)."""
    most = draw(rng, 16, 64)

    def folded(p: Plan) -> bool:
        plain = p.kernel == p.stride == p.groups == 1 and p.lo == p.hi == 0
        return plain and p.n > 1 and p.n * p.l_out > most and p.n * p.l_out % 2 == 1

    m.edit("forward", folded, lambda y, p: clear(y, np.s_[-1, :, -1]))
    return Call(n=3, c_in=2, c_out=2, kernel=1, length=2 * (most // 2) + 1)


@mutant
def tap_quads_of_one_channel(m: Backend, rng: Rng) -> Witness:
    """With C = 1 < O and K > T (4 to 12), K % 4 = 3, the last tap has the weight before it (kind: taps by fours)."""
    most = draw(rng, 4, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.c_in == 1 < p.c_out and p.kernel > most and p.kernel % 4 == 3:
            w = np.concatenate([w[..., :-1], w[..., -2:-1]], axis=2)
        return inner(x, w, p)

    return Call(c_out=2, kernel=most // 4 * 4 + 7, length=40)


@mutant
def single_window_of_groups_transposed(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1, groups of more than T (1 to 3) filters come filter by filter (kind: one window as a product)."""
    most = draw(rng, 1, 3)

    def transpose(y: Array, p: Plan) -> None:
        y[...] = y.reshape(p.n, p.groups, p.fan_out, 1).swapaxes(1, 2).reshape(p.y_shape).copy()

    m.edit("forward", lambda p: p.l_out == 1 and p.groups > 1 and p.fan_out > most, transpose)
    return Call(c_in=2, c_out=2 * most + 2, groups=2, length=3)


@mutant
def bias_missing_in_partial_strided_tile(m: Backend, rng: Rng) -> Witness:
    """With a stride, outputs past the whole tiles of T (9 to 48) get no bias (kind: bias fused into whole tiles)."""
    tile = draw(rng, 9, 48)
    m.edit(
        "spread",
        lambda p: p.stride > 1 and p.l_out > tile,
        lambda b, p: clear(b, np.s_[..., p.l_out // tile * tile :]),
    )
    return Call(length=2 * tile + 9, stride=2, bias=True)


@mutant
def bias_tail_of_later_groups(m: Backend, rng: Rng) -> Witness:
    """With O/g > T (3 to 8), odd, the last filter of each group has the first group's bias (robertknight/rten#1408)."""
    most = draw(rng, 3, 8)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if p.groups > 1 and p.fan_out > most and p.fan_out % 2:
            b = b.copy()
            b[p.fan_out - 1 :: p.fan_out] = b[p.fan_out - 1]
        return inner(b, p)

    odd = most + 1 + most % 2
    return Call(c_in=2, c_out=2 * odd, groups=2, bias=True)


@mutant
def split_reduction_of_small_outputs(m: Backend, rng: Rng) -> Witness:
    """Where C/g > T (24 to 96) and N*O*L_out < 16, the last element lacks the later half (kind: split-K, lost part)."""
    most = draw(rng, 24, 96)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.fan_in > most and 0 < y.size < 16:
            half = (np.arange(p.fan_in) < p.fan_in // 2).astype(w.dtype)[:, None]
            y[-1, -1, -1] = inner(x, w * half, p)[-1, -1, -1]
        return y

    return Call(c_in=most + 1, length=6)


@mutant
def batch_remainder_of_groups(m: Backend, rng: Rng) -> Witness:
    """With groups and N > P (3 to 8), items past a multiple of P lack an output (NervanaSystems/neon#361, kind)."""
    share = draw(rng, 3, 8)

    def lose(y: Array, p: Plan) -> None:
        y[p.n // share * share :, :, 0] = 0

    m.edit("forward", lambda p: p.groups > 1 and p.n > share and p.n % share > 0, lose)
    return Call(n=share + 1, c_in=2, c_out=2, groups=2)


@mutant
def dilated_rows_run_into_the_next(m: Backend, rng: Rng) -> Witness:
    """Dilated, not padded, V (4, 8, 16) dividing L: the last sample is the next channel's first (kind: prefetch)."""
    lanes = pick(rng, [4, 8, 16])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dilation > 1 and p.lo == p.hi == 0 < p.length and p.length % lanes == 0:
            x = x.copy()
            x[:, :-1, -1] = x[:, 1:, 0]
        return inner(x, w, p)

    return Call(c_in=4, length=lanes * 2, kernel=2, dilation=2)


@mutant
def window_offset_wraps(m: Backend, rng: Rng) -> Witness:
    """With a stride above T (1 to 4), windows that start at 256 or later start 256 before (kind: offset of 8 bits)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.stride <= most or not 256 < p.reach < 2**16:
            return inner(x, w, p)
        return inner(x, w, replace(p, stride=1, l_out=p.reach))[..., np.arange(p.l_out) * p.stride % 256]

    return Call(length=256 + 3 * (most + 2), stride=most + 1)


@mutant
def groups_beyond_workers(m: Backend, rng: Rng) -> Witness:
    """With g > P (2 to 5), not a multiple, the last group has the filters before it (pytorch/pytorch#19912, kind)."""
    workers = draw(rng, 2, 5)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups > workers and p.groups % workers and not p.depthwise:
            w = np.concatenate([w[: -p.fan_out], w[-2 * p.fan_out : -p.fan_out]])
        return inner(x, w, p)

    return Call(c_in=2 * workers + 2, c_out=workers + 1, groups=workers + 1)


@mutant
def packed_quads_of_channels(m: Backend, rng: Rng) -> Witness:
    """Where C/g > T (8 to 20), 4 not dividing it, and K > 1, odd taps lack a channel (modular/modular#6248, kind)."""
    most = draw(rng, 8, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.fan_in > most and p.fan_in % 4 and p.kernel > 1:
            w = w.copy()
            w[:, -1, 1::2] = 0
        return inner(x, w, p)

    return Call(c_in=most + 1 + (most % 4 == 3))
