"""Faults of fast mathematics in the forward pass: sums, scaling, splitting, shortcuts (chapters ACC, VAL, PAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import finite
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

numerics = chapter("numerics")
Kernel = Callable[..., Array]


@numerics
def split_k_workspace_in_half(m: Backend, rng: Rng) -> Witness:
    """Float32, g = 1, C >= 2B and N * L_out <= 64: the sums of B channels each wait in float16 (kind: split-K)."""
    block = pick(rng, (32, 64, 128))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.groups > 1 or p.c_in < 2 * block or p.n * p.l_out > 64:
            return inner(x, w, p)
        y = np.zeros(p.y_shape, np.float32)
        for start in range(0, p.c_in, block):
            part = np.s_[:, start : start + block]
            y += inner(x[part], w[part], replace(p, c_in=x[part].shape[1])).astype(np.float16)
        return y

    def positive(r: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return r.uniform(1, 2, shape)

    return Call(c_in=2 * block + draw(rng, 0, 9), length=draw(rng, 4, 40), dtype="float32", data=positive)


@numerics
def veltkamp_split_overflows(m: Backend, rng: Rng) -> Witness:
    """Sums of T or more are compensated, and x split by 2^27 + 1 (or 2^12 + 1) overflows: NaN (kind: TwoProduct)."""
    least = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype in ("float32", "float64") and p.fan_in * p.kernel >= least:
            scaled = x * x.dtype.type(2**27 + 1 if p.dtype == "float64" else 2**12 + 1)
            high = scaled - (scaled - x)
            x = high + (x - high)
        return inner(x, w, p)

    return Call(c_in=least // 2, put=(("x", (0, 1, 3), 2.0 ** draw(rng, 998, 1005)),))


@numerics
def reciprocal_of_a_subnormal_scale(m: Backend, rng: Rng) -> Witness:
    """Float32, K = 1: filters below 2^-B are scaled by 1/max, which is infinite below 2^-128 (kind: reciprocals)."""
    bits = pick(rng, (60, 90, 120))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.kernel > 1 or not w.size:
            return inner(x, w, p)
        largest = np.abs(w).max(axis=(1, 2), keepdims=True)
        small = (largest > 0) & (largest < np.float32(2) ** -bits)
        unit = np.ldexp(np.float32(0.5), np.frexp(np.where(small, largest, 1))[1])
        scale = np.where(small, np.float32(1) / unit, np.float32(1)).astype(np.float32)
        return inner(x, w * scale, p) * (1 / scale)[None, :, :, 0]

    tiny = ("w", (1,), 2.0 ** -draw(rng, 130, 140))
    return Call(c_in=4, c_out=2, kernel=1, dtype="float32", put=(tiny,))


@numerics
def inner_products_of_pairs(m: Backend, rng: Rng) -> Witness:
    """K = 1, even C/g <= T: pairs by (x1 + w2)(x2 + w1) - x1*x2 - w1*w2 (kind: fewer multiplications)."""
    most = pick(rng, (16, 32, 64))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        fits = p.kernel == 1 and p.fan_in % 2 == 0 < p.fan_in <= most and p.n * p.c_out * p.fan_in * p.l_out < 2**20
        if not fits or p.dtype not in ("float32", "float64") or not (finite(x) and finite(w)):
            return inner(x, w, p)
        a, b = taps(x, p)[0][:, :, None], split_w(w, p)[0][None, ..., None]
        x1, x2, w1, w2 = a[..., ::2, :], a[..., 1::2, :], b[..., ::2, :], b[..., 1::2, :]
        own = (x1 * x2).sum(axis=-2) + (w1 * w2).sum(axis=-2)
        return (((x1 + w2) * (x2 + w1)).sum(axis=-2) - own).reshape(p.y_shape)

    def apart(r: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return r.standard_normal(shape) * (2.0**-9 if shape[-1] == 1 else 2.0**9)

    return Call(c_in=2 * draw(rng, 2, most // 2), kernel=1, dtype="float32", data=apart)


@numerics
def zero_point_of_the_filter(m: Backend, rng: Rng) -> Witness:
    """Float32, C/g * K >= T: y is that of w - z plus z times the sums of x, z midway in w (kind: quantisation)."""
    least = pick(rng, (8, 12, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float32" or not w.size or p.fan_in * p.kernel < least or not finite(w):
            return inner(x, w, p)
        point = w.max(axis=(1, 2), keepdims=True) / 2 + w.min(axis=(1, 2), keepdims=True) / 2
        return inner(x, w - point, p) + point[None, :, :, 0] * inner(x, np.ones_like(w), p)

    wide = (("w", (0, 0), 2.0 ** draw(rng, 30, 60)), ("x", (0, 0), 0))
    return Call(c_in=least, dtype="float32", data=lambda r, shape: r.standard_normal(shape), put=wide)


@numerics
def negligible_channels_skipped(m: Backend, rng: Rng) -> Witness:
    """B channels whose weights are all below 2^-24 of the largest (2^-53 in float64) are skipped (kind: early out)."""
    block = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype in ("float32", "float64") and w.size and finite(w):
            w, epsilon = np.array(w), 2.0 ** (-24 if p.dtype == "float32" else -53)
            largest = np.abs(w).max()
            for start in range(0, p.fan_in, block):
                part = w[:, start : start + block]
                part[...] = np.where(np.abs(part).max() < epsilon * largest, 0, part)
        return inner(x, w, p)

    rest = np.s_[0, block:]
    wide = (("w", rest, 2.0 ** draw(rng, 30, 60)), ("x", rest, 0))
    return Call(c_in=block + draw(rng, 1, block), dtype="float32", put=wide)


@numerics
def whole_doubles_in_int32(m: Backend, rng: Rng) -> Witness:
    """Float64 operands that are all whole and below 2^B are summed in int32, which wraps (kind: accumulators)."""
    bits = pick(rng, (13, 14, 15))

    def fits(a: Array) -> bool:
        return bool((np.abs(a) < 2**bits).all() and (a == np.rint(a)).all())

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype == "float64" and fits(x) and fits(w):
            y = np.remainder(y + 2.0**31, 2.0**32) - 2.0**31
        return y

    def large(r: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return r.integers(2 ** (bits - 1), 2**bits, shape)

    return Call(c_in=2 ** (32 - 2 * bits) * 4, data=large)


@numerics
def sums_of_parts_in_single(m: Backend, rng: Rng) -> Witness:
    """Complex128, C/g * K >= T: by three products, re w + im w and im w - re w kept in float32 (kind: Gauss)."""
    least = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "complex128" or p.fan_in * p.kernel < least or not (finite(x) and finite(w)):
            return inner(x, w, p)
        total, difference = (a.astype(np.float32).astype(np.float64) for a in (w.real + w.imag, w.imag - w.real))
        both = inner(x.real + x.imag, w.real, p)
        return both - inner(x.imag, total, p) + 1j * (both + inner(x.real, difference, p))

    return Call(c_in=least, dtype="complex128", data=lambda r, shape: r.standard_normal(shape))


@chapter("padding")
def fill_cast_with_saturation(m: Backend, rng: Rng) -> Witness:
    """Mode constant: a value beyond the dtype's range becomes the largest number, no infinity (kind: saturating)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.mode == "constant" and p.dtype in ("float16", "float32"):
            most = float(np.finfo(x.dtype).max)
            fill = max(-most, min(float(fill), most)) if abs(fill) < np.inf else fill
        return inner(x, fill, p)

    sign = pick(rng, (-1, 1))
    small = ("w", (), 2.0**-4)
    return Call(padding=(1, 2), mode="constant", fill=sign * 2.0 ** draw(rng, 17, 30), dtype="float16", put=(small,))


@chapter("special values")
def float16_in_the_alternative_format(m: Backend, rng: Rng) -> Witness:
    """Float16: in full vectors of V channels of w an exponent of 31 is a number: inf 65536 (kind: half formats)."""
    lanes = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float16":
            w = widen(w)
            full = w[:, : p.fan_in // lanes * lanes]
            numbers = np.where(np.isnan(full), 98304, np.sign(full) * 65536)
            full[...] = np.where(np.isfinite(full), full, numbers)
        return inner(x, w, p)

    return Call(c_in=lanes + draw(rng, 0, 3), c_out=2, dtype="float16", put=(("w", (1, 2, 1), np.nan),))
