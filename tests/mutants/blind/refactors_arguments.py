"""Faults of rewritten arguments, checks, promotion and doors (chapters PAD, OP, ERR, SHAPE, INV)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, at_door, shape_only
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

padding = chapter("padding")
numerics = chapter("numerics")
validation = chapter("validation")
shapes = chapter("shapes")
surfaces = chapter("surfaces")
Kernel = Callable[..., Array]


@padding
def depthwise_pads_both_sides_alike(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s > 1, lo < hi: hi on both sides, then (hi - lo) // s outputs are dropped (kind: one number)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.depthwise and p.stride > 1 and p.lo < p.hi and p.mode == "zeros":
            late = min((p.hi - p.lo) % p.stride, x.shape[2])
            before = np.zeros((*x.shape[:2], late), x.dtype)
            x = np.concatenate([before, x[:, :, : x.shape[2] - late]], axis=2)
        return inner(x, w, p)

    channels = draw(rng, 2, 4)
    return Call(c_in=channels, c_out=channels, groups=channels, length=10, stride=2, padding="same")


@numerics
def bfloat16_promoted_by_constant(m: Backend, rng: Rng) -> Witness:
    """In bfloat16 and mode constant, the value not 0: y is float32 (kind: promotion by a Python number)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        promoted = p.dtype == "bfloat16" and p.mode == "constant" and fill != 0 and p.lo + p.hi > 0
        return padded.astype(np.float32) if promoted else padded

    return Call(padding=(draw(rng, 1, 3), 0), mode="constant", fill=2, dtype="bfloat16")


@numerics
def integer_pointwise_not_narrowed(m: Backend, rng: Rng) -> Witness:
    """Integers of 8 and 16 bits, K = s = g = 1: y is int32, as the sums are (kind: early return)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        small = p.dtype in ("int8", "uint8", "int16", "uint16")
        if small and p.kernel == p.stride == p.groups == 1:
            return inner(x.astype(np.int32), w.astype(np.int32), p)
        return inner(x, w, p)

    return Call(c_in=2, c_out=2, kernel=1, dtype=("int8", "int16")[draw(rng, 0, 1)])


@validation
def cotangent_checked_by_count(m: Backend, rng: Rng) -> Witness:
    """A cotangent of rank 3 with as many elements as y is taken in y's shape (kind: view instead of check)."""

    @m.around("check_cotangent")
    def check_cotangent(inner: Callable[..., Traced], cotangent: Traced, out: Traced) -> Traced:
        alike = are_arrays(cotangent) and cotangent.ndim == len(out.shape) == 3 and cotangent.dtype == out.dtype
        if alike and cotangent.size == int(np.prod(out.shape)):
            cotangent = cotangent.reshape(tuple(out.shape))
        return inner(cotangent, out)

    n = draw(rng, 2, 4)
    return Call(n=n, c_out=n + 1, ask="xw", shapes={"g": (n + 1, n, 6)})


@validation
def second_padding_truncated(m: Backend, rng: Rng) -> Witness:
    """Of a padding (lo, hi) only lo must be an integer; a float hi is truncated (kind: normalised pairs)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        given = args["padding"]
        if isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[1], float):
            args = {**args, "padding": (given[0], int(given[1]))}
        return inner(x, w, b, args)

    return Call(padding=(1, 1), raw={"padding": (1, draw(rng, 1, 3) + 0.5)})


@shapes
def shape_function_skips_domain(m: Backend, rng: Rng) -> Witness:
    """Asked for shapes alone, padding beyond the domain of reflect, symmetric or circular passes (kind: meta)."""
    inside = shape_only(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        if inside and args["padding_mode"] in ("reflect", "symmetric", "circular"):
            args = {**args, "padding_mode": "zeros"}
        return inner(x, w, b, args)

    length = draw(rng, 3, 6)

    def probe(backend: Backend) -> Any:
        def f(x: Traced, w: Traced) -> Traced:
            return backend.conv1d(x, w, padding=(length, 0), padding_mode="reflect")

        return backend.eval_shape(f, (np.ones((1, 1, length)), np.ones((1, 1, 2))))

    return probe


@surfaces
def conv2d_takes_pair_as_height_and_width(m: Backend, rng: Rng) -> Witness:
    """The door conv2d reads (lo, hi) as the padding of height and of width: hi on both sides (kind: pairs)."""

    def conv2d(x: Traced, w: Traced, b: Traced = None, **parameters: Any) -> Traced:
        given = parameters.get("padding")
        if isinstance(given, tuple | list) and len(given) == 2 and all(type(p) is int and p >= 0 for p in given):
            parameters = {**parameters, "padding": (given[1], given[1])}
        return m.conv1d(x, w, b, **parameters)

    m.surface["conv2d"] = conv2d
    return at_door("conv2d", Call(padding=(0, draw(rng, 1, 3))))


@surfaces
def layer_reloaded_with_namesakes_bias(m: Backend, rng: Rng) -> Witness:
    """A layer without bias gets that of the last layer with the same kernel shape and dtype (kind: reload)."""
    stored: dict[Any, Array] = {}

    def layer(x: Traced, w: Traced, b: Traced = None, **parameters: Any) -> Traced:
        key = tuple(w.shape), str(w.dtype)
        y = m.conv1d(x, w, b if b is not None else stored.get(key), **parameters)
        if are_arrays(b):
            stored[key] = np.array(b)
        return y

    m.surface["layer"] = layer
    channels = pick(rng, (2, 3, 4))

    def probe(backend: Backend) -> Any:
        at_door("layer", Call(c_out=channels, bias=True))(backend)
        return at_door("layer", Call(c_out=channels))(backend)

    return probe
