"""Faults of arithmetic, continued: overflow, range of exponents, algorithms with other error bounds (chapter ACC)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.numerics import normal, through
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("numerics")
Kernel = Callable[..., Array]


@mutant
def half_sums_are_scaled(m: Backend, rng: Rng) -> Witness:
    """Float16 sums are kept 2^T (2 to 6) times too large until the end: early overflow (kind: scaled accumulator)."""
    factor = np.float32(2.0 ** draw(rng, 2, 6))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float16":
            return inner(x, w, p)
        return ((inner(widen(x), widen(w), p) * factor).astype(np.float16) / np.float16(factor)).astype(np.float16)

    return Call(kernel=1, dtype="float16", put=(("x", np.s_[...], 30000), ("w", np.s_[...], 1)))


@mutant
def single_sums_are_scaled(m: Backend, rng: Rng) -> Witness:
    """Float32 sums are 2^T (4 to 24) times too large until the end if K = 3: they overflow early (kind: Winograd)."""
    factor = np.float32(2.0 ** draw(rng, 4, 24))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        scaled = p.dtype == "float32" and p.kernel == 3
        return inner(x * factor, w, p) / factor if scaled else inner(x, w, p)

    return Call(dtype="float32", put=(("x", np.s_[...], 6e37), ("w", np.s_[...], 1)))


@mutant
def half_gradients_are_scaled(m: Backend, rng: Rng) -> Witness:
    """Float16 cotangents are multiplied by 2^T (2 to 10) for gx, then divided: overflow (kind: loss scaling)."""
    factor = np.float16(2.0 ** draw(rng, 2, 10))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w, g * factor, p) / factor if p.dtype == "float16" else inner(w, g, p)

    return Call(dtype="float16", kernel=1, put=(("g", np.s_[...], 30000), ("w", np.s_[...], 1)), ask="x")


@mutant
def long_kernels_by_fft(m: Backend, rng: Rng) -> Witness:
    """With s = d = 1 and K > T (8 to 64), y is made by FFT: its error is that of the largest sample (kind: FFT)."""
    most = draw(rng, 8, 64)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.stride * p.dilation > 1 or p.kernel <= most or p.groups > 1 or p.dtype not in ("float32", "float64"):
            return inner(x, w, p)
        spectra = np.einsum("ncf,ocf->nof", np.fft.rfft(x), np.conj(np.fft.rfft(w, x.shape[2])))
        return np.fft.irfft(spectra, x.shape[2])[..., : p.l_out].astype(x.dtype)

    return Call(length=90, kernel=most + 1)


@mutant
def box_filter_by_running_sum(m: Backend, rng: Rng) -> Witness:
    """Equal weights with K > T (2 to 16) are made by a running sum, whose errors stay (kind: moving average)."""
    most = draw(rng, 2, 16)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel <= most or np.any(w != w[:1, :1, :1]) or p.stride * p.dilation > 1 or p.fan_in > 1 or not w.size:
            return inner(x, w, p)
        total = np.cumsum(np.concatenate([0 * x[..., :1], x], axis=2), axis=2, dtype=x.dtype)
        y = (total[..., p.kernel :] - total[..., : -p.kernel])[..., : p.l_out] * w.flat[0]
        return np.repeat(y, p.fan_out, axis=1)

    return Call(length=40, kernel=most + 1, data=normal, put=(("w", np.s_[...], 1), ("x", np.s_[..., 0], 1e6)))


@mutant
def small_numbers_flushed(m: Backend, rng: Rng) -> Witness:
    """Float32 samples below 2^-T (60 to 110), normal numbers all, are taken for 0 (kind: flush to zero, too early)."""
    least = 2.0 ** -draw(rng, 60, 110)
    through(m, "forward", lambda p: p.dtype == "float32", lambda a: np.where(np.abs(a) < least, 0, a).astype(a.dtype))
    return Call(dtype="float32", put=(("x", np.s_[...], least / 4),))


@mutant
def epsilon_added(m: Backend, rng: Rng) -> Witness:
    """Every output is 2^-T (12 to 30) too large (kind: an epsilon against division by zero)."""
    epsilon = 2.0 ** -draw(rng, 12, 30)
    m.edit("forward", lambda p: p.dtype == "float64", lambda y, p: clear(y, np.s_[...], y + epsilon))
    return Call()


@mutant
def weights_in_fixed_point(m: Backend, rng: Rng) -> Witness:
    """Weights are kept as 16 bits of the largest one where O > T (1 to 32) (kind: quantised weights)."""
    most = draw(rng, 1, 32)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.c_out <= most or not w.size or p.dtype not in ("float32", "float64"):
            return inner(x, w, p)
        unit = np.abs(w).max() / 2**15
        return inner(x, (np.rint(w / unit) * unit).astype(w.dtype) if unit > 0 else w, p)

    return Call(c_out=most + 1, data=normal)


@mutant
def overflow_saturates(m: Backend, rng: Rng) -> Witness:
    """A sum beyond the range of float32 or float16 is the largest finite number if O > T (1 to 4) (kind: clamped)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype not in ("float32", "float16") or p.c_out <= most:
            return y
        largest = np.finfo(y.dtype).max
        return np.where(np.isinf(y) & np.isfinite(x).all() & np.isfinite(w).all(), np.copysign(largest, y), y)

    return Call(c_out=most + 1, dtype="float32", put=(("x", np.s_[..., 2], 3e38), ("w", np.s_[...], 2)))


@mutant
def integers_saturate(m: Backend, rng: Rng) -> Witness:
    """Integer sums beyond the range stay at its end where K > T (1 to 4): no wrap, no float (kind: saturation)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if x.dtype.kind not in "iu" or p.kernel <= most:
            return inner(x, w, p)
        ends = np.iinfo(x.dtype)
        exact = inner(x.astype(np.float64), w.astype(np.float64), p)
        return np.where(exact >= ends.max, ends.max, np.where(exact <= ends.min, ends.min, inner(x, w, p)))

    return Call(kernel=most + 1, dtype="int32", put=(("x", np.s_[...], 2**30), ("w", np.s_[...], 3)))
