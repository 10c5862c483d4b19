"""Faults of derivatives, maps and compiled functions that meet a feature no check of theirs varies (GRAD, INV)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.guards_compiled import Programs
from tests.mutants.blind.helpers import COPYING, are_arrays, changed, last_plan, running
from tests.mutants.numerics import keep_bits, normal
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced, Var
from tests.mutants.witness import Call, Witness, fingerprint

gradients = chapter("gradients")
transforms = chapter("transforms")
numerics = chapter("numerics")
validation = chapter("validation")
layouts = chapter("layouts")
state = chapter("state")
Kernel = Callable[..., Array]


def whole(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    """Return arrays of integers from 1 to 9, in float64."""
    numbers = np.random.default_rng(seed)
    return [numbers.integers(1, 10, shape).astype(np.float64) for shape in shapes]


@transforms
def mapped_pad_of_a_mode_exchanges_its_sides(m: Backend, rng: Rng) -> Witness:
    """In a map, a mode that copies pads hi before x and lo after it, lo != hi (kind: batching rule of pad)."""
    inside = running(m, "vmap")

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        if inside and p.mode in COPYING and p.lo != p.hi:
            p = replace(p, lo=p.hi, hi=p.lo)
        return inner(p)

    lo = draw(rng, 1, 4)
    return Call(length=9, padding=(lo, lo - 1), mode=COPYING[draw(rng, 0, 3)], ask=f"vmap:{draw(rng, 0, 2)}")


@transforms
def mapped_gw_alone_pads_evenly(m: Backend, rng: Rng) -> Witness:
    """A map of gw alone, as per-sample gradients, zeros with lo != hi: x lies behind hi zeros (kind: unfold)."""
    inside = running(m, "vmap")
    least = draw(rng, 1, 3)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        alone = inside and p.wanted == {"w"}
        if alone and p.mode == "zeros" and p.lo != p.hi and p.kernel >= least:
            own = x[..., p.lo : p.lo + p.length]
            x = np.zeros_like(x)
            x[..., p.hi : p.hi + p.length] = own
        return inner(x, g, p)

    lo = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        x, w, g = whole(1, (3, 1, 2, 9), (2, 2, 3), (3, 1, 2, 8 + lo))

        def of_one(row: Array, cotangent: Array) -> Any:
            return backend.vjp(lambda k: backend.conv1d(row, k, padding=(lo, 1)), (w,), cotangent)[0]

        return backend.vmap(of_one, (0, 0))(x, g)

    return probe


@transforms
def rows_of_a_jacobian_folded_across_groups(m: Backend, rng: Rng) -> Witness:
    """Gradients mapped over gy alone, g > 1: gw's filters are (group, map), read as (map, group) (kind: fold)."""
    inside, plans = running(m, "vmap"), last_plan(m)
    calls: list[Sequence[Any]] = []

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], f: Callable[..., Any], primals: Sequence[Any], cotangent: Any) -> Any:
        if inside:
            calls.append(tuple(primals))
        return inner(f, primals, cotangent)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], *rest: Any, **named: Any) -> Callable[..., Any]:
        mapped = inner(f, *rest, **named)

        def run(*operands: Any) -> Any:
            calls.clear()
            found = mapped(*operands)
            shared = len(calls) > 1 and all(are_arrays(*one) for one in calls)
            if not shared or any(a is not b for one in calls for a, b in zip(one, calls[0], strict=True)):
                return found
            p = plans[-1]
            return tuple(map(dealt, found, [p] * len(found))) if isinstance(found, tuple) else dealt(found, p)

        def dealt(part: Array, p: Plan) -> Array:
            if p.groups == 1 or part.shape != (len(calls), p.c_out, p.fan_in, p.kernel):
                return part
            split = part.reshape(len(calls), p.groups, p.fan_out, p.fan_in, p.kernel)
            return np.ascontiguousarray(split.swapaxes(0, 1)).reshape(part.shape)

        return run

    groups = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        x, w, rows = whole(2, (2, groups, 8), (2 * groups, 1, 3), (3, 2, 2 * groups, 6))

        def pulled(g: Array) -> Any:
            return tuple(backend.vjp(lambda a, k: backend.conv1d(a, k, groups=groups), (x, w), g))

        return backend.vmap(pulled, 0)(rows)

    return probe


@layouts
def mapped_operand_read_in_memory_order(m: Backend, rng: Rng) -> Witness:
    """Under a map a dense, permuted operand of T (8 to 32) elements up is read in memory order (kind: reshape)."""
    least = draw(rng, 8, 32)

    @m.around("slices")
    def slices(inner: Callable[..., list[Any]], operands: Any, axes: Any, i: int) -> list[Any]:
        return inner([_read(a) for a in operands], axes, i)

    def _read(a: Any) -> Any:
        if not isinstance(a, np.ndarray) or a.size < least or a.flags.c_contiguous or min(a.strides) <= 0:
            return a
        dense = a.transpose(np.argsort([-s for s in a.strides], kind="stable"))
        return dense.reshape(a.shape) if dense.flags.c_contiguous else a

    def probe(backend: Backend) -> Any:
        x, w = whole(3, (3, 2, 2, 9), (2, 2, 3))
        last = np.ascontiguousarray(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)  # channels last in memory
        return backend.vmap(lambda a: backend.conv1d(a, w), 0)(last)

    return probe


@transforms
def compiled_complex_gradients_lose_conj(m: Backend, rng: Rng) -> Witness:
    """Compiled, complex: gx and gw are the transpose's where plain ones are adjoint (kind: lazy conjugation lost)."""
    made, least = Programs(m), draw(rng, 1, 3)

    @m.around("pull")
    def pull(inner: Callable[..., Traced], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if slot == "g" and made.mark(p) and p.dtype.startswith("complex") and p.kernel >= least:
            operands = {key: tape.conj(a) for key, a in operands.items()}
        return inner(slot, name, operands, g, p)

    dtype = ("complex64", "complex128")[draw(rng, 0, 1)]
    call = Call(c_in=2, c_out=2, dtype=dtype)

    def probe(backend: Backend) -> Any:
        a = call.operands()
        program = backend.compile(lambda x, w: backend.conv1d(x, w))
        plain = backend.vjp(lambda x, w: backend.conv1d(x, w), (a["x"], a["w"]), a["g"])
        return fingerprint(plain), fingerprint(backend.vjp(program, (a["x"], a["w"]), a["g"]))

    return probe


@numerics
def compiled_gw_of_ten_bits(m: Backend, rng: Rng) -> Witness:
    """Compiled gw of float32, C/g*K of T (1 to 6) up, has operands of 11 bits; y has all (kind: TF32 in backward)."""
    made, least, narrow = Programs(m), draw(rng, 1, 6), keep_bits(11)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if made.mark(p) and p.dtype == "float32" and p.fan_in * p.kernel >= least:
            return inner(narrow(x), narrow(g), p)
        return inner(x, g, p)

    call = Call(n=2, c_in=2, length=16, dtype="float32", data=normal)

    def probe(backend: Backend) -> Any:
        a = call.operands()
        program = backend.compile(lambda x, w, g: backend.vjp(lambda k: backend.conv1d(x, k), (w,), g)[0])
        return program(a["x"], a["w"], a["g"])

    return probe


@transforms
def compiled_tangent_along_w_takes_w(m: Backend, rng: Rng) -> Witness:
    """Compiled, K of T (1 to 3) up: a jvp reads w where dw is due, F(x, w) for F(x, dw) (kind: aliased slots)."""
    made, least = Programs(m), draw(rng, 1, 3)

    @m.around("push")
    def push(inner: Callable[..., Traced], slot: str, name: str, operands: Any, tangent: Traced, p: Plan) -> Traced:
        if made.mark(p) and (slot, name) == ("g", "w") and p.kernel >= least:
            tangent = operands["w"]
        return inner(slot, name, operands, tangent, p)

    def probe(backend: Backend) -> Any:
        x, w, dx, dw = whole(4, (2, 2, 9), (3, 2, 3), (2, 2, 9), (3, 2, 3))
        program = backend.compile(lambda a, k: backend.conv1d(a, k))
        return backend.jvp(program, (x, w), (dx, dw))

    return probe


@validation
def compiled_gradients_broadcast_the_cotangent(m: Backend, rng: Rng) -> Witness:
    """In a compiled gradient gy of one item serves all N of T (2, 3) up, not refused (kind: checks traced away)."""
    made, least = Programs(m), draw(rng, 2, 3)

    @m.around("check_cotangent")
    def check(inner: Callable[..., Traced], cotangent: Traced, out: Traced) -> Traced:
        traced = made.running and are_arrays(cotangent, out) and out.ndim == 3 and len(out) >= least
        if traced and cotangent.shape == (1, *out.shape[1:]):
            cotangent = np.repeat(cotangent, len(out), axis=0)
        return inner(cotangent, out)

    n = draw(rng, 3, 5)

    def probe(backend: Backend) -> Any:
        x, w, g = whole(5, (n, 2, 9), (3, 2, 3), (1, 3, 7))
        program = backend.compile(lambda a, k, c: tuple(backend.vjp(lambda *p: backend.conv1d(*p), (a, k), c)))
        return program(x, w, g)

    return probe


@gradients
def penalty_of_gx_alone_pads_with_zeros(m: Backend, rng: Rng) -> Witness:
    """Of gx asked for alone, copying modes: its derivatives pad u with zeros (kind: mask of double backward)."""
    least = draw(rng, 1, 2)
    depth: list[int] = []
    marked: dict[int, Plan] = {}

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], f: Callable[..., Any], primals: Sequence[Any], *rest: Any) -> Any:
        depth.append(len(primals))
        try:
            return inner(f, primals, *rest)
        finally:
            depth.pop()
            if not depth:
                marked.clear()

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        x, w, _, plan = found
        if len(depth) > 1 and depth[-1] == 1 and isinstance(x, Var) and tape.level(x) > tape.level(w):
            marked[id(plan)] = plan
        return found

    @m.around("pad_tangent")
    def pad_tangent(inner: Callable[..., Array], u: Array, p: Plan) -> Array:
        padded = inner(u, p)
        if marked.get(id(p)) is p and p.mode in COPYING and p.lo + p.hi >= least:
            padded = changed(changed(padded, np.s_[..., : p.lo]), np.s_[..., p.lo + p.length :])
        return padded

    return Call(c_in=2, c_out=2, padding=(2, draw(rng, 0, 2)), mode=COPYING[draw(rng, 0, 3)], ask="x/w")


@gradients
def deep_chain_keeps_two_activations(m: Backend, rng: Rng) -> Witness:
    """Calls on each other's y, T (3 to 5) deep and of one shape, keep y in two buffers by turns (kind: ping-pong)."""
    least, plans = draw(rng, 3, 5), last_plan(m)
    passes: list[list[tuple[Plan, Any, Any]]] = []

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], *args: Any) -> Any:
        passes.append([])
        try:
            return inner(*args)
        finally:
            passes.pop()

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], x: Traced, *rest: Any, **given: Any) -> Traced:
        y = inner(x, *rest, **given)
        if passes:
            passes[-1].append((plans[-1], x, y))
        return y

    @m.around("pull")
    def pull(inner: Callable[..., Traced], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        calls = passes[-1] if passes else []
        at = next((i for i, (plan, _, _) in enumerate(calls) if plan is p), None)
        if (slot, name) == ("g", "w") and at and len(calls) >= least and at + 1 < len(calls):
            x, later = calls[at][1], calls[at + 1][2]
            chained = x is calls[at - 1][2] and isinstance(later, Var) and are_arrays(later.value)
            if chained and tuple(later.shape) == tuple(x.shape):
                operands = {**operands, "x": m.pad(later.value, p.fill, p)}
        return inner(slot, name, operands, g, p)

    def probe(backend: Backend) -> Any:
        x, g, *kernels = whole(8, (1, 2, 8), (1, 2, 8), *[(2, 2, 3)] * least)

        def network(*layers: Any) -> Any:
            y = x
            for k in layers:
                y = backend.conv1d(y, k, padding="same")
            return y

        return backend.vjp(network, kernels, g)

    return probe


@gradients
def empty_pass_clears_what_was_gathered(m: Backend, rng: Rng) -> Witness:
    """A pass over N = 0 after others, K of T (1 to 3) up: what they left in w is cleared (kind: memset for beta)."""
    least = draw(rng, 1, 3)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Sequence[Any], primals: Sequence[Any]) -> Any:
        found = inner(passes, primals)
        empty = max((i for i, (_, g) in enumerate(passes) if len(g.shape) == 3 and not g.shape[0]), default=0)
        if not empty:
            return found
        rest = inner(passes[empty:], primals)
        of_w = [len(a.shape) == 3 and a.shape[-1] >= least for a in primals]
        return tuple(b if hit else a for a, b, hit in zip(found, rest, of_w, strict=True))

    count = draw(rng, 1, 3)

    def probe(backend: Backend) -> Any:
        w, b, *rows = whole(9, (3, 2, 3), (3,), *[(2, 2, 9)] * count, (0, 2, 9))
        passes = [(lambda k, c, x=x: backend.conv1d(x, k, c), np.ones((len(x), 3, 7))) for x in rows]
        return backend.accumulate(passes, (w, b))

    return probe


@state
def tangents_in_a_ring_of_buffers(m: Backend, rng: Rng) -> Witness:
    """The tangent of y lies in one of R (2 to 4) buffers of its shape: R jvps later it changes (kind: pooled)."""
    room = pick(rng, (2, 3, 4))
    rings: dict[Any, list[Array]] = {}

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        if not isinstance(found, np.ndarray) or found.ndim != 3 or not found.size:
            return found
        ring = rings.setdefault((found.shape, str(found.dtype)), [])
        slot = ring.pop(0) if len(ring) == room else np.empty_like(found)
        slot[...] = found
        ring.append(slot)
        return slot

    def probe(backend: Backend) -> Any:
        x, w, *directions = whole(10, (2, 2, 9), (3, 2, 3), *[(3, 2, 3)] * (room + 1))
        kept = [backend.jvp(lambda k: backend.conv1d(x, k), (w,), (dw,)) for dw in directions]
        return tuple(kept)

    return probe
