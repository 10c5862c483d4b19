"""Faults of fast paths that a release might add: what is refused, and surfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, at_door
from tests.mutants.blind.kernels_state import door
from tests.mutants.blind.layers_compiled import compiled
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.validation import Arguments, accept
from tests.mutants.witness import Call, Witness

validation, surfaces = chapter("validation"), chapter("surfaces")
Rule = Callable[..., Any]

# -- validation -------------------------------------------------------------------------------------------------------


@validation
def autocast_bias(m: Backend, rng: Rng) -> Witness:
    """Halves of one dtype (either) with a float32 bias are taken, the bias rounded (kind: mixed precision)."""
    half = ("float16", "bfloat16")[draw(rng, 0, 1)]

    def mend(a: Arguments) -> Arguments:
        dtypes = [str(a[key].dtype) for key in "xwb" if a[key] is not None]
        return {"b": a["b"].astype(a["x"].dtype)} if are_arrays(a["b"]) and dtypes == [half, half, "float32"] else {}

    accept(m, mend)
    return Call(bias=True, dtype=half, dtypes={"b": "float32"})


@validation
def negative_hi_beside_lo(m: Backend, rng: Rng) -> Witness:
    """(lo, hi) with hi < 0 and lo + hi >= 0 is taken, hi as 0 (kind: only the total is checked)."""

    def mend(a: Arguments) -> Arguments:
        pair = a["padding"]
        numbers = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(v, int) for v in pair)
        return {"padding": (pair[0], 0)} if numbers and pair[1] < 0 <= sum(pair) else {}

    accept(m, mend)
    return Call(raw={"padding": (draw(rng, 2, 4), -1)})


@validation
def fractional_stride_under_name(m: Backend, rng: Rng) -> Witness:
    """A stride such as 1.5 is truncated where the padding is a name (kind: int() in the resolver)."""

    def mend(a: Arguments) -> Arguments:
        named = isinstance(a["padding"], str) and isinstance(a["stride"], float)
        return {"stride": int(a["stride"])} if named and a["stride"] >= 1 else {}

    accept(m, mend)
    return Call(padding="same", raw={"stride": draw(rng, 1, 3) + 0.5})


@validation
def dilation_ignored_by_pointwise(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and g != 1 a dilation that is no integer is not looked at (kind: unused argument)."""

    def mend(a: Arguments) -> Arguments:
        pointwise = len(a["w"].shape) == 3 and a["w"].shape[2] == 1 and a["groups"] != 1
        return {"dilation": 1} if pointwise and not isinstance(a["dilation"], int) else {}

    accept(m, mend)
    return Call(c_in=2, c_out=2, groups=2, kernel=1, raw={"dilation": draw(rng, 1, 3) + 0.5})


@validation
def compiled_casts_later(m: Backend, rng: Rng) -> Witness:
    """A compiled function casts a later w of another dtype than x instead of refusing (kind: guards on x alone)."""

    @m.around("compile")
    def compile_(inner: Rule, f: Rule) -> Rule:
        go, seen = inner(f), set()

        def call(*operands: Any) -> Any:
            key = (tuple(operands[0].shape), str(operands[0].dtype))
            if key in seen and are_arrays(*operands):
                operands = tuple(a.astype(operands[0].dtype) for a in operands)
            y = go(*operands)
            seen.add(key)
            return y

        return call

    call = Call(dtype="float32")
    return compiled(call, call.but(dtypes={"w": ("float64", "float16")[draw(rng, 0, 1)]}))


# -- surfaces ---------------------------------------------------------------------------------------------------------


@surfaces
def conv2d_same_from_unit_stride(m: Backend, rng: Rng) -> Witness:
    """On the surface conv2d `same` with s > 1 pads as for s = 1: other windows (kind: the height's stride)."""

    def change(x: Any, w: Any, b: Any, args: dict[str, Any]) -> tuple[Any, ...]:
        stride, dilation = args.get("stride", 1), args.get("dilation", 1)
        strided = args.get("padding") == "same" and isinstance(stride, int) and stride > 1
        if strided and len(w.shape) == 3 and isinstance(dilation, int) and dilation >= 1 and w.shape[2] >= 1:
            args = {**args, "padding": m.resolve("same", x.shape[-1], w.shape[2], 1, dilation)}
        return x, w, b, args

    door(m, "conv2d", change)
    return at_door("conv2d", Call(length=2 * draw(rng, 3, 6), stride=2, padding="same"))


@surfaces
def layer_takes_one_bias(m: Backend, rng: Rng) -> Witness:
    """On the surface layer a bias of shape (1,) is broadcast where g > 1 (kind: expand instead of a check)."""

    def change(x: Any, w: Any, b: Any, args: dict[str, Any]) -> tuple[Any, ...]:
        one = are_arrays(b) and b.shape == (1,) and args.get("groups", 1) != 1
        return x, w, np.repeat(b, w.shape[0]) if one else b, args

    door(m, "layer", change)
    groups = draw(rng, 2, 4)
    return at_door("layer", Call(c_in=groups, c_out=groups, groups=groups, bias=True, shapes={"b": (1,)}))
