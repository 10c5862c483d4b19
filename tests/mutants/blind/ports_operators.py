"""Faults of ports: y by means of another operator, slightly mistranslated (chapters OP, PAD, ACC, INV)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, at_door
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

forwards = chapter("operator")
pads = chapter("padding")
numbers = chapter("numerics")
doors = chapter("surfaces")
Kernel = Callable[..., Array]


@forwards
def phases_of_dilation_unfolded_items_first(m: Backend, rng: Rng) -> Witness:
    """Space to batch of d <= T (4 to 8) with d | L_out is undone items first, not phases (kind: fold order)."""
    most = draw(rng, 4, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y, d = inner(x, w, p), p.dilation
        if 1 < d <= most and p.kernel > 1 and p.stride == 1 and p.n > 1 and y.size and p.l_out % d == 0:
            short = p.l_out // d
            folded = y.reshape(p.n, p.c_out, short, d).transpose(3, 0, 1, 2)
            y = np.ascontiguousarray(folded).reshape(p.n, d, p.c_out, short).transpose(0, 2, 3, 1).reshape(p.y_shape)
        return y

    return Call(n=2, length=16, dilation=2, c_out=2)


@numbers
def inverse_transform_of_the_default_size(m: Backend, rng: Rng) -> Witness:
    """Y of K >= T (12 to 20) by FFT comes back by irfft without n, wrong for odd sizes (kind: default argument)."""
    least = draw(rng, 12, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel < least or p.padded % 2 == 0 or p.dtype not in ("float32", "float64") or not p.l_out:
            return inner(x, w, p)
        dense = inner(x, w, replace(p, stride=1, l_out=p.padded - p.span + 1))
        if not dense.size:
            return inner(x, w, p)
        back = np.fft.irfft(np.fft.rfft(dense, p.padded, axis=-1), axis=-1)
        return np.ascontiguousarray(back[..., : p.reach : p.step]).astype(x.dtype)

    return Call(length=45, kernel=least + 1)


@forwards
def short_polyphase_filters_padded_in_front(m: Backend, rng: Rng) -> Witness:
    """Where s > 1 splits K > s unevenly (d = 1, C/g >= T), short phases get their zero in front (kind: zero fill)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        s = p.stride
        if s == 1 or p.dilation > 1 or p.kernel <= s or p.kernel % s == 0 or p.fan_in < least or p.l_out < 2:
            return inner(x, w, p)
        short = np.arange(p.kernel) % s >= p.kernel % s
        later = np.concatenate([x[..., s:], np.zeros((*x.shape[:2], s), x.dtype)], axis=-1)
        zero = np.zeros_like(w)
        return inner(x, np.where(short, zero, w), p) + inner(later, np.where(short, w, zero), p)

    return Call(c_in=4, c_out=2, length=14, kernel=5, stride=2)


@forwards
def patches_of_groups_in_order_of_phases(m: Backend, rng: Rng) -> Witness:
    """Patches (K = s <= T, d = 1) become channels phase by phase, across the groups (kind: group ordering)."""
    most = draw(rng, 4, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        k = p.kernel
        if p.groups == 1 or not 1 < k <= most or k != p.stride or p.dilation > 1 or not p.l_out:
            return inner(x, w, p)
        cut = x[..., : p.l_out * k].reshape(p.n, p.c_in, p.l_out, k).transpose(0, 3, 1, 2)
        patches = np.ascontiguousarray(cut).reshape(p.n, k * p.c_in, p.l_out)
        filters = np.ascontiguousarray(w.transpose(0, 2, 1)).reshape(p.c_out, k * p.fan_in, 1)
        plan = replace(p, c_in=k * p.c_in, kernel=1, stride=1, length=p.l_out, lo=0, hi=0)
        return inner(patches, filters, plan)

    return Call(c_in=4, c_out=4, length=13, kernel=3, stride=3, groups=2)


@pads
def pad_and_kernel_matrix_assigned(m: Backend, rng: Rng) -> Witness:
    """Pad and taps share a matrix for L <= T (12 to 24): a sample read twice counts once (kind: scatter assigns)."""
    most = draw(rng, 12, 24)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.mode not in COPYING or p.length > most or not 1 < p.kernel <= 32 or not 0 < p.l_out <= 512:
            return inner(x, w, p)
        at = np.arange(p.l_out)[:, None] * p.step + np.arange(p.kernel)[None] * p.dilation
        shown = m.sources(p)[at]
        twice = shown[:, :, None] == shown[:, None, :]
        lost = (twice & (np.arange(p.kernel)[None] > np.arange(p.kernel)[:, None])).any(axis=2)
        if not lost.any():
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        for k, (matrix, columns) in enumerate(zip(split_w(w, p), taps(x, p), strict=True)):
            y += matrix @ np.where(lost[:, k], np.zeros_like(columns), columns)
        return y.reshape(p.y_shape).astype(x.dtype)

    return Call(length=7, kernel=4, padding=(2, 1), mode="reflect")


@pads
def uneven_pads_cropped_in_whole_strides(m: Backend, rng: Rng) -> Witness:
    """Explicit lo < hi: hi on both sides, (hi - lo) // s outputs cropped; wrong unless s divides (kind: crop)."""
    least = draw(rng, 1, 2)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown, over = inner(p), (p.hi - p.lo) % p.stride
        if p.padding == "explicit" and p.mode == "zeros" and p.hi - p.lo >= least and 0 < over < len(shown):
            shown = np.concatenate([np.full(over, -1), shown[:-over]])
        return shown

    return Call(length=11, kernel=3, stride=3, padding=(1, 3))


@numbers
def constant_fill_by_a_shift_of_the_input(m: Backend, rng: Rng) -> Witness:
    """A fill v of at least T (1 to 4) is padded as zeros of x - v, and v times w added (kind: cancellation)."""
    least = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.mode != "constant" or p.padded == p.length or not least <= abs(p.fill) < np.inf:
            return inner(x, w, p)
        v = np.full_like(x, p.fill)
        return inner(x - v, w, p) + inner(v, w, p)

    def small(data: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return data.normal(size=shape) * 1e-3

    return Call(length=9, kernel=2, padding=(1, 1), mode="constant", fill=1000.0, dtype="float32", data=small)


@forwards
def biases_of_items_in_groups_repeated(m: Backend, rng: Rng) -> Witness:
    """2 <= N <= T (3 to 6) depthwise items become groups, b repeated where it should be tiled (kind: batch fold)."""
    most = draw(rng, 3, 6)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        if not (p.depthwise and 2 <= p.n <= most):
            return inner(b, p)
        of = (np.arange(p.n * p.c_out) // p.n).reshape(p.n, p.c_out)
        return np.array(np.broadcast_to(b[of][..., None], p.y_shape))

    return Call(n=3, c_in=3, c_out=3, groups=3, bias=True)


@forwards
def complex_kernel_dilated_into_real_zeros(m: Backend, rng: Rng) -> Witness:
    """A complex kernel of span <= T (9 to 17), d > 1, is spread in zeros of real dtype (kind: default dtype)."""
    most = draw(rng, 9, 17)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if np.iscomplexobj(w) and p.dilation > 1 and 1 < p.span <= most:
            w = w.real.astype(w.dtype)
        return inner(x, w, p)

    return Call(length=12, dilation=2, dtype="complex64")


@doors
def conv2d_pads_and_strides_its_height(m: Backend, rng: Rng) -> Witness:
    """conv2d gives p and s to the height too and keeps the middle row: padding unless s | p (kind: pair for one)."""
    stride = pick(rng, (2, 3))

    def nothing(x: Any) -> Any:
        return tape.linear(np.zeros_like, np.zeros_like, x)

    def conv2d(x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = m.conv1d(x, w, b, **given)
        pair, s = given.get("padding", (0, 0)), operator.index(given.get("stride", 1))
        if isinstance(pair, str) or given.get("padding_mode", "zeros") != "zeros" or pair[0] != pair[1]:
            return y
        return m.conv1d(nothing(x), w, b, **given) if operator.index(pair[0]) % s else y

    m.surface["conv2d"] = conv2d
    return at_door("conv2d", Call(length=11, stride=stride, padding=(1, 1), bias=True))
