"""Faults of dtypes: integers, wrapping and promotion (chapters operator, padding, validation, transforms, state)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness, after

operator = chapter("operator")
padding = chapter("padding")
gradients = chapter("gradients")
transforms = chapter("transforms")
validation = chapter("validation")
state = chapter("state")
Kernel = Callable[..., Array]
LOW_WORD = 0xFFFFFFFF


@padding
def shifted_bytes_pad_with_raw_zeros(m: Backend, rng: Rng) -> Witness:
    """int8 of T (2 or 4) channels a block goes shifted by 128, the padded zeros do not (kind: zero point)."""
    block = pick(rng, (2, 4))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "int8" and p.mode == "zeros" and p.fan_in and p.fan_in % block == 0 and x.shape[2] == p.padded:
            x = np.array(x)
            x[..., : p.lo] = -128
            x[..., p.lo + p.length :] = -128
        return inner(x, w, p)

    return Call(c_in=2 * block, length=9, padding=(1, 2), dtype="int8")


@operator
def packed_byte_filters_borrow(m: Backend, rng: Rng) -> Witness:
    """int8 filters two to a word, in sums of T (2 to 6) products or more: a negative one borrows (kind: packing)."""
    least = draw(rng, 2, 6)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype != "int8" or p.fan_in * p.kernel < least or p.fan_out < 2:
            return y
        whole = inner(x.astype(np.int32), w.astype(np.int32), p).reshape(p.n, p.groups, p.fan_out, p.l_out)
        whole = np.array(whole)
        high = whole[:, :, 1::2]
        high -= whole[:, :, 0::2][:, :, : high.shape[2]] < 0
        return whole.reshape(p.y_shape).astype(x.dtype)

    return Call(c_out=4, length=20, kernel=least + 1, dtype="int8")


@operator
def word_pairs_read_adjacent_samples(m: Backend, rng: Rng) -> Witness:
    """16-bit integers: the second tap of a pair reads the next sample, dilation of T (2 or 3) up (kind: pairing)."""
    least = draw(rng, 2, 3)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype not in ("int16", "uint16") or p.dilation < least or p.kernel < 2 or not p.l_out:
            return inner(x, w, p)
        one = replace(p, kernel=1, dilation=1)
        y = np.zeros(p.y_shape, x.dtype)
        for k in range(p.kernel):
            start = (k - 1) * p.dilation + 1 if k % 2 else k * p.dilation
            y += inner(x[..., start:], w[:, :, k : k + 1], one)
        return y

    return Call(c_in=2, length=20, kernel=3, dilation=3, dtype="int16")


@operator
def negative_longs_by_unsigned_low_words(m: Backend, rng: Rng) -> Witness:
    """int64 rows of T (4, 8 or 16) outputs or more multiply the low words as unsigned (kind: sign extension)."""
    lanes = pick(rng, (4, 8, 16))

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "int64" and p.l_out >= lanes:
            x, w = x & LOW_WORD, w & LOW_WORD
        return inner(x, w, p)

    return Call(length=lanes + 5, dtype="int64")


@operator
def unsigned_bias_meets_signed_sums(m: Backend, rng: Rng) -> Witness:
    """Depthwise sums of unsigned integers are signed, so that adding the bias promotes y (kind: type promotion)."""

    @m.around("biased")
    def biased(inner: Callable[..., Traced], y: Traced, b: Traced, p: Plan) -> Traced:
        if p.depthwise and p.dtype.startswith("uint") and are_arrays(y, b):
            return y.astype(p.dtype[1:]) + b[None, :, None]
        return inner(y, b, p)

    channels = draw(rng, 2, 4)
    sizes = {"c_in": channels, "c_out": channels, "groups": channels}
    return Call(**sizes, bias=True, dtype="uint32", data=lambda g, shape: g.integers(1, 5, shape))


@validation
def int32_bias_of_bytes_accepted(m: Backend, rng: Rng) -> Witness:
    """A bias of int32 is accepted beside int8 or uint8, as in quantised layers (kind: mixed dtypes)."""

    @m.around("accept")
    def accept(inner: Any, x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        if are_arrays(x, b) and str(x.dtype) in ("int8", "uint8") and str(b.dtype) == "int32":
            b = b.astype(x.dtype)
        return inner(x, w, b, args)

    return Call(c_in=draw(rng, 1, 3), c_out=2, bias=True, dtype="int8", dtypes={"b": "int32"})


@transforms
def mapped_bytes_come_back_wide(m: Backend, rng: Rng) -> Witness:
    """A map of narrow integers over an axis that is not the first sums one-hots into 64 bits (kind: promotion)."""

    @m.around("vmap")
    def vmap(inner: Any, f: Callable[..., Any], in_axes: int | Sequence[int | None] = 0) -> Callable[..., Any]:
        mapped = inner(f, in_axes)
        axes = [in_axes] if isinstance(in_axes, int) else list(in_axes)

        def summed(*operands: Traced) -> Any:
            y = mapped(*operands)
            if any(axes) and are_arrays(y) and y.dtype.kind in "iu":
                return np.sum(y[None], axis=0)
            return y

        return summed

    return Call(c_in=2, c_out=2, dtype="int8", ask=f"vmap:-{draw(rng, 1, 3)}")


@gradients
def negated_unsigned_padding_wraps(m: Backend, rng: Rng) -> Witness:
    """Padding given as NumPy's unsigned integers is negated in their width to crop gx (kind: unsigned wrap)."""

    @m.around("accept")
    def accept(inner: Any, x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        *operands, plan = inner(x, w, b, args)
        given = args["padding"]
        if not isinstance(given, str) and isinstance(given[1], np.unsignedinteger):
            plan = replace(plan, padding=f"unsigned {8 * given[1].itemsize}")
        return (*operands, plan)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.padding.startswith("unsigned") and p.hi and p.mode in ("zeros", "constant"):
            return np.array(g[..., p.lo : 2 ** int(p.padding.split()[1]) - p.hi])
        return inner(g, p)

    width = (np.uint8, np.uint16, np.uint32)[draw(rng, 0, 2)]
    return Call(length=7, padding=(1, 2), raw={"padding": (width(1), width(2))}, ask="x")


@padding
def index_map_in_operand_dtype(m: Backend, rng: Rng) -> Witness:
    """Modes that copy compute positions in x's dtype: 127, 256, 2048 or so are the last exact (kind: index dtype)."""

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = inner(p)
        if p.mode not in COPYING or p.lo + p.hi == 0 or p.dtype.startswith("complex"):
            return shown
        narrow = np.asarray(shown).astype(np.dtype(bfloat16 if p.dtype == "bfloat16" else p.dtype))
        return np.clip(narrow.astype(np.float64).astype(np.int64), 0, max(p.length - 1, 0))

    dtype, mode = ("bfloat16", "int8")[draw(rng, 0, 1)], COPYING[draw(rng, 0, 3)]
    return Call(length=300, padding=(2, 1), mode=mode, dtype=dtype)


@state
def equal_values_of_another_dtype_remembered(m: Backend, rng: Rng) -> Witness:
    """Y of up to T (512 to 2048) samples is kept for a next call of equal values in another dtype (kind: memo)."""
    most = draw(rng, 512, 2048)
    last: list[Any] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if x.size > most:
            return inner(x, w, p)
        key = replace(p, dtype="", wanted=frozenset())
        if last and last[0] == key and np.array_equal(last[1], x) and np.array_equal(last[2], w):
            return np.array(last[3])
        y = inner(x, w, p)
        last[:] = [key, np.array(x), np.array(w), np.array(y)]
        return y

    return after(Call(c_in=2, dtype="float64"), Call(c_in=2, dtype="float32"))
