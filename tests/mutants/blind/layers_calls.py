"""Faults above the kernels: shapes without data, layers, padding modes, dtypes and checks of operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import at_door, shape_only
from tests.mutants.compiled import without_data
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.tape import Tracer
from tests.mutants.witness import Call, Witness, after_refusal

operator, shapes, padding = chapter("operator"), chapter("shapes"), chapter("padding")
validation, surfaces = chapter("validation"), chapter("surfaces")
Kernel = Callable[..., Any]
COPYING = ("reflect", "symmetric", "replicate", "circular")

# -- shapes without data ----------------------------------------------------------------------------------------------


@shapes
def shape_only_bias_unchecked(m: Backend, rng: Rng) -> Witness:
    """Without data, a bias of shape (1,) passes where O >= T (2 to 4) (kind: a meta kernel's checks)."""
    least, active = draw(rng, 2, 4), shape_only(m)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        if active and b is not None and tuple(b.shape) == (1,) and w.shape[0] >= least:
            b = np.zeros(w.shape[0], b.dtype)
        return inner(x, w, b, args)

    return without_data(Call(c_out=least, bias=True, shapes={"b": (1,)}))


@shapes
def shape_only_divides_like_c(m: Backend, rng: Rng) -> Witness:
    """Without data, with s >= T (2, 3), an input less than s too short has L_out = 1 (kind: meta kernel in C)."""
    least, active = draw(rng, 2, 3), shape_only(m)

    @m.around("out_length")
    def out_length(inner: Kernel, length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> int:
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        if active and stride >= least and -stride < slack < 0:
            return 1
        return inner(length, kernel, stride, dilation, lo, hi)

    return without_data(Call(length=4, kernel=5, stride=least))


@shapes
def shape_only_stride_of_32_bits(m: Backend, rng: Rng) -> Witness:
    """Without data, a stride of 2^32 + T (1 to 3) is T (kind: an attribute of 32 bits)."""
    rest, active = draw(rng, 1, 3), shape_only(m)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        stride = args["stride"]
        if active and isinstance(stride, int) and stride > 2**32:
            args = {**args, "stride": stride % 2**32 or 1}
        return inner(x, w, b, args)

    return without_data(Call(length=10, raw={"stride": 2**32 + rest}))


@shapes
def shape_only_mixed_bias(m: Backend, rng: Rng) -> Witness:
    """Without data, a bias of a wider floating dtype than x and w passes, L >= T (4 to 8) (kind: promotion)."""
    least, active = draw(rng, 4, 8), shape_only(m)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        wider = b is not None and b.dtype.kind == "f" and b.dtype.itemsize > x.dtype.itemsize
        if active and wider and x.dtype == w.dtype and x.shape[-1] >= least:
            b = b.astype(x.dtype)
        return inner(x, w, b, args)

    return without_data(Call(dtype="float16", dtypes={"b": "float32"}, bias=True))


# -- layers -----------------------------------------------------------------------------------------------------------


@surfaces
def layer_adds_bias_along_length(m: Backend, rng: Rng) -> Witness:
    """On the surface `layer`, where O = L_out >= T (2 to 4), b is added along the length (kind: y + b broadcasts)."""
    least = draw(rng, 2, 4)

    def layer(x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = m.conv1d(x, w, b, **given)
        if b is None or not y.shape[1] == y.shape[2] >= least:
            return y
        shape = tuple(y.shape)
        row = tape.linear(lambda a: np.array(np.broadcast_to(a, shape)), lambda g: g.sum(axis=(0, 1)), b)
        return tape.add(m.conv1d(x, w, None, **given), row)

    m.surface["layer"] = layer
    return at_door("layer", Call(c_out=least, length=least + 2, bias=True))


@surfaces
def layer_same_is_lower_in_modes(m: Backend, rng: Rng) -> Witness:
    """On the surface `layer`, `same`, even K, a copying mode, d <= T (1, 2): the odd sample is before (kind: side)."""
    most = draw(rng, 1, 2)

    def layer(x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = m.conv1d(x, w, b, **given)
        lower = given.get("padding") == "same" and given.get("padding_mode") in COPYING
        if lower and w.shape[2] % 2 == 0 and given.get("dilation", 1) <= most:
            return m.conv1d(x, w, b, **{**given, "padding": "same_lower"})
        return y

    m.surface["layer"] = layer
    return at_door("layer", Call(kernel=4, padding="same", mode="reflect"))


# -- modes and dtypes -------------------------------------------------------------------------------------------------


@operator
def complex_images_conjugated(m: Backend, rng: Rng) -> Witness:
    """Complex samples that a copying mode repeats are conjugated, with s >= T (2, 3) (kind: a view's conjugate bit)."""
    least = draw(rng, 2, 3)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        if xp.dtype.kind == "c" and p.mode in COPYING and p.stride >= least:
            xp[:, :, : p.lo] = xp[:, :, : p.lo].conj()
            xp[:, :, p.lo + p.length :] = xp[:, :, p.lo + p.length :].conj()
        return xp

    return Call(dtype="complex64", stride=least, padding=(2, 2), mode="circular")


@padding
def symmetric_widest_off_by_one(m: Backend, rng: Rng) -> Witness:
    """In symmetric with lo = L >= 2 and d >= T (2, 3), the outermost position shows x[L-2] (kind: last mirror)."""
    least = draw(rng, 2, 3)
    m.edit(
        "sources",
        lambda p: p.mode == "symmetric" and p.lo == p.length >= 2 and p.dilation >= least,
        lambda shown, p: clear(shown, 0, p.length - 2),
    )
    return Call(length=5, dilation=least, padding=(5, 2), mode="symmetric")


@padding
def fill_in_imaginary_part(m: Backend, rng: Rng) -> Witness:
    """In mode constant, complex and with lo > T (0 to 2), the fill is in the imaginary part too (kind: a real fill)."""
    least = draw(rng, 0, 2)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        both = x.dtype.kind == "c" and p.mode == "constant" and p.lo > least
        return inner(x, complex(fill) * (1 + 1j) if both else fill, p)

    return Call(dtype="complex128", padding=(least + 1, 0), mode="constant", fill=2)


@padding
def circular_right_domain_unchecked(m: Backend, rng: Rng) -> Witness:
    """In circular with lo = 0, s >= T (1, 2), hi > L >= 1, a second turn is computed, not refused (kind: check)."""
    least = draw(rng, 1, 2)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        pads, length = args["padding"], x.shape[-1]
        if args["padding_mode"] == "circular" and isinstance(pads, tuple) and len(pads) == 2 and length:
            far = pads[0] == 0 and isinstance(pads[1], int) and length < pads[1] <= 2 * length
            if far and args["stride"] >= least:
                x, w, b, p = inner(x, w, b, {**args, "padding": (0, length)})
                l_out = m.out_length(p.length, p.kernel, p.stride, p.dilation, 0, pads[1])
                return x, w, b, replace(p, hi=pads[1], l_out=l_out)
        return inner(x, w, b, args)

    @m.around("sources")
    def sources(inner: Kernel, p: Plan) -> Array:
        return inner(p) % p.length if p.mode == "circular" and p.hi > p.length > 0 else inner(p)

    return Call(length=4, stride=least, padding=(0, 6), mode="circular")


# -- validation -------------------------------------------------------------------------------------------------------


@validation
def wide_bias_accepted_for_gw(m: Backend, rng: Rng) -> Witness:
    """Where w alone is differentiated, O >= T (1, 2), a bias of another floating dtype is cast (kind: autocast)."""
    least = draw(rng, 1, 2)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        frozen = isinstance(w, Tracer) and isinstance(x, np.ndarray) and isinstance(b, np.ndarray)
        if frozen and b.dtype.kind == "f" and w.shape[0] >= least:
            b = b.astype(x.dtype)
        return inner(x, w, b, args)

    return Call(c_out=2, dtype="float32", dtypes={"b": "float64"}, bias=True, ask="w")


@validation
def signedness_ignored(m: Backend, rng: Rng) -> Witness:
    """An unsigned x with a signed w of the same width passes, where K >= T (1 to 3) (kind: dtypes compared by size)."""
    least = draw(rng, 1, 3)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        alike = x.dtype.kind == "u" and w.dtype.kind == "i" and x.dtype.itemsize == w.dtype.itemsize
        if alike and isinstance(w, np.ndarray) and w.shape[-1] >= least:
            w = w.astype(x.dtype)
        return inner(x, w, b, args)

    return Call(dtype="uint8", dtypes={"w": "int8"})


@validation
def cotangent_broadcast_over_batch(m: Backend, rng: Rng) -> Witness:
    """A cotangent of shape (1, O, L_out) passes where N >= T (2, 3) and L_out > 1 (kind: broadcasting)."""
    least = draw(rng, 2, 3)

    @m.around("check_cotangent")
    def check_cotangent(inner: Kernel, cotangent: Any, out: Any) -> Any:
        want, have = tuple(out.shape), tuple(cotangent.shape)
        if len(want) == 3 and want[0] >= least and want[2] > 1 and have == (1, *want[1:]):
            cotangent = np.array(np.broadcast_to(cotangent, want))
        return inner(cotangent, out)

    return Call(n=least, shapes={"g": (1, 1, 6)}, ask="w")


@validation
def float_dilation_is_default(m: Backend, rng: Rng) -> Witness:
    """A dilation that is an integral float, T (2, 3) or more, is taken for 1 (kind: isinstance, else default)."""
    least = draw(rng, 2, 3)

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        d = args["dilation"]
        if isinstance(d, float) and d.is_integer() and d >= least:
            args = {**args, "dilation": 1}
        return inner(x, w, b, args)

    return Call(length=12, raw={"dilation": float(least)})


@validation
def empty_kernel_in_groups(m: Backend, rng: Rng) -> Witness:
    """K = 0 with g >= T (2, 3) groups and without bias gives zeros of length L (kind: check of the dense path only)."""
    least = draw(rng, 2, 3)

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        g = given.get("groups", 1)
        if len(w.shape) == len(x.shape) == 3 and w.shape[2] == 0 and b is None and isinstance(g, int) and g >= least:
            return np.zeros((x.shape[0], w.shape[0], x.shape[2]), x.dtype)
        return inner(x, w, b, **given)

    return Call(c_in=least, c_out=least, groups=least, shapes={"w": (least, 1, 0)})


@validation
def refused_mode_stays(m: Backend, rng: Rng) -> Witness:
    """After a call refused in a copying mode, the next with zeros, lo >= T (1, 2), uses it (kind: stale state)."""
    least = draw(rng, 1, 2)
    left: list[str] = []

    @m.around("accept")
    def accept(inner: Kernel, x: Any, w: Any, b: Any, args: Any) -> Any:
        mode = left.pop() if left else None
        try:
            found = inner(x, w, b, args)
        except Exception:
            if args["padding_mode"] in COPYING:
                left.append(args["padding_mode"])
            raise
        p = found[3]
        if mode and p.mode == "zeros" and p.lo >= least and max(p.lo, p.hi) < p.length:
            return *found[:3], replace(p, mode=mode)
        return found

    return after_refusal(Call(length=3, padding=(4, 0), mode="reflect"), Call(padding=(least, 1)))
