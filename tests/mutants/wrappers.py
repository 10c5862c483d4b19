"""Faults around the kernels: padding, caches, layouts, ownership, special values, arguments, where conditions meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.layouts import misread, permuted, raw, strides
from tests.mutants.numerics import normal
from tests.mutants.padding import rename, same
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.special_values import INF, NAN, real
from tests.mutants.witness import Call, Witness, after, after_refusal, every

operator, padding, numerics, layouts = chapter("operator"), chapter("padding"), chapter("numerics"), chapter("layouts")
state, special, validation = chapter("state"), chapter("special values"), chapter("validation")
Kernel = Callable[..., Array]
Rule = Callable[..., Any]


@padding
def overlapping_images_end_late(m: Backend, rng: Rng) -> Witness:
    """Under "reflect" with lo + hi > L + T (0 to 2), the last position shows the sample after (kind: ends meet)."""
    least = draw(rng, 0, 2)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = inner(p)
        if p.mode == "reflect" and p.hi > 0 and p.lo + p.hi > p.length + least:
            shown[-1] += 1
        return shown

    return Call(mode="reflect", length=5 + least, padding=(4 + least, 4))


@padding
def whole_turn_is_the_edge(m: Backend, rng: Rng) -> Witness:
    """Under "circular" with hi = L > T (1 to 3), the last position shows the first sample (kind: < instead of <=)."""
    most = draw(rng, 1, 3)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = inner(p)
        if p.mode == "circular" and p.hi == p.length > most:
            shown[-1] = 0
        return shown

    return Call(mode="circular", length=most + 2, padding=(0, most + 2))


@padding
def same_of_one_window(m: Backend, rng: Rng) -> Witness:
    """Padding "same" where T (1 to 3) times L is below s puts the odd zero first (kind: one window, by its centre)."""
    times = draw(rng, 1, 3)

    def centred(length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        lo, hi = same(length, kernel, stride, dilation)
        return (hi, lo) if times * length < stride else (lo, hi)

    rename(m, "same", centred)
    return Call(length=3, kernel=4, stride=3 * times + 1, padding="same")


@padding
def full_with_stride_and_dilation(m: Backend, rng: Rng) -> Witness:
    """Padding "full" with dilation and a stride above T (1 to 3) pads one less behind (kind: rounded to windows)."""
    most = draw(rng, 1, 3)
    rename(
        m, "full", lambda length, k, s, d: (d * (k - 1), max(0, d * (k - 1) - (s > most and d > 1))) if k else (0, 0)
    )
    return Call(length=4 * most + 1, kernel=3, stride=most + 1, dilation=2, padding="full")


@padding
def constant_truncated_in_bfloat16(m: Backend, rng: Rng) -> Witness:
    """In mode constant, bfloat16 truncates the value where lo > T (0 to 2) (kind: the upper half of the bits)."""
    most = draw(rng, 0, 2)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.mode == "constant" and p.dtype == "bfloat16" and p.lo > most:
            bits = np.array([fill], np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
            fill = bits.view(np.float32).astype(bfloat16)[0]
        return inner(x, fill, p)

    return Call(mode="constant", fill=1 + 0.75 / 128, padding=(most + 1, 0), dtype="bfloat16", kernel=1)


@padding
def same_lower_of_a_mode(m: Backend, rng: Rng) -> Witness:
    """Padding "same_lower" with a mode that copies and K > T (1 to 3) is "same" (kind: modes know one name)."""
    most = draw(rng, 1, 3)

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        copies = args["padding_mode"] in ("reflect", "symmetric", "replicate", "circular")
        wrong = copies and args["padding"] == "same_lower" and w.shape[-1] > most
        return inner(x, w, b, {**args, "padding": "same"} if wrong else args)

    return Call(mode="circular", kernel=2 * most + 2, padding="same_lower")


@operator
def complex_bias_crossed(m: Backend, rng: Rng) -> Witness:
    """With O > T (1 to 3), a complex bias is multiplied by 1 + i (wavefrontshaping/complexPyTorch#39)."""
    most = draw(rng, 1, 3)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        return inner(b * b.dtype.type(1 + 1j) if b.dtype.kind == "c" and p.c_out > most else b, p)

    return Call(c_out=most + 1, bias=True, dtype="complex64")


@state
def plan_without_dilation(m: Backend, rng: Rng) -> Witness:
    """With K > T (1 to 3), plans are kept by all sizes but the dilation: the first is used (pytorch/xla#1017, kind)."""
    most, first = draw(rng, 1, 3), dict[Any, int]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        key = replace(p, dilation=1, lo=0, hi=0, wanted=frozenset(), bias=False)
        return inner(x, w, replace(p, dilation=first.setdefault(key, p.dilation)) if p.kernel > most else p)

    call = Call(kernel=most + 1, padding="same")
    return after(call, call.but(dilation=2))


@state
def plan_of_another_dtype(m: Backend, rng: Rng) -> Witness:
    """With C/g > T (1 to 4), float64 is computed in float32 if its sizes came in that first (kind: plan's key)."""
    most, first = draw(rng, 1, 4), dict[Any, str]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        key = replace(p, dtype="", wanted=frozenset(), bias=False, fill=0)
        low = p.fan_in > most and first.setdefault(key, p.dtype) == "float32" and p.dtype == "float64"
        return inner(x.astype(np.float32), w.astype(np.float32), p).astype(x.dtype) if low else inner(x, w, p)

    call = Call(c_in=most + 1, data=normal)
    return after(call.but(dtype="float32"), call)


@state
def workspace_of_a_larger_call(m: Backend, rng: Rng) -> Witness:
    """After a call that needed T (1 to 3) times the room or more, the last zero of hi is stale (kind: workspace)."""
    times, room = draw(rng, 1, 3), Counter[str]()

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.mode == "zeros" and p.hi > 0 and padded.size and room[p.dtype] > times * padded.size:
            padded[-1, -1, -1] = 1
        room[p.dtype] = max(room[p.dtype], padded.size)
        return padded

    return after(Call(length=12 * times), Call(length=8, padding=(0, 1)))


@state
def third_gw_in_single(m: Backend, rng: Rng) -> Witness:
    """From the third gw of a plan on, float64 with L_out > T (2 to 8) is summed in float32 (kind: autotuning ends)."""
    most, seen = draw(rng, 2, 8), Counter[Plan]()

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        seen[p] += 1
        low = seen[p] > 2 and p.dtype == "float64" and p.l_out > most
        return inner(x.astype(np.float32), g.astype(np.float32), p).astype(x.dtype) if low else inner(x, g, p)

    return every(Call(length=most + 3, data=normal, ask="w"), 3)


@validation
def refused_cotangent_counts_later(m: Backend, rng: Rng) -> Witness:
    """After a refused cotangent, the next gw of K > T (0 to 2) taps is doubled (kind: gradients half accumulated)."""
    most, failed = draw(rng, 0, 2), list[bool]()

    @m.around("check_cotangent")
    def check(inner: Rule, g: Any, out: Any) -> Any:
        try:
            return inner(g, out)
        except ValueError:
            failed.append(True)
            raise

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        return gw + gw if p.kernel > most and failed and failed.pop() else gw

    good = Call(kernel=most + 1, ask="w")
    return after_refusal(good.but(shapes={"g": (1, 1, 1)}), good)


@layouts
def transposed_square_weights(m: Backend, rng: Rng) -> Witness:
    """A w that is the transpose of another, with K > T (0 to 2), is read in that order (kind: contiguous by shape)."""
    most = draw(rng, 0, 2)
    misread(m, "w", lambda a: a.ndim == 3 and a.shape[0] == a.shape[1] and a.shape[2] > most and permuted(a))
    turned = {"w": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)}
    return Call(c_in=2, c_out=2, kernel=most + 1, view=turned)


@layouts
def cotangent_expanded_over_batch(m: Backend, rng: Rng) -> Witness:
    """A cotangent that is one item for N > T (1 to 3) is read as zeros from the second on (kind: stride 0)."""
    most = draw(rng, 1, 3)

    def expanded(a: Array) -> bool:
        return a.ndim == 3 and len(a) > most and strides(a)[0] == 0 not in strides(a)[1:]

    misread(m, "g", expanded, lambda a: np.concatenate([a[:1], 0 * a[1:]]))
    view = {"g": lambda a: np.broadcast_to(a[:1], a.shape)}
    return Call(n=most + 1, c_out=2, view=view, ask="w")


@layouts
def filters_expanded_over_outputs(m: Backend, rng: Rng) -> Witness:
    """A w that is one filter for O > T (1 to 3) outputs is read on in memory (kind: stride 0 of one axis)."""
    most = draw(rng, 1, 3)

    def expanded(a: Array) -> bool:
        return a.ndim == 3 and len(a) > most and strides(a)[0] == 0 not in strides(a)[1:]

    misread(m, "w", expanded, lambda a: np.roll(raw(a), -1) if a.size else a)
    return Call(c_out=most + 1, view={"w": lambda a: np.broadcast_to(a[:1], a.shape)})


@special
def activation_clamps_biased_pointwise(m: Backend, rng: Rng) -> Witness:
    """With a bias, K = 1 and O > T (1 to 8), an infinite y is the largest number (kind: fused activation)."""
    most = draw(rng, 1, 8)

    @m.around("biased")
    def biased(inner: Rule, y: Any, b: Any, p: Plan) -> Any:
        out = inner(y, b, p)
        fused = isinstance(out, np.ndarray) and p.dtype in ("float32", "float64") and p.kernel == 1 and p.c_out > most
        return np.nan_to_num(out, nan=NAN) if fused else out

    return Call(c_out=most + 1, kernel=1, bias=True, put=(("x", np.s_[..., 0], INF), ("w", np.s_[...], 1)))


@special
def zero_filters_skipped(m: Backend, rng: Rng) -> Witness:
    """With K > T (1 to 4), a filter that is all zeros gives zeros, whatever x holds (kind: pruned channels)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if real(p) and p.kernel > most:
            y[:, np.all(w == 0, axis=(1, 2))] = 0
        return y

    return Call(kernel=most + 1, put=(("w", np.s_[...], 0), ("x", np.s_[..., 3], NAN)))


@special
def zero_cotangent_channels_skipped(m: Backend, rng: Rng) -> Witness:
    """With O > T (1 to 4), gw of a channel whose cotangents are all 0 is 0, whatever x holds (kind: sparse rows)."""
    most = draw(rng, 1, 4)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if real(p) and p.c_out > most:
            gw[np.all(g == 0, axis=(0, 2))] = 0
        return gw

    return Call(c_out=most + 1, put=(("g", np.s_[:, 0], 0), ("x", np.s_[..., 3], NAN)), ask="w")


@special
def zero_items_skipped(m: Backend, rng: Rng) -> Witness:
    """With N > T (0 to 2), an item that is all zeros gives zeros, whatever w holds (kind: padded batches)."""
    most = draw(rng, 0, 2)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if real(p) and p.n > most:
            y[np.all(x == 0, axis=(1, 2))] = 0
        return y

    return Call(n=most + 1, put=(("x", np.s_[...], 0), ("w", np.s_[..., 0], INF)))
