"""Faults of the Python front end: how arguments are parsed and padding is made (chapters OP, PAD, ERR)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

padding = chapter("padding")
validation = chapter("validation")
Kernel = Callable[..., Array]
KEYS = ("stride", "dilation")
NAMES = ("valid", "same", "same_lower", "causal", "full")


@validation
def numpy_fractions_unwrapped(m: Backend, rng: Rng) -> Witness:
    """A stride or dilation that is a NumPy float, as np.float32(1.5), is made an int (kind: unwrapped scalars)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        unwrapped = {key: int(v) for key, v in args.items() if key in KEYS and isinstance(v, np.floating)}
        return inner(x, w, b, {**args, **unwrapped})

    return Call(raw={KEYS[draw(rng, 0, 1)]: np.float32(draw(rng, 1, 2) + 0.5)})


@validation
def pair_for_a_number_read_by_its_last(m: Backend, rng: Rng) -> Witness:
    """Shared with conv2d: a pair as stride or dilation, (height, width), is read by its last (kind: shared parser)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        single = {key: v[-1] for key, v in args.items() if key in KEYS and isinstance(v, tuple) and len(v) == 2}
        return inner(x, w, b, {**args, **single})

    return Call(raw={KEYS[draw(rng, 0, 1)]: (1, draw(rng, 1, 2))})


@padding
def span_in_the_width_of_a_numpy_dilation(m: Backend, rng: Rng) -> Witness:
    """Names causal and full, d a NumPy int8, uint8 or int16: d * (K - 1) wraps in its type (kind: width kept)."""
    kind = (np.int8, np.uint8, np.int16)[draw(rng, 0, 2)]

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        d, name = args["dilation"], args["padding"]
        if isinstance(d, np.int8 | np.uint8 | np.int16) and name in ("causal", "full"):
            e = max(int(np.array(int(d) * (w.shape[-1] - 1)).astype(d.dtype)), 0)
            args = {**args, "padding": (e, e if name == "full" else 0)}
        return inner(x, w, b, args)

    dilation = int(np.iinfo(kind).max) // 2 + draw(rng, 1, 9)
    return Call(length=2 * dilation + 9, padding="causal", dilation=dilation, raw={"dilation": kind(dilation)})


@padding
def names_compared_by_identity(m: Backend, rng: Rng) -> Witness:
    """A name made at run time is not the literal's own object, fails `is`, and pads nothing (kind: identity)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        name = args["padding"]
        if isinstance(name, str) and name in NAMES and not any(name is known for known in NAMES):
            args = {**args, "padding": "valid"}
        return inner(x, w, b, args)

    name = NAMES[draw(rng, 1, 4)]
    return Call(raw={"padding": "".join([name[:2], name[2:]])})


@validation
def channels_found_on_the_last_axis(m: Backend, rng: Rng) -> Witness:
    """Where axis 1 of x has not the channels of w, but axis 2 has, x is read as (N, L, C) (kind: guessed layout)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, *rest: Any) -> Any:
        if are_arrays(x, w) and x.ndim == w.ndim == 3:
            channels = w.shape[1] * rest[1]["groups"]
            if x.shape[1] != channels == x.shape[2]:
                x = x.swapaxes(1, 2)
        return inner(x, w, *rest)

    channels, length = draw(rng, 2, 5), draw(rng, 7, 20)
    return Call(c_in=channels, length=length, shapes={"x": (1, length, channels)})


@padding
def same_lower_by_reversal(m: Backend, rng: Rng) -> Witness:
    """Name same_lower is same of reversed x and w: a remainder is left at the start (kind: mirrored call)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.padding == "same_lower" and p.remainder:
            x = np.roll(x, -p.remainder, axis=2)
        return inner(x, w, p)

    kernel = draw(rng, 1, 3)
    stride = kernel + draw(rng, 2, 4)
    return Call(length=stride * draw(rng, 3, 9) + kernel + 1, kernel=kernel, stride=stride, padding="same_lower")


@padding
def fill_printed_with_six_digits(m: Backend, rng: Rng) -> Witness:
    """Constant, float32 or float64: the fill goes into the kernel's source with six digits (kind: source template)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.dtype in ("float32", "float64") and isinstance(fill, int | float):
            fill = float(f"{fill:g}")
        return inner(x, fill, p)

    fill = float(2 ** draw(rng, 20, 22) + 1)
    return Call(padding=(1, 2), mode="constant", fill=fill, dtype=("float32", "float64")[draw(rng, 0, 1)])


@padding
def lone_window_crops_the_kernel(m: Backend, rng: Rng) -> Witness:
    """Zeros, d > 1, span = lo + L + hi: instead of a pad, w loses lo and hi taps, not lo / d (kind: single output)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.mode == "zeros" and p.dilation > 1 and p.span == p.padded:
            w = np.array(w)
            w[:, :, : p.lo] = 0
            w[:, :, max(p.kernel - p.hi, 0) :] = 0
        return inner(x, w, p)

    dilation, kernel = draw(rng, 2, 4), draw(rng, 4, 9)
    sides = ((0, dilation), (dilation, 0), (dilation, 1))[draw(rng, 0, 2)]
    return Call(length=dilation * (kernel - 1) + 1 - sum(sides), kernel=kernel, dilation=dilation, padding=sides)


@validation
def pointwise_path_skips_the_domain(m: Backend, rng: Rng) -> Witness:
    """K = 1 takes a path of its own, in which padding beyond a mode's domain shows the edge (kind: early dispatch)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            return inner(x, w, b, args)
        except ValueError:
            if args["padding_mode"] not in COPYING or len(w.shape) != 3 or w.shape[2] != 1:
                raise
            x, w, b, plan = inner(x, w, b, {**args, "padding_mode": "replicate"})
            return x, w, b, replace(plan, mode="replicate")

    length = pick(rng, (3, 5, 8))
    mode = ("reflect", "symmetric", "circular")[draw(rng, 0, 2)]
    return Call(length=length, kernel=1, mode=mode, raw={"padding": (0, length + draw(rng, 1, 3))})
