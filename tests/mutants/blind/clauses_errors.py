"""Faults against the letter of a clause: calls that must be refused, and what a refusal leaves behind (chapter ERR)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after_refusal

mutant = chapter("validation")
Accept = Callable[..., Any]


@mutant
def kernel_of_one_channel_taken_for_depthwise(m: Backend, rng: Rng) -> Witness:
    """G = 1, w of one channel, C > 1 divides O: computed with g = C (kind: groups inferred from the kernel)."""

    @m.around("accept")
    def accept(inner: Accept, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        ranked = len(x.shape) == len(w.shape) == 3 and args["groups"] == 1
        if ranked and w.shape[1] == 1 < x.shape[1] and w.shape[0] % x.shape[1] == 0:
            args = {**args, "groups": x.shape[1]}
        return inner(x, w, b, args)

    channels = draw(rng, 2, 5)
    return Call(c_in=channels, c_out=channels, shapes={"w": (channels, 1, 3)})


@mutant
def float32_bias_of_halves_taken(m: Backend, rng: Rng) -> Witness:
    """X and w in halves with a bias in float32 are computed (kind: mixed precision in the epilogue)."""

    @m.around("accept")
    def accept(inner: Accept, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        half = str(x.dtype) in ("float16", "bfloat16") and x.dtype == w.dtype
        if half and isinstance(b, np.ndarray) and b.dtype == np.float32:
            b = b.astype(x.dtype)
        return inner(x, w, b, args)

    return Call(c_out=draw(rng, 1, 3), bias=True, dtype="float16", dtypes={"b": "float32"})


@mutant
def names_known_by_their_beginning(m: Backend, rng: Rng) -> Witness:
    """Any padding name that begins with `same`, such as same_upper, is taken for it (kind: startswith)."""

    @m.around("accept")
    def accept(inner: Accept, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        name = args["padding"]
        if isinstance(name, str) and name.startswith("same") and name != "same_lower":
            args = {**args, "padding": "same"}
        return inner(x, w, b, args)

    names = ("same_upper", "same_", "samelower", "same_lower_")
    return Call(raw={"padding": names[draw(rng, 0, 3)]})


@mutant
def cotangent_of_the_right_size_reshaped(m: Backend, rng: Rng) -> Witness:
    """A cotangent (N, L_out, O) in place of (N, O, L_out) is reshaped (kind: only the number of elements checked)."""

    @m.around("check_cotangent")
    def check_cotangent(inner: Callable[..., Any], cotangent: Any, out: Any) -> Any:
        right = tuple(out.shape)
        if isinstance(cotangent, np.ndarray) and len(right) == 3 and cotangent.shape == (right[0], right[2], right[1]):
            cotangent = cotangent.reshape(right)
        return inner(cotangent, out)

    channels = draw(rng, 2, 4)
    return Call(n=2, c_out=channels, length=8, shapes={"g": (2, 6, channels)}, ask="w")


@mutant
def empty_batch_hides_an_empty_kernel(m: Backend, rng: Rng) -> Witness:
    """K = 0 is not refused where N = 0 (kind: an early return before the checks)."""

    @m.around("accept")
    def accept(inner: Accept, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if len(x.shape) == len(w.shape) == 3 and x.shape[0] == w.shape[2] == 0:
            w = np.zeros((*w.shape[:2], 1), w.dtype)
        return inner(x, w, b, args)

    channels = draw(rng, 1, 3)
    return Call(n=0, c_out=channels, shapes={"w": (channels, 1, 0)})


@mutant
def span_of_32_bits(m: Backend, rng: Rng) -> Witness:
    """d*(K-1) of 2^32 or more counts modulo 2^32 in L_out, where that has no sign (kind: int arithmetic)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        low = dilation * (kernel - 1) % 2**32
        if dilation * (kernel - 1) < 2**32 or low >= 2**31:
            return inner(*sizes)
        return max(0, (length + lo + hi - low - 1) // stride + 1)

    def wrapped(p: Plan) -> bool:
        return p.l_out > 0 and p.dilation * (p.kernel - 1) >= 2**32

    for seam in ("forward", "grad_x", "grad_w"):
        m.lie(seam, wrapped, dilation=1)
    taps = draw(rng, 1, 3)
    return Call(kernel=2**taps + 1, dilation=2 ** (32 - taps), length=6)


@mutant
def gradients_doubled_after_a_refused_one(m: Backend, rng: Rng) -> Witness:
    """The vjp after a refused vjp returns twice its gradients (kind: the refused call's tape is not cleared)."""
    state = {"left": False}

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], *args: Any) -> Any:
        try:
            gradients = inner(*args)
        except Exception:
            state["left"] = True
            raise
        twice, state["left"] = state["left"], False
        return tuple(a + a if isinstance(a, np.ndarray) else a for a in gradients) if twice else gradients

    call = Call(n=2, length=draw(rng, 6, 9), ask="w")
    size = math.prod(call.operands()["g"].shape)
    return after_refusal(call.but(shapes={"g": (1, 1, size)}), call)
