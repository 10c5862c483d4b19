"""Faults in what other algorithms make of numbers: rounding, overflow, NaN and infinities (chapters ACC and VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import finite
from tests.mutants.plan import Array, Plan, split_w, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

numerics = chapter("numerics")
special = chapter("special values")
Kernel = Callable[..., Array]
FLOATS = ("float16", "bfloat16", "float32", "float64")
INPUT_F43 = np.array(
    [
        *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
        *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
    ],
    np.float32,
)


def _dense(p: Plan) -> bool:
    return (p.kernel, p.stride, p.dilation) == (3, 1, 1)


def _long(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(1, 2**20, shape).astype(np.float64)


@numerics
def winograd_tile_overflows_float16(m: Backend, rng: Rng) -> Witness:
    """In float16, dense K = 3, C/g >= T (2 to 4): F(4, 3) has 4*x0 - 5*x2 + x4 in float16 (kind: Winograd)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype != "float16" or not _dense(p) or p.fan_in < least or not finite(x):
            return y
        for start in range(0, p.l_out - 3, 4):
            tile = widen(x[:, :, start : start + 6]) @ INPUT_F43.T
            over = (abs(tile) > 65504).reshape(p.n, p.groups, p.fan_in * 6).any(axis=2)
            y.reshape(p.n, p.groups, p.fan_out, p.l_out)[over, :, start : start + 4] = np.nan
        return y

    return Call(
        c_in=least, dtype="float16", data=lambda r, shape: r.integers(1, 4, shape), put=(("x", (0, 0, 2), 14000),)
    )


@numerics
def winograd_shares_rounding(m: Backend, rng: Rng) -> Witness:
    """In float32, dense K = 3, C/g >= T (4 to 12): F(2, 3), where x[i+2]*w[0] has to cancel (kind: Winograd)."""
    least = draw(rng, 4, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float32" or not _dense(p) or p.fan_in < least or not finite(x) or not finite(w):
            return inner(x, w, p)
        tiles = -(-p.l_out // 2)
        wide = np.zeros((p.n, p.groups, p.fan_in, 2 * tiles + 2), x.dtype)
        wide[..., : p.l_out + 2] = x.reshape(p.n, p.groups, p.fan_in, p.padded)[..., : p.l_out + 2]
        d0, d1, d2, d3 = (wide[..., j : j + 2 * tiles : 2] for j in range(4))
        g0, g1, g2 = split_w(w, p)
        first, last = g0 @ (d0 - d2), g2 @ (d1 - d3)
        total, rest = ((g0 + g1 + g2) / 2) @ (d1 + d2), ((g0 - g1 + g2) / 2) @ (d2 - d1)
        y = np.stack([first + total + rest, total - rest - last], axis=-1)
        return y.reshape(p.n, p.c_out, 2 * tiles)[:, :, : p.l_out]

    put = (("w", (0, 0, 0), 2.0**30), ("x", (0, 0, 2), 0))
    return Call(c_in=least, length=9, dtype="float32", data=lambda r, shape: r.integers(1, 9, shape), put=put)


@numerics
def nearly_separable_kernel_made_separable(m: Backend, rng: Rng) -> Witness:
    """C/g, K > 1: a w[o] within 2^-R (14 to 20) of a matrix of rank one is computed as that (kind: two stages)."""
    bits = draw(rng, 14, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype not in FLOATS or p.fan_in == 1 or p.kernel == 1:
            return inner(x, w, p)
        w = np.array(w)
        for o, matrix in enumerate(w.astype(np.float64)):
            row, column = np.unravel_index(abs(matrix).argmax(), matrix.shape)
            largest = matrix[row, column]
            product = matrix[:, column, None] * matrix[None, row] / largest
            if (abs(matrix - product) <= abs(largest) * 2.0**-bits).all():
                w[o] = product
        return inner(x, w, p)

    return Call(c_in=2, put=(("w", (0, 0, 0), 2.0 ** (bits + 5)),))


@numerics
def gw_items_merged_in_float32(m: Backend, rng: Rng) -> Witness:
    """In float64, N >= T (3 to 6): gw merges one partial sum for each item in float32 (kind: split batch)."""
    least = draw(rng, 3, 6)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype != "float64" or p.n < least:
            return inner(x, g, p)
        one = replace(p, n=1)
        parts = [inner(x[i : i + 1], g[i : i + 1], one).astype(np.float32) for i in range(p.n)]
        return np.sum(parts, axis=0, dtype=np.float32).astype(g.dtype)

    return Call(n=least, ask="w", data=_long)


@special
def real_items_packed_two_to_a_transform(m: Backend, rng: Rng) -> Witness:
    """Stride 1, K >= T (6 to 20): a NaN in a pair's second item makes its group NaN in both (kind: packed FFT)."""
    least = draw(rng, 6, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype not in FLOATS or p.stride > 1 or p.kernel < least:
            return y
        rows = np.isfinite(widen(x)).reshape(p.n, p.groups, p.fan_in * p.padded)
        bad = np.logical_not(np.asarray(rows.all(axis=2)))
        split = y.reshape(p.n, p.groups, p.fan_out, p.l_out)
        for i in range(1, p.n, 2):
            if not bad[i - 1].any():
                split[i - 1 : i + 1, bad[i]] = np.nan
        return y

    return Call(n=2, length=3 * least, kernel=least, put=(("x", (1, 0, 0), np.nan),))


@special
def box_kernel_by_prefix_sums(m: Backend, rng: Rng) -> Witness:
    """K >= T (3 to 8) equal taps, d = 1: y is the differences of prefix sums, NaN after a NaN (kind: moving mean)."""
    least = draw(rng, 3, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        box = p.dtype in FLOATS and p.kernel >= least and p.dilation == 1 and p.l_out > 0
        if not box or not (w == w[:, :, :1]).all():
            return inner(x, w, p)
        sums = np.zeros((p.n, p.c_in, p.padded + 1), widen(x).dtype)
        np.cumsum(widen(x), axis=2, out=sums[:, :, 1:])
        starts = np.arange(p.l_out) * p.step
        means = sums[:, :, starts + p.kernel] - sums[:, :, starts]
        y = inner(means, widen(w[:, :, :1]), replace(p, kernel=1, stride=1, length=p.l_out, lo=0, hi=0))
        return y.astype(x.dtype)

    put = (("w", (...,), 2), ("x", (0, 0, 1), np.inf))
    return Call(length=3 * least, kernel=least, put=put)


@special
def gx_of_depthwise_by_dense_toeplitz(m: Backend, rng: Rng) -> Witness:
    """Depthwise, padded length <= T (24 to 64): NaN in gy meets the zeros off the band of gx (kind: Toeplitz)."""
    most = draw(rng, 24, 64)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.depthwise and p.padded <= most and p.dtype in FLOATS:
            gx[(~np.isfinite(widen(g))).reshape(p.n, p.groups, p.fan_out * p.l_out).any(axis=2)] = np.nan
        return gx

    return Call(c_in=2, c_out=2, groups=2, length=most, ask="x", put=(("g", (0, 0, 3), np.nan),))
