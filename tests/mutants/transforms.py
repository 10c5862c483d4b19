"""Faults of forward mode and of second derivatives (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.numerics import keep_bits, normal
from tests.mutants.plan import Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
Rule = Callable[..., Any]


def scale(a: Traced, factor: float) -> Traced:
    """Return a times a factor."""
    return tape.linear(lambda v: v * v.dtype.type(factor), lambda v: v * v.dtype.type(factor), a)


def rule(m: Backend, kind: str, slot: str, name: str, when: Callable[[Plan], bool], factor: float = 0) -> None:
    """Scale one rule of differentiation where the condition holds: kind is "push" or "pull"; by 0 it is missing."""

    @m.around(kind)
    def scaled(inner: Rule, s: str, n: str, operands: Mapping[str, Traced], t: Traced, p: Plan) -> Traced:
        return inner(s, n, operands, scale(t, factor) if (s, n) == (slot, name) and when(p) else t, p)


def rule_lies(
    m: Backend, kind: str, slot: str, name: str, when: Callable[[Plan], bool], change: Callable[[Plan], Plan]
) -> None:
    """Let one rule of differentiation see another plan."""

    @m.around(kind)
    def lied(inner: Rule, s: str, n: str, operands: Mapping[str, Traced], t: Traced, p: Plan) -> Traced:
        return inner(s, n, operands, t, change(p) if (s, n) == (slot, name) and when(p) else p)


def rule_rounds(m: Backend, kind: str, slot: str, name: str, when: Callable[[Plan], bool], bits: int) -> None:
    """Let one rule of differentiation round what it is given to so many bits, where the condition holds."""
    rounded = keep_bits(bits)

    @m.around(kind)
    def rounding(inner: Rule, s: str, n: str, operands: Mapping[str, Traced], t: Traced, p: Plan) -> Traced:
        return inner(s, n, operands, tape.linear(rounded, rounded, t) if (s, n) == (slot, name) and when(p) else t, p)


@mutant
def jvp_without_weight_tangent(m: Backend, rng: Rng) -> Witness:
    """A jvp in w and another operand lacks the part of w (pytorch/pytorch#69956, kind)."""
    rule(m, "push", "g", "w", lambda p: len(p.wanted) > 1)
    return Call(kernel=draw(rng, 1, 4), ask="jvp:xw")


@mutant
def jvp_without_input_tangent_when_dilated(m: Backend, rng: Rng) -> Witness:
    """A jvp with dilation lacks the part of x (kind: missing term)."""
    rule(m, "push", "g", "x", lambda p: p.dilation > 1)
    return Call(dilation=draw(rng, 2, 3), length=9, ask="jvp:x")


@mutant
def jvp_weight_tangent_undilated(m: Backend, rng: Rng) -> Witness:
    """A jvp with stride and dilation takes the part of w as with dilation 1 (jax-ml/jax#563, kind)."""
    rule_lies(m, "push", "g", "w", lambda p: p.stride > 1 and p.dilation > 1, lambda p: replace(p, dilation=1))
    return Call(length=12, stride=2, dilation=draw(rng, 2, 3), ask="jvp:w")


@mutant
def jvp_input_tangent_ignores_stride_when_pointwise(m: Backend, rng: Rng) -> Witness:
    """A jvp with K = 1 takes the part of x as with stride 1 (kind: pointwise fast path)."""
    rule_lies(m, "push", "g", "x", lambda p: p.kernel == 1, lambda p: replace(p, stride=1))
    return Call(kernel=1, stride=draw(rng, 2, 3), ask="jvp:x")


@mutant
def jvp_groups_reversed(m: Backend, rng: Rng) -> Witness:
    """A jvp with groups takes the tangent of w in reverse order of output channels (kind: groups permuted)."""

    @m.around("push")
    def push(inner: Rule, s: str, n: str, operands: Mapping[str, Traced], t: Traced, p: Plan) -> Traced:
        if (s, n) == ("g", "w") and p.groups > 1:
            t = tape.linear(lambda v: v[::-1], lambda v: v[::-1], t)
        return inner(s, n, operands, t, p)

    return Call(c_in=4, c_out=4, groups=draw(rng, 1, 2) * 2, ask="jvp:w")


@mutant
def jvp_without_bias_tangent(m: Backend, rng: Rng) -> Witness:
    """A jvp in b and another operand lacks the part of b (pytorch/pytorch#69956, kind)."""

    @m.around("biased")
    def biased(inner: Rule, y: Traced, b: Traced, p: Plan) -> Traced:
        lost = isinstance(b, tape.Dual) and len(p.wanted) > 1
        return inner(y, b.value if lost else b, p)

    return Call(c_out=draw(rng, 1, 3), bias=True, ask="jvp:xb")


@mutant
def jvp_bias_tangent_of_first_item(m: Backend, rng: Rng) -> Witness:
    """A jvp adds the tangent of b to the first T (1 to 16) items only (kind: broadcasting)."""
    most = draw(rng, 1, 16)

    @m.around("biased")
    def biased(inner: Rule, y: Traced, b: Traced, p: Plan) -> Traced:
        out = inner(y, b, p)
        if not isinstance(b, tape.Dual) or p.n <= most:
            return out
        rest = inner(y, b.value, p)
        first = np.arange(p.n)[:, None, None] < most
        part = tape.linear(lambda v: np.where(first, m.spread(v, p), 0), lambda g: m.grad_b(g * first, p), b.tangent)
        return tape.Dual(out.value, b.level, tape.add(rest.tangent, part) if isinstance(rest, tape.Dual) else part)

    return Call(n=most + 1, bias=True, ask="jvp:xb")


@mutant
def jvp_fills_the_tangent(m: Backend, rng: Rng) -> Witness:
    """In mode constant, a jvp pads the tangent of x with the value too, not with zeros (kind: pad is affine)."""
    m.around("pad_tangent")(lambda inner, x, p: m.pad(x, p.fill, p))
    return Call(mode="constant", fill=draw(rng, 1, 5), padding=(1, 1), ask="jvp:x")


@mutant
def jvp_zeros_around_the_tangent(m: Backend, rng: Rng) -> Witness:
    """In a mode that copies samples, a jvp pads the tangent of x with zeros (kind: pad by another path)."""
    m.around("pad_tangent")(lambda inner, x, p: inner(x, replace(p, mode="zeros")))
    return Call(mode="replicate", padding=(draw(rng, 2, 4), 1), ask="jvp:x")


@mutant
def jvp_long_outputs(m: Backend, rng: Rng) -> Witness:
    """Where L_out > T (16 to 300), a jvp lacks the part of w (kind: one of two kernels has a limit)."""
    most = draw(rng, 16, 300)
    rule(m, "push", "g", "w", lambda p: p.l_out > most)
    return Call(length=most + 3, ask="jvp:xw")


@mutant
def second_gx_detached(m: Backend, rng: Rng) -> Witness:
    """The gradient by x does not depend on w or gy: its derivatives are 0 (pytorch/pytorch#15353)."""
    for kind in ("push", "pull"):
        rule(m, kind, "x", "w", lambda p: p.kernel > 1)
        rule(m, kind, "x", "g", lambda p: p.kernel > 1)
    return Call(c_in=draw(rng, 1, 3), ask="x/w")


@mutant
def second_gx_by_w_missing(m: Backend, rng: Rng) -> Witness:
    """With padding, the reverse derivative of gx by w is 0 (pytorch/pytorch#1643, kind)."""
    rule(m, "pull", "x", "w", lambda p: p.lo > 0)
    return Call(padding=(draw(rng, 1, 3), 0), ask="x/w")


@mutant
def second_gx_by_g_missing(m: Backend, rng: Rng) -> Witness:
    """With groups, the reverse derivative of gx by gy is 0 (mjacar/pytorch-trpo#13, kind)."""
    rule(m, "pull", "x", "g", lambda p: p.groups > 1)
    return Call(c_in=4, c_out=4, groups=draw(rng, 1, 2) * 2, ask="x/g")


@mutant
def second_gw_by_x_missing(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), the reverse derivative of gw by x is 0 (Oneflow-Inc/oneflow#8688, kind)."""
    most = draw(rng, 1, 8)
    rule(m, "pull", "w", "x", lambda p: p.n > most)
    return Call(n=most + 1, ask="w/x")


@mutant
def second_gw_by_g_undilated(m: Backend, rng: Rng) -> Witness:
    """With dilation, the reverse derivative of gw by gy is that of dilation 1 (jax-ml/jax#563, kind)."""
    rule_lies(m, "pull", "w", "g", lambda p: p.dilation > 1, lambda p: replace(p, dilation=1))
    return Call(length=9, dilation=draw(rng, 2, 3), ask="w/g")


@mutant
def second_gx_by_g_ignores_stride(m: Backend, rng: Rng) -> Witness:
    """With a stride, the reverse derivative of gx by gy is that of stride 1 (jax-ml/jax#563, kind)."""
    rule_lies(m, "pull", "x", "g", lambda p: p.stride > 1, lambda p: replace(p, stride=1))
    return Call(length=9, stride=draw(rng, 2, 3), ask="x/g")


@mutant
def second_gw_by_x_doubled_when_square(m: Backend, rng: Rng) -> Witness:
    """Where O = C/g, the reverse derivative of gw by x is doubled (kind: a term counted twice)."""
    rule(m, "pull", "w", "x", lambda p: p.c_out == p.fan_in, 2)
    size = draw(rng, 1, 4)
    return Call(c_in=size, c_out=size, ask="w/x")


@mutant
def second_forward_gx_by_w_missing(m: Backend, rng: Rng) -> Witness:
    """Forward over reverse with groups, the derivative of gx by w is 0 (pytorch/pytorch#75219, kind)."""
    rule(m, "push", "x", "w", lambda p: p.groups > 1)
    return Call(c_in=4, c_out=4, groups=draw(rng, 1, 2) * 2, ask="x>w")


@mutant
def second_forward_gw_by_x_missing(m: Backend, rng: Rng) -> Witness:
    """Forward over reverse with a stride, the derivative of gw by x is 0 (kind: missing term)."""
    rule(m, "push", "w", "x", lambda p: p.stride > 1)
    return Call(stride=draw(rng, 2, 3), length=9, ask="w>x")


@mutant
def second_forward_gw_by_g_truncated(m: Backend, rng: Rng) -> Witness:
    """Forward over reverse, the derivative of gw by gy is halved where K > T (1 to 8) (kind: a symmetry assumed)."""
    taps = draw(rng, 1, 8)
    rule(m, "push", "w", "g", lambda p: p.kernel > taps, 0.5)
    return Call(kernel=taps + 1, length=12, ask="w>g")


@mutant
def second_gw_by_g_in_tf32(m: Backend, rng: Rng) -> Witness:
    """Of float32, the reverse derivative of gw by gy rounds to 11 bits where K > T (1 to 4) (kind: TF32 by default)."""
    most = draw(rng, 1, 4)
    rule_rounds(m, "pull", "w", "g", lambda p: p.dtype == "float32" and p.kernel > most, 11)
    return Call(kernel=most + 1, length=9, dtype="float32", data=normal, ask="w/g")


@mutant
def second_forward_gx_by_w_in_bfloat16(m: Backend, rng: Rng) -> Witness:
    """Of float32, forward over reverse, gx along w rounds to 8 bits where C/g > T (1 to 4) (kind: fast math)."""
    most = draw(rng, 1, 4)
    rule_rounds(m, "push", "x", "w", lambda p: p.dtype == "float32" and p.fan_in > most, 8)
    return Call(c_in=most + 1, dtype="float32", data=normal, ask="x>w")


@mutant
def jvp_input_tangent_in_tf32(m: Backend, rng: Rng) -> Witness:
    """Of float32, a jvp rounds the tangent of x to 11 bits where C/g > T (1 to 8) (kind: TF32 by default)."""
    most = draw(rng, 1, 8)
    rule_rounds(m, "push", "g", "x", lambda p: p.dtype == "float32" and p.fan_in > most, 11)
    return Call(c_in=most + 1, dtype="float32", data=normal, ask="jvp:x")
