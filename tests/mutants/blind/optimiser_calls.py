"""Faults of a graph optimiser's rewrites: canonical forms, program caches, dead gradients (chapters ERR, INV, GRAD)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after

state = chapter("state")


@chapter("validation")
def stride_of_one_window_unchecked(m: Backend, rng: Rng) -> Witness:
    """Where L + lo + hi = d*(K-1) + 1, one window, any s becomes 1 before it is checked (kind: canonical form)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if isinstance(args["padding"], tuple | list) and len(x.shape) == len(w.shape) == 3:
            slack = x.shape[2] + sum(args["padding"]) - args["dilation"] * (w.shape[2] - 1) - 1
            args = args if slack else {**args, "stride": 1}
        return inner(x, w, b, args)

    length = draw(rng, 3, 9)
    return Call(length=length, kernel=length, raw={"stride": 0})


@state
def programs_known_without_their_fill(m: Backend, rng: Rng) -> Witness:
    """Constant: a program is kept for its plan without the fill: a later fill is the first one's (kind: cache key)."""
    known: dict[Plan, Any] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if plan.mode == "constant":
            plan = replace(plan, fill=known.setdefault(replace(plan, fill=None), plan.fill))
        return x, w, b, plan

    call = Call(padding=(1, 1), mode="constant", fill=draw(rng, 1, 4))
    return after(call.but(fill=call.fill + 1), call)


@state
def dead_gradient_resets_the_sum(m: Backend, rng: Rng) -> Witness:
    """A later pass whose gradient in an operand is 0 throughout sets what has accumulated to 0 (kind: dead code)."""

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Sequence[Any], primals: Sequence[Array]) -> Any:
        total = m.vjp(passes[0][0], primals, passes[0][1])
        for f, cotangent in passes[1:]:
            parts = m.vjp(f, primals, cotangent)
            total = tuple(old + new if new.any() else new for old, new in zip(total, parts, strict=True))
        return total

    call = Call(c_in=draw(rng, 1, 3))

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        fixed = np.array(arrays["w"])
        passes = [(backend.conv1d, arrays["g"]), (lambda x, w: backend.conv1d(x, fixed), arrays["g"])]
        return backend.accumulate(passes, (arrays["x"], arrays["w"]))

    return probe
