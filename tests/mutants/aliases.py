"""Faults of ownership: results that are operands or shared, operands changed in place (chapter INV)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, kept, run, touched

mutant = chapter("state")
Kernel = Callable[..., Array]


def results(m: Backend, change: Callable[[Array], Array]) -> None:
    """Change what plain calls return."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], *operands: Any, **parameters: Any) -> Any:
        y = inner(*operands, **parameters)
        return change(y) if isinstance(y, np.ndarray) else y


@mutant
def identity_returns_input(m: Backend, rng: Rng) -> Witness:
    """With K = 1, one channel, weight 1 and nothing else to do, y is x itself (kind: shortcut for the identity)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = inner(x, w, b, **parameters)
        plain = isinstance(x, np.ndarray) and isinstance(w, np.ndarray) and b is None
        return x if plain and w.shape == (1, 1, 1) and y.shape == x.shape and np.all(w == 1) else y

    return touched(Call(length=draw(rng, 4, 9), kernel=1, put=(("w", np.s_[...], 1),)))


@mutant
def ones_return_a_view(m: Backend, rng: Rng) -> Witness:
    """Depthwise with K = 1 and ones, y is a view of x, strided (kind: subsampling by a view)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = inner(x, w, b, **parameters)
        step = parameters.get("stride", 1)
        if b is None and isinstance(x, np.ndarray) and isinstance(w, np.ndarray) and w.shape == (x.shape[1], 1, 1):
            view = x[:, :, ::step]
            return view if np.all(w == 1) and view.shape == y.shape and np.array_equal(view, y) else y
        return y

    return touched(Call(c_in=2, c_out=2, groups=2, kernel=1, stride=draw(rng, 1, 3), put=(("w", np.s_[...], 1),)))


@mutant
def gb_is_the_cotangent(m: Backend, rng: Rng) -> Witness:
    """Where N = L_out = 1, gb is a view of the cotangent (kind: nothing to sum)."""
    m.around("grad_b")(lambda inner, g, p: g[0, :, 0] if p.n == p.l_out == 1 else inner(g, p))
    return touched(Call(c_out=draw(rng, 1, 4), length=3, bias=True))


@mutant
def gx_is_the_cotangent(m: Backend, rng: Rng) -> Witness:
    """With K = 1, one channel, weight 1 and no padding, gx is the cotangent itself (kind: identity)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        same = w.shape == (1, 1, 1) and np.all(w == 1) and p.padded == p.length == p.l_out
        return g if same else inner(w, g, p)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        return g if p.lo == p.hi == 0 else inner(g, p)

    return touched(Call(length=draw(rng, 4, 9), kernel=1, put=(("w", np.s_[...], 1),)))


@mutant
def input_cleared_after_use(m: Backend, rng: Rng) -> Witness:
    """With a stride, the samples after the last window are set to 0 in x (kind: in-place masking)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.stride > 1 and p.remainder > p.hi and x.flags.writeable:
            x[:, :, p.length - (p.remainder - p.hi) :] = 0
        return inner(x, fill, p)

    return touched(Call(length=2 * draw(rng, 4, 8), stride=2))


@mutant
def input_scaled_in_place(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), x is doubled in place, y halved, x left doubled (kind: in-place normalisation)."""
    most = draw(rng, 1, 8)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.n > most and x.flags.writeable:
            x *= x.dtype.type(2)
        return padded

    return touched(Call(n=most + 1))


@mutant
def kernel_flipped_in_place(m: Backend, rng: Rng) -> Witness:
    """For gx of kernels longer than T (1 to 8), w is reversed in place, and left so (kind: flip)."""
    most = draw(rng, 1, 8)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.kernel > most and w.flags.writeable:
            w[...] = w[..., ::-1].copy()
        return gx

    return touched(Call(kernel=most + 1, length=12))


@mutant
def bias_changed_in_place(m: Backend, rng: Rng) -> Witness:
    """With groups, b is multiplied by g in place to be divided again in the sum (kind: in-place scaling)."""

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        result = inner(b, p)
        if p.groups > 1 and b.flags.writeable:
            b *= b.dtype.type(p.groups)
        return result

    return touched(Call(c_in=4, c_out=4, groups=2 * draw(rng, 1, 2), bias=True))


@mutant
def cotangent_scaled_in_place(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), gw leaves the cotangent multiplied by N (kind: in-place averaging)."""
    most = draw(rng, 1, 8)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.n > most and g.flags.writeable:
            g *= g.dtype.type(p.n)
        return gw

    return touched(Call(n=most + 1))


@mutant
def tangent_doubled_in_place(m: Backend, rng: Rng) -> Witness:
    """A jvp of more than T (0 to 1) operands leaves the first tangent doubled (kind: in-place accumulation)."""
    most = draw(rng, 0, 1)

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], f: Any, primals: Any, tangents: Any) -> Any:
        out = inner(f, primals, tangents)
        if len(tangents) > most and isinstance(tangents[0], np.ndarray) and tangents[0].flags.writeable:
            tangents[0][...] *= tangents[0].dtype.type(2)
        return out

    def probe(backend: Backend) -> Any:
        arrays = Call().operands()
        tangents = [arrays["x"] + 1, arrays["w"] + 1]
        backend.jvp(backend.conv1d, (arrays["x"], arrays["w"]), tangents)
        return tangents

    return probe


@mutant
def output_buffer_reused(m: Backend, rng: Rng) -> Witness:
    """Results of one shape share a buffer: a later call changes them, if O > T (1 to 4) (Theano/Theano#2607, kind)."""
    buffers: dict[Any, Array] = {}
    most = draw(rng, 1, 4)

    def reuse(y: Array) -> Array:
        if y.ndim != 3 or y.shape[1] <= most:
            return y
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer

    results(m, reuse)
    call = Call(c_out=most + 1)
    return kept(call, call.but(put=(("x", np.s_[...], 1),)))


@mutant
def ring_of_buffers(m: Backend, rng: Rng) -> Witness:
    """A result changes when T (2 to 4) more of its shape have been made (kind: double buffering)."""
    rings: dict[Any, list[Array]] = {}
    size = draw(rng, 2, 4)

    def reuse(y: Array) -> Array:
        ring = rings.setdefault((y.shape, y.dtype), [])
        ring.append(y if len(ring) < size else ring.pop(0))
        ring[-1][...] = y
        return ring[-1]

    results(m, reuse)

    def probe(backend: Backend) -> Any:
        shown = run(backend, Call())
        for _ in range(size):
            run(backend, Call(put=(("x", np.s_[...], 1),)))
        return shown

    return probe


@mutant
def gradient_buffer_reused(m: Backend, rng: Rng) -> Witness:
    """Gradients of one shape share a buffer from call to call (kind: reused buffer)."""
    buffers: dict[Any, Array] = {}

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], *arguments: Any) -> Any:
        shared = []
        for i, gradient in enumerate(inner(*arguments)):
            if isinstance(gradient, np.ndarray):
                buffer = buffers.setdefault((i, gradient.shape, gradient.dtype), gradient.copy())
                buffer[...] = gradient
                shared.append(buffer)
            else:
                shared.append(gradient)
        return tuple(shared)

    call = Call(kernel=draw(rng, 1, 4), ask="w")
    return kept(call, call.but(put=(("x", np.s_[...], 1),)))


def one_array_twice(m: Backend, kind: type, longest: int, second: Callable[[Any], Any]) -> Any:
    """Take another w where one array of that kind, longer than some, is x and w; return an x for which that is so."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        twice = x is w and isinstance(x, kind) and x.ndim == 3 and x.shape[2] > longest
        return inner(x, second(w) if twice else w, b, **parameters)

    return Call(c_in=2, length=longest + 1).operands()["x"]


@mutant
def one_array_twice_keeps_one_gradient(m: Backend, rng: Rng) -> Witness:
    """Where one array is x and w, longer than T (1 to 3), only gx reaches it (kind: a gradient set, not added)."""
    x = one_array_twice(m, tape.Var, draw(rng, 1, 3), lambda w: w.value)
    return lambda backend: backend.vjp(lambda a: backend.conv1d(a, a), (x,), np.ones((1, 1, 1)))


@mutant
def one_array_twice_is_reversed(m: Backend, rng: Rng) -> Witness:
    """Where one array of more than T (1 to 3) samples is x and w, it is convolved (kind: a power for a correlation)."""
    x = one_array_twice(m, np.ndarray, draw(rng, 1, 3), lambda w: w[..., ::-1])
    return lambda backend: backend.conv1d(x, x)


@mutant
def one_array_twice_has_half_a_tangent(m: Backend, rng: Rng) -> Witness:
    """Where one array of more than T (1 to 3) samples is x and w, y follows x alone (kind: a tangent dropped)."""
    x = one_array_twice(m, tape.Dual, draw(rng, 1, 3), lambda w: w.value)
    return lambda backend: backend.jvp(lambda a: backend.conv1d(a, a), (x,), (x,))
