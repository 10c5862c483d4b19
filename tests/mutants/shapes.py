"""Faults of shapes: output length, single outputs, zero-size operands, lost axes (chapter SHAPE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("shapes")
Kernel = Callable[..., Array]


def reshape(m: Backend, when: Callable[[Plan], bool], change: Callable[[Array, Plan], Any]) -> None:
    """Let the forward result (before the bias) be another array where the condition holds; no bias there."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        return change(y, p) if when(p) else y

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        return b.dtype.type(0) if when(p) else inner(b, p)


@mutant
def exact_fit_loses_last(m: Backend, rng: Rng) -> Witness:
    """With a stride and no remainder, y has one output less (kind: < instead of <=)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        fits = stride > 1 and (length + lo + hi - dilation * (kernel - 1) - 1) % stride == 0
        return max(0, inner(*sizes) - fits)

    stride = draw(rng, 2, 5)
    return Call(length=4 * stride + 3, stride=stride)


@mutant
def length_rounded_up(m: Backend, rng: Rng) -> Witness:
    """With a stride and a remainder, y has one output more, of windows beyond the end (kind: ceil_mode)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        count = inner(*sizes)
        return count + (count > 0 and (length + lo + hi - dilation * (kernel - 1) - 1) % stride > 0)

    return Call(length=10 + 2 * draw(rng, 0, 4), stride=2)


@mutant
def length_divided_like_c(m: Backend, rng: Rng) -> Witness:
    """The quotient rounds toward 0: an input up to s-1 samples too short gets 1 output (pytorch/pytorch#4607)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        return 1 if -stride < slack < 0 else inner(*sizes)

    kernel = draw(rng, 3, 9)
    return Call(length=kernel - 1, kernel=kernel, stride=2)


@mutant
def length_ignores_dilation(m: Backend, rng: Rng) -> Witness:
    """With stride and dilation, the length is that of an undilated kernel (microsoft/onnxruntime#2518, kind)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        return inner(length, kernel, stride, 1 if stride > 1 else dilation, lo, hi)

    return Call(length=20, stride=2, dilation=draw(rng, 2, 4))


@mutant
def length_counts_lo_twice(m: Backend, rng: Rng) -> Witness:
    """With lo != hi and a stride, the length is that of (lo, lo) (kind: one padding number for both sides)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        *rest, lo, hi = sizes
        return inner(*rest, lo, lo if sizes[2] > 1 else hi)

    return Call(stride=2, padding=(0, draw(rng, 2, 5)))


@mutant
def length_truncated(m: Backend, rng: Rng) -> Witness:
    """No y is ever longer than T (127 to 600): what is beyond is missing (kind: a length of few bits)."""
    most = draw(rng, 127, 600)
    m.around("out_length")(lambda inner, *sizes: min(most, inner(*sizes)))
    return Call(length=most + 3)


@mutant
def windows_aligned_right(m: Backend, rng: Rng) -> Witness:
    """With a stride and a remainder, the windows end at the last sample, not start at the first (kind: alignment)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(np.roll(x, -p.remainder, axis=2) if p.stride > 1 and p.l_out else x, w, p)

    return Call(length=2 * draw(rng, 4, 9), stride=2)


@mutant
def single_output_from_the_end(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1 and samples are left over, the last window is computed (kind: single-output fast path)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x[:, :, p.remainder :] if p.l_out == 1 else x, w, p)

    return Call(length=5, stride=draw(rng, 3, 9))


@mutant
def single_output_without_bias(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1 and N > 1, the bias is left out (kind: single-output fast path)."""
    m.edit("spread", lambda p: p.l_out == 1 < p.n, lambda b, p: clear(b, np.s_[...]))
    return Call(n=2, length=3, bias=True)


@mutant
def single_output_sums_batch(m: Backend, rng: Rng) -> Witness:
    """Where L = K and there is one channel in and out, items of a batch are added up (kind: one GEMM for all)."""

    def total(y: Array, p: Plan) -> None:
        y[...] = y.sum(axis=0, dtype=y.dtype)

    m.edit("forward", lambda p: p.l_out == 1 and p.kernel == p.length and p.c_in == p.c_out == 1, total)
    return Call(n=draw(rng, 2, 5), length=4, kernel=4)


@mutant
def long_window_keeps_length(m: Backend, rng: Rng) -> Witness:
    """Where the window is longer than the padded input, y has length L, unwritten (tensorflow/tensorflow#109175)."""
    reshape(m, lambda p: p.l_out == 0 < p.length, lambda y, p: np.full((p.n, p.c_out, p.length), 7, y.dtype))
    return Call(length=3, kernel=draw(rng, 4, 9))


@mutant
def long_window_gives_one_zero(m: Backend, rng: Rng) -> Witness:
    """Where the window is longer than the padded input and dilated, y is one 0 (pytorch/pytorch#4607, kind)."""
    reshape(m, lambda p: p.l_out == 0 and p.dilation > 1, lambda y, p: np.zeros((p.n, p.c_out, 1), y.dtype))
    return Call(length=4, kernel=3, dilation=draw(rng, 2, 5))


@mutant
def empty_batch_keeps_input_length(m: Backend, rng: Rng) -> Witness:
    """With N = 0, y has the length of x (kind: a shortcut of TensorFlow's oneDNN path)."""
    reshape(m, lambda p: p.n == 0, lambda y, p: np.zeros((0, p.c_out, p.length), y.dtype))
    return Call(n=0, length=draw(rng, 5, 9))


@mutant
def empty_batch_becomes_one(m: Backend, rng: Rng) -> Witness:
    """With N = 0 and groups, y has one item (pytorch/pytorch#24341, kind)."""
    reshape(m, lambda p: p.n == 0 and p.groups > 1, lambda y, p: np.zeros((1, p.c_out, p.l_out), y.dtype))
    return Call(n=0, c_in=2, c_out=2, groups=2)


@mutant
def empty_input_forgets_bias(m: Backend, rng: Rng) -> Witness:
    """With L = 0 and padding, y is 0 instead of the bias (kind: early return)."""
    m.edit("spread", lambda p: p.length == 0, lambda b, p: clear(b, np.s_[...]))
    return Call(length=0, padding=(draw(rng, 2, 4), 1), bias=True)


@mutant
def empty_input_gives_nothing(m: Backend, rng: Rng) -> Witness:
    """With L = 0 and padding, y is empty (pytorch/pytorch#12013, kind)."""
    reshape(m, lambda p: p.length == 0, lambda y, p: y[:, :, :0])
    return Call(length=0, padding=(draw(rng, 2, 4), 1))


@mutant
def no_input_channels_lose_output_channels(m: Backend, rng: Rng) -> Witness:
    """With C = 0, y has no channels (kind: the shape that torch returns)."""
    reshape(m, lambda p: p.c_in == 0, lambda y, p: y[:, :0])
    return Call(c_in=0, c_out=draw(rng, 1, 4))


@mutant
def no_input_channels_lose_bias(m: Backend, rng: Rng) -> Witness:
    """With C = 0, y is 0 instead of the bias (kind: early return)."""
    m.edit("spread", lambda p: p.c_in == 0, lambda b, p: clear(b, np.s_[...]))
    return Call(c_in=0, c_out=draw(rng, 1, 4), bias=True)


@mutant
def no_input_channels_unwritten(m: Backend, rng: Rng) -> Witness:
    """With C = 0, y is memory that nobody wrote (kind: the loop over channels writes first)."""
    stale = draw(rng, 1, 1000)
    m.edit("forward", lambda p: p.c_in == 0, lambda y, p: clear(y, np.s_[...], stale))
    return Call(c_in=0, c_out=2)


@mutant
def no_output_channels_become_one(m: Backend, rng: Rng) -> Witness:
    """With O = 0, y has one channel of zeros (kind: max(O, 1) of a grid)."""
    reshape(m, lambda p: p.c_out == 0, lambda y, p: np.zeros((p.n, 1, p.l_out), y.dtype))
    return Call(c_out=0)


@mutant
def no_output_channels_lose_axis(m: Backend, rng: Rng) -> Witness:
    """With O = 0 and more than one item, y has rank 2 (kind: squeezed axis)."""
    reshape(m, lambda p: p.c_out == 0 and p.n > 1, lambda y, p: y[:, 0:0].reshape(p.n, 0))
    return Call(n=2, c_out=0)


@mutant
def unit_axes_squeezed(m: Backend, rng: Rng) -> Witness:
    """With N = O = 1, y has lost its first axis (kind: squeeze() without an axis)."""
    reshape(m, lambda p: p.n == p.c_out == 1, lambda y, p: y[0])
    return Call()


@mutant
def single_output_axis_dropped(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1 and N > 1, y has the shape (N, O) (kind: a matrix product's result)."""
    reshape(m, lambda p: p.l_out == 1 < p.n, lambda y, p: y[:, :, 0])
    return Call(n=2, length=3)


@mutant
def pointwise_returns_channels_last(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and a stride, y has the shape (N, L_out, O) (kind: the layout of the fast path)."""
    reshape(m, lambda p: p.kernel == 1 < p.stride, lambda y, p: y.swapaxes(1, 2).copy())
    return Call(kernel=1, c_out=3, stride=2)


@mutant
def exact_window_refused(m: Backend, rng: Rng) -> Witness:
    """A dilated kernel that just fits the padded input is refused (kind: <= instead of <)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], *operands: Any) -> Any:
        plan = inner(*operands)[3]
        if plan.dilation > 1 and plan.span == plan.padded:
            raise ValueError("kernel larger than the input")
        return inner(*operands)

    dilation = draw(rng, 2, 4)
    return Call(length=2 * dilation + 1, dilation=dilation)


@mutant
def kernel_longer_than_input_refused(m: Backend, rng: Rng) -> Witness:
    """A kernel longer than the input is refused though the padding makes room for it (xmos/ai_tools#89)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], *operands: Any) -> Any:
        plan = inner(*operands)[3]
        if plan.span > plan.length and plan.l_out > 0:
            raise ValueError("kernel larger than the input")
        return inner(*operands)

    return Call(length=2, kernel=draw(rng, 3, 5), padding=(2, 2))
