"""Faults of a forward pass whose work is split: over positions, channels and groups, with halos and partial tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

Forward = Callable[[Array, Array, Plan], Array]
Piece = tuple[int, int | None, int]  # the first sample that a shard holds, the end of them, and its outputs

operator, padding, values = chapter("operator"), chapter("padding"), chapter("special values")
layouts, validation = chapter("layouts"), chapter("validation")


def assembled(inner: Forward, x: Array, w: Array, p: Plan, pieces: Sequence[Piece]) -> Array:
    """Return the shards' outputs one after another; what a shard does not hold, it takes for zeros."""
    return np.concatenate([inner(x[..., a:b], w, replace(p, l_out=count)) for a, b, count in pieces], axis=-1)


def blocks(p: Plan, size: int, halo: int) -> list[Piece]:
    """Return shards of so many outputs: each holds its own samples and a halo after them, the last one the rest."""

    def end(first: int) -> int | None:
        return (first + size) * p.stride + halo if first + size < p.l_out else None

    return [(i * p.stride, end(i), min(size, p.l_out - i)) for i in range(0, p.l_out, size)]


def by_group(x: Array, p: Plan) -> Array:
    """Return the padded x as (N, g, C/g, samples)."""
    return x.reshape(p.n, p.groups, p.fan_in, x.shape[2])


def of_channels(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
    """Return y of other channels: x is (N, g, channels of a group, samples)."""
    channels = x.shape[1] * x.shape[2]
    return inner(x.reshape(p.n, channels, x.shape[3]), w, replace(p, c_in=channels, groups=x.shape[1]))


@operator
def halo_as_wide_as_the_taps(m: Backend, rng: Rng) -> Witness:
    """A shard of many outputs gets a halo of K - 1 samples, whatever the dilation (kind: halo without dilation)."""
    size = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        if p.l_out <= size:
            return inner(x, w, p)
        return assembled(inner, x, w, p, blocks(p, size, p.kernel - 1))

    return Call(length=size + 20, kernel=4, dilation=draw(rng, 2, 4))


@operator
def halo_of_one_neighbour(m: Backend, rng: Rng) -> Witness:
    """A shard fetches its halo from the next shard alone: windows across three read zeros (kind: one-hop halo)."""
    size = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        if p.l_out <= size:
            return inner(x, w, p)
        return assembled(inner, x, w, p, blocks(p, size, size * p.stride))

    return Call(length=4 * size, kernel=size + 2 + draw(rng, 0, 8))


@operator
def stride_restarts_in_each_shard(m: Backend, rng: Rng) -> Witness:
    """Where the stride does not divide a shard, its windows start at its first sample (kind: phase at shard edges)."""
    size = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        if p.reach <= size or size % p.stride == 0:
            return inner(x, w, p)
        edges = [(a, -(-a // p.stride), -(-(a + size) // p.stride)) for a in range(0, p.reach, size)]
        pieces = [(a, None, min(end, p.l_out) - first) for a, first, end in edges if end > first]
        return assembled(inner, x, w, p, pieces)

    return Call(length=size + 20, stride=pick(rng, (3, 5)))


@operator
def uneven_shards_placed_by_the_floor(m: Backend, rng: Rng) -> Witness:
    """Many outputs are dealt out unevenly, but a shard reads from rank * floor(L_out/ranks) on (kind: remainder)."""
    ranks, grain = pick(rng, (2, 4, 8)), pick(rng, (32, 64))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        share, extra = divmod(p.l_out, ranks)
        if p.l_out <= grain:
            return inner(x, w, p)
        pieces = [(rank * share * p.stride, None, share + (rank < extra)) for rank in range(ranks)]
        return assembled(inner, x, w, p, pieces)

    return Call(length=grain + ranks + 3)


@operator
def channel_tile_of_two_groups(m: Backend, rng: Rng) -> Witness:
    """A tile of output channels reads one group, though a later one begins inside it (kind: tile across groups)."""
    tile = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        if p.groups == 1 or p.fan_out <= tile:
            return inner(x, w, p)
        group = np.arange(p.c_out) // tile * tile // p.fan_out
        return of_channels(inner, by_group(x, p)[:, group], w, p)

    return Call(c_in=4, c_out=2 * (tile + draw(rng, 1, 3)), groups=2)


@values
def partial_tile_reads_on(m: Backend, rng: Rng) -> Witness:
    """The last, partial tile of C/g channels reads the next group's or item's, times 0 (kind: inf in a masked tile)."""
    tile = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        over = min(-p.fan_in % tile, p.fan_in)
        y = inner(x, w, p)
        if p.fan_in < tile or over == 0 or p.n == 0:
            return y
        flat = x.reshape(p.n * p.groups, p.fan_in, x.shape[2])
        following = np.concatenate([flat[1:], np.zeros_like(flat[:1])])[:, :over]
        following = following.reshape(p.n, p.groups, over, x.shape[2])
        return y + of_channels(inner, following, np.zeros_like(w[:, :over]), p)

    return Call(n=2, c_in=tile + draw(rng, 1, 2), put=(("x", (1, 0, 4), np.inf),))


@padding
def ring_without_its_last_link(m: Backend, rng: Rng) -> Witness:
    """Circular padding before a sharded x is zeros: the last shard sends nothing to the first (kind: open ring)."""
    size = pick(rng, (32, 64, 128))

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = np.array(inner(p))
        if p.mode == "circular" and p.length > size:
            shown[: p.lo] = -1
        return shown

    return Call(length=size + draw(rng, 1, 9), padding=(2, 1), mode="circular")


@padding
def reflection_ends_with_the_last_shard(m: Backend, rng: Rng) -> Witness:
    """Images after x stop at the first sample of the last shard, where hi is wider (kind: mode at a short shard)."""
    size = pick(rng, (16, 32, 64))

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = np.array(inner(p))
        if p.mode in ("reflect", "symmetric") and p.length > size:
            after = shown[p.lo + p.length :]
            np.maximum(after, (p.length - 1) // size * size, out=after)
        return shown

    return Call(length=size + 2, padding=(1, draw(rng, 4, 7)), mode="reflect")


@validation
def negative_share_of_the_last_rank(m: Backend, rng: Rng) -> Witness:
    """Shares of ceil(L_out/ranks) that end before the last rank begins are refused (kind: negative share)."""
    ranks = pick(rng, (8, 12))

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        l_out = found[3].l_out
        if l_out > 2 * ranks and (ranks - 1) * -(-l_out // ranks) > l_out:
            raise ValueError("the length of a shard must not be negative")
        return found

    return Call(length=2 * ranks + 3)


@operator
def second_buffer_not_cleared(m: Backend, rng: Rng) -> Witness:
    """Of three or more tiles of channels, the partial last adds what its buffer still holds (kind: double buffer)."""
    tile = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        full, rest = divmod(p.fan_in, tile)
        y = inner(x, w, p)
        if full < 2 or rest == 0 or p.n == 0:
            return y
        stale = slice((full - 2) * tile + rest, (full - 1) * tile)
        return y + of_channels(inner, by_group(x, p)[:, :, stale], w[:, stale], p)

    return Call(c_in=2 * tile + draw(rng, 1, 3))
