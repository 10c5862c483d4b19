"""Faults of y that need two or three features at once: halves, multipliers, groups, strides, single outputs, views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import at_door, finite, reread
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("operator")
numerics = chapter("numerics")
special = chapter("special values")
layouts = chapter("layouts")
surfaces = chapter("surfaces")
Kernel = Callable[..., Array]
HALVES = ("float16", "bfloat16")


@mutant
def half_multiplier_copies_swap_pads(m: Backend, rng: Rng) -> Witness:
    """Halves, depthwise, O = m*C, lo != hi, zeros: later copies pad (hi, lo) (kind: pads of a packed kernel)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype in HALVES and p.depthwise and p.fan_out > 1 and p.lo != p.hi and p.mode == "zeros" and y.size:
            copies = np.arange(p.c_out) % p.fan_out > 0
            y[:, copies] = inner(np.roll(x, p.hi - p.lo, axis=2), w, p)[:, copies]
        return y

    dtype = HALVES[draw(rng, 0, 1)]
    return Call(c_in=2, c_out=4, groups=2, padding=(draw(rng, 2, 3), 1), dtype=dtype, data=_small)


@mutant
def single_output_of_groups_batch_inside(m: Backend, rng: Rng) -> Witness:
    """L_out = 1, groups and N > 1: y is laid out (g, N, O/g) and read as (N, O) (kind: result of a batched product)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.l_out == 1 and p.groups > 1 and p.n > 1:
            y = y.reshape(p.n, p.groups, p.fan_out).swapaxes(0, 1).reshape(p.y_shape)
        return y

    kernel = draw(rng, 2, 6)
    return Call(n=3, c_in=4, c_out=4, groups=2, length=kernel, kernel=kernel)


@numerics
def long_strided_grouped_sums_keep_8_bits(m: Backend, rng: Rng) -> Witness:
    """float16, s > 1, groups, C/g*K past T (32 to 128): partial sums are cut to 8 bits (kind: accumulator's format)."""
    least = pick(rng, (32, 64, 128))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float16" or p.groups == 1 or p.stride == 1 or p.fan_in * p.kernel < least:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), np.float32)
        for matrix, columns in zip(split_w(w, p), taps(x, p), strict=True):
            for c in range(p.fan_in):
                y = _cut(y + matrix[..., c : c + 1] @ columns[:, :, c : c + 1])
        return y.reshape(p.y_shape).astype(x.dtype)

    def positive(rng: Rng, shape: tuple[int, ...]) -> Array:
        return rng.integers(2, 5, shape)

    return Call(
        c_in=8, c_out=2, groups=2, length=least // 4 + 6, kernel=least // 4, stride=2, dtype="float16", data=positive
    )


@special
def paired_half_lanes_share_nan(m: Backend, rng: Rng) -> Witness:
    """Halves, depthwise, O = C: what is not finite in channel c makes y of channel c^1 NaN (kind: half2 and a mask)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype in HALVES and p.depthwise and p.fan_out == 1 and not finite(x):
            bad = np.where(np.isfinite(widen(x)), 0, np.nan).astype(x.dtype)
            lanes = np.minimum(np.arange(p.c_in) ^ 1, p.c_in - 1)
            y[np.isnan(widen(inner(bad, np.ones_like(w), p)))[:, lanes]] = np.nan
        return y

    channels = draw(rng, 2, 5)
    put = (("x", (0, 1, 4), np.nan),)
    return Call(c_in=channels, c_out=channels, groups=channels, dtype=HALVES[draw(rng, 0, 1)], put=put, data=_small)


@layouts
def one_item_channels_last_read_flat(m: Backend, rng: Rng) -> Witness:
    """N = 1, groups, x a view of (L, C) memory: read as if it were (C, L) (kind: layout guessed from strides)."""

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        turned = x.transpose(0, 2, 1)
        if p.n == 1 and p.groups > 1 and turned.flags.c_contiguous and not x.flags.c_contiguous:
            x = turned.reshape(x.shape)
        return x, w

    reread(m, change)
    groups = draw(rng, 2, 4)
    last = {"x": lambda x: np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1)}
    return Call(c_in=2 * groups, c_out=groups, groups=groups, view=last)


@surfaces
def conv2d_depthwise_copies_outermost(m: Backend, rng: Rng) -> Witness:
    """A door conv2d: depthwise with O = m*C, m > 1: outputs are in the order j*C + c (kind: C x m read as m x C)."""

    def conv2d(x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = m.conv1d(x, w, b, **parameters)
        channels, outputs = x.shape[1], y.shape[1]
        if not parameters.get("groups", 1) == channels > 1 or outputs == channels:
            return y
        order = np.arange(outputs).reshape(channels, -1).T.ravel()
        back = np.argsort(order)
        return tape.linear(lambda v: v[:, order].copy(), lambda g: g[:, back].copy(), y)

    m.surface["conv2d"] = conv2d
    channels = draw(rng, 2, 3)
    return at_door("conv2d", Call(c_in=channels, c_out=2 * channels, groups=channels))


def _small(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)


def _cut(a: Array) -> Array:
    """Return float32 with the lower half of each number's bits cleared."""
    return (a.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
