"""Faults against the letter of a clause: padding names and modes (chapter PAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("padding")
Kernel = Callable[..., Array]
Pads = Callable[..., tuple[int, int]]


@mutant
def same_undilated_where_the_stride_does_not_divide(m: Backend, rng: Rng) -> Witness:
    """`same` with L mod s > 0 pads max(K - L mod s, 0), d forgotten (kind: one of the two branches of SAME)."""

    @m.around("resolve")
    def resolve(inner: Pads, padding: Any, length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        if padding == "same" and dilation > 1 and length % stride:
            total = max(kernel - length % stride, 0)
            return total // 2, total - total // 2
        return inner(padding, length, kernel, stride, dilation)

    return Call(length=10, kernel=5, stride=3, dilation=draw(rng, 2, 4), padding="same")


@mutant
def same_before_at_most_the_input(m: Backend, rng: Rng) -> Witness:
    """`same` of a span beyond 2L pads at most L before, and the rest after (kind: a clamp meant for reflection)."""

    @m.around("resolve")
    def resolve(inner: Pads, padding: Any, length: int, *rest: int) -> tuple[int, int]:
        lo, hi = inner(padding, length, *rest)
        if padding == "same" and lo > length > 0:
            return length, hi + lo - length
        return lo, hi

    length = draw(rng, 3, 6)
    return Call(length=length, kernel=2 * length + 5, padding="same")


@mutant
def same_lower_gw_alone_padded_like_same(m: Backend, rng: Rng) -> Witness:
    """Gw asked alone under `same_lower` with an odd T sees x padded as `same` (kind: the backward's own pads)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.padding == "same_lower" and p.lo == p.hi + 1 and p.mode == "zeros" and p.wanted == {"w"}:
            x = np.concatenate([x[:, :, 1:], np.zeros((*x.shape[:2], 1), x.dtype)], axis=2)
        return inner(x, g, p)

    return Call(kernel=2 * draw(rng, 1, 4), padding="same_lower", ask="w")


@mutant
def causal_ring_too_short(m: Backend, rng: Rng) -> Witness:
    """causal: a tap R (128, 256, 512) or more samples back reads that distance modulo R (kind: streaming ring)."""
    ring = pick(rng, (128, 256, 512))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.padding != "causal" or p.span <= ring or not p.l_out:
            return inner(x, w, p)
        y = np.zeros(p.y_shape, widen(x).dtype)
        for k in range(p.kernel):
            back = (p.kernel - 1 - k) * p.dilation % ring
            start = p.span - 1 - back
            y += inner(widen(x)[:, :, start:], widen(w)[:, :, k : k + 1], replace(p, kernel=1, dilation=1))
        return y.astype(x.dtype)

    return Call(length=20, kernel=2, dilation=ring, padding="causal")


@mutant
def fill_is_a_c_float(m: Backend, rng: Rng) -> Witness:
    """Mode constant in float64: the fill is rounded to float32 (kind: an attribute of type float)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.mode == "constant" and p.dtype == "float64":
            fill = float(np.float32(fill))
        return inner(x, fill, p)

    return Call(padding=(1, 1), mode="constant", fill=draw(rng, 1, 6) / 7)


@mutant
def circular_domain_by_the_sum(m: Backend, rng: Rng) -> Witness:
    """Circular is refused where lo + hi > 2L, not where either exceeds L (kind: one check for both sides)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if args["padding_mode"] != "circular":
            return inner(x, w, b, args)
        *operands, plan = inner(x, w, b, {**args, "padding_mode": "zeros"})
        if plan.lo + plan.hi > 2 * plan.length:
            return inner(x, w, b, args)
        return *operands, replace(plan, mode="circular")

    @m.around("sources")
    def sources(inner: Callable[..., Array], p: Plan) -> Array:
        if p.mode == "circular" and p.length:
            return np.arange(-p.lo, p.length + p.hi) % p.length
        return inner(p)

    length = draw(rng, 3, 6)
    return Call(length=length, padding=(length + 1, 1), mode="circular")
