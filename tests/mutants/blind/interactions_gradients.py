"""Faults of gx, gw and gb that need a certain padding, stride, dtype or layout, and a certain set of operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, changed, finite, last_plan, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
special = chapter("special values")
layouts = chapter("layouts")
validation = chapter("validation")
Kernel = Callable[..., Array]


@mutant
def same_of_even_strided_kernel_cropped_wrong(m: Backend, rng: Rng) -> Witness:
    """same, K even, s > 1, T odd: gx is cropped as same_lower pads; y is right (kind: pads found twice)."""

    def odd(p: Plan) -> bool:
        return p.padding == "same" and p.mode == "zeros" and p.kernel % 2 == 0 and p.stride > 1 and p.lo != p.hi

    m.lie("pad_transpose", odd, lo=lambda p: p.hi, hi=lambda p: p.lo)
    return Call(length=2 * draw(rng, 3, 6) + 1, kernel=4, stride=2, padding="same", ask="x")


@mutant
def empty_batch_leaves_later_groups_unwritten(m: Backend, rng: Rng) -> Witness:
    """N = 0 and groups: gw of all groups but the first is what memory held (kind: clearing of one group's block)."""
    stale = draw(rng, 1, 100)
    m.edit("grad_w", lambda p: p.n == 0 and p.groups > 1, lambda gw, p: clear(gw, np.s_[p.fan_out :], stale))
    groups = draw(rng, 2, 4)
    return Call(n=0, c_in=groups, c_out=groups, groups=groups, ask="w")


@mutant
def bias_beside_input_skips_windows_of_padding(m: Backend, rng: Rng) -> Witness:
    """Gx and gb without gw, zeros: gb lacks windows that read padding alone (kind: gb summed in the pass of gx)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.wanted == {"x", "b"} and p.mode in ("zeros", "constant") and p.lo + p.hi:
            at = np.arange(p.l_out)[:, None] * p.step + np.arange(p.kernel) * p.dilation
            blind = ~((at >= p.lo) & (at < p.lo + p.length)).any(axis=1)
            g = changed(g, np.s_[:, :, blind])
        return inner(g, p)

    kernel = draw(rng, 2, 3)
    return Call(kernel=kernel, padding=(kernel + draw(rng, 0, 2), 1), bias=True, ask="xb")


@mutant
def half_replicate_adds_one_image(m: Backend, rng: Rng) -> Witness:
    """Halves, replicate, a pad of 2 or more: of an edge's images only the outermost is added (kind: no atomic add)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == "replicate" and p.dtype in ("float16", "bfloat16"):
            g = changed(g, np.s_[:, :, 1 : max(p.lo, 1)])
            g = changed(g, np.s_[:, :, p.lo + p.length : max(p.padded - 1, 0)])
        return inner(g, p)

    wide = draw(rng, 2, 4)
    return Call(padding=(wide, 2), mode="replicate", dtype=("float16", "bfloat16")[draw(rng, 0, 1)], ask="x")


@layouts
def cotangent_repeated_over_items_counted_once(m: Backend, rng: Rng) -> Witness:
    """Gy with stride 0 along N alone: gb is the sum over one item; gx and gw are right (kind: reduction by memory)."""

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.n > 1 and p.l_out > 1 and g.strides[0] == 0 != g.strides[2]:
            return inner(g[:1], replace(p, n=1))
        return inner(g, p)

    view = {"g": lambda g: np.broadcast_to(g[:1], g.shape)}
    return Call(n=draw(rng, 2, 4), c_out=2, bias=True, ask="xwb", view=view)


@mutant
def grouped_dilated_kernel_gradient_keeps_the_last_taps(m: Backend, rng: Rng) -> Witness:
    """Groups, d > 1, remainder >= d: of gw's K + remainder div d taps the last K are kept (kind: narrow at the end)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.groups > 1 and p.dilation > 1 and p.remainder >= p.dilation:
            x = np.roll(x, -(p.remainder // p.dilation) * p.dilation, axis=2)
        return inner(x, g, p)

    stride = draw(rng, 3, 5)
    return Call(c_in=2, c_out=2, groups=2, length=2 * stride + 7, stride=stride, dilation=2, ask="w")


@mutant
def phases_of_stride_and_dilation_lose_taps(m: Backend, rng: Rng) -> Witness:
    """S and d share a divisor, neither divides the other: gx lacks taps k mod s >= s/gcd (kind: polyphase)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        common = math.gcd(p.stride, p.dilation)
        if common > 1 and p.stride % p.dilation and p.dilation % p.stride:
            w = changed(w, np.s_[:, :, np.arange(p.kernel) % p.stride >= p.stride // common])
        return inner(w, g, p)

    stride = pick(rng, (4, 6))
    return Call(length=48, kernel=4, stride=stride, dilation=10 - stride, ask="x")


@mutant
def complex_images_lose_imaginary_part(m: Backend, rng: Rng) -> Witness:
    """Complex, a mode that copies: gx adds the real part alone of what the padding got (kind: real atomic add)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode in COPYING and g.dtype.kind == "c":
            g = np.array(g)
            g.imag[:, :, : p.lo] = 0
            g.imag[:, :, p.lo + p.length :] = 0
        return inner(g, p)

    mode = COPYING[draw(rng, 0, 3)]
    dtype = ("complex64", "complex128")[draw(rng, 0, 1)]
    return Call(padding=(2, 1), mode=mode, dtype=dtype, ask="x", view={"g": lambda g: g.conj()})


@special
def depthwise_strided_gradient_meets_stuffed_zeros(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s > 1: in gx weights that are not finite meet the zeros between cotangents (kind: zero stuffing)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.depthwise and p.step > 1 and not finite(w):
            stuffed = np.arange(p.reach)[np.arange(p.reach) % p.step > 0]
            for o, _, k in np.argwhere(~np.isfinite(w.astype(np.complex128))):
                at = stuffed + k * p.dilation
                gx[:, o // p.fan_out, at[at < p.padded]] = np.nan
        return gx

    put = (("w", (1, 0, 0), (np.inf, np.nan)[draw(rng, 0, 1)]),)
    return Call(c_in=2, c_out=2, groups=2, length=11, stride=draw(rng, 2, 4), put=put, ask="x")


@validation
def cotangent_for_bias_alone_broadcast(m: Backend, rng: Rng) -> Witness:
    """Gb alone, N > 1: a cotangent of one item is taken for all items (kind: checked where gx or gw is computed)."""
    last = last_plan(m)
    inside = within(m, "vjp")

    @m.around("check_cotangent")
    def check_cotangent(inner: Callable[..., Any], cotangent: Any, out: Any) -> Any:
        alone = bool(inside and last) and last[0].wanted == {"b"}
        shape = tuple(cotangent.shape)
        if alone and isinstance(cotangent, np.ndarray) and shape == (1, *out.shape[1:]) and out.shape[0] > 1:
            cotangent = np.broadcast_to(cotangent, out.shape)
        return inner(cotangent, out)

    return Call(n=draw(rng, 2, 4), bias=True, ask="b", shapes={"g": (1, 1, 6)})
