"""Faults of explicit and named padding (chapter PAD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("padding")
Kernel = Callable[..., Array]
Pads = tuple[int, int]
Resolver = Callable[[int, int, int, int], Pads]


def rename(m: Backend, name: str, resolver: Resolver) -> None:
    """Let a padding name resolve by a function of length, kernel, stride and dilation."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Pads], padding: Any, *sizes: int) -> Pads:
        return resolver(*sizes) if padding == name else inner(padding, *sizes)


def same(length: int, kernel: int, stride: int, dilation: int) -> Pads:
    """(lo, hi) of SAME_UPPER."""
    total = max((-(-length // stride) - 1) * stride + dilation * (kernel - 1) + 1 - length, 0)
    return total // 2, total - total // 2


@mutant
def explicit_swapped_with_stride(m: Backend, rng: Rng) -> Witness:
    """With a stride, explicit lo and hi are swapped (kind: order of the pads)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        y = inner(x, fill, p)
        return np.roll(y, p.hi - p.lo, axis=2) if p.stride > 1 and p.padding == "explicit" else y

    return Call(stride=2, padding=(draw(rng, 2, 4), 1))


@mutant
def explicit_averaged(m: Backend, rng: Rng) -> Witness:
    """With stride 1 and |lo - hi| of T (2 to 3) or more, each becomes their mean (kind: symmetric kernels only)."""
    gap = draw(rng, 2, 3)

    @m.around("resolve")
    def resolve(inner: Callable[..., Pads], padding: Any, *sizes: int) -> Pads:
        lo, hi = inner(padding, *sizes)
        uneven = not isinstance(padding, str) and abs(lo - hi) >= gap and sizes[2] == 1
        return ((lo + hi) // 2, lo + hi - (lo + hi) // 2) if uneven else (lo, hi)

    return Call(padding=(0, gap))


@mutant
def explicit_hi_dropped(m: Backend, rng: Rng) -> Witness:
    """With dilation, hi is taken for lo where lo > hi: y is longer (deephealthproject/eddl#281, kind)."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Pads], padding: Any, *sizes: int) -> Pads:
        lo, hi = inner(padding, *sizes)
        return (lo, max(lo, hi)) if sizes[3] > 1 and not isinstance(padding, str) else (lo, hi)

    return Call(length=12, dilation=2, padding=(draw(rng, 2, 4), 1))


@mutant
def wide_padding_clipped(m: Backend, rng: Rng) -> Witness:
    """A lo above d(K-1) is taken for d(K-1), the missing zeros come at the end (Maratyszcza/NNPACK#103, kind)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        extra = max(0, p.lo - p.span + 1) if p.mode == "zeros" else 0
        return np.roll(inner(x, fill, p), -extra, axis=2)

    return Call(kernel=2, padding=(draw(rng, 2, 6), 0))


@mutant
def wide_padding_reads_input(m: Backend, rng: Rng) -> Witness:
    """Zeros beyond T (8 to 40) samples after the end are the first samples again (kind: reads beyond a buffer)."""
    room = draw(rng, 8, 40)

    def wrap(x: Array, p: Plan) -> None:
        beyond = x[:, :, p.lo + p.length + room :]
        beyond[...] = np.resize(x[0, 0, p.lo : p.lo + p.length], beyond.shape)

    m.edit("pad", lambda p: p.mode == "zeros" and p.hi > room and p.length > 0, wrap)
    return Call(padding=(0, room + 1))


@mutant
def padding_longer_than_input(m: Backend, rng: Rng) -> Witness:
    """Where lo > L, the position before the first sample shows that sample (kind: a clamp of the index)."""
    m.edit(
        "pad",
        lambda p: p.mode == "zeros" and p.lo > p.length > 0,
        lambda x, p: clear(x, np.s_[:, :, p.lo - 1], x[:, :, p.lo].copy()),
    )
    return Call(length=draw(rng, 2, 4), padding=(5, 0))


@mutant
def valid_pads_when_dilated(m: Backend, rng: Rng) -> Witness:
    """Padding "valid" with a dilation above T (1 to 4) adds d-1 zeros at the end (kind: a multiple of the dilation)."""
    least = draw(rng, 1, 4)
    rename(m, "valid", lambda length, kernel, stride, dilation: (0, dilation - 1 if dilation > least else 0))
    return Call(length=20, dilation=least + 1, padding="valid")


@mutant
def valid_drops_the_remainder(m: Backend, rng: Rng) -> Witness:
    """Padding "valid" with a stride drops the first samples that do not fill a stride (kind: wrong end)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        crop = p.remainder if p.padding == "valid" and p.stride > 1 else 0
        return np.roll(inner(x, fill, p), -crop, axis=2)

    return Call(length=2 * draw(rng, 4, 8), stride=2, padding="valid")


@mutant
def same_extra_zero_first(m: Backend, rng: Rng) -> Witness:
    """Padding "same" puts the odd zero first for kernels of up to T (4 to 12) taps (microsoft/onnxruntime#5368)."""
    taps = draw(rng, 4, 12)

    def upper(*sizes: int) -> Pads:
        lo, hi = same(*sizes)
        return (hi, lo) if sizes[1] <= taps else (lo, hi)

    rename(m, "same", upper)
    return Call(kernel=2, padding="same")


@mutant
def same_ignores_stride(m: Backend, rng: Rng) -> Witness:
    """Padding "same" pads as for stride 1 (microsoft/onnxruntime#495)."""
    rename(m, "same", lambda length, kernel, stride, dilation: same(length, kernel, 1, dilation))
    return Call(length=2 * draw(rng, 3, 6), stride=2, padding="same")


@mutant
def same_ignores_dilation(m: Backend, rng: Rng) -> Witness:
    """Padding "same" pads as for dilation 1 (tinygrad/tinygrad#17805)."""
    rename(m, "same", lambda length, kernel, stride, dilation: same(length, kernel, stride, 1))
    return Call(length=9, dilation=draw(rng, 2, 4), padding="same")


@mutant
def same_ignores_dilation_when_strided(m: Backend, rng: Rng) -> Witness:
    """Padding "same" pads as for dilation 1 if there is a stride too (keras-team/keras#16314)."""
    rename(m, "same", lambda length, kernel, stride, d: same(length, kernel, stride, d if stride == 1 else 1))
    return Call(length=9, stride=2, dilation=draw(rng, 2, 4), padding="same")


@mutant
def same_assumes_multiples(m: Backend, rng: Rng) -> Witness:
    """Padding "same" pads d(K-1)+1-s also where s does not divide L (kind: the formula for multiples)."""

    def multiples(length: int, kernel: int, stride: int, dilation: int) -> Pads:
        return same(length * stride, kernel, stride, dilation)

    rename(m, "same", multiples)
    return Call(length=2 * draw(rng, 3, 6) + 1, stride=2, padding="same")


@mutant
def same_crops_for_large_strides(m: Backend, rng: Rng) -> Witness:
    """Padding "same" with a stride above the span skips samples: a negative total (microsoft/onnxruntime#10086)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        missing = (-(-p.length // p.stride) - 1) * p.stride + p.span - p.length
        skip = -missing // 2 if p.padding == "same" and missing < 0 else 0
        return np.roll(inner(x, fill, p), -skip, axis=2)

    return Call(length=12, kernel=draw(rng, 1, 2), stride=4, padding="same")


@mutant
def same_is_symmetric(m: Backend, rng: Rng) -> Witness:
    """Padding "same" pads d(K-1)//2 on both sides: y of an even kernel is one shorter (pytorch/pytorch#3867, kind)."""
    rename(m, "same", lambda length, kernel, stride, d: (d * (kernel - 1) // 2, d * (kernel - 1) // 2))
    return Call(kernel=2 * draw(rng, 1, 3), padding="same")


@mutant
def same_lower_is_upper(m: Backend, rng: Rng) -> Witness:
    """Padding "same_lower" puts the odd zero last (microsoft/onnxruntime#12537)."""
    rename(m, "same_lower", same)
    return Call(kernel=2 * draw(rng, 1, 3), padding="same_lower")


@mutant
def same_lower_is_upper_when_strided(m: Backend, rng: Rng) -> Witness:
    """Padding "same_lower" with a stride puts the odd zero last (microsoft/onnxruntime#10086, kind)."""
    rename(m, "same_lower", lambda *sizes: same(*sizes)[:: 1 if sizes[2] > 1 else -1])
    return Call(length=2 * draw(rng, 3, 6), stride=2, padding="same_lower")


@mutant
def causal_centred_when_dilated(m: Backend, rng: Rng) -> Witness:
    """Padding "causal" with dilation pads both sides alike (paarthneekhara/byteNet-tensorflow#5)."""
    rename(m, "causal", lambda length, kernel, stride, d: ((kernel - 1), 0) if d == 1 else same(length, kernel, 1, d))
    return Call(length=9, dilation=draw(rng, 2, 3), padding="causal")


@mutant
def causal_ignores_dilation(m: Backend, rng: Rng) -> Witness:
    """Padding "causal" pads K-1 whatever the dilation: y is shorter (keras-team/keras#8751)."""
    rename(m, "causal", lambda length, kernel, stride, dilation: (kernel - 1, 0))
    return Call(length=12, dilation=draw(rng, 2, 3), padding="causal")


@mutant
def causal_looks_ahead(m: Backend, rng: Rng) -> Witness:
    """Padding "causal" of kernels longer than T (3 to 16) sees one sample of the future (kind: off by one)."""
    taps = draw(rng, 3, 16)
    rename(m, "causal", lambda length, k, stride, d: (d * (k - 1) - (k > taps), int(k > taps)))
    return Call(length=30, kernel=taps + 1, padding="causal")


@mutant
def causal_trimmed_by_stride(m: Backend, rng: Rng) -> Witness:
    """Padding "causal" with a stride pads s-1 less in front, and more behind (kind: alignment)."""

    def trimmed(length: int, kernel: int, stride: int, dilation: int) -> Pads:
        lo = dilation * (kernel - 1)
        trim = min(lo, stride - 1)
        return lo - trim, trim

    rename(m, "causal", trimmed)
    return Call(length=9, stride=draw(rng, 2, 3), padding="causal")


@mutant
def full_ignores_dilation_after(m: Backend, rng: Rng) -> Witness:
    """Padding "full" pads K-1 at the end whatever the dilation (kind: span of one side only)."""
    rename(m, "full", lambda length, kernel, stride, dilation: (dilation * (kernel - 1), kernel - 1))
    return Call(length=9, dilation=draw(rng, 2, 3), padding="full")


@mutant
def full_pads_kernel_when_strided(m: Backend, rng: Rng) -> Witness:
    """Padding "full" with a stride pads one sample more in front (kind: off by one)."""
    rename(m, "full", lambda length, k, stride, d: (d * (k - 1) + (stride > 1), d * (k - 1)))
    return Call(length=9, stride=draw(rng, 2, 3), padding="full")
