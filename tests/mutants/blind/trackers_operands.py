"""Faults of layouts, refusals, special values and accuracy, after public bug reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

layouts = chapter("layouts")
validation = chapter("validation")
special = chapter("special values")
numerics = chapter("numerics")
Kernel = Callable[..., Array]


@layouts
def input_gradient_of_permuted_kernel(m: Backend, rng: Rng) -> Witness:
    """Gx reads a w with permuted axes in the order of its memory; y does not (huggingface/candle#3735)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w if w.flags.c_contiguous else w.ravel(order="K").reshape(w.shape), g, p)

    return Call(
        c_in=2,
        c_out=draw(rng, 2, 4),
        ask="x",
        view={"w": lambda w: np.ascontiguousarray(w.swapaxes(0, 1)).swapaxes(0, 1)},
    )


@layouts
def sliced_kernel_read_without_gaps(m: Backend, rng: Rng) -> Witness:
    """float16 and float32: y reads a w sliced from a larger array as if it had no gaps (pytorch/pytorch#192212)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        dense = np.empty(w.shape, w.dtype).strides
        gaps = not w.flags.c_contiguous and all(have >= need for have, need in zip(w.strides, dense, strict=True))
        if gaps and w.size and p.dtype in ("float16", "float32") and list(w.strides) == sorted(w.strides)[::-1]:
            w = as_strided(w, w.shape, dense)
        return inner(x, w, p)

    slices = draw(rng, 2, 4)
    return Call(
        c_out=2,
        dtype="float32",
        view={"w": lambda w: np.stack([w] + [0 * w] * slices, axis=2)[:, :, 0]},
    )


@validation
def span_wraps_to_minus(m: Backend, rng: Rng) -> Witness:
    """A span of 2^31 or more wraps in 32 bits: the window fits, and y holds zeros (ml-explore/mlx#3938, kind)."""

    @m.around("out_length")
    def out_length(
        inner: Callable[..., int], length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int
    ) -> int:
        span = dilation * (kernel - 1) + 1
        if span < 2**31:
            return inner(length, kernel, stride, dilation, lo, hi)
        return max(0, (length + lo + hi - ((span + 2**31) % 2**32 - 2**31)) // stride + 1)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return np.zeros(p.y_shape, x.dtype) if p.span >= 2**31 and p.l_out else inner(x, w, p)

    return Call(length=8, kernel=3, dilation=2**31 - draw(rng, 1, 4))


@validation
def bias_of_two_axes_cut(m: Backend, rng: Rng) -> Witness:
    """A bias of rank 2 with O elements or more is not refused: its first O are used (onnx/onnx#2139)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if b is not None and are_arrays(w, b) and b.ndim == 2 and b.size >= len(w):
            b = np.ascontiguousarray(b).reshape(-1)[: len(w)]
        return inner(x, w, b, args)

    channels = draw(rng, 2, 4)
    return Call(c_out=channels, bias=True, shapes={"b": (channels, 1)})


@special
def blocked_kernel_drops_nan(m: Backend, rng: Rng) -> Witness:
    """float32, O a multiple of V (8 or 16): a NaN in w counts as 0 in y (pytorch/pytorch#12484, kind)."""
    width = pick(rng, (8, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        blocked = p.dtype == "float32" and p.c_out > 0 and p.c_out % width == 0
        return inner(x, np.where(np.isnan(w), np.float32(0), w) if blocked else w, p)

    return Call(c_out=width, dtype="float32", put=(("w", np.s_[1, 0, 1], np.nan),))


@numerics
def batches_by_transform(m: Backend, rng: Rng) -> Witness:
    """float32, N >= T (4 or 8), K >= 5, s = d = g = 1: y by FFT, wrong by norms (tensorflow/tensorflow#1299, kind)."""
    least = pick(rng, (4, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        one = p.stride == p.dilation == p.groups == 1
        if p.dtype != "float32" or p.n < least or p.kernel < 5 or not one or p.l_out == 0 or p.c_in * p.c_out == 0:
            return inner(x, w, p)
        seen = np.fft.rfft(x, p.padded)[:, None] * np.conj(np.fft.rfft(w, p.padded))[None]
        return np.fft.irfft(seen.sum(axis=2), p.padded)[:, :, : p.l_out].astype(x.dtype)

    return Call(n=least, length=40, kernel=draw(rng, 5, 9), dtype="float32")
