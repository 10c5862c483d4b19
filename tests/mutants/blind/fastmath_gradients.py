"""Faults of fast mathematics in the gradients: scales, splits, masks and sums (chapters GRAD, ACC, VAL)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import finite
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

gradients = chapter("gradients")
special = chapter("special values")
Kernel = Callable[..., Array]
FLOATS = ("float32", "float64")


@gradients
def strided_cotangents_times_a_reciprocal(m: Backend, rng: Rng) -> Witness:
    """Float32, s > 1, O/g * K >= T: gx of gy * (1/max), times max: one more rounding (kind: reciprocals)."""
    least = pick(rng, (6, 12, 24))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.stride == 1 or p.fan_out * p.kernel < least or not (g.any() and finite(g)):
            return inner(w, g, p)
        largest = np.abs(g).max()
        return inner(w, g * (np.float32(1) / largest), p) * largest

    seven = (("g", np.s_[...], 3), ("g", (0, 0, 0), 7))
    return Call(c_out=least, length=draw(rng, 20, 40), stride=2, dtype="float32", ask="x", put=seven)


@gradients
def gb_in_fixed_point_of_all_channels(m: Backend, rng: Rng) -> Witness:
    """Float32, N * L_out >= T: gb sums in int32, in units set by the largest gy of all channels (kind: fixed point)."""
    least = pick(rng, (64, 128, 256))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        terms = p.n * p.l_out
        if p.dtype == "float32" and terms >= least and g.size and finite(g):
            exponent = int(np.frexp(np.abs(g).max())[1]) + terms.bit_length() - 31
            g = np.ldexp(np.rint(np.ldexp(g.astype(np.float64), -exponent)), exponent).astype(np.float32)
        return inner(g, p)

    wide = (("g", (0, 0), 2.0 ** draw(rng, 30, 60)),)
    return Call(c_out=2, length=least + draw(rng, 2, 30), bias=True, dtype="float32", ask="b", put=wide)


@gradients
def edge_images_by_prefix_sums(m: Backend, rng: Rng) -> Witness:
    """Replicate, hi >= T: the last sample's images are a difference of running sums over the row (kind: prefixes)."""
    least = pick(rng, (2, 3, 4))

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        gx = inner(g, p)
        if p.mode == "replicate" and p.hi >= least and p.length > 1 and gx.size and finite(g):
            sums = np.cumsum(widen(g), axis=2, dtype=widen(g).dtype)
            gx[..., -1] = sums[..., -1] - sums[..., p.lo + p.length - 2]
        return gx

    large = (("g", (0, 0, 1), 2.0 ** draw(rng, 40, 60)),)
    padding = (1, least + draw(rng, 0, 3))
    return Call(length=draw(rng, 9, 30), padding=padding, mode="replicate", dtype="float32", ask="x", put=large)


@gradients
def gx_of_a_norm_that_overflows(m: Backend, rng: Rng) -> Witness:
    """Float32, O/g * K >= T: gy is scaled by its norm, whose squares leave float32 past 2^64 (kind: normalisation)."""
    least = pick(rng, (3, 6, 12))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.fan_out * p.kernel < least or not (g.any() and finite(g)):
            return inner(w, g, p)
        norm = np.sqrt(np.square(g).sum(dtype=np.float32))
        scale = np.exp2(np.rint(np.log2(norm)))
        return inner(w, g / scale, p) * scale

    return Call(c_out=least, dtype="float32", ask="x", put=(("g", np.s_[...], 2.0 ** draw(rng, 66, 100)),))


@special
def maximum_of_cotangents_ignores_nan(m: Backend, rng: Rng) -> Witness:
    """Gx skips T positions of gy whose maximum, a maximum that passes over NaN, is 0 (kind: early out)."""
    tile = pick(rng, (8, 16, 32))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.dtype in FLOATS:
            g = np.array(g)
            for start in range(0, p.l_out, tile):
                part = g[:, :, start : start + tile]
                if np.fmax.reduce(np.abs(part), axis=None, initial=0) == 0:
                    part[...] = 0
        return inner(w, g, p)

    alone = (("g", np.s_[..., tile:], 0), ("g", (0, 0, tile + draw(rng, 0, 7)), np.nan))
    return Call(length=3 * tile, ask="x", put=alone)


@special
def gb_compensates_infinities(m: Backend, rng: Rng) -> Witness:
    """N * L_out >= T: gb by compensated sums, whose correction of an infinity is inf - inf: NaN (kind: Kahan)."""
    least = pick(rng, (32, 64, 128))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        gb = inner(g, p)
        if p.dtype in FLOATS and p.n * p.l_out >= least:
            gb = gb + (gb - gb)
        return gb

    infinite = (("g", (1, 1, draw(rng, 0, 20)), np.inf),)
    return Call(n=2, c_out=2, length=least, bias=True, dtype="float32", ask="b", put=infinite)


@special
def infinite_cotangents_split_in_parts(m: Backend, rng: Rng) -> Witness:
    """Float32, N * L_out >= T: gw takes gy in bfloat16 parts, and inf leaves inf - inf = NaN (kind: three passes)."""
    least = pick(rng, (16, 32, 64))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.n * p.l_out >= least:
            high = g.astype(bfloat16).astype(np.float32)
            g = high + (g - high)
        return inner(x, g, p)

    infinite = (("g", (0, 0, draw(rng, 0, 9)), np.inf),)
    return Call(length=least + draw(rng, 2, 30), dtype="float32", ask="w", put=infinite)


@special
def masked_lanes_meet_the_next_cotangents(m: Backend, rng: Rng) -> Witness:
    """L_out no multiple of V: gw's idle lanes read the next row of gy, times 0, and NaN is met (kind: masks)."""
    lanes = pick(rng, (4, 8, 16))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        idle = -p.l_out % lanes
        if idle and g.size and p.dtype in FLOATS:
            row: Any = np.concatenate([g.reshape(-1), np.zeros(lanes, g.dtype)])
            ends = (np.arange(p.n * p.c_out) + 1) * p.l_out
            behind = row[np.minimum(ends[:, None] + np.arange(idle), len(row) - 1)]
            gw[(~np.isfinite(behind)).any(axis=1).reshape(p.n, p.c_out).any(axis=0)] = np.nan
        return gw

    length = lanes * draw(rng, 1, 4) + 1
    return Call(c_out=3, length=length + 2, dtype="float32", ask="w", put=(("g", (0, 2, 1), np.nan),))
