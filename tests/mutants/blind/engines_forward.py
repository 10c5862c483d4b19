"""Faults of y after public reports on engines other than those that are certified: tiles, packs, phases, names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call

operator = chapter("operator")
padding = chapter("padding")

Forward = Callable[[Array, Array, Plan], Array]


@operator
def im2col_mixes_the_batch(m: Backend, rng: Rng) -> Call:
    """Matrix of columns gives y as (O, N, L_out), taken for (N, O, L_out) from some N on (kind: ggml-org/ggml#737)."""
    least = draw(rng, 2, 4)

    def unpermuted(y: Array, p: Plan) -> None:
        y[:] = y.swapaxes(0, 1).reshape(y.shape)

    m.edit("forward", lambda p: p.n >= least and p.kernel > 1, unpermuted)
    return Call(n=least, c_out=3, length=6)


@operator
def depthwise_row_cache_steps_by_the_stride(m: Backend, rng: Rng) -> Call:
    """Depthwise taps lie s apart in place of d where s and d differ, both above 1 (kind: pytorch/executorch#7595)."""

    def cached(p: Plan) -> bool:
        return p.depthwise and p.l_out > 1 and 1 < p.stride != p.dilation > 1

    m.lie("forward", cached, dilation=lambda p: p.stride)
    stride = draw(rng, 2, 4)
    return Call(c_in=2, c_out=2, groups=2, length=24, stride=stride, dilation=stride + 1)


@operator
def stride_beyond_the_input_skips_it(m: Backend, rng: Rng) -> Call:
    """Under the names of `same`, a stride longer than the input leaves y at zero (kind: tensorflow/tfjs#5907)."""
    m.edit(
        "forward",
        lambda p: p.padding in ("same", "same_lower") and p.stride > p.length,
        lambda y, p: clear(y, ...),
    )
    length = draw(rng, 3, 6)
    return Call(length=length, kernel=3, stride=length + 2, padding="same")


@operator
def half_row_is_rounded_up(m: Backend, rng: Rng) -> Call:
    """Long rows of halves, no multiple of 32, run one tap into the next channel's kernel (kind: ggml-org/ggml#274)."""
    least = 32 * draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        y, row = inner(x, w, p), p.fan_in * p.kernel
        if p.dtype == "float16" and p.groups == 1 and row > least and row % 32 and y.size:
            y[:, :-1] += w[1:, 0, :1] * x[:, :1, : p.reach : p.step]
        return y

    return Call(c_out=2, kernel=least + 1, length=least + 5, dtype="float16")


@operator
def packed_pointwise_tail_reads_packs_backwards(m: Backend, rng: Rng) -> Call:
    """Pointwise in packs of 4: the last L_out mod 4 of a short y reverse each pack (kind: Tencent/ncnn#1384)."""
    short = pick(rng, (12, 14, 16))

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        y, tail = inner(x, w, p), p.l_out % 4
        packed = p.groups == p.kernel == 1 and p.c_in % 4 == p.c_out % 4 == 0
        if packed and tail and 4 < p.l_out < short:
            backwards = w.reshape(p.c_out, p.c_in // 4, 4)[:, :, ::-1].reshape(w.shape)
            y[..., -tail:] = inner(x, backwards, p)[..., -tail:]
        return y

    return Call(c_in=8, c_out=4, kernel=1, length=short - 1)


@operator
def dilated_gap_drifts_by_channel(m: Backend, rng: Rng) -> Call:
    """From some dilation on, each further channel of a group is read d - 1 samples later (kind: Tencent/ncnn#75)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        if p.dilation >= least and p.kernel > 1 and p.fan_in > 1:
            late = np.zeros_like(x)
            for channel in range(p.c_in):
                rest = x[:, channel, channel % p.fan_in * (p.dilation - 1) :]
                late[:, channel, : rest.shape[1]] = rest
            x = late
        return inner(x, w, p)

    return Call(c_in=2, length=16, dilation=least)


@padding
def same_is_centred_by_the_undilated_kernel(m: Backend, rng: Rng) -> Call:
    """Where d > 1 and K is large, lo of `same` is that of d = 1, and hi takes what is left (kind: dmlc/nnvm#307)."""
    least = draw(rng, 3, 6)

    @m.around("resolve")
    def resolve(inner: Callable[..., tuple[int, int]], name: Any, *sizes: int) -> tuple[int, int]:
        lo, hi = inner(name, *sizes)
        length, kernel, stride, dilation = sizes
        if name == "same" and dilation > 1 and kernel >= least:
            undilated, _ = inner(name, length, kernel, stride, 1)
            return undilated, lo + hi - undilated
        return lo, hi

    return Call(length=20, kernel=least, dilation=2, padding="same")


@padding
def causal_phases_are_cut_as_chunks(m: Backend, rng: Rng) -> Call:
    """Causal, d dividing L: the d phases of x are cut as d chunks of it (kind: ibab/tensorflow-wavenet#29)."""

    def swapped(a: Array, rows: int) -> Array:
        return a.reshape(*a.shape[:2], rows, -1).swapaxes(2, 3).reshape(a.shape)

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        phased = p.padding == "causal" and p.stride == 1 < p.dilation and p.length % p.dilation == 0
        if not phased or not p.l_out * x.size * w.size:
            return inner(x, w, p)
        return swapped(inner(swapped(x, p.dilation), w, p), p.length // p.dilation)

    dilation = draw(rng, 2, 5)
    return Call(length=4 * dilation, kernel=2, dilation=dilation, padding="causal")


@operator
def exchanged_operands_are_conjugated(m: Backend, rng: Rng) -> Call:
    """Complex, K > L: the shorter operand becomes the second one, and both stay conjugated (kind: scipy/scipy#5954)."""

    @m.around("forward")
    def forward(inner: Forward, x: Array, w: Array, p: Plan) -> Array:
        exchanged = p.dtype.startswith("complex") and p.kernel > p.length
        return inner(np.conj(x), np.conj(w), p) if exchanged else inner(x, w, p)

    length = draw(rng, 3, 6)
    return Call(length=length, kernel=length + 1, padding=(2, 2), dtype="complex64")


@operator
def winograd_is_dispatched_for_one_group(m: Backend, rng: Rng) -> Call:
    """Grouped halves with K = 3, s = d = 1: no group but the first is computed (kind: ROCm/rocm-libraries#4998)."""

    def winograd(p: Plan) -> bool:
        return p.dtype == "float16" and p.groups > 1 and p.kernel == 3 and p.stride == p.dilation == 1

    m.edit("forward", winograd, lambda y, p: clear(y, np.s_[:, p.fan_out :]))
    groups = draw(rng, 2, 4)
    return Call(c_in=2 * groups, c_out=2 * groups, groups=groups, dtype="float16")
