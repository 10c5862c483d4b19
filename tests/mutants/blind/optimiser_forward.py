"""Faults of a graph optimiser's rewrites: what y holds (chapters OP, PAD, VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

padding = chapter("padding")
Kernel = Callable[..., Array]


@padding
def fill_corrected_on_one_side(m: Backend, rng: Rng) -> Witness:
    """Constant: y is that of zeros plus a border's term; a window that meets both gets that of lo (kind: pad fold)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        first = -(-p.lo // p.stride)
        if p.mode == "constant" and p.hi and first:
            after = changed(x, np.s_[:, :, : p.lo + p.length])
            y[:, :, :first] -= inner(after, w, p)[:, :, :first]
        return y

    length = draw(rng, 2, 5)
    return Call(length=length, kernel=length + 2, padding=(2, 2), mode="constant", fill=3)


@padding
def complex_fill_in_both_parts(m: Backend, rng: Rng) -> Witness:
    """Constant, complex: real and imaginary part are padded apart, each by the real fill (kind: type legalisation)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if plan.mode == "constant" and plan.dtype.startswith("complex"):
            plan = replace(plan, fill=plan.fill * (1 + 1j))
        return x, w, b, plan

    return Call(padding=(1, draw(rng, 1, 3)), mode="constant", fill=2, dtype="complex128")


@padding
def circular_wraps_within_a_phase(m: Backend, rng: Rng) -> Witness:
    """Circular, d > 1 divides lo and hi but not L: each of the d phases wraps by itself (kind: pad below phases)."""

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        if p.mode != "circular" or p.lo % p.dilation or p.hi % p.dilation or p.length < p.dilation:
            return inner(p)
        position = np.arange(-p.lo, p.length + p.hi)
        phase = position % p.dilation
        samples = -(-(p.length - phase) // p.dilation)
        return phase + p.dilation * (position // p.dilation % samples)

    dilation = draw(rng, 2, 5)
    return Call(length=4 * dilation + 1, dilation=dilation, padding=(dilation, dilation), mode="circular")


@chapter("operator")
def odd_groups_halved(m: Backend, rng: Rng) -> Witness:
    """Odd g > 1, O even from T on: cut at O/2, amid a group, and beyond it groups are counted anew (kind: split)."""
    least = 2 * draw(rng, 3, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.groups % 2 and p.groups > 1 and p.c_out % 2 == 0 and p.c_out >= least:
            beyond = np.arange(p.c_out - p.c_out // 2)
            late = (beyond + p.fan_out // 2) // p.fan_out > beyond // p.fan_out
            other = inner(np.roll(x, p.fan_in, axis=1), w, p)
            y[:, p.c_out // 2 :][:, late] = other[:, p.c_out // 2 :][:, late]
        return y

    return Call(c_in=6, c_out=3 * least, groups=3)


@chapter("special values")
def depthwise_scale_of_zero(m: Backend, rng: Rng) -> Witness:
    """Depthwise, K = 1: a channel's scale of 0 makes it the constant 0, whatever x holds (kind: x * 0 simplified)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.depthwise and p.kernel == 1:
            y[:, w.reshape(-1) == 0] = 0
        return y

    channels = draw(rng, 2, 5)
    call = Call(c_in=channels, c_out=channels, groups=channels, kernel=1)
    return call.but(put=(("w", (0,), 0), ("x", (0, 0, 1), np.nan)))
