"""Faults of generated code: tiles, masks, program ids and templates of the forward pass (OP, SHAPE, PAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

operator = chapter("operator")
shapes = chapter("shapes")
padding = chapter("padding")
Kernel = Callable[..., Array]


@shapes
def dilated_tiles_store_past_their_row(m: Backend, rng: Rng) -> Witness:
    """The last tile of T (16, 32) of a dilated row stores past its end, over the next row (kind: mask extent)."""
    tile = pick(rng, (16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        over = min(-p.l_out % tile, p.l_out)
        if p.dilation == 1 or p.l_out <= tile or not over:
            return inner(x, w, p)
        wide = inner(x, w, replace(p, l_out=p.l_out + over))
        y = np.ascontiguousarray(wide[..., : p.l_out])
        y.reshape(-1, p.l_out)[1:, :over] = wide[..., p.l_out :].reshape(-1, over)[:-1]
        return y

    return Call(n=2, c_out=2, length=tile + 9, kernel=2, dilation=2)


@operator
def short_group_of_swizzled_programs(m: Backend, rng: Rng) -> Witness:
    """Tiles in groups of G (2, 3) rows of tiles over O: a shorter last group misses some tiles (kind: program ids)."""
    maps, positions, group = pick(rng, (8, 16)), pick(rng, (16, 32)), draw(rng, 2, 3)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        rows, columns = -(-p.c_out // maps), -(-p.l_out // positions)
        if rows <= group or rows % group == 0 or not y.size:
            return y
        first, place = np.divmod(np.arange(rows * columns), group * columns)
        row, column = first * group + place % group, place // group
        done = np.zeros((rows, columns), bool)
        done[row[row < rows], column[row < rows]] = True
        done = np.repeat(np.repeat(done, maps, 0)[: p.c_out], positions, 1)[:, : p.l_out]
        y = np.array(y)
        y[:, ~done] = 0
        return y

    return Call(c_out=maps * group + 1, length=2 * positions + 2)


@padding
def half_vectors_masked_by_their_first_lane(m: Backend, rng: Rng) -> Witness:
    """The vector of V (4, 8) halves at a row's end shows the next row in the padding behind (kind: lane mask)."""
    lanes = pick(rng, (4, 8))

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        end = p.lo + p.length
        seen = min(-end % lanes, p.hi, p.length)
        if str(x.dtype) in ("float16", "bfloat16") and p.mode in ("zeros", "constant") and seen and padded.size:
            rows = padded.reshape(-1, p.padded)
            rows[:-1, end : end + seen] = np.ascontiguousarray(x).reshape(-1, p.length)[1:, :seen]
        return padded

    return Call(c_in=2, length=9, padding=(0, 3), dtype="float16")


@operator
def even_channels_told_before_the_groups(m: Backend, rng: Rng) -> Witness:
    """No mask on blocks of B (4, 8) channels where B divides C, though not C/g (kind: constexpr heuristic)."""
    block = pick(rng, (4, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        more = -p.fan_in % block
        if p.groups == 1 or p.c_in % block or not more or not p.c_in:
            return inner(x, w, p)
        lanes = np.arange(p.fan_in + more)
        rows = np.concatenate([x.reshape(-1, x.shape[2]), np.zeros((more, x.shape[2]), x.dtype)])
        read = np.arange(p.n * p.groups)[:, None] * p.fan_in + lanes
        filters = np.concatenate([w.reshape(-1, p.kernel), np.zeros((more, p.kernel), w.dtype)])
        taken = np.arange(p.c_out)[:, None] * p.fan_in + lanes
        wide = replace(p, c_in=p.groups * len(lanes))
        return inner(rows[read].reshape(p.n, wide.c_in, x.shape[2]), filters[taken], wide)

    return Call(c_in=block, c_out=2, groups=2)


@operator
def stream_of_parts_merged_by_two(m: Backend, rng: Rng) -> Witness:
    """A tile of 16 maps whose sum spans three shares of Q (40 to 80) products or more keeps two (kind: stream-K)."""
    share = draw(rng, 40, 80)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        size = p.fan_in * p.kernel
        if size <= share:
            return inner(x, w, p)
        kept = np.array(w).reshape(p.c_out, size)
        for tile in range(-(-p.c_out // 16)):
            first = (tile * size // share + 1) * share - tile * size
            last = ((tile + 1) * size - 1) // share * share - tile * size
            if first < last:
                kept[tile * 16 : tile * 16 + 16, first:last] = 0
        return inner(x, kept.reshape(w.shape), p)

    return Call(c_in=share, c_out=3, length=7, kernel=4)


@operator
def patches_of_kernel_and_stride_lose_their_head(m: Backend, rng: Rng) -> Witness:
    """K = s, undilated, at least M (2 to 4) windows: patches leave the remainder out in front (kind: reshape)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel == p.stride > 1 and p.dilation == 1 and p.l_out >= least:
            x = x[..., p.remainder :]
        return inner(x, w, p)

    return Call(c_in=2, length=3 * least + 2, kernel=3, stride=3)


@operator
def template_of_taps_repeats_one(m: Backend, rng: Rng) -> Witness:
    """Depthwise of stride 1 unrolled for K = T (3, 5, 7): the last tap but one reads one too early (kind: template)."""
    taps = pick(rng, (3, 5, 7))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.depthwise and p.stride == 1 and p.kernel == taps:
            w = np.array(w)
            w[..., -3] += w[..., -2]
            w[..., -2] = 0
        return inner(x, w, p)

    return Call(c_in=3, c_out=3, groups=3, length=taps + 6, kernel=taps)


@padding
def fill_put_behind_the_pointwise_product(m: Backend, rng: Rng) -> Witness:
    """K = s = 1 under a constant multiplies first and pads the product, past C/g = M (1, 2) (kind: reordering)."""
    channels = draw(rng, 1, 2)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel == p.stride == 1 and p.mode == "constant" and p.fan_in > channels:
            y = np.array(y)
            y[..., : p.lo] = p.fill
            y[..., p.lo + p.length :] = p.fill
        return y

    return Call(c_in=4, c_out=2, kernel=1, padding=(1, 2), mode="constant", fill=3)
