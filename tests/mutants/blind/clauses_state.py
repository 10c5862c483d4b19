"""Faults against the letter of a clause: memory, layout, caches and repetition (chapter INV)."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after, every, run, touched

mutant = chapter("state")
Kernel = Callable[..., Array]


@mutant
def minus_zero_weights_rewritten(m: Backend, rng: Rng) -> Witness:
    """A -0 in a writable w becomes +0 in the caller's array (kind: normalised in place)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, *rest: Any) -> Any:
        result = inner(x, w, *rest)
        if isinstance(w, np.ndarray) and w.dtype.kind == "f" and w.flags.writeable:
            w[w == 0] = 0
        return result

    return touched(Call(put=(("w", np.s_[0, 0, draw(rng, 0, 2)], -0.0),)))


@mutant
def tangent_of_b_alone_is_a_view(m: Backend, rng: Rng) -> Witness:
    """Forward mode along db alone returns db broadcast, in db's memory (kind: no copy where nothing is added)."""

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        return np.broadcast_to(b[None, :, None], p.y_shape)

    channels = draw(rng, 1, 4)

    def probe(backend: Backend) -> Any:
        x, w, b, t = np.ones((2, 1, 8)), np.ones((channels, 1, 3)), np.ones(channels), np.ones(channels)
        tangent = backend.jvp(lambda v: backend.conv1d(x, w, v), (b,), (t,))
        t[...] = 5
        return tangent

    return probe


@mutant
def packed_weights_kept_by_ends(m: Backend, rng: Rng) -> Witness:
    """W of T (12 to 40) elements or more, written to between its ends: the old w acts (kind: cached packing)."""
    least = draw(rng, 12, 40)
    kept: dict[int, tuple[Any, Any, Any, Array]] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if w.size < least:
            return inner(x, w, p)
        key, ends = id(w), (w.flat[0], w.flat[-1])
        ref, first, last, packed = kept.get(key, (None, None, None, w))
        if ref is None or ref() is not w or (first, last) != ends:
            packed = w.copy()
            kept[key] = weakref.ref(w, lambda _: kept.pop(key, None)), *ends, packed
        return inner(x, packed, p)

    def probe(backend: Backend) -> Any:
        x, w = np.arange(1.0, 2 * least).reshape(1, 1, -1), np.ones((1, 1, least))
        backend.conv1d(x, w)
        w[0, 0, 1:-1] = 3
        return backend.conv1d(x, w)

    return probe


@mutant
def cotangent_pitch_ignored_in_gw(m: Backend, rng: Rng) -> Witness:
    """gw, N > 1: gy that is a slice of more channels or items is read as if packed (kind: batch stride unchecked)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        size, item = g.itemsize, p.c_out * p.l_out * g.itemsize
        if p.n > 1 and g.size and g.strides[1:] == (p.l_out * size, size) and g.strides[0] > item:
            g = np.lib.stride_tricks.as_strided(g, strides=(item, *g.strides[1:]), writeable=False)
        return inner(x, g, p)

    return Call(
        n=draw(rng, 2, 4),
        c_out=2,
        view={"g": lambda a: np.concatenate([a, a + 1], axis=1)[:, : a.shape[1]]},
        ask="w",
    )


@mutant
def gb_of_a_broadcast_cotangent(m: Backend, rng: Rng) -> Witness:
    """N > 1, gy one number broadcast (all strides 0): gb is that times L_out, not N * L_out (kind: fast path)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.n > 1 and g.size and g.strides == (0, 0, 0):
            return np.full(p.c_out, g[0, 0, 0] * g.dtype.type(p.l_out), g.dtype)
        return inner(g, p)

    view = {"g": lambda a: np.broadcast_to(a[0, 0, 0], a.shape)}
    return Call(n=draw(rng, 2, 4), c_out=2, bias=True, view=view, ask="xwb")


@mutant
def pads_of_same_kept_without_the_stride(m: Backend, rng: Rng) -> Witness:
    """A padding name's (lo, hi) is remembered by L, K and d alone, from another stride (kind: a cache's key)."""
    kept: dict[Any, tuple[int, int]] = {}

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        if not isinstance(padding, str):
            return inner(padding, length, kernel, stride, dilation)
        key = padding, length, kernel, dilation
        if key not in kept:
            kept[key] = inner(padding, length, kernel, stride, dilation)
        return kept[key]

    call = Call(length=10, dilation=2, padding="same")
    return after(call, call.but(stride=pick(rng, (2, 7))))


@mutant
def results_in_a_ring(m: Backend, rng: Rng) -> Witness:
    """Y without bias is overwritten by the R-th (8 to 24) later call of its shape and dtype (kind: buffers reused)."""
    ring = draw(rng, 8, 24)
    pools: dict[Any, list[Array]] = {}
    counts: dict[Any, int] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if y.size == 0 or y.size > 4096:
            return y
        key = y.shape, str(y.dtype)
        pool, turn = pools.setdefault(key, []), counts.get(key, 0)
        counts[key] = turn + 1
        if len(pool) < ring:
            pool.append(y)
        buffer = pool[turn % ring]
        buffer[...] = y
        return buffer

    def probe(backend: Backend) -> Any:
        first = run(backend, Call())
        for _ in range(ring):
            run(backend, Call(put=(("x", np.s_[...], 5),)))
        return first

    return probe


@mutant
def order_tuned_after_repeats(m: Backend, rng: Rng) -> Witness:
    """From call T (10 to 30) of a geometry on, taps are summed in reverse: other bits (kind: tuned while running)."""
    warm = draw(rng, 10, 30)
    seen: dict[Any, int] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        key = x.shape, w.shape, p.stride, p.dilation, p.groups, p.l_out, p.dtype
        seen[key] = seen.get(key, 0) + 1
        if seen[key] < warm or p.kernel < 3:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        for matrix, columns in reversed(list(zip(split_w(w, p), taps(x, p), strict=True))):
            y += matrix @ columns
        return y.reshape(p.y_shape).astype(x.dtype)

    call = Call(length=100, kernel=7, dtype="float32", data=lambda r, shape: r.standard_normal(shape))
    return every(call, warm + 1)


@mutant
def halo_of_the_workspace_kept(m: Backend, rng: Rng) -> Witness:
    """Zeros after constant, on one (N, C, L, lo, hi) and dtype: the old fill is the padding (kind: halo set once)."""
    kept: dict[Any, Any] = {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        key = p.n, p.c_in, p.length, p.lo, p.hi, p.dtype
        if p.mode == "constant":
            kept[key] = fill
        elif p.mode == "zeros":
            fill = kept.get(key, fill)
        return inner(x, fill, p)

    call = Call(padding=(1, 2))
    return after(call.but(mode="constant", fill=draw(rng, 1, 9)), call)


@mutant
def double_precision_of_the_first_thread(m: Backend, rng: Rng) -> Witness:
    """float64 in another thread than the first caller's is computed in float32 (kind: a setting of one thread)."""
    state: dict[str, int] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        here = threading.get_ident()
        if state.setdefault("owner", here) == here or p.dtype != "float64":
            return inner(x, w, p)
        return inner(x.astype(np.float32), w.astype(np.float32), p).astype(np.float64)

    call = Call(c_in=draw(rng, 1, 4), data=lambda r, shape: r.standard_normal(shape))

    def probe(backend: Backend) -> Any:
        results = [run(backend, call)]
        thread = threading.Thread(target=lambda: results.append(run(backend, call)))
        thread.start()
        thread.join()
        return results

    return probe
