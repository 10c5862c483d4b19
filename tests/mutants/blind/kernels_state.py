"""Faults of the kernels that engineers write, under narrow conditions: state, threads and other surfaces."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, at_door, changed, elsewhere
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.threads import on_one_processor
from tests.mutants.witness import Call, Witness, after, observe, touched

state, process, surfaces = chapter("state"), chapter("process"), chapter("surfaces")
Kernel = Callable[..., Array]

# -- state --------------------------------------------------------------------------------------------------------


@state
def scratch_halo_not_cleared(m: Backend, rng: Rng) -> Witness:
    """Zeros, hi > 0: scratch is kept by blocks of B (16, 32) samples, hi keeps older ones (kind: stale scratch)."""
    block, scratch = pick(rng, (16, 32)), {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        key = (*xp.shape[:2], -(-xp.shape[2] // block), str(xp.dtype))
        old = scratch.get(key)
        if p.mode == "zeros" and p.hi and old is not None and old.shape[2] >= p.padded:
            xp[..., p.lo + p.length :] = old[..., p.lo + p.length : p.padded]
        scratch[key] = xp.copy()
        return xp

    call = Call(length=block - 4, padding=(1, 1))
    return after(call.but(length=block - 2), call)


@state
def named_taps_cached_without_dilation(m: Backend, rng: Rng) -> Witness:
    """Named padding, L >= T (8 to 20): taps are cached by (L, K, s, name), not by d (kind: a cache's key)."""
    least, table = draw(rng, 8, 20), {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.padding != "explicit" and p.length >= least:
            key = (p.length, p.kernel, p.stride, p.padding)
            p = replace(p, dilation=table.setdefault(key, p.dilation))
        return inner(x, w, p)

    call = Call(length=least, padding="same")
    return after(call.but(dilation=2), call)


@state
def image_map_cached_by_total(m: Backend, rng: Rng) -> Witness:
    """Copying modes, L >= T (4 to 9): the map is cached by (mode, L, lo + hi), not by lo (kind: a cache's key)."""
    least, maps = draw(rng, 4, 9), {}

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        if p.mode in ("zeros", "constant") or p.length < least:
            return inner(p)
        return maps.setdefault((p.mode, p.length, p.lo + p.hi), inner(p))

    call = Call(length=least, padding=(2, 1), mode="reflect")
    return after(call.but(padding=(1, 2)), call)


@state
def repacked_by_identity(m: Backend, rng: Rng) -> Witness:
    """Groups and K >= T (3 to 7): a repacked kernel is kept by its array, not its values (kind: a cache's key)."""
    least, cell = draw(rng, 3, 7), {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups == 1 or p.kernel < least:
            return inner(x, w, p)
        if cell.get("w") is not w:
            cell.update(w=w, packed=w.copy())
        return inner(x, cell["packed"], p)

    def probe(backend: Backend) -> Any:
        x, w = np.ones((1, 2, 9)), np.ones((2, 1, least))
        before = backend.conv1d(x, w, groups=2)
        w *= 2
        return before, backend.conv1d(x, w, groups=2)

    return probe


@state
def ring_of_results_without_bias(m: Backend, rng: Rng) -> Witness:
    """No bias, y of T (64 to 300) elements or more lies in a ring of R (2 to 5) buffers (kind: reused buffers)."""
    least, size, rings = draw(rng, 64, 300), draw(rng, 2, 5), {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if y.size < least or p.bias:
            return y
        ring = rings.setdefault((y.shape, str(y.dtype)), [])
        if len(ring) == size:
            old = ring.pop(0)
            old[...] = y
            y = old
        ring.append(y)
        return y

    def probe(backend: Backend) -> Any:
        x, w = np.ones((1, 1, least + 2)), np.ones((1, 1, 3))
        return [backend.conv1d(i * x, w) for i in range(size + 1)]

    return probe


@state
def gx_in_place_of_gy(m: Backend, rng: Rng) -> Witness:
    """K = 1, C = O, g > 1, unpadded, s = 1, L >= T (2 to 9): gx is written into the cotangent (kind: in place)."""
    least = draw(rng, 2, 9)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.kernel == 1 < p.groups and gx.shape == g.shape and p.length >= least and g.flags.writeable:
            g[...] = gx
            return g
        return gx

    return touched(Call(c_in=2, c_out=2, groups=2, kernel=1, length=least))


# -- process ------------------------------------------------------------------------------------------------------


@process
def workspace_of_the_last_thread(m: Backend, rng: Rng) -> Witness:
    """A call of the last one's shape by another thread, C >= T (1 to 4): its last channel is stale (kind: scratch)."""
    least, last = draw(rng, 1, 4), {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        me, (owner, packed) = threading.get_ident(), last.get("x", (None, None))
        last["x"] = (me, x.copy())
        if owner not in (None, me) and packed.shape == x.shape and packed.dtype == x.dtype and p.c_in >= least:
            x = changed(x, np.s_[:, -1], packed[:, -1])
        return inner(x, w, p)

    call = Call(c_in=least)
    other = call.but(put=(("x", np.s_[...], 5),))

    def probe(backend: Backend) -> Any:
        return observe(backend, call), elsewhere(other)(backend)

    return probe


@process
def one_processor_one_chunk_less(m: Backend, rng: Rng) -> Witness:
    """On one processor, L_out >= T (8 to 64): the last eighth of positions is 0 (kind: a chunk that nobody owns)."""
    least = draw(rng, 8, 64)
    m.edit(
        "forward",
        lambda p: p.l_out >= least and len(os.sched_getaffinity(0)) == 1,
        lambda y, p: clear(y, np.s_[..., -(p.l_out // 8) :]),
    )
    return on_one_processor(Call(length=least + 2))


# -- surfaces -----------------------------------------------------------------------------------------------------


def door(m: Backend, name: str, change: Callable[[Any, Any, Any, dict[str, Any]], tuple[Any, ...]]) -> None:
    """Add a surface that calls conv1d on changed arguments."""

    def surface(x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        x, w, b, parameters = change(x, w, b, parameters)
        return m.conv1d(x, w, b, **parameters)

    m.surface[name] = surface


@surfaces
def plane_same_under_stride(m: Backend, rng: Rng) -> Witness:
    """conv2d with `same` and s >= S (2 to 4) has its extra zero before; conv1d is right (kind: side)."""
    least = draw(rng, 2, 4)

    def change(x: Any, w: Any, b: Any, args: dict[str, Any]) -> tuple[Any, ...]:
        lower = args.get("padding") == "same" and isinstance(args.get("stride"), int) and args["stride"] >= least
        return x, w, b, {**args, "padding": "same_lower"} if lower else args

    door(m, "conv2d", change)
    return at_door("conv2d", Call(length=3 * least, kernel=least + 1, stride=least, padding="same"))


@surfaces
def deterministic_bias_tail(m: Backend, rng: Rng) -> Witness:
    """The surface `deterministic` leaves out the last bias where O = 1 mod V above V (4, 8) (kind: vector tail)."""
    lanes = pick(rng, (4, 8))

    def change(x: Any, w: Any, b: Any, args: dict[str, Any]) -> tuple[Any, ...]:
        tail = are_arrays(b) and b.size > lanes and b.size % lanes == 1 and b.ndim == 1
        return x, w, changed(b, -1) if tail else b, args

    door(m, "deterministic", change)
    return at_door("deterministic", Call(c_out=lanes + 1, bias=True))
