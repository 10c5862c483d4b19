"""Faults of what a backward pass keeps: contexts, packed operands, masks and sums (chapters GRAD, INV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness, after

state = chapter("state")
Kernel = Callable[..., Array]


@state
def first_gb_adopted_by_the_sum(m: Backend, rng: Rng) -> Witness:
    """N = L_out = 1: the first pass leaves gy itself as gb, later ones are added to it (kind: stolen gradient)."""

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Any, primals: Any) -> tuple[Any, ...]:
        sums = list(inner(passes[:1], primals))
        first = passes[0][1]
        owned = first.shape[::2] == (1, 1) and first.flags.writeable
        for i, a in enumerate(sums):
            if owned and a.ndim == 1 and np.array_equal(a, first[0, :, 0]):
                sums[i] = first[0, :, 0]
        for part in passes[1:]:
            for i, more in enumerate(inner([part], primals)):
                sums[i] = np.add(sums[i], more, out=sums[i]) if np.shares_memory(sums[i], first) else sums[i] + more
        return tuple(sums)

    call = Call(c_out=draw(rng, 2, 4), length=3, bias=True)

    def probe(backend: Backend) -> Any:
        x, w, b, g = (call.operands()[key] for key in "xwbg")
        passes = [(lambda bias: backend.conv1d(x, w, bias), g), (lambda bias: backend.conv1d(2 * x, w, bias), 3 * g)]
        return *backend.accumulate(passes, (b,)), g

    return probe


@state
def smaller_part_keeps_items_of_the_one_before(m: Backend, rng: Rng) -> Witness:
    """Passes of fewer items than the last: gw runs over the buffer of the larger, stale items too (kind: buffer)."""
    inside = within(m, "accumulate")
    held: dict[Plan, tuple[Array, Array]] = {}

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], *args: Any) -> Any:
        held.clear()
        return inner(*args)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if inside:
            old_x, old_g = held.get(replace(p, n=0), (x, g))
            held[replace(p, n=0)] = x, g
            if len(old_x) > p.n:
                gw = gw + inner(old_x[p.n :], old_g[p.n :], replace(p, n=len(old_x) - p.n))
        return gw

    call = Call(n=draw(rng, 2, 4))

    def probe(backend: Backend) -> Any:
        x, w, g = (call.operands()[key] for key in "xwg")
        passes = [(lambda a: backend.conv1d(x, a), g), (lambda a: backend.conv1d(x[:1] + 1, a), g[:1])]
        return backend.accumulate(passes, (w,))

    return probe


@state
def flipped_kernel_of_a_frozen_w_kept(m: Backend, rng: Rng) -> Witness:
    """Frozen w, K > 1: gx keeps the flipped copy of its first call, whatever is written to w (kind: packing)."""
    packed: list[Array] = []

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if "w" not in p.wanted and p.kernel > 1:
            if not packed or packed[0] is not w:
                packed[:] = [w, np.array(w)]
            w = packed[1]
        return inner(w, g, p)

    call, at = Call(), draw(rng, 0, 2)

    def probe(backend: Backend) -> Any:
        x, w, g = (call.operands()[key] for key in "xwg")
        before = backend.vjp(lambda a: backend.conv1d(a, w), (x,), g)
        w[..., at] += 1
        return *before, *backend.vjp(lambda a: backend.conv1d(a, w), (x,), g)

    return probe


@state
def mask_of_the_first_backward_kept(m: Backend, rng: Rng) -> Witness:
    """A geometry keeps its first backward's mask: what of x and w was not asked then is zeros (kind: plan cache)."""
    masks: dict[Plan, frozenset[str]] = {}

    @m.around("pull")
    def pull(inner: Callable[..., Traced], slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if slot == "g" and name not in masks.setdefault(replace(p, wanted=frozenset()), p.wanted):
            return tape.zeros_like(operands[name])
        return inner(slot, name, operands, g, p)

    call = Call(length=draw(rng, 8, 20), padding=(1, 2))
    alone = "x" if draw(rng, 0, 1) else "w"
    return after(call.but(ask=alone), call.but(ask="xw"))
