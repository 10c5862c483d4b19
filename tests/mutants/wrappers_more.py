"""Faults around the kernels, continued: arguments unchecked, integers, ownership (chapters ERR, OP and INV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.numerics import normal
from tests.mutants.padding_modes import widen_domain
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.validation import number
from tests.mutants.witness import Call, Witness, touched

numerics, state, validation = chapter("numerics"), chapter("state"), chapter("validation")
Kernel = Callable[..., Array]
Rule = Callable[..., Any]


@validation
def reflect_checked_in_front_only(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" with lo <= T (0 to 2) and a hi of L or more is accepted (kind: one end checked)."""
    most = draw(rng, 0, 2)
    door = Backend()
    widen_domain(door, "reflect", "replicate")

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        pads = args["padding"]
        behind = isinstance(pads, tuple) and len(pads) == 2 and number(pads[0]) and pads[0] <= most
        return door.accept(x, w, b, args) if behind else inner(x, w, b, args)

    return Call(mode="reflect", length=4, padding=(most, 4))


@validation
def domain_unchecked_for_names(m: Backend, rng: Rng) -> Witness:
    """A named padding of K > T (2 to 4) beyond the domain of "reflect" is accepted (kind: names resolved later)."""
    most = draw(rng, 2, 4)
    door = Backend()
    widen_domain(door, "reflect", "symmetric")

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        named = isinstance(args["padding"], str) and len(w.shape) == 3 and w.shape[2] > most
        return door.accept(x, w, b, args) if named else inner(x, w, b, args)

    return Call(mode="reflect", length=most, kernel=most + 1, padding="causal")


@validation
def negative_padding_in_gradients(m: Backend, rng: Rng) -> Witness:
    """Negative padding down to -T (1 to 3) is taken for 0 where a gradient is asked for (kind: checked forwards)."""
    most = draw(rng, 1, 3)

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        pads = args["padding"]
        if any(isinstance(a, tape.Tracer) for a in (x, w, b)) and isinstance(pads, tuple) and all(map(number, pads)):
            args = {**args, "padding": tuple(0 if -most <= pad < 0 else pad for pad in pads)}
        return inner(x, w, b, args)

    return Call(raw={"padding": (-1, 0)}, shapes={"g": (1, 1, 6)}, ask="x")


@validation
def scalar_bias_accepted(m: Backend, rng: Rng) -> Witness:
    """A bias of rank 0 serves all of O > T (0 to 2) channels (kind: broadcasting)."""
    most = draw(rng, 0, 2)

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        scalar = isinstance(b, np.ndarray) and b.ndim == 0 and len(w.shape) == 3 and w.shape[0] > most
        return inner(x, w, np.full(w.shape[0], b, b.dtype) if scalar else b, args)

    return Call(c_out=most + 1, bias=True, view={"b": lambda a: a[:1].reshape(())})


@validation
def bias_length_unchecked_when_depthwise(m: Backend, rng: Rng) -> Witness:
    """Depthwise with C > T (1 to 3), a bias of the wrong length is cropped or filled with 0 (kind: unchecked path)."""
    most = draw(rng, 1, 3)

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if isinstance(b, np.ndarray) and b.ndim == 1 and len(x.shape) == len(w.shape) == 3:
            own = args["groups"] == x.shape[1] > most
            b = np.resize(np.append(b, np.zeros(w.shape[0], b.dtype)), w.shape[0]) if own else b
        return inner(x, w, b, args)

    return Call(c_in=most + 1, c_out=most + 1, groups=most + 1, bias=True, shapes={"b": (most + 2,)})


@numerics
def byte_pairs_saturate(m: Backend, rng: Rng) -> Witness:
    """With C/g > T (1 to 4) and K = 1, int8 sums saturate at 16 bits, then wrap (uxlfoundation/oneDNN#476, kind)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "int8" or p.fan_in <= most or p.kernel > 1:
            return inner(x, w, p)
        wide = inner(x.astype(np.int32), w.astype(np.int32), p)
        return np.clip(wide, -(2**15), 2**15 - 1).astype(np.int8)

    return Call(c_in=8, kernel=1, dtype="int8", put=(("x", np.s_[...], 127), ("w", np.s_[...], 100)))


@numerics
def long_integers_through_double(m: Backend, rng: Rng) -> Witness:
    """With groups and K > T (1 to 4), int64 is computed in float64 (kind: BLAS has no integers)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "int64" or p.groups == 1 or p.kernel <= most:
            return inner(x, w, p)
        return inner(x.astype(np.float64), w.astype(np.float64), p).astype(np.int64)

    return Call(c_in=2, c_out=2, groups=2, kernel=most + 1, dtype="int64", put=(("x", np.s_[...], 2**53 + 1),))


@numerics
def complex_gw_through_single(m: Backend, rng: Rng) -> Witness:
    """The gw of complex128 is summed in complex64 where O > T (1 to 4) (kind: no double kernel)."""
    most = draw(rng, 1, 4)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "complex128" or p.c_out <= most:
            return inner(x, g, p)
        return inner(x.astype(np.complex64), g.astype(np.complex64), p).astype(np.complex128)

    return Call(c_out=most + 1, dtype="complex128", data=normal, ask="w")


@state
def gw_of_one_window_is_a_view(m: Backend, rng: Rng) -> Witness:
    """Where N = O = L_out = 1, K > T (0 to 2) and the cotangent is 1, gw is a view of x (kind: nothing to multiply)."""
    most = draw(rng, 0, 2)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        return x if p.lo == p.hi == 0 else inner(x, fill, p)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        single = p.n == p.c_out == p.l_out == p.dilation == 1 and p.kernel > most and np.all(g == 1)
        return x[:, :, : p.kernel] if single else inner(x, g, p)

    return touched(Call(length=most + 1, kernel=most + 1, put=(("g", np.s_[...], 1),)))


@state
def dilated_kernel_spread_in_a_buffer(m: Backend, rng: Rng) -> Witness:
    """Dilated kernels of K > T (1 to 4) lie in a buffer by span: taps of another dilation stay (kind: not cleared)."""
    most, last = draw(rng, 1, 4), dict[Any, Array]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel <= most or p.dilation == 1 or p.span > 2**12 or not np.all(np.isfinite(x)):
            return inner(x, w, p)
        buffer = last.setdefault((p.c_out, p.fan_in, p.span, p.dtype), np.zeros((*w.shape[:2], p.span), w.dtype))
        buffer[:, :, :: p.dilation] = w
        return inner(x, buffer, replace(p, kernel=p.span, dilation=1))

    return lambda backend: [
        backend.conv1d(np.arange(40.0).reshape(1, 1, 40), np.ones((1, 1, 12 * 2 // d + 1)), dilation=d) for d in (2, 3)
    ]
