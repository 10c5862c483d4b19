"""Faults of derivatives where there is nothing to sum: no window, no item, no channel of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

gradients, transforms = chapter("gradients"), chapter("transforms")
Rule = Callable[..., Any]


def _nearly(p: Plan) -> bool:
    """No window, but for fewer samples than a stride."""
    return p.l_out == 0 and p.stride > 1 and p.padded - p.span + p.stride > 0


@gradients
def gw_without_windows_unwritten_for_lack_of_a_stride(m: Backend, rng: Rng) -> Witness:
    """Fewer samples short of a window than the stride: gw is not written (kind: a rounded number of windows)."""

    @m.around("grad_w")
    def grad_w(inner: Rule, x: Array, g: Array, p: Plan) -> Array:
        return np.full_like(inner(x, g, p), 7) if _nearly(p) else inner(x, g, p)

    stride = draw(rng, 2, 3)
    return Call(length=3, kernel=4, stride=stride, ask="w")


@transforms
def tangent_of_the_bias_lost_without_channels(m: Backend, rng: Rng) -> Witness:
    """Without input channels the tangent of y lacks that of the bias (kind: nothing to convolve)."""

    @m.around("biased")
    def biased(inner: Rule, y: Any, b: Any, p: Plan) -> Any:
        return inner(y, tape.lower(b, tape.level(b)) if p.c_in == 0 and isinstance(b, tape.Dual) else b, p)

    return Call(c_in=0, c_out=draw(rng, 1, 3), bias=True, ask="jvp:b")


@transforms
def second_gradient_of_an_empty_batch_unwritten(m: Backend, rng: Rng) -> Witness:
    """Of an empty batch the gradient of <u, gx> in w is not written (kind: no item, no kernel)."""

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        given = inner(slot, name, operands, g, p)
        unwritten = slot == "x" and name == "w" and p.n == 0 and isinstance(given, np.ndarray)
        return np.full_like(given, 7) if unwritten else given

    return Call(n=0, c_out=draw(rng, 1, 3), ask="x/w")


@transforms
def tangent_of_gw_of_an_empty_batch_unwritten(m: Backend, rng: Rng) -> Witness:
    """Of an empty batch the tangent of gw is not written (kind: no item, no kernel)."""

    @m.around("push")
    def push(inner: Rule, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        given = inner(slot, name, operands, tangent, p)
        unwritten = slot == "w" and p.n == 0 and isinstance(given, np.ndarray)
        return np.full_like(given, 7) if unwritten else given

    return Call(n=0, c_out=draw(rng, 1, 3), ask="w>x")
