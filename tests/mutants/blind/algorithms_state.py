"""Faults of algorithms that are chosen once, or that merge partial sums over calls (chapters INV and GRAD)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness, every

state = chapter("state")
Kernel = Callable[..., Array]


@chapter("transforms")
def compiled_for_a_symmetric_kernel(m: Backend, rng: Rng) -> Witness:
    """Compiled at a w that equals its reverse, later ones of its shape are folded as well (kind: specialised)."""
    running: list[dict[tuple[int, ...], bool]] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        whole, symmetric = inner(f), dict[tuple[int, ...], bool]()

        def run(*operands: Traced) -> Any:
            running.append(symmetric)
            try:
                return whole(*operands)
            finally:
                running.pop()

        return run

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if running and running[-1].setdefault(w.shape, bool((w == w[:, :, ::-1]).all())):
            half = p.kernel // 2
            w = np.concatenate([w[:, :, : p.kernel - half], w[:, :, :half][:, :, ::-1]], axis=2)
        return inner(x, w, p)

    call = Call(c_in=2, kernel=draw(rng, 2, 7))

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        function = backend.compile(backend.conv1d)
        return function(arrays["x"], np.ones_like(arrays["w"])), function(arrays["x"], arrays["w"])

    return probe


@state
def pruned_blocks_stay_pruned(m: Backend, rng: Rng) -> Witness:
    """Blocks of B x B (4 or 8) channels once all 0 in w stay 0 in later w of its shape (kind: block-sparse)."""
    block = pick(rng, (4, 8))
    pruned: dict[tuple[int, ...], Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if min(p.fan_in, p.c_out) < block:
            return inner(x, w, p)
        zero = pruned.setdefault(w.shape, np.zeros(w.shape[:2], bool))
        for o in range(0, p.c_out, block):
            for c in range(0, p.fan_in, block):
                at = np.s_[o : o + block, c : c + block]
                zero[at] |= (w[at] == 0).all()
        return inner(x, np.where(zero[:, :, None], w.dtype.type(0), w), p)

    call = Call(c_in=block, c_out=2 * block)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        first = np.array(arrays["w"])
        first[block:] = 0
        return backend.conv1d(arrays["x"], first), backend.conv1d(arrays["x"], arrays["w"])

    return probe


@state
def gw_partials_merged_as_they_finish(m: Backend, rng: Rng) -> Witness:
    """In float32 and 64, N >= T (3 to 6): gw adds the items' sums in an order that turns by call (kind: atomics)."""
    least = draw(rng, 3, 6)
    calls: list[bool] = []

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype not in ("float32", "float64") or p.n < least:
            return inner(x, g, p)
        one = replace(p, n=1)
        parts = [inner(x[i : i + 1], g[i : i + 1], one) for i in range(p.n)]
        turn = len(calls) % p.n
        calls.append(True)
        gw = np.zeros_like(parts[0])
        for part in parts[turn:] + parts[:turn]:
            gw += part
        return gw

    call = Call(n=least, c_in=4, length=16, dtype="float32", ask="w", data=lambda r, shape: r.standard_normal(shape))
    return every(call, least)


@state
def accumulated_gw_by_each_split(m: Backend, rng: Rng) -> Witness:
    """Each split of R (100 to 300) rows of N*L_out adds what .grad held to its part of gw (kind: beta = 1)."""
    rows = draw(rng, 100, 300)
    made: list[tuple[Array, int]] = []

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        made.append((gw, max(1, -(-p.n * p.l_out // rows))))
        return gw

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Sequence[Any], primals: Sequence[Array]) -> Any:
        totals = tuple(np.zeros_like(primal) for primal in primals)
        for f, cotangent in passes:
            made.clear()
            parts = m.vjp(f, primals, cotangent)
            splits = [next((count for gw, count in made if gw is part), 1) for part in parts]
            totals = tuple(total * count + part for total, count, part in zip(totals, splits, parts, strict=True))
        return totals

    call = Call(length=rows + 9)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        passes = [(backend.conv1d, arrays["g"] * (i + 1)) for i in range(2)]
        return backend.accumulate(passes, (arrays["x"], arrays["w"]))

    return probe
