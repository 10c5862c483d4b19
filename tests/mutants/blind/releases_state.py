"""Faults of fast paths that a release might add: memory layouts, caches, threads and processors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, elsewhere, finite
from tests.mutants.layouts import across, apart, one_for_all
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.threads import at_once, on_one_processor
from tests.mutants.witness import Call, Witness, after, every, run

layouts, state, process = chapter("layouts"), chapter("state"), chapter("process")
Kernel = Callable[..., Array]

# -- layouts ----------------------------------------------------------------------------------------------------------


@layouts
def transposed_pointwise_weights(m: Backend, rng: Rng) -> Witness:
    """K = 1, O = C/g and w a transposed view: its memory is read as it lies (kind: transposition flag dropped)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel == 1 and w.ndim == 3 and w.shape[0] == w.shape[1] > 1 and w.strides[0] < w.strides[1]:
            w = w.swapaxes(0, 1)
        return inner(x, w, p)

    c = draw(rng, 2, 5)
    return Call(c_in=c, c_out=c, kernel=1, view={"w": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)})


@layouts
def gw_of_a_summed_loss(m: Backend, rng: Rng) -> Witness:
    """A cotangent of strides 0 (that of a sum), g > 1 and N > 1: gw counts one item (kind: broadcast collapsed)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, changed(g, np.s_[1:]) if p.groups > 1 < p.n and not any(g.strides) else g, p)

    return Call(n=draw(rng, 2, 4), c_in=2, c_out=2, groups=2, ask="w", view={"g": one_for_all})


@layouts
def strided_bias_when_depthwise(m: Backend, rng: Rng) -> Witness:
    """Depthwise with every j-th element of a vector as bias: consecutive ones are read (kind: stride unread)."""

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if p.depthwise and b.ndim == 1 and b.size and b.strides[0] > b.itemsize:
            b = as_strided(b, strides=(b.itemsize,))
        return inner(b, p)

    c = draw(rng, 3, 5)
    return Call(c_in=c, c_out=c, groups=c, bias=True, view={"b": apart})


@layouts
def row_pitch_of_single_item(m: Backend, rng: Rng) -> Witness:
    """N = 1, C a multiple of 4, x a slice in length: rows are taken to touch (kind: pitch ignored for a batch of 1)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if x.ndim == 3 and len(x) == 1 and x.size and x.shape[1] % 4 == 0:
            row = x.shape[2] * x.itemsize
            if x.strides[2] == x.itemsize and x.strides[1] > row:
                x = as_strided(x, strides=(x.strides[0], row, x.itemsize))
        return inner(x, fill, p)

    extra = draw(rng, 1, 4)
    cut = {"x": lambda a: np.pad(a, ((0, 0), (0, 0), (0, extra)))[:, :, : a.shape[2]]}
    return Call(c_in=4, c_out=2, view=cut)


@layouts
def tangent_in_its_own_order(m: Backend, rng: Rng) -> Witness:
    """A dx channels-last in memory, C > 1, is read in the order of its memory (kind: layout taken from x)."""

    @m.around("pad_tangent")
    def pad_tangent(inner: Kernel, x: Array, p: Plan) -> Array:
        if x.ndim == 3 and x.shape[1] > 1 and x.shape[2] > 1 and 0 < x.strides[1] < x.strides[2]:
            x = x.ravel(order="K").reshape(x.shape)
        return inner(x, p)

    a = Call(c_in=draw(rng, 2, 4)).operands()
    return lambda backend: backend.jvp(lambda x: backend.conv1d(x, a["w"]), (a["x"],), (across(a["x"]),))


@layouts
def bias_tangent_is_a_view(m: Backend, rng: Rng) -> Witness:
    """The derivative of y along db alone, K >= T (1 to 3), is a view of db (kind: broadcast without a copy)."""
    least = draw(rng, 1, 3)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if p.wanted == {"b"} and p.kernel >= least and b.ndim == 1:
            return as_strided(b, p.y_shape, (0, b.strides[0], 0))
        return inner(b, p)

    a = Call(c_out=3, bias=True).operands()

    def probe(backend: Backend) -> Any:
        tangent = a["b"].copy()
        t = backend.jvp(lambda b: backend.conv1d(a["x"], a["w"], b), (a["b"],), (tangent,))
        return t, bool(np.shares_memory(t, tangent))

    return probe


# -- state ------------------------------------------------------------------------------------------------------------


@state
def weights_cached_by_checksum(m: Backend, rng: Rng) -> Witness:
    """Packed weights are kept by shape and sum, K > 1: permuted ones give the earlier y (kind: prepacking cache)."""
    packed: dict[Any, Array] = {}
    most = 1 << draw(rng, 6, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel > 1 and 0 < w.size <= most and finite(w):
            key = (w.shape, str(w.dtype), p.groups, complex(widen(w).sum()))
            w = packed.setdefault(key, np.array(w))
        return inner(x, w, p)

    call = Call(put=(("w", (0, 0, 0), 5), ("w", (0, 0, 2), -3)))
    return after(call, call.but(view={"w": lambda a: np.ascontiguousarray(a[:, :, ::-1])}))


@state
def index_map_cached_by_width(m: Backend, rng: Rng) -> Witness:
    """Index maps of copying modes are kept by L and lo + hi: (1, 2) after (2, 1) gets the other's (kind: cache key)."""
    maps: dict[Any, Array] = {}

    @m.around("sources")
    def sources(inner: Kernel, p: Plan) -> Array:
        if p.mode in ("reflect", "symmetric", "circular", "replicate"):
            return maps.setdefault((p.mode, p.length, p.lo + p.hi), inner(p))
        return inner(p)

    lo = draw(rng, 2, 4)
    call = Call(padding=(lo, 1), mode=("reflect", "replicate", "circular")[draw(rng, 0, 2)])
    return after(call, call.but(padding=(1, lo)))


@state
def ring_of_output_buffers(m: Backend, rng: Rng) -> Witness:
    """Small results without a bias live in T (3 to 6) buffers a shape, used in turn (kind: output pool)."""
    count = draw(rng, 3, 6)
    pools: dict[Any, list[Array]] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.bias or p.wanted or not 0 < y.size <= 4096:
            return y
        pool = pools.setdefault((y.shape, str(y.dtype)), [])
        if len(pool) < count:
            pool.append(y)
        else:
            pool.append(pool.pop(0))
            pool[-1][...] = y
        return pool[-1]

    call = Call()

    def probe(backend: Backend) -> Any:
        first = run(backend, call)
        for i in range(count + 1):
            run(backend, call.but(put=(("x", (0, 0, 0), 20 + i),)))
        return first

    return probe


@state
def autotuned_after_calls(m: Backend, rng: Rng) -> Witness:
    """From the T-th call (4 to 10) of a geometry on another order of summation is used (kind: autotuning)."""
    most = draw(rng, 4, 10)
    calls: dict[Plan, int] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        calls[p] = calls.get(p, 0) + 1
        if calls[p] < most or p.dtype not in ("float32", "float64") or p.kernel * p.fan_in < 4:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), x.dtype)
        for matrix, columns in reversed(list(zip(split_w(w, p), taps(x, p), strict=True))):
            for c in range(p.fan_in):
                y += matrix[..., c, None] * columns[..., None, c, :]
        return y.reshape(p.y_shape)

    return every(Call(c_in=4, length=40, kernel=5, dtype="float32", data=normal), most + 1)


@state
def gw_order_alternates(m: Backend, rng: Rng) -> Witness:
    """float32 gw over N >= T (2 to 4) items sums them in alternating order from call to call (kind: atomics)."""
    least = draw(rng, 2, 4)
    calls: list[Plan] = []

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.n < least or p.l_out < 8:
            return inner(x, g, p)
        calls.append(p)
        gw = np.zeros((p.c_out, p.fan_in, p.kernel), np.float32)
        for i in range(p.n)[:: 1 if len(calls) % 2 else -1]:
            gw += inner(x[i : i + 1], g[i : i + 1], replace(p, n=1))
        return gw

    return every(Call(n=5, c_in=2, c_out=4, length=40, dtype="float32", data=normal, ask="w"), 3)


# -- process ----------------------------------------------------------------------------------------------------------


@process
def fill_of_another_thread(m: Backend, rng: Rng) -> Witness:
    """Outside the main thread the fill of `constant` is 0 where the padding is a name (kind: thread-local settings)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        other = p.padding != "explicit" and threading.current_thread() is not threading.main_thread()
        return inner(x, 0 if other else fill, p)

    return elsewhere(Call(padding="same", mode="constant", fill=draw(rng, 1, 9)))


@process
def workspace_of_all_threads(m: Backend, rng: Rng) -> Witness:
    """Calls at once in a copying mode with L >= T (4 to 8) share the padded input (kind: static workspace)."""
    least = draw(rng, 4, 8)
    space: dict[Any, Array] = {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        copying = p.mode in ("reflect", "symmetric", "replicate", "circular") and p.length >= least and p.lo + p.hi
        if not copying or threading.active_count() == 1:
            return padded
        key = (padded.shape, str(padded.dtype))
        space[key] = padded
        time.sleep(0.002)
        return space[key]

    call = Call(padding=(1, 1), mode="reflect")
    return at_once(*(call.but(put=(("x", (0, 0, 3), 10 + i),)) for i in range(3)))


@process
def one_processor_splits_nothing(m: Backend, rng: Rng) -> Witness:
    """On one processor, gw of O above T (4 to 8) lacks the channels of the other workers (kind: grain of 1)."""
    most = draw(rng, 4, 8)
    m.edit(
        "grad_w",
        lambda p: p.c_out > most and len(os.sched_getaffinity(0)) == 1,
        lambda gw, p: clear(gw, np.s_[most:]),
    )
    return on_one_processor(Call(c_out=most + 2, ask="w"))
