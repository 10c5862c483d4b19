"""Faults of the kernels that engineers write, under narrow conditions: checks of operands, and their layouts."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed, reread
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after_refusal

validation, layouts = chapter("validation"), chapter("layouts")

# -- validation ---------------------------------------------------------------------------------------------------


@validation
def float32_bias_of_halves(m: Backend, rng: Rng) -> Witness:
    """A float32 bias beside halves is accepted, and rounded, where O >= T (1 to 4) (kind: mixed precision)."""
    least = draw(rng, 1, 4)

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        half = are_arrays(x, b) and str(x.dtype) in ("float16", "bfloat16") and str(b.dtype) == "float32"
        return inner(x, w, b.astype(x.dtype) if half and len(b) >= least else b, args)

    return Call(c_out=least, dtype="float16", bias=True, dtypes={"b": "float32"})


@validation
def thin_kernel_is_depthwise(m: Backend, rng: Rng) -> Witness:
    """With g = 1, one input channel in w, C >= T (2 to 4) in x, C dividing O: taken for depthwise (kind: guessing)."""
    least = draw(rng, 2, 4)

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        ranks = len(x.shape) == len(w.shape) == 3
        if ranks and args["groups"] == 1 == w.shape[1] and x.shape[1] >= least and w.shape[0] % x.shape[1] == 0:
            args = {**args, "groups": x.shape[1]}
        return inner(x, w, b, args)

    return Call(c_out=2 * least, shapes={"x": (1, least, 8)})


@validation
def negative_lo_crops(m: Backend, rng: Rng) -> Witness:
    """-P <= lo < 0 (P 1 to 3) beside hi >= -lo crops the start where s > 1 (kind: the check of the total)."""
    most = draw(rng, 1, 3)

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        padding = args["padding"]
        if (
            are_arrays(x)
            and isinstance(padding, tuple)
            and all(isinstance(p, int) for p in padding)
            and len(padding) == 2
        ):
            lo, hi = padding
            if -most <= lo < 0 <= lo + hi and args["stride"] != 1 and x.ndim == 3:
                x, args = x[:, :, -lo:], {**args, "padding": (0, hi)}
        return inner(x, w, b, args)

    return Call(length=12, stride=2, raw={"padding": (-1, 2)})


@validation
def refused_bias_stays(m: Backend, rng: Rng) -> Witness:
    """A refused call leaves its bias: the next with as many channels, O >= T (1 to 4), adds it (kind: stale state)."""
    least, left = draw(rng, 1, 4), []

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        try:
            x, w, b, plan = inner(x, w, b, args)
        except Exception:
            left[:] = [b.copy()] if are_arrays(b) and b.size >= least else []
            raise
        if left and are_arrays(b) and left[0].shape == b.shape and left[0].dtype == b.dtype:
            b = left.pop()
        return x, w, b, plan

    call = Call(c_out=least, bias=True)
    return after_refusal(call.but(raw={"stride": 0}, put=(("b", np.s_[...], 77),)), call)


# -- layouts ------------------------------------------------------------------------------------------------------


@layouts
def channels_last_view_of_one_item(m: Backend, rng: Rng) -> Witness:
    """N = K = 1, C >= T (2 to 4): x as a transposed (L, C) array is read in its order (kind: strides of unit axes)."""
    least = draw(rng, 2, 4)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        turned = x.strides[1:] == (x.itemsize, p.c_in * x.itemsize)
        if turned and p.n == 1 == p.kernel and p.c_in >= least and p.length > 1:
            x = x.transpose(0, 2, 1).reshape(x.shape)
        return x, w

    reread(m, change)
    view = {"x": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1)}
    return Call(c_in=least, kernel=1, view=view)


@layouts
def expanded_cotangent_is_scalar(m: Backend, rng: Rng) -> Witness:
    """Cotangent of stride 0 along positions, not channels, O >= T (2 to 4): one scalar (kind: one stride tested)."""
    least = draw(rng, 2, 4)

    @m.around("check_cotangent")
    def check_cotangent(inner: Any, cotangent: Any, out: Any) -> Any:
        g = inner(cotangent, out)
        if are_arrays(g) and g.ndim == 3 and g.strides[2] == 0 != g.strides[1] and min(g.shape) and g.shape[1] >= least:
            g = np.broadcast_to(g[:1, :1, :1], g.shape)
        return g

    return Call(c_out=least, view={"g": lambda a: np.broadcast_to(a[..., :1], a.shape)}, ask="xw")


@layouts
def offset_of_three(m: Backend, rng: Rng) -> Witness:
    """An x that begins 3 mod 4 elements into its storage, L >= T (4 to 9): its first sample is 0 (kind: peeling)."""
    least = draw(rng, 4, 9)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        plain = isinstance(x.base, np.ndarray) and x.size and p.length >= least and x.strides[2] == x.itemsize
        masked = plain and (x.ctypes.data - x.base.ctypes.data) // x.itemsize % 4 == 3
        return changed(x, (0, 0, 0)) if masked else x, w

    reread(m, change)
    view = {"x": lambda a: np.concatenate([a[..., :3], a], axis=2).reshape(-1)[3:].reshape(a.shape)}
    return Call(length=least, view=view)


@layouts
def reversed_channels_of_w(m: Backend, rng: Rng) -> Witness:
    """A w reversed along its channels alone, O >= T (1 to 4): read with a positive stride (kind: absolute stride)."""
    least = draw(rng, 1, 4)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        reverse = w.strides[1] < 0 < min(w.strides[0], w.strides[2]) and p.fan_in > 1 and p.c_out >= least
        return x, w[:, ::-1] if reverse else w

    reread(m, change)
    return Call(c_in=3, c_out=least, view={"w": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1]})
