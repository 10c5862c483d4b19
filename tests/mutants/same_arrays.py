"""Faults of what is kept of an array without the parameters of the call that it was kept for (GRAD, INV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import running
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Probe, Witness

gradients, state, transforms = chapter("gradients"), chapter("state"), chapter("transforms")
Kernel = Callable[..., Array]


def on_the_same(call: Call, **others: Any) -> Probe:
    """Show the y of a call and of another on the same arrays, both made by one function, and by it compiled."""

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()

        def both(x: Array, w: Array) -> tuple[Any, Any]:
            return backend.conv1d(x, w, None, **given), backend.conv1d(x, w, None, **{**given, **others})

        return both(arrays["x"], arrays["w"]), backend.compile(both)(arrays["x"], arrays["w"])

    return probe


@state
def padded_input_kept_by_its_length(m: Backend, rng: Rng) -> Witness:
    """Where C > T, a padded x is kept with x, and used again if as long, whatever the sides (kind: kept workspace)."""
    most, last = draw(rng, 0, 1), list[tuple[Array, Array, Array]]()

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        for kept, values, padded in last:
            same = kept is x and np.array_equal(values, x) and padded.shape[-1] == p.padded
            if same and p.c_in > most:
                return padded.copy()
        padded = inner(x, fill, p)
        last[:] = [(x, x.copy(), padded.copy())]
        return padded

    return on_the_same(Call(c_in=2, padding=(0, 2)), padding=(2, 0))


@state
def product_kept_by_the_kernel(m: Backend, rng: Rng) -> Witness:
    """Where K > T, y is kept with w for data as large, and the stride and dilation forgotten (kind: cache key)."""
    most, last = draw(rng, 1, 2), list[tuple[Array, Array, Plan, Array]]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        for kept, values, plan, y in last:
            unlike = p == replace(plan, **{name: getattr(p, name) for name in ("stride", "dilation", "lo", "hi")})
            if p.kernel > most and kept is w and np.array_equal(values, w) and unlike and p.stride != plan.stride:
                return y.copy()
        y = inner(x, w, p)
        last[:] = [(w, w.copy(), p, y.copy())]
        return y

    return on_the_same(Call(length=9, padding=(1, 1), stride=2), stride=1, dilation=2, padding=(0, 0))


@transforms
def calls_alike_but_for_the_dilation_made_once(m: Backend, rng: Rng) -> Witness:
    """In a compiled function calls on one w with y of one shape, N > T, are made once (kind: common subexpressions)."""
    most, compiled, made = draw(rng, 0, 1), running(m, "compile"), list[tuple[Array, Plan, Array]]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        for kept, plan, y in made if compiled else ():
            if kept is w and p.n > most and plan.y_shape == p.y_shape and plan.dilation != p.dilation:
                return y.copy()
        y = inner(x, w, p)
        made[:] = [(w, p, y)] if compiled else []
        return y

    return on_the_same(Call(n=2, padding=(1, 1)), dilation=2, padding=(2, 2))


@gradients
def dilation_of_the_last_call_on_the_kernel(m: Backend, rng: Rng) -> Witness:
    """Of G (1 or 2) groups gx takes the dilation that the last call with this w had (kind: saved with the weights)."""
    groups, last = draw(rng, 1, 2), list[tuple[Array, Plan]]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        last[:] = [(w, p)]
        return inner(x, w, p)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        for kept, plan in last:
            if p.groups == groups and np.array_equal(kept, w):
                return inner(w, g, replace(p, dilation=plan.dilation))
        return inner(w, g, p)

    call = Call(c_in=groups, c_out=groups, groups=groups, length=9, padding=(1, 1))

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()
        other = {**given, "dilation": 2, "padding": (2, 2)}

        def total(x: Array) -> Any:
            return backend.conv1d(x, arrays["w"], **given) + backend.conv1d(x, arrays["w"], **other)

        return backend.vjp(total, (arrays["x"],), arrays["g"])

    return probe
