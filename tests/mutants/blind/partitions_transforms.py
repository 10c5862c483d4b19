"""Faults of split work under vmap, jvp, second derivatives and compilation, over several passes, calls and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, elsewhere, last_plan
from tests.mutants.blind.partitions_forward import assembled, blocks
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness, run

Axes = Sequence[int | None]
Slices = Callable[[Sequence[Traced], Axes, int], list[Traced]]
Forward = Callable[[Array, Array, Plan], Array]
Rule = Callable[[str, str, Mapping[str, Traced], Traced, Plan], Traced]  # push or pull

transforms, shapes = chapter("transforms"), chapter("shapes")
state, process, gradients = chapter("state"), chapter("process"), chapter("gradients")


def extent(operands: Sequence[Traced], axes: Axes) -> int:
    """Return over how many calls a map runs."""
    return next(int(a.shape[axis]) for a, axis in zip(operands, axes, strict=True) if axis is not None)


def mapped_over_x(backend: Backend, w: Traced, count: int) -> Traced:
    """Map one small convolution over multiples of an x."""
    x = Call().operands()["x"]
    return backend.vmap(lambda item: backend.conv1d(item, w))(np.stack([(i + 1) * x for i in range(count)]))


@transforms
def last_chunk_of_a_map_moved_back(m: Backend, rng: Rng) -> Witness:
    """A map runs in chunks; the start of a partial last one is clamped, so that it is whole (kind: clamped slice)."""
    chunk = pick(rng, (2, 3, 4))

    @m.around("slices")
    def slices(inner: Slices, operands: Sequence[Traced], axes: Axes, i: int) -> list[Traced]:
        count = extent(operands, axes)
        whole = count // chunk * chunk
        return inner(operands, axes, i - whole + count - chunk if 0 < whole <= i else i)

    count = chunk + draw(rng, 1, chunk - 1)
    return lambda backend: mapped_over_x(backend, Call().operands()["w"], count)


@transforms
def shared_operand_reduced_in_one_chunk(m: Backend, rng: Rng) -> Witness:
    """An operand that a map of chunks shares gets the gradients of the first chunk alone (kind: missed all-reduce)."""
    chunk = pick(rng, (2, 3, 4))

    def detached(a: Traced) -> Traced:
        return a.value if isinstance(a, tape.Var) else a

    @m.around("slices")
    def slices(inner: Slices, operands: Sequence[Traced], axes: Axes, i: int) -> list[Traced]:
        parts = inner(operands, axes, i)
        return [detached(a) if i >= chunk and axis is None else a for a, axis in zip(parts, axes, strict=True)]

    def probe(backend: Backend) -> Any:
        operands = Call().operands()
        xs = np.stack([(i + 1) * operands["x"] for i in range(chunk + 1)])

        def mapped(w: Traced) -> Traced:
            return backend.vmap(backend.conv1d, (0, None))(xs, w)

        return backend.vjp(mapped, (operands["w"],), np.stack([operands["g"]] * (chunk + 1)))

    return probe


@transforms
def halo_of_the_tangent_not_exchanged(m: Backend, rng: Rng) -> Witness:
    """The tangent of x is taken for 0 beyond the edge of each of several shards (kind: exchange without a jvp)."""
    size = pick(rng, (16, 32, 64))

    @m.around("push")
    def push(inner: Rule, slot: str, name: str, operands: Mapping[str, Traced], t: Traced, p: Plan) -> Traced:
        if slot + name == "gx" and p.l_out > size and are_arrays(t, operands["w"]):
            return assembled(m.forward, t, operands["w"], p, blocks(p, size, 0))
        return inner(slot, name, operands, t, p)

    return Call(length=size + draw(rng, 6, 20), ask="jvp:xw")


@transforms
def sum_over_ranks_transposed_to_itself(m: Backend, rng: Rng) -> Witness:
    """The gradient of a gw that was summed over the items' ranks is summed over them again (kind: psum's transpose)."""
    ranks = pick(rng, (2, 4, 8))

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan) -> Traced:
        def again(a: Array) -> Array:
            return a * min(p.n, ranks)

        found = inner(slot, name, operands, g, p)
        return tape.linear(again, again, found) if slot == "w" and p.n > 1 else found

    return Call(n=draw(rng, 2, 4), ask="w/x")


@transforms
def tangent_of_gx_without_the_last_tile(m: Backend, rng: Rng) -> Witness:
    """Along dw, gx sums whole tiles of O/g channels; a partial last one is left out (kind: remainder of a tangent)."""
    tile = pick(rng, (4, 8, 16))

    @m.around("push")
    def push(inner: Rule, slot: str, name: str, operands: Mapping[str, Traced], t: Traced, p: Plan) -> Traced:
        def whole(a: Array) -> Array:
            tiled = np.arange(p.c_out) % p.fan_out < p.fan_out // tile * tile
            return np.where(tiled[:, None, None], a, np.zeros_like(a))

        along = tape.linear(whole, whole, t) if slot + name == "xw" and p.fan_out > tile else t
        return inner(slot, name, operands, along, p)

    return Call(c_in=2, c_out=tile + draw(rng, 1, 3), ask="x>w")


@transforms
def compiled_for_the_first_grid(m: Backend, rng: Rng) -> Witness:
    """A compiled function keeps the number of blocks of its first call: a longer y ends in zeros (kind: baked grid)."""
    block = pick(rng, (16, 32, 64))
    active: list[list[int]] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        made = inner(f)
        grid: list[int] = []

        def launch(*operands: Traced) -> Any:
            active.append(grid)
            try:
                return made(*operands)
            finally:
                active.pop()

        return launch

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if active:
            grid = active[-1]
            if not grid:
                grid.append(-(-p.l_out // block))
            y[..., grid[0] * block :] = 0
        return y

    def probe(backend: Backend) -> Any:
        f = backend.compile(backend.conv1d)
        short, long = (Call(length=length).operands() for length in (block, 2 * block))
        return f(short["x"], short["w"]), f(long["x"], long["w"])

    return probe


@state
def shards_gathered_in_two_buffers(m: Backend, rng: Rng) -> Witness:
    """The shards of y gather in one of two buffers of its shape, given out by turns (kind: ping-pong results)."""
    size = pick(rng, (16, 32, 64))
    pairs: dict[tuple[tuple[int, ...], str], list[Array]] = {}

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.l_out <= size:
            return y
        pair = pairs.setdefault((y.shape, p.dtype), [np.empty_like(y), np.empty_like(y)])
        pair.reverse()
        pair[0][:] = y
        return pair[0]

    def probe(backend: Backend) -> Any:
        call = Call(length=size + 5)
        first = run(backend, call)
        for value in (50, 60):
            run(backend, call.but(put=(("x", (0, 0, 0), value),)))
        return first

    return probe


@gradients
def reduced_again_with_every_pass(m: Backend, rng: Rng) -> Witness:
    """Each pass over a split batch sums over the ranks what earlier ones left, too (kind: all-reduce twice)."""
    ranks = pick(rng, (2, 4))
    plans = last_plan(m)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Sequence[Any], primals: Sequence[Array]) -> tuple[Any, ...]:
        total: tuple[Any, ...] = inner(passes[:1], primals)
        for one in passes[1:]:
            gradients = inner([one], primals)
            times = min(plans[0].n, ranks) if plans and plans[0].n else 1
            total = tuple(times * before + g for before, g in zip(total, gradients, strict=True))
        return total

    def probe(backend: Backend) -> Any:
        arrays = Call(n=2).operands()
        return backend.accumulate(
            [(lambda w, i=i: backend.conv1d(i * arrays["x"], w), arrays["g"]) for i in (1, 2)], (arrays["w"],)
        )

    return probe


@shapes
def shape_of_whole_shards(m: Backend, rng: Rng) -> Witness:
    """The shape told without data has as many whole shards as it takes for L_out (kind: rounded up to shards)."""
    size, plans = pick(rng, (16, 32, 64)), last_plan(m)

    @m.around("eval_shape")
    def eval_shape(inner: Callable[..., Any], *args: Any) -> tuple[tuple[int, ...], str]:
        shape, dtype = inner(*args)
        if plans and shape == plans[0].y_shape and shape[2] > size:
            shape = *shape[:2], -(-shape[2] // size) * size
        return shape, dtype

    arrays = Call(length=size + draw(rng, 3, 9)).operands()
    return lambda backend: backend.eval_shape(backend.conv1d, [arrays["x"], arrays["w"]])


@process
def workers_of_the_first_thread(m: Backend, rng: Rng) -> Witness:
    """Several shards are refused in another thread than the loading one, for want of workers (kind: local pool)."""
    grain, pool = pick(rng, (16, 32, 64)), threading.local()
    pool.workers = 4

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        if p.l_out <= grain:
            return inner(x, w, p)
        return assembled(inner, x, w, p, blocks(p, -(-p.l_out // pool.workers), p.span))

    return elsewhere(Call(length=grain + 10))
