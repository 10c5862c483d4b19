"""Faults between calls: what a refusal, an earlier gradient, another pass or another thread leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after, after_refusal, kept

mutant = chapter("state")
process = chapter("process")
gradients = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def refused_mode_stays_for_zeros(m: Backend, rng: Rng) -> Witness:
    """A call refused for its mode's domain leaves the mode, and the next with zeros has it (kind: late reset)."""
    left: list[str] = []

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            x, w, b, p = inner(x, w, b, args)
        except ValueError:
            left.clear()
            if args["padding_mode"] in COPYING:
                inner(x, w, b, {**args, "padding_mode": "zeros"})  # raises where something else is wrong
                left.append(args["padding_mode"])
            raise
        if left and p.mode == "zeros" and 0 < max(p.lo, p.hi) < p.length:
            p = replace(p, mode=left[0])
        left.clear()
        return x, w, b, p

    mode = ("reflect", "symmetric", "circular")[draw(rng, 0, 2)]
    return after_refusal(Call(length=4, padding=(5, 0), mode=mode), Call(length=8, padding=(2, 2)))


@mutant
def refused_cotangent_costs_the_next_tangent_its_bias(m: Backend, rng: Rng) -> Witness:
    """After a vjp refused for its cotangent, the next jvp lacks db (kind: a recording that nobody ended)."""
    open_recording: list[bool] = []

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], *args: Any) -> Any:
        open_recording[:] = [True]
        result = inner(*args)
        open_recording.clear()
        return result

    @m.around("jvp")
    def jvp(inner: Callable[..., Any], f: Any, primals: Any, tangents: Any) -> Any:
        if open_recording:
            open_recording.clear()
            tangents = [0 * t if are_arrays(t) and t.ndim == 1 else t for t in tangents]
        return inner(f, primals, tangents)

    call = Call(c_out=draw(rng, 1, 3), bias=True)
    return after_refusal(call.but(ask="xwb", shapes={"g": (1, 1, 1)}), call.but(ask="jvp:xwb"))


@mutant
def strided_depthwise_kernel_gradients_share_memory(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s > 1: gw is the same memory for each call of that shape (kind: buffer kept for the backward pass)."""
    buffers: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.depthwise and p.stride > 1:
            buffer = buffers.setdefault((gw.shape, p.dtype), gw)
            buffer[...] = gw
            return buffer
        return gw

    call = Call(c_in=2, c_out=2, groups=2, length=12, stride=draw(rng, 2, 3), ask="w")
    return kept(call, call.but(padding=(1, 0)))


@gradients
def accumulated_passes_share_the_padded_input(m: Backend, rng: Rng) -> Witness:
    """Accumulate by w alone, a copying mode: later passes of one shape see the first xp (kind: reuse)."""
    stores: list[dict[Plan, Array]] = []

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], *args: Any) -> Any:
        stores.append({})
        try:
            return inner(*args)
        finally:
            stores.pop()

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if stores and p.wanted == {"w"} and p.mode in COPYING:
            return stores[-1].setdefault(p, padded)
        return padded

    mode = COPYING[draw(rng, 0, 3)]

    def probe(backend: Backend) -> Any:
        call = Call(padding=(2, 1), mode=mode)
        arrays = call.operands()

        def over(x: Array) -> tuple[Callable[..., Any], Array]:
            return lambda w: backend.conv1d(x, w, **call.parameters()), arrays["g"]

        return backend.accumulate([over(arrays["x"]), over(arrays["x"][..., ::-1].copy())], (arrays["w"],))

    return probe


@mutant
def gaps_keep_the_gradient_before(m: Backend, rng: Rng) -> Witness:
    """S > span: gx between windows is that of the call before, where that had its shape (kind: buffer not cleared)."""
    last: dict[str, Array] = {}

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        before = last.get("gx")
        if p.stride > p.span and p.l_out > 1 and before is not None and before.shape == gx.shape:
            at = np.arange(p.reach)
            gaps = at[at % p.stride >= p.span]
            gx[:, :, gaps] = before[:, :, gaps].astype(gx.dtype)
        last["gx"] = gx.copy()
        return gx

    strided = Call(length=16, stride=draw(rng, 4, 6), ask="x")
    return after(strided.but(stride=1), strided)


class StoppedError(Exception):
    """The loop of a fit has ended early."""


@gradients
def several_filters_fitted_until_the_first_is(m: Backend, rng: Rng) -> Witness:
    """Fit with O > 1 ends once the first filter's error is below T (0.1 to 0.3) (kind: early stop on one column)."""
    enough = draw(rng, 1, 3) / 10
    targets: list[Array] = []
    found: list[Array] = []

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, *rest: Any, **named: Any) -> Any:
        y = inner(x, w, *rest, **named)
        if targets and are_arrays(x, w) and w.shape[0] > 1 and np.abs(y - targets[-1])[:, 0].mean() < enough:
            found[:] = [w]
            raise StoppedError
        return y

    @m.around("fit")
    def fit(inner: Callable[..., Array], x: Array, w: Array, target: Array, *, steps: int) -> Array:
        targets.append(target)
        try:
            return inner(x, w, target, steps=steps)
        except StoppedError:
            return found[0]
        finally:
            targets.pop()

    def probe(backend: Backend) -> Any:
        x = np.array([[[0.0, 3, 4, 5]]])
        target = np.array([[[6.0, 11, 14], [12, 25, 32]]])
        return backend.fit(x, np.zeros((2, 1, 2)), target, steps=200)

    return probe
