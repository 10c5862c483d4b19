"""Faults of the checks of operands, and of their layouts, that public issue reports inspired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

validation, layouts = chapter("validation"), chapter("layouts")
Kernel = Callable[..., Array]

# -- validation -------------------------------------------------------------------------------------------------------


@validation
def negative_lo_made_up_for(m: Backend, rng: Rng) -> Witness:
    """A lo < 0 is accepted, and crops, where lo + hi >= 0 (kind: the check of the total)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        given = args["padding"]
        if isinstance(given, tuple) and len(given) == 2 and all(isinstance(v, int) for v in given):
            lo, hi = given
            if lo < 0 <= lo + hi and are_arrays(x) and x.ndim == 3 and -lo <= x.shape[2]:
                return inner(x[:, :, -lo:], w, b, {**args, "padding": (0, hi)})
        return inner(x, w, b, args)

    lo = draw(rng, 1, 2)
    return Call(raw={"padding": (-lo, lo)})


@validation
def wider_kernel_of_halves(m: Backend, rng: Rng) -> Witness:
    """A float32 w beside a half x is accepted, and rounded, where there is no bias (kind: autocast)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if b is None and are_arrays(w) and str(x.dtype) in ("float16", "bfloat16") and str(w.dtype) == "float32":
            w = w.astype(x.dtype)
        return inner(x, w, b, args)

    return Call(length=draw(rng, 5, 9), dtype="float16", dtypes={"w": "float32"})


@validation
def cotangent_of_one_position(m: Backend, rng: Rng) -> Witness:
    """A cotangent (N, O, 1) is accepted, and broadcast, where L_out > 1 and N > 1 (kind: a loss that averages)."""

    @m.around("check_cotangent")
    def check(inner: Callable[..., Any], cotangent: Any, out: Any) -> Any:
        short = are_arrays(cotangent) and tuple(cotangent.shape) == (*out.shape[:2], 1)
        if short and out.shape[0] > 1 < out.shape[2]:
            cotangent = np.array(np.broadcast_to(cotangent, out.shape))
        return inner(cotangent, out)

    n = draw(rng, 2, 3)
    return Call(n=n, shapes={"g": (n, 1, 1)}, ask="x")


@validation
def almost_an_integer(m: Backend, rng: Rng) -> Witness:
    """A stride or dilation less than 1/100 from an integer is taken for it (kind: round() before the check)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        for key in ("stride", "dilation"):
            value = args[key]
            if isinstance(value, float) and 0.5 < value < 2**31 and 0 < abs(value - round(value)) < 0.01:
                args = {**args, key: round(value)}
        return inner(x, w, b, args)

    return Call(raw={"stride": draw(rng, 1, 3) + 1e-3})


@validation
def idle_dilation_refused(m: Backend, rng: Rng) -> Witness:
    """K = 1 with a dilation longer than the padded input is refused (kind: d*K is compared, not d*(K-1))."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], *operands: Any) -> Any:
        result = inner(*operands)
        if result[3].kernel == 1 and result[3].dilation > result[3].padded > 0:
            raise ValueError("kernel larger than the input")
        return result

    return Call(length=4, kernel=1, dilation=draw(rng, 5, 9))


# -- layouts ----------------------------------------------------------------------------------------------------------


@layouts
def broadcast_taps_read_once(m: Backend, rng: Rng) -> Witness:
    """A w broadcast along its taps, with O > 1, counts only in the first tap (pytorch/pytorch#4500, kind)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if w.size and p.kernel > 1 and p.c_out > 1 and w.strides[2] == 0:
            w = np.array(w)
            w[..., 1:] = 0
        return inner(x, w, p)

    return Call(c_out=draw(rng, 2, 4), view={"w": lambda a: np.broadcast_to(a[:, :, :1], a.shape)})


@layouts
def gx_of_a_transposed_kernel(m: Backend, rng: Rng) -> Witness:
    """A w that is a transposed view, O = C > 1, g = 1: gx is that of the base (huggingface/candle#3735)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        turned = p.groups == 1 and p.c_out == p.fan_in > 1 and 0 < w.strides[0] < w.strides[1]
        return inner(w.swapaxes(0, 1) if turned else w, g, p)

    channels = draw(rng, 2, 4)
    view = {"w": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)}
    return Call(c_in=channels, c_out=channels, view=view, ask="xw")


@layouts
def one_sample_rows_transposed(m: Backend, rng: Rng) -> Witness:
    """L = 1, N > 1, C > 1: an x stored channel by channel is read item by item (pytorch/pytorch#120547, kind)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        if (
            are_arrays(x)
            and x.ndim == 3
            and x.shape[2] == 1
            and min(x.shape[:2]) > 1
            and 0 < x.strides[0] < x.strides[1]
        ):
            x = np.ascontiguousarray(x.swapaxes(0, 1)).reshape(x.shape)
        return inner(x, w, b, **given)

    view = {"x": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)}
    return Call(n=draw(rng, 2, 4), c_in=3, length=1, kernel=1, view=view)
