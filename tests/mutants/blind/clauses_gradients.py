"""Faults against the letter of a clause: the gradients' kernels (chapter GRAD)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def gw_lone_row_of_the_last_block(m: Backend, rng: Rng) -> Witness:
    """gw, N > 1: where N * L_out is 1 modulo R (90 to 260) and above R, the last window is lost (kind: split sums)."""
    block = draw(rng, 90, 260)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        rows = p.n * p.l_out
        if p.n > 1 and rows > block and rows % block == 1:
            g = g.copy()
            g[-1, :, -1] = 0
        return inner(x, g, p)

    items = next(n for n in range(2, block + 2) if (block + 1) % n == 0)
    return Call(n=items, length=(block + 1) // items + 2, ask="w")


@mutant
def gx_pointwise_from_the_first_sample(m: Backend, rng: Rng) -> Witness:
    """K = 1, s > 1, lo no multiple of s: gx[::s] = w gy[lo // s:], though gx starts later (kind: phase)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        late = p.lo % p.stride
        if p.kernel == 1 and late and p.l_out > 1 and gx.size:
            gx = np.concatenate([np.zeros((*gx.shape[:2], late), gx.dtype), gx[:, :, :-late]], axis=2)
        return gx

    stride = draw(rng, 2, 5)
    return Call(length=4 * stride, kernel=1, stride=stride, padding=(1, 0), ask="x")


@mutant
def gx_phases_without_taps_unwritten(m: Backend, rng: Rng) -> Witness:
    """gcd(s, d) > 1: samples of a phase that no tap meets get their neighbour's gradient (kind: stale phase buffer)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.kernel > 1 and p.l_out > 1 and math.gcd(p.stride, p.dilation) > 1 and gx.size:
            met = np.unique(np.arange(p.kernel) * p.dilation % p.stride)
            end = min(p.padded, p.reach + p.span - 1)
            bad = np.flatnonzero(~np.isin(np.arange(end) % p.stride, met))
            gx[:, :, bad] = gx[:, :, bad - 1]
        return gx

    return Call(length=20, stride=2 * draw(rng, 1, 3), dilation=2, ask="x")


@mutant
def mask_of_x_and_b_forgets_b(m: Backend, rng: Rng) -> Witness:
    """G > 1, gradients by x and b but not w: gb is 0 (kind: the bias is summed in the kernel's pass)."""
    m.edit("grad_b", lambda p: p.wanted == {"x", "b"} and p.groups > 1, lambda gb, p: clear(gb, np.s_[...]))
    groups = draw(rng, 2, 4)
    return Call(c_in=groups, c_out=groups, groups=groups, bias=True, ask="xb")


@mutant
def halo_gradients_overwrite(m: Backend, rng: Rng) -> Witness:
    """reflect, symmetric, circular: of a sample shown on both sides only the hi image counts (kind: gx[index] += g)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        shown = m.sources(p)
        halo = np.r_[0 : p.lo, p.lo + p.length : p.padded]
        if p.mode not in ("reflect", "symmetric", "circular") or len(set(shown[halo])) == len(halo):
            return inner(g, p)
        wide = widen(g)
        images = np.zeros((*g.shape[:2], p.length), wide.dtype)
        images[:, :, shown[halo]] = wide[:, :, halo]
        return (wide[:, :, p.lo : p.lo + p.length] + images).astype(g.dtype)

    length = draw(rng, 4, 8)
    return Call(length=length, padding=(length - 1, 2), mode="circular", ask="x")


@mutant
def replicate_images_beyond_a_block(m: Backend, rng: Rng) -> Witness:
    """Replicate with lo > T (33 to 150): gx[0] collects its nearest T images before x alone (kind: one block's sum)."""
    most = draw(rng, 33, 150)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == "replicate" and p.lo > most:
            g = g.copy()
            g[:, :, : p.lo - most] = 0
        return inner(g, p)

    return Call(padding=(most + draw(rng, 1, 9), 0), mode="replicate", ask="x")


@mutant
def no_output_gx_keeps_its_padding(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 0 and there is padding, gx has the padded length (kind: an early return before the crop)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        return np.zeros_like(g) if p.l_out == 0 else inner(g, p)

    return Call(length=3, kernel=draw(rng, 6, 9), padding=(1, 1), ask="x")


@mutant
def gw_beyond_65536_weights(m: Backend, rng: Rng) -> Witness:
    """Gw of more than 2^16 elements is 0 beyond them (kind: a flat index of 16 bits)."""

    def lose(gw: Array, p: Plan) -> Any:
        gw.reshape(-1)[65536:] = 0

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = np.ascontiguousarray(inner(x, g, p))
        lose(gw, p)
        return gw

    return Call(c_in=256, c_out=256 + draw(rng, 1, 9), length=1, kernel=1, dtype="float32", ask="w")
