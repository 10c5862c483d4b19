"""Faults of the forward pass and its padding, after public bug reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

operator = chapter("operator")
padding = chapter("padding")
Kernel = Callable[..., Array]


@operator
def channels_past_sixteen_bits_wrap(m: Backend, rng: Rng) -> Witness:
    """O > 65536: channel 65536 + j is stored in channel j, and is 0 itself (pytorch/pytorch#129207)."""

    def wrap(y: Array, p: Plan) -> None:
        more = p.c_out - 65536
        y[:, :more] = y[:, 65536 : 65536 + more]
        y[:, 65536:] = 0

    m.edit("forward", lambda p: 65536 < p.c_out <= 131072, wrap)
    return Call(c_out=65536 + draw(rng, 1, 5), length=2, kernel=2, dtype="float32")


@operator
def long_kernel_times_batch_overruns(m: Backend, rng: Rng) -> Witness:
    """N > 1, N*K > T (512 to 2048): the last item has no taps from T // N on (pytorch/pytorch#188359, kind)."""
    most = pick(rng, (512, 1024, 2048))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.n > 1 and p.n * p.kernel > most and p.kernel > most // p.n:
            short = np.array(w)
            short[:, :, most // p.n :] = 0
            y[-1] = inner(x, short, p)[-1]
        return y

    n = draw(rng, 2, 4)
    return Call(n=n, length=most // n + 4, kernel=most // n + 1)


@operator
def rows_assumed_without_gaps(m: Backend, rng: Rng) -> Witness:
    """K = 3, s = 2, O > 1, L_out mod A > 0: rows are written without gaps, and read A-aligned (Tencent/ncnn#1014)."""
    align = pick(rng, (4, 8, 16))

    def shift(y: Array, p: Plan) -> None:
        step = -(-p.l_out // align) * align
        for item in y:
            store = np.zeros(p.c_out * step, y.dtype)
            store[: item.size] = item.ravel()
            item[...] = store.reshape(p.c_out, step)[:, : p.l_out]

    m.edit("forward", lambda p: (p.kernel, p.stride) == (3, 2) and p.l_out % align > 0, shift)
    return Call(c_out=2, length=2 * align + 3, stride=2, dtype="float32")


@operator
def whole_window_keeps_first_tap(m: Backend, rng: Rng) -> Witness:
    """bfloat16, C/g = 1, d = 1, K = the padded length: only the first tap counts (pytorch/pytorch#163347)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "bfloat16" and p.fan_in == p.dilation == 1 < p.kernel == p.padded:
            return inner(x, w[:, :, :1], replace(p, kernel=1))
        return inner(x, w, p)

    size = draw(rng, 2, 4)
    return Call(length=size, kernel=size, dtype="bfloat16", data=lambda r, shape: r.integers(1, 4, shape))


@operator
def long_kernel_forgets_stride(m: Backend, rng: Rng) -> Witness:
    """float32, s > 1, K > T (8 or 16): the windows start at 0, 1, 2, ... (tiny-dnn/tiny-dnn#370, kind)."""
    most = pick(rng, (8, 16))
    m.lie("forward", lambda p: p.dtype == "float32" and p.stride > 1 and p.kernel > most and p.l_out > 1, stride=1)
    return Call(length=most + 6, kernel=most + 1, stride=draw(rng, 2, 3), dtype="float32")


@operator
def integer_groups_lose_last_channel(m: Backend, rng: Rng) -> Witness:
    """int8, 1 < g < C, C/g mod 4 > 0: the last output lacks its last input channel (openxla/xla#49123, kind)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "int8" and 1 < p.groups < p.c_in and p.fan_in % 4:
            w = np.array(w)
            w[-1, -1] = 0
        return inner(x, w, p)

    small = draw(rng, 2, 3)
    return Call(c_in=2 * small, c_out=4, groups=2, length=4, kernel=1, dtype="int8")


@operator
def half_groups_run_once(m: Backend, rng: Rng) -> Witness:
    """float16, K = 3, s = d = 1, 1 < g < C: only the first group is computed (ROCm/rocm-libraries#4998)."""
    m.edit(
        "forward",
        lambda p: p.dtype == "float16" and (p.kernel, p.stride, p.dilation) == (3, 1, 1) and 1 < p.groups < p.c_in,
        lambda y, p: clear(y, np.s_[:, p.fan_out :]),
    )
    groups = draw(rng, 2, 3)
    return Call(c_in=2 * groups, c_out=groups, groups=groups, dtype="float16")


@operator
def complex_single_channel_conjugated(m: Backend, rng: Rng) -> Witness:
    """Complex, C/g = 1, s = 1, K >= T (2 to 4): w is conjugated, as by numpy.correlate (cupy/cupy#4525, kind)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        one = np.dtype(x.dtype).kind == "c" and p.fan_in == p.stride == 1 and p.kernel >= least
        return inner(x, np.conj(w) if one else w, p)

    return Call(kernel=least, dtype="complex64")


@padding
def same_with_stride_past_input_is_zero(m: Backend, rng: Rng) -> Witness:
    """Padding same, s > L: y without bias is 0 (tensorflow/tfjs#5907)."""
    m.edit("forward", lambda p: p.padding == "same" and p.stride > p.length, lambda y, p: clear(y, np.s_[...]))
    length = draw(rng, 2, 5)
    return Call(length=length, kernel=2, stride=length + 2, padding="same")


@padding
def circular_left_alone_lost(m: Backend, rng: Rng) -> Witness:
    """Circular with hi = 0 < lo: nothing is padded, as x[-lo - hi : -hi] is empty (pytorch/pytorch#24504)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        found = inner(x, w, b, args)
        plan = found[3]
        lost = plan.mode == "circular" and plan.hi == 0 < plan.lo
        return inner(x, w, b, {**args, "padding": (0, 0)}) if lost else found

    return Call(length=6, padding=(draw(rng, 1, 4), 0), mode="circular")
