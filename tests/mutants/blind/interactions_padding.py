"""Faults of padding that need a mode or a name beside a dilation, groups, a dtype, a view, or a special value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, finite, shape_only
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("padding")
special = chapter("special values")
layouts = chapter("layouts")
validation = chapter("validation")
Kernel = Callable[..., Array]


@mutant
def reflected_later_groups_repeat_the_edge(m: Backend, rng: Rng) -> Witness:
    """reflect, d > 1, groups: all groups but the first are padded as by symmetric (kind: base pointer of a group)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.mode == "reflect" and p.dilation > 1 and p.groups > 1:
            padded[:, p.fan_in :] = inner(x, fill, replace(p, mode="symmetric"))[:, p.fan_in :]
        return padded

    groups = draw(rng, 2, 3)
    return Call(c_in=groups, c_out=groups, groups=groups, dilation=draw(rng, 2, 3), padding=(2, 1), mode="reflect")


@mutant
def circular_end_copied_from_the_padded_start(m: Backend, rng: Rng) -> Witness:
    """circular, span > L, lo > 0: the end is filled from xp[0] on, not from x[0] on (kind: wrap done in place)."""

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = np.array(inner(p))
        if p.mode == "circular" and p.span > p.length and p.lo and p.hi:
            shown[p.lo + p.length :] = shown[: p.hi]
        return shown

    length = draw(rng, 4, 7)
    return Call(length=length, kernel=length + 1, padding=(2, length - 1), mode="circular")


@mutant
def causal_depthwise_history_of_the_item_before(m: Backend, rng: Rng) -> Witness:
    """causal, depthwise, N > 1: an item's past is the end of the item before it (kind: ring buffer not cleared)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.padding == "causal" and p.depthwise and p.n > 1 and p.mode == "zeros":
            past = min(p.lo, p.length)
            padded[1:, :, p.lo - past : p.lo] = x[:-1, :, p.length - past :]
        return padded

    return Call(n=2, c_in=2, c_out=2, groups=2, kernel=draw(rng, 2, 4), padding="causal")


@mutant
def wide_integers_replicated_by_bytes(m: Backend, rng: Rng) -> Witness:
    """Integers past 8 bits, replicate, a pad of T or more (4, 8): the edge's low byte fills all (kind: memset)."""
    least = pick(rng, (4, 8))

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.mode == "replicate" and x.dtype.kind in "iu" and x.dtype.itemsize > 1:
            for width, side in ((p.lo, np.s_[: p.lo]), (p.hi, np.s_[p.padded - p.hi :])):
                if width >= least:
                    padded[:, :, side] = _by_bytes(padded[:, :, side])
        return padded

    dtype = ("int16", "int32", "int64")[draw(rng, 0, 2)]
    return Call(padding=(least, 1), mode="replicate", dtype=dtype)


@special
def dilated_fill_touched_by_the_edge(m: Backend, rng: Rng) -> Witness:
    """constant, d > 1: the fill is value + 0 * the edge sample, NaN beside what is not finite (kind: mask by 0)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.mode == "constant" and p.dilation > 1 and p.length and not finite(x):
            padded[:, :, : p.lo] += 0 * x[:, :, :1]
            padded[:, :, p.lo + p.length :] += 0 * x[:, :, -1:]
        return padded

    put = (("x", (0, 0, 0), (np.nan, np.inf)[draw(rng, 0, 1)]),)
    return Call(length=9, dilation=draw(rng, 2, 3), padding=(1, 0), mode="constant", fill=draw(rng, 1, 5), put=put)


@layouts
def reversed_view_padded_from_memory(m: Backend, rng: Rng) -> Witness:
    """X reversed along L, a copying mode: the pads are those of x in the order of memory (kind: stride of a pad)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if x.strides[2] < 0 and p.mode in COPYING:
            other = inner(x[:, :, ::-1], fill, p)
            padded[:, :, : p.lo] = other[:, :, : p.lo]
            padded[:, :, p.lo + p.length :] = other[:, :, p.lo + p.length :]
        return padded

    view = {"x": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1]}
    return Call(c_in=2, padding=(2, 1), mode=COPYING[draw(rng, 0, 3)], view=view)


@validation
def circular_domain_unchecked_without_data(m: Backend, rng: Rng) -> Witness:
    """eval_shape takes circular padding beyond one turn, which the call itself refuses (kind: check in the kernel)."""
    inside = shape_only(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if inside and args["padding_mode"] == "circular":
            args = {**args, "padding_mode": "zeros"}
        return inner(x, w, b, args)

    over = draw(rng, 1, 3)

    def probe(backend: Backend) -> Any:
        x, w = np.zeros((1, 1, 4)), np.zeros((1, 1, 3))
        return backend.eval_shape(
            lambda x, w: backend.conv1d(x, w, padding=(4 + over, 0), padding_mode="circular"), (x, w)
        )

    return probe


@validation
def dilation_unchecked_for_named_pointwise(m: Backend, rng: Rng) -> Witness:
    """K = 1 under same, same_lower, causal or full: a dilation below 1 is taken (kind: check where pads are found)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        pointwise = len(w.shape) == 3 and w.shape[2] == 1
        named = args["padding"] in ("same", "same_lower", "causal", "full")
        if pointwise and named and isinstance(args["dilation"], int) and args["dilation"] < 1:
            args = {**args, "dilation": 1}
        return inner(x, w, b, args)

    name = ("same", "same_lower", "causal", "full")[draw(rng, 0, 3)]
    return Call(kernel=1, padding=name, raw={"dilation": 0})


def _by_bytes(a: Array) -> Array:
    """Return each integer with all its bytes like its lowest."""
    low = (np.ascontiguousarray(a).astype(np.int64) & 0xFF).astype(np.uint8)
    return np.repeat(low, a.dtype.itemsize, axis=-1).reshape(*a.shape, a.dtype.itemsize).view(a.dtype)[..., 0]
