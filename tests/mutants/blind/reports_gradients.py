"""Faults of gradients that public issue reports inspired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

gradients = chapter("gradients")
Kernel = Callable[..., Array]


@gradients
def gx_narrow_strided_channels(m: Backend, rng: Rng) -> Witness:
    """With s > 1, C/g > 16 and L < 17: the gx of the first sample is 0 from channel 16 on (fujitsu/oneDNN#43)."""
    m.edit(
        "grad_x",
        lambda p: p.stride > 1 and p.fan_in > 16 and 0 < p.length < 17,
        lambda gx, p: clear(gx, np.s_[:, 16 : p.fan_in, p.lo]),
    )
    return Call(c_in=draw(rng, 17, 20), length=9, stride=2, ask="x")


@gradients
def gw_depthwise_last_row(m: Backend, rng: Rng) -> Witness:
    """Depthwise, 8 divides C, s = 2 and lo > 0: gw's last tap lacks the last output (uxlfoundation/oneDNN#4124)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.depthwise and p.c_in % 8 == 0 and p.stride == 2 and p.lo and p.l_out > 1 and p.kernel > 1:
            short = np.array(g)
            short[..., -1] = 0
            gw[..., -1] = inner(x, short, p)[..., -1]
        return gw

    channels = pick(rng, [8, 16, 24])
    return Call(c_in=channels, c_out=channels, groups=channels, length=10, stride=2, padding=(1, 1), ask="w")


@gradients
def gw_pointwise_stride_few_channels(m: Backend, rng: Rng) -> Witness:
    """K = 1, s > 1, 1 < C/g < 8, 8 divides O: gw's last channel has the first added (uxlfoundation/oneDNN#6035)."""

    def spill(gw: Array, p: Plan) -> None:
        gw[:, -1] += gw[:, 0]

    m.edit("grad_w", lambda p: p.kernel == 1 < p.stride and 1 < p.fan_in < 8 and p.c_out % 8 == 0, spill)
    return Call(c_in=draw(rng, 2, 7), c_out=8, kernel=1, stride=2, ask="w")


@gradients
def replicate_gradient_capped(m: Backend, rng: Rng) -> Witness:
    """Mode replicate, hi > T (8 to 12): gx's last sample collects T of its images (kind: a loop over one vector)."""
    most = draw(rng, 8, 12)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == "replicate" and p.hi > most:
            g = np.array(g)
            g[..., p.lo + p.length + most :] = 0
        return inner(g, p)

    return Call(padding=(1, most + 3), mode="replicate", ask="x")


@gradients
def gw_last_product_of_the_tail(m: Backend, rng: Rng) -> Witness:
    """Where N*L_out > 48 is 1 more than a multiple of 48 and N > 1, gw lacks the last product (kind: a tail of one)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.n > 1 and p.n * p.l_out > 48 and p.n * p.l_out % 48 == 1:
            g = np.array(g)
            g[-1, :, -1] = 0
        return inner(x, g, p)

    n, l_out = [(7, 7), (5, 29), (5, 77)][draw(rng, 0, 2)]
    return Call(n=n, length=l_out + 2, ask="w")


@gradients
def second_derivative_grouped_strided(m: Backend, rng: Rng) -> Witness:
    """With g > 1, s > 1, the derivative of gx by w has its outputs shifted by one (pytorch/pytorch#1972, kind)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        part = inner(slot, name, operands, g, p)
        if slot == "x" and name == "w" and p.groups > 1 and p.stride > 1:
            return tape.linear(lambda a: np.roll(a, 1, axis=0), lambda a: np.roll(a, -1, axis=0), part)
        return part

    return Call(c_in=4, c_out=2 * draw(rng, 1, 3), groups=2, length=9, stride=2, ask="x/w")
