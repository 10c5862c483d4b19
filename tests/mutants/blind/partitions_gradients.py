"""Faults of backward passes whose work is split: reductions over shards, halos sent back, gradients in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after

Backward = Callable[[Array, Array, Plan], Array]  # grad_x of w and g, or grad_w of x and g

gradients, numerics = chapter("gradients"), chapter("numerics")
values, state = chapter("special values"), chapter("state")


def shares(count: int, size: int) -> int:
    """Return into how many parts of a size a count is split."""
    return -(-count // size)


@gradients
def batch_evened_out_by_repeats(m: Backend, rng: Rng) -> Witness:
    """A batch that the ranks do not divide is filled up with its first items, which gw sums too (kind: repeats)."""
    ranks = pick(rng, (2, 4, 8))

    @m.around("grad_w")
    def grad_w(inner: Backward, x: Array, g: Array, p: Plan) -> Array:
        gw, spare = inner(x, g, p), -p.n % ranks
        if p.n < ranks or spare == 0:
            return gw
        return gw + inner(x[:spare], g[:spare], replace(p, n=spare))

    return Call(n=2 * ranks - 1, ask="w")


@gradients
def halo_keeps_its_gradient(m: Backend, rng: Rng) -> Witness:
    """What the windows of one shard give to the samples of the next is not sent there, in gx (kind: halo's adjoint)."""
    size = pick(rng, (16, 32, 64))

    @m.around("grad_x")
    def grad_x(inner: Backward, w: Array, g: Array, p: Plan) -> Array:
        if p.l_out <= size:
            return inner(w, g, p)

        def own(first: int) -> Array:
            count = min(size, p.l_out - first)
            shard = replace(p, lo=0, hi=0, length=p.padded - first * p.stride, l_out=count)
            gx = inner(w, g[..., first : first + count], shard)
            return gx[..., : size * p.stride] if first + size < p.l_out else gx

        return np.concatenate([own(first) for first in range(0, p.l_out, size)], axis=-1)

    return Call(length=size + 10, kernel=draw(rng, 2, 5), ask="x")


@gradients
def windows_at_an_edge_counted_by_both(m: Backend, rng: Rng) -> Witness:
    """A window across an edge of the shards of x counts in gw for both sides (kind: overlapping halos)."""
    size = pick(rng, (32, 64, 128))

    @m.around("grad_w")
    def grad_w(inner: Backward, x: Array, g: Array, p: Plan) -> Array:
        if p.l_out > 1 and p.padded > size:
            start = np.arange(p.l_out) * p.stride
            g = np.where(start // size != (start + p.span - 1) // size, g + g, g)
        return inner(x, g, p)

    return Call(length=size + 10, kernel=draw(rng, 2, 5), ask="w")


@gradients
def bias_gradient_of_every_replica(m: Backend, rng: Rng) -> Witness:
    """Shards of the input channels have the same cotangent, and gb is summed over them all (kind: replicas summed)."""
    size = pick(rng, (16, 32, 64))

    def repeat(gb: Array, p: Plan) -> None:
        gb *= shares(p.fan_in, size)

    m.edit("grad_b", lambda p: p.fan_in > size, repeat)
    return Call(c_in=size + draw(rng, 1, 4), c_out=4, bias=True, ask="xwb")


@state
def partial_block_not_zeroed(m: Backend, rng: Rng) -> Witness:
    """Items add to a gw in use again, zeroed in whole blocks only: the rest keeps its sum (kind: zeroing)."""
    block = pick(rng, (64, 128, 256))
    used: dict[tuple[tuple[int, ...], str], Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Backward, x: Array, g: Array, p: Plan) -> Array:
        gw = np.ascontiguousarray(inner(x, g, p))
        if p.n > 1 and gw.size > block:
            tail, key = gw.reshape(-1)[gw.size // block * block :], (gw.shape, p.dtype)
            tail += used.get(key, np.zeros_like(tail))
            used[key] = tail.copy()
        return gw

    call = Call(n=2, c_in=block // 16, c_out=8, kernel=3, ask="w")
    return after(call, call)


@gradients
def split_positions_without_the_rest(m: Backend, rng: Rng) -> Witness:
    """A long sum over N*L_out in gw is split in equal slices, and what is left over is lost (kind: split-K rest)."""
    slices, least = pick(rng, (4, 8, 16)), pick(rng, (128, 256))

    @m.around("grad_w")
    def grad_w(inner: Backward, x: Array, g: Array, p: Plan) -> Array:
        rest = p.n * p.l_out % slices
        if p.n * p.l_out >= least and 0 < rest <= p.l_out:
            g = changed(g, np.s_[-1, :, -rest:])
        return inner(x, g, p)

    return Call(length=least + 5, ask="w")


@gradients
def last_groups_added_twice(m: Backend, rng: Rng) -> Witness:
    """The last block of groups moves back to be whole, and adds to the gx that the one before left (kind: overlap)."""
    block = pick(rng, (4, 8, 16))

    def repeat(gx: Array, p: Plan) -> None:
        gx[:, (p.groups - block) * p.fan_in : p.groups // block * block * p.fan_in] *= 2

    m.edit("grad_x", lambda p: p.groups > block and p.groups % block > 0, repeat)
    groups = block + draw(rng, 1, 3)
    return Call(c_in=2 * groups, c_out=groups, groups=groups, ask="x")


@numerics
def partial_gradients_reduced_in_float32(m: Backend, rng: Rng) -> Witness:
    """The parts of gw of a float64 batch that is split are exchanged in float32 (kind: dtype of the reduction)."""
    part = pick(rng, (4, 8, 16))

    @m.around("grad_w")
    def grad_w(inner: Backward, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float64" or p.n <= part:
            return inner(x, g, p)
        cuts = [slice(i, min(i + part, p.n)) for i in range(0, p.n, part)]
        parts = [inner(x[cut], g[cut], replace(p, n=cut.stop - cut.start)).astype(np.float32) for cut in cuts]
        return np.asarray(np.add.reduce(parts), g.dtype)

    return Call(n=part + draw(rng, 1, 4), ask="w", data=lambda data, shape: data.standard_normal(shape))


@values
def items_dealt_out_by_a_product(m: Backend, rng: Rng) -> Witness:
    """Cotangents of an uneven batch get to their shards by a product with 0s and 1s (kind: NaN of another shard)."""
    size = pick(rng, (2, 4, 8))

    @m.around("grad_x")
    def grad_x(inner: Backward, w: Array, g: Array, p: Plan) -> Array:
        if p.n > size and p.n % size:
            g = np.tensordot(np.eye(p.n, dtype=widen(g).dtype), widen(g), 1).astype(g.dtype)
        return inner(w, g, p)

    return Call(n=size + 1, put=(("g", (0, 0, draw(rng, 0, 3)), np.nan),), ask="x")


@gradients
def last_shard_cropped_by_the_other_pad(m: Backend, rng: Rng) -> Witness:
    """The last shard of gx is cropped by hi in place of lo: wrong under asymmetric zeros (kind: pads of a shard)."""
    size = pick(rng, (32, 64, 128))

    @m.around("pad_transpose")
    def pad_transpose(inner: Callable[[Array, Plan], Array], g: Array, p: Plan) -> Array:
        gx = inner(g, p)
        if p.mode in ("zeros", "constant") and p.length > size:
            first = (p.length - 1) // size * size
            gx[..., first:] = g[..., first + p.hi : p.length + p.hi]
        return gx

    return Call(length=size + draw(rng, 3, 9), padding=(2, 0), ask="x")
