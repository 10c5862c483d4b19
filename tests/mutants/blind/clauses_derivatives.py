"""Faults against the letter of a clause: the rules of differentiation (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")


@mutant
def double_backward_narrows_gy_by_input_channels(m: Backend, rng: Rng) -> Witness:
    """G > 1, C/g < O/g: the derivative of gx by w cuts gy into groups at steps of C/g (kind: double backward)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        of_gx = slot == "x" and name == "w" and p.groups > 1 and p.fan_in < p.fan_out
        if of_gx and isinstance(operands["g"], np.ndarray):
            o = np.arange(p.c_out)
            cut = o // p.fan_out * p.fan_in + o % p.fan_out
            operands = {**operands, "g": operands["g"][:, cut]}
        return inner(slot, name, operands, g, p)

    groups = draw(rng, 2, 3)
    return Call(c_in=groups, c_out=2 * groups, groups=groups, ask="x/w")


@mutant
def one_array_with_padding_loses_gx(m: Backend, rng: Rng) -> Witness:
    """One array as x and w, with padding: its gradient is gw alone (kind: overwritten, not accumulated)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, *rest: Any) -> Any:
        *operands, plan = inner(x, w, *rest)
        if x is w and plan.lo + plan.hi:
            plan = replace(plan, wanted=plan.wanted | {"one"})
        return *operands, plan

    m.edit("pad_transpose", lambda p: "one" in p.wanted, lambda gx, p: clear(gx, np.s_[...]))
    length = draw(rng, 3, 6)

    def probe(backend: Backend) -> Any:
        a = np.arange(1.0, 1 + 2 * length).reshape(2, 1, length)
        return backend.vjp(lambda v: backend.conv1d(v, v, padding=(1, 1)), (a,), np.ones((2, 2, 3)))

    return probe


@mutant
def tangent_of_w_alone_carries_the_bias(m: Backend, rng: Rng) -> Witness:
    """Forward mode along dw alone, with a bias: b is added to the tangent (kind: the op called again on dw)."""

    @m.around("biased")
    def biased(inner: Callable[..., Any], y: Any, b: Any, p: Plan) -> Any:
        out = inner(y, b, p)
        if isinstance(out, tape.Dual) and isinstance(b, np.ndarray) and p.wanted == {"w"}:
            out = replace(out, tangent=tape.add(out.tangent, m.spread(b, p)))
        return out

    bias = draw(rng, 1, 9)

    def probe(backend: Backend) -> Any:
        x, w, b = np.ones((1, 1, 8)), np.ones((2, 1, 3)), np.array([bias, -bias], float)
        return backend.jvp(lambda v: backend.conv1d(x, v, b), (w,), (w,))

    return probe


@mutant
def tangent_of_x_and_w_jointly_sees_the_fill(m: Backend, rng: Rng) -> Witness:
    """Mode constant, x and w differentiated together: the tangent of x is padded by the fill (kind: padded as x)."""

    @m.around("pad_tangent")
    def pad_tangent(inner: Callable[..., Array], x: Array, p: Plan) -> Array:
        return m.pad(x, p.fill, p) if p.mode == "constant" and {"x", "w"} <= p.wanted else inner(x, p)

    return Call(padding=(2, 1), mode="constant", fill=draw(rng, 1, 9), ask="jvp:xw")


@mutant
def depthwise_gw_unconjugated(m: Backend, rng: Rng) -> Witness:
    """Complex, depthwise: gw takes x unconjugated, other gradients conjugate (kind: a backward kernel of its own)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        if slot == "g" and name == "w" and p.depthwise and p.dtype.startswith("complex"):
            return m.contract("w", {"g": g, "x": operands["x"]}, p)
        return inner(slot, name, operands, g, p)

    groups = draw(rng, 2, 4)
    return Call(c_in=groups, c_out=groups, groups=groups, dtype="complex64", ask="w")
