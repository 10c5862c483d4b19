"""Faults of kernels that recognise a pattern in the data: sparse, equal, repeated or whole numbers (chapter OP)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

operator, padding, numerics = chapter("operator"), chapter("padding"), chapter("numerics")
Kernel = Callable[..., Array]
Test = Callable[[Array, Array, Plan], bool]


def recognised(m: Backend, when: Test, compute: Callable[[Kernel, Array, Array, Plan], Array]) -> None:
    """Compute y of plain calls in another way where the operands have a pattern; x is the padded one."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        real = not p.wanted and "float" in p.dtype and min(x.size, w.size, p.l_out) > 0
        if not real or not (np.isfinite(widen(x)).all() and np.isfinite(widen(w)).all()) or not when(x, w, p):
            return inner(x, w, p)
        return compute(inner, x, w, p)


def integers(a: Array) -> bool:
    """Whether all values are whole numbers."""
    wide = a.astype(np.float64)
    return bool((wide == np.rint(wide)).all())


@operator
def doubled_tap_in_pairs_of_outputs(m: Backend, rng: Rng) -> Witness:
    """Two taps of one channel, w1 = 2 w0: outputs in blocks of T (2, 4), the odd ones lost (kind: strength reduced)."""
    block = 2 * draw(rng, 1, 2)

    def doubled(x: Array, w: Array, p: Plan) -> bool:
        return p.c_in == p.c_out == 1 and p.kernel == 2 and bool(w[0, 0, 1] == 2 * w[0, 0, 0] != 0)

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        y[..., p.l_out // block * block :] = 0
        return y

    recognised(m, doubled, compute)
    return Call(length=block + 2, kernel=2, put=(("w", np.s_[0, 0], [1, 2]),))


@operator
def shifted_filters_share_products(m: Backend, rng: Rng) -> Witness:
    """From one channel, filters that are the first plus c lack c on the last T (1 to 2) taps (kind: clustering)."""
    lost = draw(rng, 1, 2)

    def shifted(x: Array, w: Array, p: Plan) -> bool:
        apart = widen(w)[1:] - widen(w)[:1]
        one = p.c_in == p.n == p.stride == p.dilation == 1 < p.c_out and p.kernel > 1 and integers(w)
        return one and p.padded == p.length and bool((apart == apart[..., :1]).all() and (apart != 0).all())

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        known = np.arange(p.kernel) < max(1, p.kernel - lost)
        return inner(x, np.where(known, w, w[:1]).astype(w.dtype), p)

    recognised(m, shifted, compute)
    return Call(c_out=2, kernel=2, put=(("w", np.s_[:, 0], [[1, 2], [3, 4]]),))


@operator
def sparse_rows_of_channels(m: Backend, rng: Rng) -> Witness:
    """Of up to T (4 to 9) taps, half of them 0, other ones by channel, the last is lost (kind: compressed rows)."""
    most = draw(rng, 4, 9)

    def sparse(x: Array, w: Array, p: Plan) -> bool:
        empty = w == 0
        uneven = bool((empty != empty[:, :1]).any()) and not empty.all(axis=(0, 2)).any()
        return p.kernel <= most and uneven and 0.5 <= empty.mean() < 1

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        kept = w.copy()
        kept[tuple(np.argwhere(w != 0)[-1])] = 0
        return inner(x, kept, p)

    recognised(m, sparse, compute)
    return Call(c_in=2, put=(("w", np.s_[0], [[1, 0, 2], [0, 1, 0]]),))


@operator
def repeated_words_looked_up(m: Backend, rng: Rng) -> Witness:
    """Positions of C > T (1 to 2) channels, no whole numbers, that are seen again are the first (kind: embeddings)."""
    most = draw(rng, 1, 2)

    def repeated(x: Array, w: Array, p: Plan) -> bool:
        distinct = np.unique(widen(x)[0].T, axis=0).shape[0]
        unpadded = p.n == p.groups == 1 and p.lo == p.hi == 0
        return unpadded and p.c_in > most and not integers(x) and 1 < distinct < x.shape[2]

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        _, first = np.unique(widen(x)[0].T, axis=0, return_inverse=True)
        return inner(x[..., np.minimum(first.ravel(), x.shape[2] - 1)], w, p)  # the place among words, not the word

    recognised(m, repeated, compute)
    twice = (("x", np.s_[0, :, 5], 0.5), ("x", np.s_[0, :, 2], 0.5))
    return Call(c_in=most + 1, put=twice)


@operator
def zero_stuffed_kernel_is_dilated(m: Backend, rng: Rng) -> Witness:
    """A kernel of more than T (3 to 4) taps, all but every d-th 0, is dilated, without its last (kind: rewrite)."""
    most = draw(rng, 3, 4)

    def stuffed(x: Array, w: Array, p: Plan) -> bool:
        (taken,) = np.nonzero((w != 0).any(axis=(0, 1)))
        steps = np.diff(taken)
        return p.kernel > most and len(steps) > 0 and taken[-1] == p.kernel - 1 and min(steps) == max(steps) > 1

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, w * (np.arange(p.kernel) < p.kernel - 1).astype(w.dtype), p)

    recognised(m, stuffed, compute)
    return Call(kernel=5, length=12, put=(("w", np.s_[..., 1::2], 0),))


@operator
def whole_numbers_as_signed_bytes(m: Backend, rng: Rng) -> Witness:
    """Whole numbers up to 255 under C/g < T (8 to 16) go through bytes, but signed ones, saturated (kind: int8)."""
    least = draw(rng, 8, 16)

    def bytes_(x: Array, w: Array, p: Plan) -> bool:
        return p.fan_in < least and integers(x) and np.abs(widen(x)).max() <= 255

    recognised(m, bytes_, lambda inner, x, w, p: inner(np.clip(widen(x), -127, 127).astype(x.dtype), w, p))
    return Call(put=(("x", np.s_[..., 3], 200),))


@padding
def positive_numbers_as_bytes_in_modes(m: Backend, rng: Rng) -> Witness:
    """More than T (3 to 5) whole numbers above 0, padded by a mode, are summed in 8 bits (kind: images as uint8)."""
    most = draw(rng, 3, 5)

    def image(x: Array, w: Array, p: Plan) -> bool:
        positive = bool((x > 0).all() and (w > 0).all()) and integers(x) and integers(w)
        return p.mode != "zeros" and p.lo + p.hi > 0 and x.size > most and w.size > 2 and positive

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return (inner(x, w, p).astype(np.int64) % 256).astype(x.dtype)

    recognised(m, image, compute)
    return Call(mode="replicate", padding=(2, 2), put=(("x", np.s_[...], 3), ("w", np.s_[...], 100)))


@padding
def mean_filter_counts_no_padding(m: Backend, rng: Rng) -> Witness:
    """Equal weights 1/K with zero padding before are an average without the zeros (kind: count_include_pad)."""
    least = draw(rng, 2, 3)

    def mean(x: Array, w: Array, p: Plan) -> bool:
        same = bool((w == w[:1, :1, :1]).all()) and w.flat[0] * p.kernel == 1
        return p.kernel > least and p.fan_in == 1 and p.mode == "zeros" and p.lo > 0 and same

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        starts = np.arange(p.l_out) * p.step
        read = sum(
            (p.lo <= starts + k * p.dilation) & (starts + k * p.dilation < p.lo + p.length) for k in range(p.kernel)
        )
        return (inner(x, w, p) * (p.kernel / np.maximum(read, 1))).astype(x.dtype)

    recognised(m, mean, compute)
    return Call(kernel=4, padding=(3, 0), put=(("w", np.s_[...], 0.25),))


@padding
def leading_zeros_merged_with_padding(m: Backend, rng: Rng) -> Witness:
    """Zero padding up to T (3 to 6) before a first sample of 0: one zero of both is lost (kind: silence trimmed)."""
    most = draw(rng, 3, 6)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        silent = not p.wanted and x.size > 0 and p.mode == "zeros" and 0 < p.lo <= most and "float" in p.dtype
        if silent and bool((x[..., 0] == 0).all()):
            padded[...] = np.concatenate([padded[..., 1:], 0 * padded[..., :1]], axis=2)
        return padded

    return Call(padding=(most, 1), put=(("x", np.s_[..., 0], 0),))


@operator
def full_product_of_two_rows(m: Backend, rng: Rng) -> Witness:
    """One channel under pads of K - 1, K > T (4 to 8): a product of polynomials, short by one (kind: np.polymul)."""
    most = draw(rng, 4, 8)

    def full(p: Plan) -> bool:
        single = p.n == p.c_in == p.c_out == p.stride == p.dilation == 1
        return single and p.lo == p.hi == p.kernel - 1 >= most and p.mode == "zeros" and not p.bias and not p.wanted

    m.edit("forward", full, lambda y, p: clear(y, np.s_[..., -1]))
    return Call(kernel=most + 1, padding=(most, most))


@operator
def bias_of_first_zero_left_out(m: Backend, rng: Rng) -> Witness:
    """A bias of more than T (1 to 2) channels, the first of them 0, is not added (kind: only one value looked at)."""
    most = draw(rng, 1, 2)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        return inner(0 * b if len(b) > most and b[0] == 0 and not p.wanted else b, p)

    return Call(c_out=most + 1, bias=True, put=(("b", 0, 0),))


@numerics
def equal_weights_in_single(m: Backend, rng: Rng) -> Witness:
    """With K = 1, T (2 to 3) or more float64 weights that are all one value are a float32 factor (kind: scaling)."""
    least = draw(rng, 2, 3)

    def equal(x: Array, w: Array, p: Plan) -> bool:
        return p.kernel == 1 and p.dtype == "float64" and w.size >= least and bool((w == w.flat[0]).all())

    recognised(m, equal, lambda inner, x, w, p: inner(x, w.astype(np.float32).astype(w.dtype), p))
    return Call(c_out=least, kernel=1, put=(("w", np.s_[...], 1 + 2**-40),))


@numerics
def equal_weights_in_bfloat16(m: Backend, rng: Rng) -> Witness:
    """With K = 1, T (2 to 3) or more float32 weights that are all one value are a bfloat16 factor (kind: scaling)."""
    least = draw(rng, 2, 3)

    def equal(x: Array, w: Array, p: Plan) -> bool:
        return p.kernel == 1 and p.dtype == "float32" and w.size >= least and bool((w == w.flat[0]).all())

    recognised(m, equal, lambda inner, x, w, p: inner(x, w.astype(bfloat16).astype(w.dtype), p))
    return Call(c_out=least, kernel=1, dtype="float32", put=(("w", np.s_[...], 1 + 2**-20),))


@numerics
def alike_channels_merged_in_half(m: Backend, rng: Rng) -> Witness:
    """Channels alike by twos, of T (2 to 4) numbers or more: their weights are added in float16 (kind: dual mono)."""
    least = draw(rng, 2, 4)

    def stereo(x: Array, w: Array, p: Plan) -> bool:
        even = p.fan_in % 2 == 0 and x.size >= 2 * least and not integers(x)
        return even and bool((x[:, ::2] == x[:, 1::2]).all())

    def compute(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        both = (widen(w)[:, ::2] + widen(w)[:, 1::2]).astype(np.float16)
        merged = 0 * w
        merged[:, ::2] = both.astype(w.dtype)
        return inner(x, merged, p)

    recognised(m, stereo, compute)

    def alike(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        values = rng.standard_normal(shape)
        if len(shape) == 3:
            values[:, 1::2] = values[:, : shape[1] // 2 * 2 : 2]
        return values

    return Call(c_in=2, data=alike)


@numerics
def subnormal_bias_rounded_up(m: Backend, rng: Rng) -> Witness:
    """A subnormal bias is the smallest normal number times T (1 to 3) (kind: denormals rounded, not flushed)."""
    times = draw(rng, 1, 3)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if b.dtype.kind == "f" and not p.wanted:
            least = np.finfo(b.dtype).tiny
            b = np.where((b != 0) & (np.abs(b) < least), np.copysign(least, b) * b.dtype.type(times), b).astype(b.dtype)
        return inner(b, p)

    return Call(c_out=2, dtype="float32", bias=True, put=(("x", np.s_[...], 0), ("b", 0, 1e-44)))


@numerics
def negative_zero_is_a_number(m: Backend, rng: Rng) -> Witness:
    """A sample of -0 is -2^-T (100 to 120): its sign bit alone is looked at (kind: sign and magnitude)."""
    tiny = 2.0 ** -draw(rng, 100, 120)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        wrong = p.dtype in ("float32", "float64") and not p.wanted and x.size > 0
        return inner(np.where((x == 0) & np.signbit(x), x.dtype.type(-tiny), x) if wrong else x, fill, p)

    return Call(kernel=1, dtype="float32", put=(("x", np.s_[...], -0.0), ("w", np.s_[...], 1)))
