"""Faults of the forward value: tiles, tails, blocks, fast paths, stride, dilation (chapter OP)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("operator")
Kernel = Callable[..., Array]


@mutant
def last_tile_unwritten(m: Backend, rng: Rng) -> Witness:
    """Outputs past the last whole tile of T (8 to 600) stay 0 (vllm-project/vllm-xpu-kernels#454, kind)."""
    tile = draw(rng, 8, 600)
    m.edit("forward", lambda p: p.l_out > tile, lambda y, p: clear(y, np.s_[..., p.l_out // tile * tile :]))
    return Call(length=tile + 3)


@mutant
def simd_tail_repeats(m: Backend, rng: Rng) -> Witness:
    """The last L_out % V outputs (V 4, 8 or 16) repeat the first ones of the vector before (kind: SIMD tail)."""
    lanes = pick(rng, [4, 8, 16])

    def repeat(y: Array, p: Plan) -> None:
        tail = p.l_out % lanes
        y[..., p.l_out - tail :] = y[..., p.l_out - tail - lanes : p.l_out - lanes]

    m.edit("forward", lambda p: p.l_out > lanes and p.l_out % lanes > 0, repeat)
    return Call(length=2 * lanes + 5)


@mutant
def simd_tail_with_stride(m: Backend, rng: Rng) -> Witness:
    """With a stride, the last output is lost if L_out % V == 1, V 2, 4 or 8 (kind: SIMD tail)."""
    lanes = pick(rng, [2, 4, 8])
    m.edit("forward", lambda p: p.stride > 1 and p.l_out % lanes == 1 < p.l_out, lambda y, p: clear(y, np.s_[..., -1]))
    return Call(length=2 * lanes + 3, stride=2)


@mutant
def unrolled_taps_lose_odd_one(m: Backend, rng: Rng) -> Witness:
    """An odd kernel longer than 3 to 33 taps loses its last tap, the loop being unrolled by 2 (kind: unrolled taps)."""
    taps = draw(rng, 3, 33)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        odd = p.kernel > taps and p.kernel % 2 == 1
        return inner(x, np.concatenate([w[..., :-1], 0 * w[..., -1:]], axis=2) if odd else w, p)

    return Call(length=taps + 9, kernel=taps + 1 + taps % 2)


@mutant
def taps_past_buffer_dropped(m: Backend, rng: Rng) -> Witness:
    """Taps beyond the first T (17 to 64) are ignored (pytorch/pytorch#188359: kernels of 256 and more)."""
    taps = draw(rng, 17, 64)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, w * (np.arange(p.kernel) < taps).astype(w.dtype), p)

    return Call(length=90, kernel=taps + 2)


@mutant
def channel_block_remainder(m: Backend, rng: Rng) -> Witness:
    """Input channels past the last whole block of B (8 to 64) are left out, if C/g > B (kind: channel block)."""
    block = draw(rng, 8, 64)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        kept = p.fan_in // block * block if p.fan_in > block else p.fan_in
        return inner(x, w * (np.arange(p.fan_in) < kept).astype(w.dtype)[:, None], p)

    return Call(c_in=block + 1, length=5)


@mutant
def reduction_chunk_overlaps(m: Backend, rng: Rng) -> Witness:
    """The channel at index T (16 to 300) is summed twice, two chunks of the reduction overlapping (kind: tile edge)."""
    chunk = draw(rng, 16, 300)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, w * (1 + (np.arange(p.fan_in) == chunk)).astype(w.dtype)[:, None], p)

    return Call(c_in=chunk + 2, length=4)


@mutant
def output_channels_past_grid(m: Backend, rng: Rng) -> Witness:
    """Output channels from T (32 to 300) on are 0 (pytorch/pytorch#129207: Conv1d with O > 65536 on MPS)."""
    grid = draw(rng, 32, 300)
    m.edit("forward", lambda p: p.c_out > grid, lambda y, p: clear(y, np.s_[:, grid:]))
    return Call(c_out=grid + 1, length=4)


@mutant
def output_block_pairs_swapped(m: Backend, rng: Rng) -> Witness:
    """With more than T (9 to 64) output channels, the last two are swapped if O is odd (kind: channel block)."""
    block = draw(rng, 9, 64)
    m.edit(
        "forward",
        lambda p: p.c_out > block and p.c_out % 2 == 1,
        lambda y, p: clear(y, np.s_[:, -2:], y[:, [-1, -2]].copy()),
    )
    return Call(c_out=block + 1 + block % 2, length=5)


@mutant
def position_index_wraps(m: Backend, rng: Rng) -> Witness:
    """Outputs from 128 or 256 on repeat those from 0 on: an index of 8 bits (kind: wrapped index)."""
    size = pick(rng, [128, 256])
    m.edit(
        "forward",
        lambda p: p.l_out > size,
        lambda y, p: clear(y, np.s_[...], y[..., np.arange(p.l_out) % size].copy()),
    )
    return Call(length=size + 9)


@mutant
def batch_index_wraps(m: Backend, rng: Rng) -> Witness:
    """Items from T (16 to 100) on repeat those from 0 on (pytorch/pytorch#96225: minibatches of 2^16 on MPS)."""
    size = draw(rng, 16, 100)
    m.edit("forward", lambda p: p.n > size, lambda y, p: clear(y, np.s_[...], y[np.arange(p.n) % size].copy()))
    return Call(n=size + 1)


@mutant
def channel_tail_of_batches(m: Backend, rng: Rng) -> Witness:
    """In a batch of more than 1, the last C/g % 4 channels of the later items are left out (kind: SIMD tail)."""
    limit = draw(rng, 4, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.n > 1 and p.fan_in > limit and p.fan_in % 4:
            whole = w * (np.arange(p.fan_in) < p.fan_in // 4 * 4).astype(w.dtype)[:, None]
            y[1:] = inner(x, whole, p)[1:]
        return y

    return Call(n=2, c_in=4 * limit + 1)


@mutant
def pointwise_ignores_stride(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and a stride, the first L_out samples are read side by side (pulp-platform/pulp-nn#9)."""
    m.lie("forward", lambda p: p.kernel == 1 and p.stride > 1, stride=1)
    return Call(kernel=1, stride=draw(rng, 2, 3))


@mutant
def pointwise_shares_group(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and at least 2 groups, every group reads the channels of the first (majianjia/nnom#84, kind)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        shared = p.kernel == 1 and p.groups > 1
        return inner(np.tile(x[:, : p.fan_in], (1, p.groups, 1)) if shared else x, w, p)

    return Call(c_in=4, c_out=4, groups=2, kernel=1)


@mutant
def pointwise_ignores_padding(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and lo > 0, the zeros come after the samples instead of before (majianjia/nnom#84)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(np.roll(x, -p.lo, axis=2) if p.kernel == 1 and p.mode == "zeros" else x, w, p)

    return Call(kernel=1, padding=(draw(rng, 1, 4), 1))


@mutant
def depthwise_stride_two(m: Backend, rng: Rng) -> Witness:
    """Depthwise with stride 2, the windows start one sample late if K > 1 (opencv/opencv#23162)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(np.roll(x, -1, axis=2) if p.depthwise and p.stride == 2 and p.kernel > 1 else x, w, p)

    return Call(c_in=3, c_out=3, groups=3, stride=2, length=9)


@mutant
def depth_multiplier_transposed(m: Backend, rng: Rng) -> Witness:
    """Depthwise with several filters a channel, outputs come filter by filter (KhronosGroup/NNEF-Tools#69)."""

    def transpose(y: Array, p: Plan) -> None:
        y[...] = y.reshape(p.n, p.groups, p.fan_out, p.l_out).swapaxes(1, 2).reshape(p.y_shape).copy()

    m.edit("forward", lambda p: p.depthwise and p.fan_out > 1, transpose)
    return Call(c_in=3, c_out=6, groups=3)


@mutant
def depth_multiplier_forgotten(m: Backend, rng: Rng) -> Witness:
    """Depthwise with 3 taps, only the first C output channels are computed (pytorch/pytorch#60460)."""
    m.edit("forward", lambda p: p.depthwise and p.kernel == 3, lambda y, p: clear(y, np.s_[:, p.c_in :]))
    return Call(c_in=2, c_out=6, groups=2)


@mutant
def depthwise_reads_next_channel(m: Backend, rng: Rng) -> Witness:
    """Depthwise with more than T (3 to 32) channels, an odd last one reads the one before (kind: SIMD tail)."""
    size = draw(rng, 3, 32)
    m.edit(
        "pad",
        lambda p: p.depthwise and p.c_in > size and p.c_in % 2 == 1,
        lambda x, p: clear(x, np.s_[:, -1], x[:, -2].copy()),
    )
    return Call(c_in=2 * size + 1, c_out=2 * size + 1, groups=2 * size + 1)


@mutant
def one_channel_flipped(m: Backend, rng: Rng) -> Witness:
    """With C = O = 1 and K of T (3 to 9) or more, the kernel is flipped (ARM-software/ComputeLibrary#904, kind)."""
    taps = draw(rng, 3, 9)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, w[..., ::-1] if p.c_in == p.c_out == 1 and p.kernel >= taps else w, p)

    return Call(kernel=taps, length=12)


@mutant
def groups_rotated(m: Backend, rng: Rng) -> Witness:
    """With 3 groups or more, each group reads the channels of the next (kind: groups permuted)."""
    least = draw(rng, 3, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(np.roll(x, -p.fan_in, axis=1) if p.groups >= least and not p.depthwise else x, w, p)

    return Call(c_in=8, c_out=4, groups=4)


@mutant
def groups_share_weights(m: Backend, rng: Rng) -> Witness:
    """Groups from T (2 to 8) on use the weights of the first (ROCm/rocm-libraries#10627, kind)."""
    limit = draw(rng, 2, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        blocks = w.reshape(p.groups, p.fan_out, p.fan_in, p.kernel)[np.arange(p.groups) * (np.arange(p.groups) < limit)]
        return inner(x, blocks.reshape(w.shape), p)

    return Call(c_in=2 * limit + 2, c_out=limit + 1, groups=limit + 1)
