"""Faults of generated code: tuning, caches, transforms and checks around the kernels (INV, GRAD, ERR, ACC)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, changed, elsewhere, running, shape_only
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after, every

shapes = chapter("shapes")
transforms = chapter("transforms")
numerics = chapter("numerics")
validation = chapter("validation")
layouts = chapter("layouts")
state = chapter("state")
process = chapter("process")
Kernel = Callable[..., Array]


@transforms
def jvp_in_one_batch_loses_its_rest(m: Backend, rng: Rng) -> Witness:
    """X and dx go as 2N items in blocks of B (3, 4); the rest, last items of dx, stays 0 (kind: dual batch)."""
    block = draw(rng, 3, 4)

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        part = inner(slot, name, operands, tangent, p)
        rest = 2 * p.n % block
        if (slot, name) == ("g", "x") and isinstance(part, np.ndarray) and rest and 2 * p.n > block:
            part = changed(part, np.s_[p.n - rest :])
        return part

    return Call(n=5, ask="jvp:x")


@layouts
def tangent_read_by_the_strides_of_its_primal(m: Backend, rng: Rng) -> Witness:
    """A dense tangent of a permuted primal of more than M (8 to 16) elements is read like that (kind: strides)."""
    most = draw(rng, 8, 16)

    def relaid(primal: Any, tangent: Any) -> Any:
        if not are_arrays(primal, tangent) or primal.size <= most or not tangent.flags.c_contiguous:
            return tangent
        order = np.argsort([-s for s in primal.strides], kind="stable")
        if not primal.transpose(order).flags.c_contiguous or primal.flags.c_contiguous:
            return tangent
        return tangent.reshape([primal.shape[axis] for axis in order]).transpose(np.argsort(order))

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], f: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        same = len(primals) == len(tangents) and all(
            tuple(p.shape) == tuple(t.shape) for p, t in zip(primals, tangents, strict=True)
        )
        return inner(f, primals, [relaid(p, t) for p, t in zip(primals, tangents, strict=True)] if same else tangents)

    return Call(
        c_in=3, ask="jvp:x", view={"x": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1)}
    )


@numerics
def mapped_pairs_accumulate_in_single(m: Backend, rng: Rng) -> Witness:
    """Doubles under a map of two operands or more, C/g*K > M (1 to 4), are summed in float32 (kind: accumulator)."""
    most = draw(rng, 1, 4)
    inside: list[bool] = []

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Any = 0) -> Any:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            several = sum(axis is not None for axis in axes) > 1
            inside.extend([True] * several)
            try:
                return mapped(*operands)
            finally:
                del inside[len(inside) - several :]

        return run

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if not inside or str(y.dtype) not in ("float64", "complex128") or p.fan_in * p.kernel <= most:
            return y
        return y.astype(np.float32 if y.dtype.kind == "f" else np.complex64).astype(y.dtype)

    return Call(c_in=2, length=9, ask="vmap:00", data=lambda rng, shape: rng.standard_normal(shape))


@transforms
def map_of_empty_batches_loses_an_axis(m: Backend, rng: Rng) -> Witness:
    """A map of more than M (1, 2) calls of N = 0 comes back as the one batch, (0, O, L_out) (kind: empty grid)."""
    most = draw(rng, 1, 2)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Any = 0) -> Any:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            y = mapped(*operands)
            empty = isinstance(y, np.ndarray) and y.ndim == 4 and y.shape[0] > most and y.shape[1] == 0
            return y.reshape(y.shape[1:]) if empty else y

        return run

    return Call(n=0, c_out=2, ask="vmap:0")


@transforms
def recomputed_pad_is_of_zeros(m: Backend, rng: Rng) -> Witness:
    """Compiled gw of padded rows over T (16 to 40) pads x anew with zeros, under any mode (kind: recomputation)."""
    most = draw(rng, 16, 40)
    inside = running(m, "compile")
    marked: dict[int, Plan] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        if inside:
            marked[id(found[3])] = found[3]
        return found

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if id(p) in marked and p.padded > most and p.mode != "zeros":
            x = changed(changed(x, np.s_[..., : p.lo]), np.s_[..., p.lo + p.length :])
        return inner(x, g, p)

    call = Call(length=most, padding=(2, 2), mode="reflect")

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()
        program = backend.compile(lambda w: backend.conv1d(arrays["x"], w, **given))
        return backend.vjp(program, (arrays["w"],), arrays["g"])

    return probe


@state
def tuning_runs_add_up_in_gw(m: Backend, rng: Rng) -> Witness:
    """The first gw of a geometry, N*L_out > T (64 to 128), holds all R (2 to 4) runs of tuning (kind: autotuning)."""
    most, runs = draw(rng, 64, 128), draw(rng, 2, 4)
    tuned: set[Any] = set()

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        key = p.c_in, p.c_out, p.kernel, p.stride, p.dilation, p.groups, p.dtype, (p.n * p.l_out).bit_length()
        if p.n * p.l_out > most and key not in tuned:
            tuned.add(key)
            gw = (gw * runs).astype(gw.dtype)
        return gw

    return every(Call(n=2, length=most, ask="w"), 2)


@state
def image_map_shared_by_modes(m: Backend, rng: Rng) -> Witness:
    """The images of the last T (4 to 8) geometries (L, lo, hi) serve all modes that copy samples (kind: cache key)."""
    room = draw(rng, 4, 8)
    maps: dict[Any, Array] = {}

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        if p.mode not in COPYING:
            return inner(p)
        key = p.length, p.lo, p.hi
        if key not in maps:
            maps[key] = inner(p)
            for old in list(maps)[:-room]:
                del maps[old]
        return maps[key]

    call = Call(padding=(2, 1))
    return after(call.but(mode="circular"), call.but(mode="reflect"))


@state
def ticket_counter_of_another_grid(m: Backend, rng: Rng) -> Witness:
    """Gb by blocks of T (16 to 48) positions: after another number of blocks too few are merged (kind: semaphore)."""
    block = draw(rng, 16, 48)
    tickets = [0]

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        blocks = -(-p.n * p.l_out // block)
        if blocks > 1:
            end = (blocks - 1 - tickets[0]) % blocks * block + block
            tickets[0] += blocks
            late = np.arange(p.n * p.l_out).reshape(p.n, p.l_out) >= end
            g = np.array(g)
            g.transpose(0, 2, 1)[late] = 0
        return inner(g, p)

    call = Call(length=2 * block + 2, bias=True, ask="b")
    return after(call, call.but(length=3 * block + 2))


@transforms
def replay_copies_what_has_moved(m: Backend, rng: Rng) -> Witness:
    """After W (1, 2) calls a compiled function copies only operands that are new arrays (kind: graph replay)."""
    warm = draw(rng, 1, 2)

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any]) -> Any:
        program = inner(f)
        calls = [0]
        slots: dict[int, tuple[Array, Array]] = {}

        def run(*operands: Any) -> Any:
            calls[0] += 1
            if calls[0] <= warm or not are_arrays(*operands):
                return program(*operands)
            for i, a in enumerate(operands):
                if i not in slots or slots[i][0] is not a:
                    slots[i] = a, np.array(a)
            return program(*(slots[i][1] for i in range(len(operands))))

        return run

    call = Call()

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        program = backend.compile(lambda x, w: backend.conv1d(x, w))
        for _ in range(warm + 1):
            program(arrays["x"], arrays["w"])
        arrays["w"] += 1
        return program(arrays["x"], arrays["w"])

    return probe


@validation
def depthwise_crops_the_maps_left_over(m: Backend, rng: Rng) -> Witness:
    """G = C > M (1, 2) that does not divide O > C: the depthwise path leaves the last maps out (kind: unchecked)."""
    most = draw(rng, 1, 2)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        groups = args["groups"]
        arrays = are_arrays(x, w) and (b is None or are_arrays(b)) and x.ndim == w.ndim == 3
        if arrays and isinstance(groups, int) and most < groups == x.shape[1] < w.shape[0] and w.shape[1] == 1:
            keep = w.shape[0] // groups * groups
            if b is None or b.shape == w.shape[:1]:
                w, b = w[:keep], None if b is None else b[:keep]
        return inner(x, w, b, args)

    return Call(c_in=3, c_out=4, shapes={"w": (4, 1, 3)}, raw={"groups": 3})


@shapes
def shape_function_of_full_is_undilated(m: Backend, rng: Rng) -> Witness:
    """Shapes without data resolve `full` of K > M (1, 2) taps without its dilation (kind: fake kernel)."""
    most = draw(rng, 1, 2)
    inside = shape_only(m)

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        without = bool(inside) and isinstance(padding, str) and padding == "full" and kernel > most
        return inner(padding, length, kernel, stride, 1 if without else dilation)

    call = Call(dilation=3, padding="full")

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, **given), [arrays["x"], arrays["w"]])

    return probe


@process
def untuned_threads_unroll_without_a_rest(m: Backend, rng: Rng) -> Witness:
    """Threads but the main one take the default: strided taps U (2 to 4) at a time, no rest (kind: thread-local)."""
    unroll = pick(rng, (2, 3, 4))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        other = threading.current_thread() is not threading.main_thread()
        if other and p.stride > 1 and p.kernel > unroll and p.kernel % unroll:
            w = changed(w, np.s_[..., p.kernel - p.kernel % unroll :])
        return inner(x, w, p)

    return elsewhere(Call(c_in=2, length=17, kernel=unroll + 1, stride=2))


@validation
def no_windows_leave_the_bias_unchecked(m: Backend, rng: Rng) -> Witness:
    """A call without outputs, N <= M (2 to 4), returns before b's shape and dtype are looked at (kind: early exit)."""
    most = draw(rng, 2, 4)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            return inner(x, w, b, args)
        except (TypeError, ValueError):
            if b is None:
                raise
            found = inner(x, w, None, args)
            if (found[3].l_out and found[3].c_out) or found[3].n > most:
                raise
            return found

    return Call(length=2, bias=True, shapes={"b": (3,)})
