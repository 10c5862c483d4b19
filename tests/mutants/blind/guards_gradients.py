"""Faults of a tracing compiler with dynamic shapes: the programs of derivatives, and what they are keyed by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.guards_compiled import Programs, again
from tests.mutants.blind.helpers import are_arrays, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.tape import Tracer
from tests.mutants.witness import Call, Witness, after

gradients = chapter("gradients")
Kernel = Callable[..., Array]


@gradients
def planned_gx_as_long_as_the_first(m: Backend, rng: Rng) -> Witness:
    """Compiled: gx has a buffer of the first padded length, rounded up to V; later gx ends there (kind: planning)."""
    unit, made = pick(rng, (32, 64, 128, 256)), Programs(m)

    def room(p: Plan) -> int:
        first = made.first(p)
        return -(-first.padded // unit) * unit if first else p.padded

    m.edit("grad_x", lambda p: p.padded > room(p), lambda gx, p: clear(gx, np.s_[:, :, room(p) :]))
    first = Call(length=draw(rng, 8, 30))
    return again(first, first.but(length=unit + draw(rng, 4, 90)), of="gradients")


@gradients
def gw_splits_of_the_first_size(m: Backend, rng: Rng) -> Witness:
    """Compiled: gw sums ceil(N L_out / B) blocks of B rows, as at the first call; later rows are lost (kind: hint)."""
    block, made = pick(rng, (128, 256, 512, 1024)), Programs(m)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        first, count = made.first(p), p.n * p.l_out
        if first and count > (room := -(-first.n * first.l_out // block) * block):
            rows = np.arange(count).reshape(p.n, 1, p.l_out)
            g = np.where(rows < room, g, np.zeros((), g.dtype))
        return inner(x, g, p)

    first = Call(n=2, length=draw(rng, 9, 40))
    return again(first, first.but(length=block // 2 + draw(rng, 10, 90)), of="gradients")


@gradients
def gradients_pruned_by_the_first_mask(m: Backend, rng: Rng) -> Witness:
    """Compiled: operands that the first backward did not ask for are constants in all later ones (kind: dead code)."""
    made, masks = Programs(m), dict[str, frozenset[str]]()

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        *operands, plan = inner(*args)
        mark, wanted = made.mark(plan), plan.wanted & {"x", "w", "b"}
        if mark and wanted:
            kept = masks.setdefault(mark, wanted)
            operands = [a if key in kept else _value(a) for key, a in zip("xwb", operands, strict=True)]
        return (*operands, plan)

    a = Call(length=draw(rng, 6, 12)).operands()

    def probe(backend: Backend) -> Any:
        program = backend.compile(backend.conv1d)
        by_x = backend.vjp(lambda x: program(x, a["w"]), (a["x"],), a["g"])
        return by_x, backend.vjp(lambda w: program(a["x"], w), (a["w"],), a["g"])

    return probe


@gradients
def tangent_program_keeps_the_first_kernel(m: Backend, rng: Rng) -> Witness:
    """Compiled, jvp: the program for dx holds the w at which it was first linearised, by value (kind: residuals)."""
    made, kept = Programs(m), dict[Any, Array]()

    @m.around("push")
    def push(inner: Any, slot: str, name: str, operands: dict[str, Any], tangent: Any, p: Plan) -> Any:
        mark = made.mark(p)
        if mark and slot == "g" and name == "x" and are_arrays(w := operands["w"]):
            operands = {**operands, "w": kept.setdefault((mark, w.shape, w.dtype), w.copy())}
        return inner(slot, name, operands, tangent, p)

    a, scale = Call(length=draw(rng, 6, 12)).operands(), draw(rng, 2, 5)

    def probe(backend: Backend) -> Any:
        program = backend.compile(backend.conv1d)
        return [backend.jvp(program, (a["x"], w), (a["x"] + 1, w)) for w in (a["w"], scale * a["w"])]

    return probe


@gradients
def gx_of_a_size_class_ends_with_the_first(m: Backend, rng: Rng) -> Witness:
    """Padded lengths over T share a gx program from 2^j to 2^(j+1): it ends where the first did (kind: size class)."""
    least, ends = pick(rng, (64, 256, 1024, 2048)), dict[Any, int]()

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.padded >= least:
            key = (p.c_in, p.c_out, p.kernel, p.stride, p.dilation, p.groups, p.dtype, p.padded.bit_length())
            gx[:, :, ends.setdefault(key, p.padded) :] = 0
        return gx

    first = Call(length=least + draw(rng, 0, 9), ask="x")
    return after(first, first.but(length=least + draw(rng, 10, least - 1)))


@gradients
def gw_key_carries_into_the_taps(m: Backend, rng: Rng) -> Witness:
    """The gw program is keyed by d + K 2^B: d beyond B bits meets that of other taps, with its d (kind: packed key)."""
    bits, programs = pick(rng, (4, 6, 7, 8)), dict[int, int]()

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dilation < 2**16:
            p = replace(p, dilation=programs.setdefault(p.dilation + (p.kernel << bits), p.dilation))
        return inner(x, g, p)

    small = draw(rng, 1, 3)
    wide = Call(length=2**bits + 20, kernel=2, dilation=2**bits + small, ask="w")
    return after(wide.but(kernel=3, dilation=small), wide)


@gradients
def zero_tangent_stays_symbolic(m: Backend, rng: Rng) -> Witness:
    """A tangent that is all 0 at the first jvp of a geometry is left out of the later ones (kind: symbolic zeros)."""
    zero = dict[tuple[Plan, str], bool]()

    @m.around("push")
    def push(inner: Any, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        if slot == "g" and are_arrays(tangent) and zero.setdefault((p, name), not tangent.any()):
            tangent = np.zeros_like(tangent)
        return inner(slot, name, operands, tangent, p)

    a = Call(length=draw(rng, 6, 12)).operands()

    def probe(backend: Backend) -> Any:
        x, w = a["x"], a["w"]
        return [backend.jvp(backend.conv1d, (x, w), (x + 1, dw)) for dw in (np.zeros_like(w), w)]

    return probe


@gradients
def tangent_that_is_the_input_keeps_the_fill(m: Backend, rng: Rng) -> Witness:
    """Mode constant, jvp with dx the array x: both pads are one expression, with the fill (kind: common expression)."""
    last: list[tuple[Array, Plan, Array]] = []

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        last[:] = [(x, p, xp)] if p.mode == "constant" else []
        return xp

    @m.around("pad_tangent")
    def pad_tangent(inner: Kernel, dx: Array, p: Plan) -> Array:
        if last and last[0][0] is dx and last[0][1] == p:
            return last[0][2].copy()
        return inner(dx, p)

    call = Call(length=9, padding=(1, 2), mode="constant", fill=draw(rng, 1, 9))
    a = call.operands()
    return lambda backend: backend.jvp(lambda x: backend.conv1d(x, a["w"], **call.parameters()), (a["x"],), (a["x"],))


@gradients
def second_gw_taken_for_the_first(m: Backend, rng: Rng) -> Witness:
    """Reverse over reverse, gx and gw jointly: the F_w(u, gy) of gx is the F_w(x, gy) of gw (kind: subexpressions)."""
    inside, known = within(m, "vjp"), list[tuple[int, Array, Plan, Array]]()

    @m.around("vjp")
    def vjp(inner: Any, *args: Any) -> Any:
        try:
            return inner(*args)
        finally:
            if not inside:
                known.clear()

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        plan = replace(p, wanted=frozenset())
        for depth, cotangent, found, gw in known:
            if depth > len(inside) and cotangent is g and found == plan:
                return gw.copy()
        gw = inner(x, g, p)
        if inside:
            known.append((len(inside), g, plan, gw))
        return gw

    a = Call(length=draw(rng, 6, 12), padding=(1, 1)).operands()

    def probe(backend: Backend) -> Any:
        def gx(w: Any) -> Any:
            return backend.vjp(lambda *xw: backend.conv1d(*xw, padding=(1, 1)), (a["x"], w), a["g"])[0]

        return backend.vjp(gx, (a["w"],), a["x"] + 1)

    return probe


def _value(a: Any) -> Any:
    while isinstance(a, Tracer):
        a = a.value
    return a
