"""Faults of NaN and infinities in the forward value: swallowed, clamped, leaking to neighbours (chapter VAL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("special values")
Kernel = Callable[..., Array]
NAN, INF = np.nan, np.inf


def real(p: Plan) -> bool:
    """Return whether the operands are real floating-point numbers."""
    return "float" in p.dtype


def by_taps(m: Backend, when: Callable[[Plan], bool], product: Callable[[Array, Array], Array]) -> None:
    """Make y of real numbers from a product of a tap's matrix and its columns, where the condition holds."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if not real(p) or not when(p):
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        for matrix, columns in zip(split_w(w, p), taps(x, p), strict=True):
            y += product(matrix, columns)
        return y.reshape(p.y_shape).astype(x.dtype)


def spill(m: Backend, when: Callable[[Plan], bool], extra: Callable[[Array, Array, Plan], Array]) -> None:
    """Add 0 times something to y, which shows only where that is not finite."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        return (y + 0 * extra(x, w, p)).astype(y.dtype) if y.size and real(p) and when(p) else y


def each(matrix: Array, columns: Array, mask: Array) -> Array:
    """Return matrix @ columns with the products 0 where the mask (N, g, O/g, C/g, L_out) holds."""
    return np.where(mask, 0, matrix[None, ..., None] * columns[:, :, None]).sum(axis=3)


@mutant
def zero_taps_skipped(m: Backend, rng: Rng) -> Witness:
    """Where K > T (1 to 4), a tap of zeros is skipped: NaN * 0 is 0 (kind: sparse kernels)."""
    most = draw(rng, 1, 4)
    by_taps(m, lambda p: p.kernel > most, lambda w, x: w @ x if w.any() else np.zeros_like(w @ x))
    return Call(kernel=most + 1, put=(("w", np.s_[..., 0], 0), ("x", np.s_[..., 0], NAN)))


@mutant
def zero_weights_mask_nan(m: Backend, rng: Rng) -> Witness:
    """With K = 1, a weight of 0 switches its channel off: NaN * 0 is 0 (kind: sparse matrix product)."""
    by_taps(m, lambda p: p.kernel == 1, lambda w, x: each(w, x, w[None, ..., None] == 0))
    return Call(kernel=1, c_in=draw(rng, 1, 3), put=(("w", np.s_[:, 0], 0), ("x", np.s_[:, 0, 2], NAN)))


@mutant
def zero_samples_skip_weights(m: Backend, rng: Rng) -> Witness:
    """With O > T (1 to 4), a sample of 0 is skipped: an infinite weight times 0 is 0 (kind: sparse activations)."""
    most = draw(rng, 1, 4)
    by_taps(m, lambda p: p.c_out > most, lambda w, x: each(w, x, x[:, :, None] == 0))
    return Call(c_out=most + 1, put=(("w", np.s_[0, 0, 1], INF), ("x", np.s_[..., 3], 0)))


@mutant
def padding_skipped_behind_only(m: Backend, rng: Rng) -> Witness:
    """An infinite weight at a zero of lo gives NaN, at one of hi nothing: both readings in one (kind: tail by mask)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if real(p) and p.mode == "zeros" and p.hi and y.size and not np.isfinite(w).all():
            ends = (np.arange(p.l_out) * p.step)[:, None] + np.arange(p.kernel) * p.dilation >= p.lo + p.length
            for i in np.flatnonzero(ends.any(axis=1)):
                part = x[..., i * p.step :]
                y[..., i : i + 1] = inner(part, np.where(ends[i], 0, w).astype(w.dtype), replace(p, l_out=1))
        return y

    return Call(padding=(1, draw(rng, 1, 3)), put=(("w", np.s_[..., -1], INF),))


@mutant
def nan_masked_with_padding(m: Backend, rng: Rng) -> Witness:
    """With lo + hi > T (0 to 4), a NaN in x is taken for 0 (kind: a mask made of x == x)."""
    least = draw(rng, 0, 4)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: float, p: Plan) -> Array:
        return inner(np.where(np.isnan(x), 0, x).astype(x.dtype) if real(p) and p.lo + p.hi > least else x, fill, p)

    return Call(padding=(least + 1, 0), put=(("x", np.s_[..., 3], NAN),))


@mutant
def nan_lost_in_tail(m: Backend, rng: Rng) -> Witness:
    """In the last L_out % V outputs (V 4, 8 or 16), NaN becomes 0 (kind: a maximum in the SIMD tail)."""
    lanes = pick(rng, [4, 8, 16])

    def tail(y: Array, p: Plan) -> None:
        part = y[..., p.l_out // lanes * lanes :]
        part[np.isnan(part)] = 0

    m.edit("forward", lambda p: real(p) and p.l_out > lanes, tail)
    return Call(length=lanes + 4, put=(("x", np.s_[..., -1], NAN),))


@mutant
def nan_lost_in_halves(m: Backend, rng: Rng) -> Witness:
    """In float16 and bfloat16, NaN in x is taken for 0 if C > T (1 to 8) (tensorflow/tensorflow#63391, kind)."""
    most = draw(rng, 1, 8)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: float, p: Plan) -> Array:
        low = p.dtype in ("float16", "bfloat16") and p.c_in > most
        return inner(np.where(np.isnan(x), 0, x).astype(x.dtype) if low else x, fill, p)

    return Call(c_in=most + 1, dtype="float16", put=(("x", np.s_[..., 3], NAN),))


@mutant
def infinity_clamped_in_input(m: Backend, rng: Rng) -> Witness:
    """With a stride, an infinity in x is taken for the largest number (kind: saturating load)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: float, p: Plan) -> Array:
        return inner(np.nan_to_num(x, nan=NAN) if p.dtype in ("float32", "float64") and p.stride > 1 else x, fill, p)

    return Call(stride=draw(rng, 2, 3), length=9, put=(("x", np.s_[..., 0], INF), ("w", np.s_[..., 0], 0.5)))


@mutant
def infinity_clamped_in_output(m: Backend, rng: Rng) -> Witness:
    """Where O > T (1 to 8), an infinite output is the largest number (kind: saturating store)."""
    most = draw(rng, 1, 8)
    m.edit(
        "forward",
        lambda p: p.dtype in ("float32", "float64") and p.c_out > most,
        lambda y, p: clear(y, np.s_[...], np.nan_to_num(y, nan=NAN)),
    )
    return Call(c_out=most + 1, put=(("x", np.s_[..., 3], INF),))


@mutant
def opposite_infinities_cancel(m: Backend, rng: Rng) -> Witness:
    """Where inf - inf gives NaN, y is 0 if K > T (1 to 4) (kind: NaN replaced at the end)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if real(p) and p.kernel > most and not np.isnan(x).any() and not np.isnan(w).any():
            y[np.isnan(y)] = 0
        return y

    return Call(kernel=most + 1, put=(("x", np.s_[..., 0], INF), ("x", np.s_[..., 1], -INF), ("w", np.s_[...], 1)))


@mutant
def compensated_sum(m: Backend, rng: Rng) -> Witness:
    """Where K > T (2 to 16), an infinite term gives NaN: inf - inf in the compensation (kind: Kahan summation)."""
    most = draw(rng, 2, 16)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if real(p) and p.kernel > most:
            y[np.isinf(y)] = NAN
        return y

    return Call(length=30, kernel=most + 1, put=(("x", np.s_[..., 3], INF),))


@mutant
def gaps_of_dilation_read(m: Backend, rng: Rng) -> Witness:
    """With dilation, samples between the taps are multiplied by 0: NaN there shows (kind: zero-stuffed kernel)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dilation == 1 or not real(p) or p.span > x.shape[2]:
            return inner(x, w, p)
        stuffed = np.zeros((*w.shape[:2], p.span), w.dtype)
        stuffed[..., :: p.dilation] = w
        return inner(x, stuffed, replace(p, kernel=p.span, dilation=1))

    return Call(length=9, dilation=draw(rng, 2, 3), put=(("x", np.s_[..., 4], NAN),))


@mutant
def kernel_rounded_up(m: Backend, rng: Rng) -> Witness:
    """Taps are padded with zeros to a multiple of V (2 or 4): NaN after a window shows in it (kind: unrolled taps)."""
    lanes = pick(rng, [2, 4])

    def beyond(x: Array, w: Array, p: Plan) -> Array:
        extra = -p.kernel % lanes
        starts = np.arange(p.l_out) * p.step + p.span
        return sum(x[..., np.minimum(starts + i, x.shape[2] - 1)].sum(axis=1, keepdims=True) for i in range(extra))

    spill(m, lambda p: p.kernel % lanes > 0 and p.dilation == 1 and p.groups == 1, beyond)
    return Call(put=(("x", np.s_[..., 5], NAN),))


@mutant
def rest_of_input_read(m: Backend, rng: Rng) -> Witness:
    """With a stride, the samples after the last window are multiplied by 0 into it (kind: windows rounded up)."""

    def rest(x: Array, w: Array, p: Plan) -> Array:
        last = np.arange(p.l_out) == p.l_out - 1
        return np.where(last, x[..., p.padded - p.remainder :].sum(axis=(1, 2))[:, None, None], 0)

    spill(m, lambda p: p.stride > 1 and p.remainder > 0, rest)
    return Call(length=2 * draw(rng, 4, 8), stride=2, put=(("x", np.s_[..., -1], NAN),))


@mutant
def whole_row_read(m: Backend, rng: Rng) -> Witness:
    """Where K > T (4 to 32), a NaN reaches all outputs of its item (kind: FFT)."""
    most = draw(rng, 4, 32)
    spill(m, lambda p: p.kernel > most, lambda x, w, p: x.sum(axis=(1, 2))[:, None, None])
    return Call(length=most + 9, kernel=most + 1, put=(("x", np.s_[..., 0], NAN),))


@mutant
def batch_read_together(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), a NaN reaches the same outputs of other items (kind: masks over a block of the batch)."""
    most = draw(rng, 1, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        return (y + 0 * y.sum(axis=0)).astype(y.dtype) if real(p) and p.n > most else y

    return Call(n=most + 1, put=(("x", np.s_[0, 0, 3], NAN),))


@mutant
def groups_read_together(m: Backend, rng: Rng) -> Witness:
    """With 2 to T (2 to 16) groups, a NaN reaches the other groups (kind: a dense kernel with blocks of 0)."""
    most = draw(rng, 2, 16)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        return (y + 0 * y.sum(axis=1, keepdims=True)).astype(y.dtype) if real(p) and 1 < p.groups <= most else y

    return Call(c_in=2, c_out=2, groups=2, put=(("x", np.s_[0, 0, 3], NAN),))


@mutant
def channel_pairs_read_together(m: Backend, rng: Rng) -> Witness:
    """Where O > T (1 to 8), a NaN weight reaches the next output channel too (kind: weights packed in pairs)."""
    most = draw(rng, 1, 8)
    spill(m, lambda p: p.c_out > most, lambda x, w, p: np.roll(w.sum(axis=(1, 2)), 1)[:, None])
    return Call(c_out=most + 1, put=(("w", np.s_[0, 0, 0], NAN),))


@mutant
def winograd_pairs_read_together(m: Backend, rng: Rng) -> Witness:
    """With K = 3, s = d = 1 and C/g of T (1 to 16) or more, outputs come in pairs of one fate (kind: Winograd)."""
    least = draw(rng, 1, 16)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if real(p) and p.kernel == 3 and p.stride == p.dilation == 1 and p.fan_in >= least:
            partner = np.minimum(np.arange(p.l_out) ^ 1, p.l_out - 1)
            y = (y + 0 * y[..., partner]).astype(y.dtype)
        return y

    return Call(c_in=least, put=(("x", np.s_[0, 0, 0], NAN),))
