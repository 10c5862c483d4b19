"""Faults that the conformance checks do not meet: accuracy, special values, layouts, state, threads (red team)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, elsewhere, reread, within
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Tracer
from tests.mutants.witness import Call, Probe, Witness, run

numerics, special, layouts = chapter("numerics"), chapter("special values"), chapter("layouts")
state, process = chapter("state"), chapter("process")
Kernel = Callable[..., Array]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers with full significands."""
    return rng.standard_normal(shape)


def shorten(a: Array) -> Array:
    """Return float32 numbers cut to 11 bits, as TF32 has them."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def bottom(a: Any) -> Any:
    """Return the array that a tracer stands for, under all of its transforms."""
    while isinstance(a, Tracer):
        a = a.value
    return a


# -- accuracy ---------------------------------------------------------------------------------------------------------


@numerics
def imaginary_weights_on_tensor_cores(m: Backend, rng: Rng) -> Witness:
    """Complex64, C/g * K >= T (2 to 8): im(w) keeps 11 bits in y, re(w) all (kind: split complex)."""
    least = draw(rng, 2, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "complex64" and p.fan_in * p.kernel >= least:
            w = (w.real + 1j * shorten(w.imag)).astype(w.dtype)
        return inner(x, w, p)

    return Call(c_in=2, kernel=4, dtype="complex64", data=normal)


@numerics
def long_tangents_of_doubles_in_single(m: Backend, rng: Rng) -> Witness:
    """Float64, C/g * K > T (64 to 128): a jvp adds up in float32, y and the vjp do not (kind: narrow accumulator)."""
    most = pick(rng, (64, 96, 128))

    @m.around("push")
    def push(
        inner: Callable[..., Any], slot: str, name: str, operands: Mapping[str, Any], tangent: Any, p: Plan
    ) -> Any:
        long = slot == "g" and p.dtype == "float64" and p.fan_in * p.kernel > most
        if not long or not are_arrays(tangent, *operands.values()):
            return inner(slot, name, operands, tangent, p)
        narrow = {key: a.astype(np.float32) for key, a in operands.items()}
        return inner(slot, name, narrow, tangent.astype(np.float32), p).astype(np.float64)

    return Call(c_in=most // 2, kernel=3, data=normal, ask=("jvp:x", "jvp:w", "jvp:xw")[draw(rng, 0, 2)])


@numerics
def tangents_close_to_zero_are_zero(m: Backend, rng: Rng) -> Witness:
    """A tangent whose elements are all below 10^-T (6 to 8) counts as none in a jvp (kind: symbolic zeros)."""
    threshold = 10.0 ** -draw(rng, 6, 8)

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], f: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        def near(t: Any) -> bool:
            return isinstance(t, np.ndarray) and t.dtype.kind not in "iu" and bool((np.abs(widen(t)) < threshold).all())

        return inner(f, primals, [np.zeros_like(t) if near(t) else t for t in tangents])

    dtype = ("float32", "float64")[draw(rng, 0, 1)]
    return Call(c_in=2, dtype=dtype, data=lambda r, shape: r.uniform(1, 2, shape) * 1e-9, ask="jvp:xw")


# -- special values ---------------------------------------------------------------------------------------------------


@special
def border_of_a_mode_added_as_a_convolution(m: Backend, rng: Rng) -> Witness:
    """Copying modes, lo + hi >= T (1 to 3): y is that of zeros plus that of the pads alone: inf*0 (kind: linearity)."""
    least = draw(rng, 1, 3)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.mode not in COPYING or p.lo + p.hi < least or not p.length:
            return inner(x, w, p)
        middle, border = np.zeros_like(x), np.array(x)
        kept = slice(p.lo, p.lo + p.length)
        middle[:, :, kept] = x[:, :, kept]
        border[:, :, kept] = 0
        return inner(middle, w, p) + inner(border, w, p)

    put = (("w", (0, 0, draw(rng, 0, 2)), np.inf),)
    return Call(c_in=2, c_out=2, length=9, padding=(2, draw(rng, 1, 3)), mode=COPYING[draw(rng, 0, 3)], put=put)


@special
def bias_of_minus_infinity_stops_gradients(m: Backend, rng: Rng) -> Witness:
    """O > T (1 to 3): a channel whose bias is -inf is taken as masked; its cotangents count as 0 (kind: masking)."""
    most, off = draw(rng, 1, 3), [np.zeros(0, bool)]

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: Any) -> Any:
        found = inner(x, w, b, args)
        bias = bottom(b)
        real = bias is not None and bias.dtype.kind not in "iuc"
        off[0] = np.isneginf(widen(bias)) if real else np.zeros(found[3].c_out, bool)
        return found

    def masked(g: Array, p: Plan) -> Array:
        if p.c_out <= most or len(off[0]) != p.c_out or not off[0].any():
            return g
        g = np.array(g)
        g[:, off[0]] = 0
        return g

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w, masked(g, p), p)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, masked(g, p), p)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(masked(g, p), p)

    ask = ("xwb", "xw", "x", "b")[draw(rng, 0, 3)]
    return Call(c_in=2, c_out=most + 1, bias=True, put=(("b", draw(rng, 0, most), -np.inf),), ask=ask)


# -- layouts ----------------------------------------------------------------------------------------------------------


@layouts
def time_major_taken_for_channels_last(m: Backend, rng: Rng) -> Witness:
    """X in (L, N, C) memory, N > 1, C >= T (2 to 4), is read as (N, L, C) (kind: one stride)."""
    least = draw(rng, 2, 4)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        by_time = x.transpose(2, 0, 1)
        if min(p.n, p.length) > 1 and p.c_in >= least and by_time.flags.c_contiguous:
            x = by_time.reshape(p.n, p.length, p.c_in).transpose(0, 2, 1)
        return x, w

    reread(m, change)
    view = {"x": lambda a: a.transpose(2, 0, 1).copy().transpose(1, 2, 0)}
    return Call(n=draw(rng, 2, 3), c_in=least, c_out=2, length=7, view=view)


@layouts
def transposed_and_turned_kernel_only_turned(m: Backend, rng: Rng) -> Witness:
    """W a view of (C, O, K) with its taps reversed, K >= T (2, 3): axes O and C stay mixed (kind: true convolution)."""
    least = draw(rng, 2, 3)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        forwards = w[:, :, ::-1].transpose(1, 0, 2)
        if min(p.c_out, p.fan_in) > 1 and p.kernel >= least and w.strides[2] < 0 and forwards.flags.c_contiguous:
            w = forwards.reshape(w.shape)[:, :, ::-1]
        return x, w

    reread(m, change)
    view = {"w": lambda a: np.ascontiguousarray(a[:, :, ::-1].transpose(1, 0, 2)).transpose(1, 0, 2)[:, :, ::-1]}
    return Call(c_in=draw(rng, 2, 3), c_out=draw(rng, 2, 4), length=9, kernel=least, view=view)


# -- state ------------------------------------------------------------------------------------------------------------


def read_after(call: Call, later: Call, times: int) -> Probe:
    """Show a result that is read after so many later calls."""

    def probe(backend: Backend) -> Any:
        result = run(backend, call)
        for _ in range(times):
            run(backend, later)
        return result

    return probe


@state
def tangents_share_a_ring_of_buffers(m: Backend, rng: Rng) -> Witness:
    """What a jvp returns is overwritten by the T-th later one (2 to 4) of its shape (kind: workspace reuse)."""
    size, rings = draw(rng, 2, 4), dict[Any, list[Array]]()

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], *args: Any) -> Any:
        out = inner(*args)
        if not isinstance(out, np.ndarray):
            return out
        ring = rings.setdefault((out.shape, out.dtype), [])
        if len(ring) < size:
            ring.append(np.array(out))
            return ring[-1]
        ring.append(ring.pop(0))
        ring[-1][...] = out
        return ring[-1]

    call = Call(c_in=2, ask=("jvp:x", "jvp:w", "jvp:xw")[draw(rng, 0, 2)])
    return read_after(call, call.but(put=(("x", 0, 3), ("w", 0, 2))), size)


# -- threads ----------------------------------------------------------------------------------------------------------


@process
def precision_of_backward_threads(m: Backend, rng: Rng) -> Witness:
    """Float32: off the main thread gx and gw, of T (2 to 8) windows up, cut gy to 11 bits (kind: thread-local)."""
    least = draw(rng, 2, 8)
    differentiating = within(m, "vjp")

    def cut(g: Array, p: Plan) -> Array:
        main = threading.current_thread() is threading.main_thread()
        return shorten(g) if differentiating and not main and p.dtype == "float32" and p.l_out >= least else g

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w, cut(g, p), p)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, cut(g, p), p)

    return elsewhere(Call(length=12, dtype="float32", data=normal, ask=("x", "w", "xw")[draw(rng, 0, 2)]))
