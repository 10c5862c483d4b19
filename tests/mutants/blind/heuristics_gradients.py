"""Faults of kernels chosen by heuristics: kernels of gx, gw and gb."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, fingerprint, run

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def gx_pointwise_scatters_from_first_sample(m: Backend, rng: Rng) -> Witness:
    """K = 1, lo no multiple of s: gx is scattered from sample 0 on, not (-lo) mod s (kind: 1x1 shortcut, stride)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        late = -p.lo % p.stride
        if p.kernel > 1 or not late or late >= p.padded:
            return gx
        moved = np.zeros_like(gx)
        moved[..., : p.padded - late] = gx[..., late:]
        return moved

    stride = draw(rng, 2, 5)
    return Call(kernel=1, length=4 * stride, stride=stride, padding=(stride + 1, 0), ask="x")


@mutant
def gx_grouped_pointwise_reshaped(m: Backend, rng: Rng) -> Witness:
    """Gx with K = 1, g > 1, C/g and O/g > 1 reshapes w where it should transpose it (kind: batched GEMM's operand)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.kernel == 1 < p.groups and min(p.fan_in, p.fan_out) > 1:
            blocks = w.reshape(p.groups, p.fan_in, p.fan_out).swapaxes(1, 2)
            w = np.ascontiguousarray(blocks).reshape(w.shape)
        return inner(w, g, p)

    return Call(c_in=4, c_out=2 * draw(rng, 2, 4), groups=2, kernel=1, ask="x")


@mutant
def gx_phases_without_taps_not_cleared(m: Backend, rng: Rng) -> Witness:
    """Where gcd(s, d) reaches T, phases of gx that no tap meets hold phase 0 (kind: buffer reused between phases)."""
    least = draw(rng, 2, 4)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        period = math.gcd(p.stride, p.dilation)
        if period >= least and p.kernel > 1 and p.l_out > 1:
            for phase in range(1, period):
                gx[..., phase::period] = gx[..., ::period][..., : gx[..., phase::period].shape[-1]]
        return gx

    return Call(length=8 * least, kernel=3, stride=least, dilation=least, ask="x")


@mutant
def gw_keeps_the_last_taps(m: Backend, rng: Rng) -> Witness:
    """Where remainder >= d, gw by convolution has surplus taps; the last K are kept (kind: narrow at the wrong end)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        surplus = p.remainder // p.dilation if p.l_out > 1 and p.groups == 1 else 0
        return inner(np.roll(x, -surplus * p.dilation, axis=2) if surplus else x, g, p)

    stride = draw(rng, 3, 5)
    return Call(length=3 * stride + 2 + 3, stride=stride, dilation=2, kernel=2, ask="w")


@mutant
def gw_drops_short_block(m: Backend, rng: Rng) -> Witness:
    """Gw sums in blocks of T outputs; a last block of fewer than K outputs is dropped (kind: block loop's bound)."""
    block = pick(rng, (96, 160, 192, 320, 384, 448))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        rest = p.l_out % block
        if p.l_out > block and 0 < rest < p.kernel:
            g = g.copy()
            g[..., -rest:] = 0
        return inner(x, g, p)

    return Call(length=2 * block + 2 + draw(rng, 1, 2), ask="w")


@mutant
def gw_alone_pads_hi_first(m: Backend, rng: Rng) -> Witness:
    """Gw asked for alone, s > 1, zeros with lo < hi: x is padded by hi on both sides (kind: x padded again, masked)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        alone = p.wanted == {"w"} and p.stride > 1 and p.mode == "zeros" and p.lo < p.hi
        return inner(np.roll(x, p.hi - p.lo, axis=2) if alone else x, g, p)

    return Call(length=12, stride=2, padding=(1, draw(rng, 2, 4)), ask="w")


@mutant
def gb_of_short_rows_in_one_block(m: Backend, rng: Rng) -> Witness:
    """Gb with L_out < 32 adds up the first T of N*L_out cotangents alone (kind: second stage of a reduction)."""
    room = pick(rng, (256, 512, 1024, 2048))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.l_out >= 32 or p.n * p.l_out <= room:
            return inner(g, p)
        rows = widen(g).transpose(1, 0, 2).reshape(p.c_out, p.n * p.l_out)
        return rows[:, :room].sum(axis=1).astype(g.dtype)

    return Call(n=room // 16 + draw(rng, 1, 9), length=16 + 2, bias=True, ask="b")


@mutant
def gw_from_a_ring_of_buffers(m: Backend, rng: Rng) -> Witness:
    """Gw of a shape lies in one of R (4 to 6) buffers in turn: R calls later it changes (kind: pooled outputs)."""
    count = draw(rng, 4, 6)
    rings: dict[Any, list[Array]] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        ring = rings.setdefault((gw.shape, str(gw.dtype)), [])
        if len(ring) < count:
            ring.append(gw)
            return gw
        oldest = ring.pop(0)
        oldest[...] = gw
        ring.append(oldest)
        return oldest

    call = Call(ask="w")

    def probe(backend: Backend) -> Any:
        first = run(backend, call)
        for i in range(count):
            run(backend, call.but(put=(("x", (0, 0, i), 50),)))
        return fingerprint(first)

    return probe
