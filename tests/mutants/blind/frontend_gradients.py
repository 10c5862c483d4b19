"""Faults of the Python front end: dispatch and checks of derivatives and of maps (chapters GRAD, ERR)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

validation = chapter("validation")


@chapter("gradients")
def patches_of_a_dilated_kernel(m: Backend, rng: Rng) -> Witness:
    """Where s = K divides a padded length of 64 to 256 on, gw is of patches, without d (kind: patch embedding)."""
    least = pick(rng, (64, 128, 256))
    m.lie("grad_w", lambda p: p.stride == p.kernel > 1 and not p.padded % p.kernel and p.padded >= least, dilation=1)
    kernel = pick(rng, (2, 4, 8, 16))
    return Call(c_in=2, length=least + kernel, kernel=kernel, stride=kernel, dilation=draw(rng, 2, 3), ask="w")


@validation
def traced_cotangent_repeated_over_items(m: Backend, rng: Rng) -> Witness:
    """A cotangent (1, O, L_out) that is itself differentiated is repeated over N items (kind: unchecked tracers)."""

    @m.around("check_cotangent")
    def check(inner: Callable[..., Traced], cotangent: Traced, out: Traced) -> Traced:
        items = out.shape[0] if len(out.shape) else 0
        if isinstance(cotangent, tape.Tracer) and tuple(cotangent.shape) == (1, *out.shape[1:]) and items > 1:
            cotangent = tape.linear(
                lambda a: np.repeat(a, items, axis=0), lambda g: g.sum(axis=0, keepdims=True), cotangent
            )
        return inner(cotangent, out)

    n, length = draw(rng, 2, 4), draw(rng, 5, 9)

    def probe(backend: Backend) -> Any:
        x, w, g = np.ones((n, 1, length)), np.ones((1, 1, 3)), np.ones((1, 1, length - 2))

        def gx(cotangent: Traced) -> Traced:
            return backend.vjp(lambda a: backend.conv1d(a, w), (x,), cotangent)[0]

        return backend.vjp(gx, (g,), x)

    return probe


@validation
def channels_unchecked_for_gb_alone(m: Backend, rng: Rng) -> Witness:
    """Only b is differentiated: x and w are not needed, and C is not checked against w (kind: lazy operands)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if are_arrays(x, w) and isinstance(b, tape.Var) and x.ndim == w.ndim == 3 and args["groups"] >= 1:
            w = np.zeros((w.shape[0], x.shape[1] // args["groups"], w.shape[2]), w.dtype)
        return inner(x, w, b, args)

    channels = draw(rng, 2, 6)
    return Call(c_in=channels, c_out=2, bias=True, shapes={"w": (2, channels + pick(rng, (-1, 1)), 3)}, ask="b")


@validation
def kernel_cast_in_forward_mode(m: Backend, rng: Rng) -> Witness:
    """Under jvp a w of another dtype than x, float64 for float32 say, is cast and not refused (kind: check in vjp)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, *rest: Any) -> Any:
        if any(isinstance(a, tape.Dual) for a in (x, w)) and x.dtype != w.dtype:
            old, new = w.dtype, x.dtype
            w = tape.linear(lambda a: a.astype(new), lambda a: a.astype(old), w)
        return inner(x, w, *rest)

    ask = ("jvp:x", "jvp:w", "jvp:xw")[draw(rng, 0, 2)]
    return Call(dtype="float32", dtypes={"w": ("float64", "float16")[draw(rng, 0, 1)]}, ask=ask)


@validation
def bias_as_long_as_the_map_is_mapped(m: Backend, rng: Rng) -> Witness:
    """In a map of M calls, a bias (M, O) that is not mapped is dealt out, not refused (kind: guessed batching)."""
    current: list[tuple[int, int]] = []

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Sequence[Traced], axes: Sequence[Any], i: int) -> Any:
        (count, *_) = (a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
        current[:] = [(i, count)]
        return inner(operands, axes, i)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Any, in_axes: Any = 0) -> Any:
        mapped = inner(f, in_axes)

        def run(*operands: Traced) -> Any:
            try:
                return mapped(*operands)
            finally:
                current.clear()

        return run

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if current and isinstance(b, np.ndarray) and b.shape == (current[0][1], w.shape[0]):
            b = b[current[0][0]]
        return inner(x, w, b, args)

    count, channels = draw(rng, 2, 4), draw(rng, 1, 3)

    def probe(backend: Backend) -> Array:
        x, w = np.ones((count, 2, 1, 8)), np.ones((channels, 1, 3))
        b = np.arange(1.0, count * channels + 1).reshape(count, channels)
        return backend.vmap(lambda a: backend.conv1d(a, w, b))(x)

    return probe
