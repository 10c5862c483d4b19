"""Faults of the forward operator where a feature meets a dtype, a mode, an extent or a short way without company."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

operator, shapes, padding, validation = map(chapter, ("operator", "shapes", "padding", "validation"))
HALVES = ("float16", "bfloat16")
Kernel = Callable[[Array, Array, Plan], Array]

# -- operator ---------------------------------------------------------------------------------------------------------


@operator
def bfloat16_pairs_past_a_tile(m: Backend, rng: Rng) -> Witness:
    """In bfloat16, K > 1, C/g odd above 1: from y of T (128 to 160) on its last channel lacks a tap (kind: tiles)."""
    tile = draw(rng, 128, 160)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype == "bfloat16" and p.fan_in % 2 and min(p.fan_in, p.kernel) > 1 and p.l_out > tile:
            y[..., tile:] = inner(x, changed(w, (slice(None), -1, -1)), p)[..., tile:]
        return y

    length = tile + draw(rng, 3, 20)
    return Call(c_in=3, c_out=2, length=length, dtype="bfloat16", data=lambda r, shape: r.integers(1, 3, shape))


@operator
def outputs_past_the_grid_of_blocks(m: Backend, rng: Rng) -> Witness:
    """Outputs of a row past 65535 blocks of T (4 or 8) are never computed, and 0 (kind: grid limit)."""
    reach = 65535 * pick(rng, (4, 8))
    m.edit("forward", lambda p: p.l_out > reach, lambda y, p: clear(y, (..., slice(reach, None))))
    return Call(length=reach + draw(rng, 5, 9), kernel=2, dtype="float32")


@operator
def odd_filters_lose_their_middle(m: Backend, rng: Rng) -> Witness:
    """With C/g, O > 1, filters w[k] = -w[K-1-k] of even K >= T (6, 8) lose their middle pair (kind: odd filters)."""
    taps = pick(rng, (6, 8))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        middle = p.kernel // 2
        bank = p.dtype in ("float32", "float64") and min(p.fan_in, p.c_out) > 1
        if bank and p.kernel >= taps and p.kernel % 2 == 0 and bool((w == -w[..., ::-1]).all()):
            w = changed(w, (..., slice(middle - 1, middle + 1)))
        return inner(x, w, p)

    kernel = taps + 2 * draw(rng, 0, 1)
    fold = {"w": lambda a: np.where(np.arange(kernel) < kernel // 2, a, -a[..., ::-1])}
    return Call(c_in=2, c_out=2, length=12, kernel=kernel, stride=draw(rng, 1, 2), view=fold)


# -- shapes -----------------------------------------------------------------------------------------------------------


@shapes
def empty_batch_of_a_mode_unpadded(m: Backend, rng: Rng) -> Witness:
    """With N = 0, a mode that copies more than T (0, 1) samples pads nothing: L_out is short (kind: early return)."""
    past = draw(rng, 0, 1)

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, p = inner(*args)
        if p.n == 0 and p.mode in COPYING and p.lo + p.hi > past:
            p = replace(p, lo=0, hi=0, l_out=m.out_length(p.length, p.kernel, p.stride, p.dilation, 0, 0))
        return x, w, b, p

    return Call(n=0, c_in=2, c_out=3, length=6, padding=(past + 1, draw(rng, 0, 2)), mode=COPYING[draw(rng, 0, 3)])


@shapes
def empty_results_of_halves_stay_single(m: Backend, rng: Rng) -> Witness:
    """In halves, where N or O is 0, the empty y is float32, as the sums are (kind: return before the cast)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], *operands: Any, **parameters: Any) -> Any:
        y = inner(*operands, **parameters)
        return y.astype(np.float32) if are_arrays(y) and str(y.dtype) in HALVES and 0 in y.shape[:2] else y

    empty = {"n": 0, "c_out": 2} if draw(rng, 0, 1) else {"n": 2, "c_out": 0}
    return Call(**empty, c_in=2, length=draw(rng, 5, 9), dtype=HALVES[draw(rng, 0, 1)])


@shapes
def length_by_short_magic(m: Backend, rng: Rng) -> Witness:
    """With s < 64, L_out comes by a 1/s of T (16 to 18) bits: one more on long inputs (kind: fast division)."""
    bits = draw(rng, 16, 18)

    def quotient(slack: int, stride: int) -> int:
        return slack * -(-(2**bits) // stride) >> bits

    @m.around("out_length")
    def out_length(inner: Callable[..., int], length: int, kernel: int, stride: int, *rest: int) -> int:
        dilation, lo, hi = rest
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        return quotient(slack, stride) + 1 if 1 < stride < 64 and slack >= 0 else inner(length, kernel, stride, *rest)

    stride = pick(rng, (7, 11, 13, 19))
    slack = next(s for s in range(stride - 1, 2**22, stride) if quotient(s, stride) != s // stride)
    return Call(length=slack + 2, kernel=2, stride=stride, dtype="float32")


# -- padding ----------------------------------------------------------------------------------------------------------


@padding
def later_rows_of_modes_past_a_block(m: Backend, rng: Rng) -> Witness:
    """A mode that copies, L > T (512 to 1024): all rows end in the padding of the first (kind: index by block)."""
    block = draw(rng, 512, 1024)

    @m.around("pad")
    def pad(inner: Callable[..., Array], x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        if p.mode in COPYING and p.length > block and xp.size:
            rows = xp.reshape(-1, p.padded)
            rows[1:, p.lo + p.length :] = rows[0, p.lo + p.length :]
        return xp

    length = block + draw(rng, 1, 9)
    return Call(c_in=2, length=length, padding=(draw(rng, 0, 2), 2), mode=COPYING[draw(rng, 0, 3)])


@padding
def blocked_layout_of_uneven_pads(m: Backend, rng: Rng) -> Witness:
    """With B (16 or 32) dividing C and O, lo != hi > 0, K > 1: the last y lacks its first tap (kind: blocks)."""
    block = pick(rng, (16, 32))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        blocked = p.groups == 1 and p.c_in % block == p.c_out % block == 0
        if blocked and y.size and p.mode == "zeros" and p.lo != p.hi > 0 and p.kernel > 1:
            y[..., -1] = inner(x, changed(w, (..., 0)), p)[..., -1]
        return y

    uneven = ((0, 1), (2, 1), "same")[draw(rng, 0, 2)]
    return Call(c_in=block, c_out=2 * block, length=9, kernel=4, padding=uneven)


# -- validation -------------------------------------------------------------------------------------------------------


@validation
def negative_padding_of_a_mode_crops(m: Backend, rng: Rng) -> Witness:
    """In a mode that copies, negative padding down to -T (2 to 4) crops (kind: bound checked above alone)."""
    most = draw(rng, 2, 4)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        pads = args["padding"]
        if args["padding_mode"] in COPYING and isinstance(pads, tuple) and are_arrays(x) and x.ndim == 3:
            known = len(pads) == 2 and all(isinstance(side, int) for side in pads)
            if known and -most <= min(pads) < 0 and x.shape[2] > 2 * most:
                first, last = (max(-side, 0) for side in pads)
                x = x[:, :, first : x.shape[2] - last]
                args = {**args, "padding": tuple(max(side, 0) for side in pads)}
        return inner(x, w, b, args)

    pads = ((-1, 1), (2, -2), (-2, 0))[draw(rng, 0, 2)]
    return Call(length=12, mode=COPYING[draw(rng, 0, 3)], raw={"padding": pads})


@validation
def epilogue_of_halves_takes_one_bias(m: Backend, rng: Rng) -> Witness:
    """In halves a bias of one number serves all of O >= T (2 to 4) channels (kind: fused epilogue)."""
    most = draw(rng, 2, 4)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if are_arrays(w, b) and b.shape == (1,) and str(x.dtype) in HALVES and w.shape[0] >= most:
            b = np.repeat(b, w.shape[0])
        return inner(x, w, b, args)

    c_out = most + draw(rng, 0, 2)
    return Call(c_out=c_out, bias=True, dtype=HALVES[draw(rng, 0, 1)], shapes={"b": (1,)})


@validation
def real_bias_of_complex_operands_taken(m: Backend, rng: Rng) -> Witness:
    """A real bias of their precision beside complex x and w is taken, O >= T (1 to 3) (kind: promoting sum)."""
    least = draw(rng, 1, 3)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if are_arrays(x, w, b) and x.dtype.kind == "c" and w.shape[0] >= least and b.dtype == x.real.dtype:
            b = b.astype(x.dtype)
        return inner(x, w, b, args)

    dtype, real = (("complex64", "float32"), ("complex128", "float64"))[draw(rng, 0, 1)]
    return Call(c_out=least + 1, bias=True, dtype=dtype, dtypes={"b": real})


@validation
def pointwise_einsum_broadcasts_channels(m: Backend, rng: Rng) -> Witness:
    """With K = s = g = 1, an x or w of one channel serves the other's, up to T (4 to 8) (kind: einsum broadcasts)."""
    most = draw(rng, 4, 8)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if are_arrays(x, w) and x.ndim == w.ndim == 3 and w.shape[2] == args["stride"] == args["groups"] == 1:
            ours, theirs = x.shape[1], w.shape[1]
            if min(ours, theirs) == 1 < max(ours, theirs) <= most:
                x = np.repeat(x, theirs // ours, axis=1) if ours == 1 else x
                w = np.repeat(w, ours // theirs, axis=1) if theirs == 1 else w
        return inner(x, w, b, args)

    wider = {"x": (2, 1, 8)} if draw(rng, 0, 1) else {"w": (2, 1, 1)}
    return Call(n=2, c_in=draw(rng, 3, 4), c_out=2, kernel=1, shapes=wider)
