"""Faults of a scheduler: shards, halos, remainders and workers (operator, padding, gradients, transforms, numerics)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after, observe

operator = chapter("operator")
padding = chapter("padding")
gradients = chapter("gradients")
transforms = chapter("transforms")
numerics = chapter("numerics")
special = chapter("special values")
state = chapter("state")
process = chapter("process")
Kernel = Callable[..., Array]


def straddling(p: Plan, shard: int) -> Iterator[tuple[slice, int]]:
    """Yield the windows of each shard that read the next one's samples, and the padded sample where that begins."""
    for end in range(shard, p.l_out, shard):
        edge = end * p.step
        first = max(end - shard, (edge - p.span) // p.step + 1)
        if first < end:
            yield slice(first, end), edge


@state
def idle_worker_adds_its_former_partial(m: Backend, rng: Rng) -> Witness:
    """Gw of N > T whose shares leave the last of T workers (3 or 4) idle adds its last part (kind: stale partial)."""
    workers = draw(rng, 3, 4)
    kept: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        share = -(-p.n // workers)
        start, key = (workers - 1) * share, (gw.shape, str(gw.dtype))
        if start < p.n:
            kept[key] = inner(x[start:], g[start:], replace(p, n=p.n - start))
        elif p.n > workers and key in kept:
            gw = (gw + kept[key]).astype(gw.dtype)
        return gw

    return after(Call(n=2 * workers, ask="w"), Call(n=workers + 1, ask="w"))


@gradients
def gx_halo_goes_to_the_next_shard_only(m: Backend, rng: Rng) -> Witness:
    """Gx of L_out in T shards (3 or 4) loses what a wide span gives to the shard after the next (kind: halo)."""
    shards = draw(rng, 3, 4)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        size = -(-p.l_out // shards)
        if p.l_out < 2 * shards or p.span - 1 <= size * p.step:
            return inner(w, g, p)
        gx = np.zeros((p.n, p.c_in, p.padded), g.dtype)
        for a in range(0, p.l_out, size):
            b = min(a + size, p.l_out)
            part = inner(w, g[..., a:b], replace(p, l_out=b - a, stride=p.step))
            room = p.padded - a * p.step
            reach = room if a + 2 * size >= p.l_out else min(room, 2 * size * p.step)
            gx[..., a * p.step : a * p.step + reach] += part[..., :reach]
        return gx

    return Call(length=20, kernel=4, dilation=3, padding=(2, 2), ask="x")


@transforms
def tangent_halo_not_exchanged(m: Backend, rng: Rng) -> Witness:
    """In a jvp by x, windows across a multiple of T outputs see no tangent beyond it, T 20 to 40 (kind: halo)."""
    shard = draw(rng, 20, 40)

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, t: Any, p: Plan) -> Any:
        out = inner(slot, name, operands, t, p)
        if slot == "g" and name == "x" and are_arrays(t, out, *operands.values()):
            for windows, edge in straddling(p, shard):
                own = np.array(t)
                own[..., edge:] = 0
                out[..., windows] = inner(slot, name, operands, own, p)[..., windows]
        return out

    return Call(length=2 * shard + 9, ask="jvp:x")


@numerics
def halo_of_doubles_sent_in_single(m: Backend, rng: Rng) -> Witness:
    """Windows of doubles across a multiple of T outputs get the next shard's samples in float32 (kind: halo dtype)."""
    shard = draw(rng, 20, 40)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        single = {"float64": np.float32, "complex128": np.complex64}.get(p.dtype)
        if single is not None:
            for windows, edge in straddling(p, shard):
                sent = np.array(x)
                sent[..., edge:] = x[..., edge:].astype(single)
                y[..., windows] = inner(sent, w, p)[..., windows]
        return y

    return Call(length=2 * shard + 9, data=lambda numbers, shape: numbers.standard_normal(shape))


@gradients
def windows_of_both_edges_in_both_tasks(m: Backend, rng: Rng) -> Witness:
    """Gw counts windows that reach into both pads twice, where C*O >= T: each edge has a task (kind: partition)."""
    least = draw(rng, 1, 3)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        starts = np.arange(p.l_out) * p.step
        both = (starts < p.lo) & (starts + p.span > p.lo + p.length)
        if both.any() and p.hi > 0 and p.c_in * p.c_out >= least:
            g = np.array(g)
            g[..., both] += g[..., both]
        return inner(x, g, p)

    return Call(c_in=2, c_out=2, length=3, kernel=5, padding=(2, 2), ask="w")


@gradients
def filters_of_a_short_shard_repeated_in_gx(m: Backend, rng: Rng) -> Witness:
    """Gx over T shards of O filters, g = 1, counts the copies of the last that fill up a shard (kind: remainder)."""
    shards = draw(rng, 3, 4)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        copies = -p.c_out % shards
        if p.groups == 1 and p.c_out > shards and copies:
            last = inner(w[-1:], g[:, -1:], replace(p, c_out=1))
            for _ in range(copies):
                gx = (gx + last).astype(gx.dtype)
        return gx

    return Call(c_in=2, c_out=shards + 2, ask="x")


@special
def batch_filled_up_with_its_first_item(m: Backend, rng: Rng) -> Witness:
    """Gw of N not divisible by T (2 or 4) adds item 0 at cotangents 0: an inf there gives NaN (kind: remainder)."""
    shards = pick(rng, (2, 4))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.n > 1 and p.n % shards:
            gw = (gw + inner(x[:1], np.zeros_like(g[:1]), replace(p, n=1))).astype(gw.dtype)
        return gw

    return Call(n=3, put=(("x", (0, 0, 3), np.inf),), ask="w")


@operator
def work_counted_in_a_byte_idles_all_workers(m: Backend, rng: Rng) -> Witness:
    """Y stays unwritten where the products, in units of 2^T (3 to 5), are 0 modulo 256 (kind: narrow count)."""
    unit = draw(rng, 3, 5)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        units = (p.n * p.c_out * p.fan_in * p.kernel * p.l_out) >> unit
        return np.zeros_like(y) if units and units % 256 == 0 else y

    return Call(c_in=8, c_out=8, length=(2 << unit) + 1, kernel=2)


@padding
def same_resolved_for_half_the_row(m: Backend, rng: Rng) -> Witness:
    """Rows over T (24 to 40), in two shards, start same with a stride as one shard would (kind: local length)."""
    most = draw(rng, 24, 40)

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], name: Any, length: int, *rest: int) -> tuple[int, int]:
        lo, hi = inner(name, length, *rest)
        if name in ("same", "same_lower") and rest[1] > 1 and length > most:
            before = min(inner(name, length // 2, *rest)[0], lo + hi)
            return before, lo + hi - before
        return lo, hi

    length = most + 1
    while length % 4 != 2:
        length += 1
    return Call(length=length, stride=2, padding="same")


@gradients
def last_bucket_of_the_last_pass_not_flushed(m: Backend, rng: Rng) -> Witness:
    """Passes add up several operands' gradients in buckets of T: the last's unfilled one is lost (kind: flush)."""
    bucket = pick(rng, (4, 8, 16))

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Any, primals: Any) -> Any:
        sums = inner(passes, primals)
        if len(passes) < 2 or len(primals) < 2:
            return sums
        last = m.vjp(passes[-1][0], primals, passes[-1][1])
        end = sum(part.size for part in last) // bucket * bucket
        results, start = [], 0
        for total, part in zip(sums, last, strict=True):
            lost = np.arange(start, start + part.size).reshape(part.shape) >= end
            results.append(np.where(lost, total - part, total).astype(total.dtype))
            start += part.size
        return tuple(results)

    def probe(backend: Backend) -> Any:
        numbers = np.random.default_rng(5)
        w, b = numbers.integers(1, 9, (1, 2, 3)).astype(np.float64), np.array([3.0])
        parts = [numbers.integers(-9, 10, (2, 2, 8)).astype(np.float64) for _ in range(2)]
        cotangents = [numbers.integers(1, 9, (2, 1, 6)).astype(np.float64) for _ in range(2)]
        passes = [(lambda k, c, x=x: backend.conv1d(x, k, c), g) for x, g in zip(parts, cotangents, strict=True)]
        return backend.accumulate(passes, (w, b))

    return probe


@process
def small_operands_of_the_capturing_thread(m: Backend, rng: Rng) -> Witness:
    """Compiled, operands of up to T numbers are what the thread that called first gave last (kind: thread buffer)."""
    most = draw(rng, 8, 24)

    @m.around("compile")
    def compile(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        program = inner(f)
        owner: list[int] = []
        slots: dict[int, Array] = {}

        def replay(*operands: Any) -> Any:
            given, me = list(operands), threading.get_ident()
            owner.append(me)
            for i, a in enumerate(operands):
                if not isinstance(a, np.ndarray) or a.size > most:
                    continue
                if me == owner[0]:
                    slots[i] = a.copy()
                elif i in slots and slots[i].shape == a.shape and slots[i].dtype == a.dtype:
                    given[i] = slots[i].copy()
            del owner[1:]
            return program(*given)

        return replay

    def probe(backend: Backend) -> Any:
        numbers = np.random.default_rng(6)
        x, w, v = (numbers.integers(1, 9, shape).astype(np.float64) for shape in ((2, 1, 20), (1, 1, 3), (1, 1, 3)))
        program = backend.compile(lambda a, k: backend.conv1d(a, k))
        program(x, w)
        shown: list[Any] = []
        thread = threading.Thread(target=lambda: shown.append(observe(backend, lambda _: program(x, v))))
        thread.start()
        thread.join()
        return shown[0]

    return probe
