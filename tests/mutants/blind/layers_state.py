"""Faults above the kernels: caches, memory, threads and layouts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, elsewhere
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Tracer
from tests.mutants.witness import Call, Witness, after, fingerprint, run

layouts, state = chapter("layouts"), chapter("state")
Kernel = Callable[..., Any]


def raw(a: Any) -> Any:
    """Return the array that a stands for, through all levels."""
    while isinstance(a, Tracer):
        a = a.value
    return a


# -- caches, memory, threads ------------------------------------------------------------------------------------------


@state
def fill_cached_by_hash(m: Backend, rng: Rng) -> Witness:
    """Fills are cached by hash where L + lo + hi >= T (6 to 10): -2 after -1 is -1 (kind: hash(-1) is hash(-2))."""
    least = draw(rng, 6, 10)
    cache: dict[Any, Any] = {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.mode == "constant" and p.padded >= least and fill == fill:
            fill = cache.setdefault((hash(fill), p.dtype), fill)
        return inner(x, fill, p)

    call = Call(padding=(2, 2), mode="constant", fill=-1.0)
    return after(call, call.but(fill=-2.0))


@state
def weights_recognised_by_their_ends(m: Backend, rng: Rng) -> Witness:
    """Packed weights of T (5 to 9) elements or more are reused for equal shape and ends (kind: a cheap fingerprint)."""
    least = draw(rng, 5, 9)
    cache: dict[Any, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if w.size >= least:
            flat = w.ravel()
            w = cache.setdefault((w.shape, p.dtype, p.groups, flat[0].tobytes(), flat[-1].tobytes()), w.copy())
        return inner(x, w, p)

    call = Call(c_in=3)
    return after(call, call.but(put=(("w", (0, 1, 1), 17),)))


@state
def fused_bias_stays(m: Backend, rng: Rng) -> Witness:
    """After T (2, 3) calls with a bias, a like call without one adds the last bias (kind: fused kernel cached)."""
    hot = draw(rng, 2, 3)
    cache: dict[Any, list[Any]] = {}

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        key = (tuple(x.shape), tuple(w.shape), str(x.dtype), repr(given))
        if isinstance(b, np.ndarray):
            y = inner(x, w, b, **given)
            cache[key] = [cache.get(key, [0])[0] + 1, b.copy()]
            return y
        if b is None and cache.get(key, [0])[0] >= hot:
            b = cache[key][1]
        return inner(x, w, b, **given)

    biased = Call(bias=True)
    return after(*[biased] * hot, Call())


@state
def first_call_of_a_thread_pads_zeros(m: Backend, rng: Rng) -> Witness:
    """Off the main thread, the first call of lo + hi >= T (1 to 3) in any mode pads with zeros (kind: thread-local)."""
    least, local = draw(rng, 1, 3), threading.local()

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        found = inner(x, w, b, args)
        p = found[3]
        if threading.current_thread() is threading.main_thread() or p.lo + p.hi < least:
            return found
        first, local.seen = not hasattr(local, "seen"), True
        return (*found[:3], replace(p, mode="zeros", fill=0)) if first else found

    return elsewhere(Call(padding=(2, 1), mode="replicate"))


@state
def gw_in_a_ring_of_buffers(m: Backend, rng: Rng) -> Witness:
    """The gw of one shape is returned in T (2 to 4) buffers in turn: a later call changes it (kind: reused buffer)."""
    most = draw(rng, 2, 4)
    rings: dict[Any, list[Any]] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        ring = rings.setdefault((gw.shape, p.dtype, threading.get_ident()), [])
        if len(ring) < most:
            ring.append(gw)
            return gw
        ring.append(ring.pop(0))
        ring[-1][...] = gw
        return ring[-1]

    def probe(backend: Backend) -> Any:
        results = run(backend, Call(ask="w"))
        for i in range(most):
            run(backend, Call(ask="w", put=(("g", (0, 0, 0), 11 + i),)))
        return results

    return probe


@state
def subnormals_flushed_in_place(m: Backend, rng: Rng) -> Witness:
    """Subnormal elements of a float32 x become 0 in the caller's array, where K >= T (2, 3) (kind: flush to zero)."""
    least = draw(rng, 2, 3)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        found, a = inner(x, w, b, args), raw(x)
        if str(a.dtype) == "float32" and a.flags.writeable and w.shape[2] >= least:
            a[np.abs(a) < np.finfo(np.float32).tiny] = 0
        return found

    def probe(backend: Backend) -> Any:
        call = Call(dtype="float32", put=(("x", (0, 0, 2), 1e-40),))
        arrays = call.operands()
        backend.conv1d(arrays["x"], arrays["w"])
        return arrays["x"]

    return probe


@state
def bias_left_reshaped(m: Backend, rng: Rng) -> Witness:
    """Where y is empty and O >= T (1, 2), the caller's bias keeps the shape (1, O, 1) (kind: early return)."""
    least = draw(rng, 1, 2)

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = inner(x, w, b, **given)
        if isinstance(b, np.ndarray) and 0 in y.shape and b.size >= least:
            b.shape = (1, b.size, 1)
        return y

    def probe(backend: Backend) -> Any:
        arrays = Call(n=0, c_out=2, bias=True).operands()
        backend.conv1d(arrays["x"], arrays["w"], arrays["b"])
        return arrays["b"]

    return probe


@state
def tangents_added_up_in_db(m: Backend, rng: Rng) -> Witness:
    """The jvp along x, w and b, N = L_out = 1, O >= T (1, 2), leaves its result in db (kind: in-place accumulation)."""
    least = draw(rng, 1, 2)

    @m.around("jvp")
    def jvp(inner: Kernel, f: Kernel, primals: Any, tangents: Any) -> Any:
        out = inner(f, primals, tangents)
        db = tangents[-1]
        three = len(tangents) == 3 and are_arrays(out, db) and db.ndim == 1 and db.flags.writeable
        if three and out.shape == (1, db.size, 1) and db.size >= least:
            db[...] = out[0, :, 0]
        return out

    def probe(backend: Backend) -> Any:
        arrays = Call(length=3, c_out=2, bias=True).operands()
        primals = [arrays[key] for key in "xwb"]
        tangents = [np.flip(a).copy() for a in primals]
        backend.jvp(backend.conv1d, primals, tangents)
        return tangents

    return probe


@state
def every_nth_call_sums_otherwise(m: Backend, rng: Rng) -> Witness:
    """Every Tth (3 to 6) forward call, C/g*K >= 8, float32 or float64, is off by one ulp (kind: order of a sum)."""
    every, calls = draw(rng, 3, 6), [0]

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.fan_in * p.kernel >= 8 and p.dtype in ("float32", "float64"):
            calls[0] += 1
            if calls[0] % every == 0:
                y = np.where(np.isfinite(y) & (y != np.rint(y)), np.nextafter(y, y.dtype.type(np.inf)), y)
        return y

    def probe(backend: Backend) -> Any:
        call = Call(c_in=3, dtype="float32", data=normal)
        return [fingerprint(run(backend, call)) for _ in range(every)]

    return probe


# -- layouts ----------------------------------------------------------------------------------------------------------


@layouts
def cotangent_broadcast_over_batch_counted_once(m: Backend, rng: Rng) -> Witness:
    """A cotangent with stride 0 along the batch alone counts once for gw, where N >= T (2, 3) (kind: expanded view)."""
    least = draw(rng, 2, 3)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.n >= least and g.ndim == 3 and g.strides[0] == 0 and g.strides[2] != 0:
            g = g.copy()
            g[1:] = 0
        return inner(x, g, p)

    return Call(n=least, view={"g": lambda a: np.broadcast_to(a[:1], a.shape)}, ask="w")


@layouts
def read_only_kernel_is_constant(m: Backend, rng: Rng) -> Witness:
    """A read-only w of T (3 to 6) elements or more, differentiated beside x, has gradient 0 (kind: a frozen buffer)."""
    least = draw(rng, 3, 6)

    @m.around("vjp")
    def vjp(inner: Kernel, f: Kernel, primals: Any, cotangent: Any) -> Any:
        grads = list(inner(f, primals, cotangent))
        if len(primals) > 1 and are_arrays(*primals[:2]):
            w = primals[1]
            if w.ndim == 3 and not w.flags.writeable and w.size >= least:
                grads[1] = np.zeros(w.shape, w.dtype)
        return tuple(grads)

    def frozen(a: Array) -> Array:
        a = a.copy()
        a.flags.writeable = False
        return a

    return Call(c_in=2, view={"w": frozen}, ask="xw")
