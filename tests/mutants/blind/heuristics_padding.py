"""Faults of kernels chosen by heuristics: the resolution of padding, its workspace, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after

mutant = chapter("padding")
SAME = ("same", "same_lower")


def reciprocal_ceil(length: int, stride: int) -> int:
    """Return ceil(length * (1 / stride)) as computed in float32."""
    return int(np.ceil(np.float32(length) * (np.float32(1) / np.float32(stride))))


def halves(padding: str, total: int) -> tuple[int, int]:
    """Split the padding of a name."""
    small, large = total // 2, total - total // 2
    return (small, large) if padding == "same" else (large, small)


@mutant
def same_ceil_by_reciprocal(m: Backend, rng: Rng) -> Witness:
    """`same` takes ceil(L * (1/s)) in float32: some L = k*s get an output too many (kind: multiplied)."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, *sizes: int) -> tuple[int, int]:
        length, kernel, stride, dilation = sizes
        if padding not in SAME or stride == 1:
            return inner(padding, *sizes)
        total = max((reciprocal_ceil(length, stride) - 1) * stride + dilation * (kernel - 1) + 1 - length, 0)
        return halves(padding, total)

    wrong = [(k * s, s) for s in range(3, 100) for k in range(1, 40) if reciprocal_ceil(k * s, s) > k]
    length, stride = wrong[draw(rng, 0, min(len(wrong), 12) - 1)]
    return Call(length=length, stride=stride, padding="same")


@mutant
def same_cache_without_dilation(m: Backend, rng: Rng) -> Witness:
    """With s > 1, the pads of `same` are cached by L, K and s: another d gets the first one's (kind: cache key)."""
    cache: dict[Any, tuple[int, int]] = {}

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, *sizes: int) -> tuple[int, int]:
        length, kernel, stride, _ = sizes
        if padding not in SAME or stride == 1 or kernel == 1:
            return inner(padding, *sizes)
        return cache.setdefault((padding, length, kernel, stride), inner(padding, *sizes))

    call = Call(length=draw(rng, 9, 15), stride=2, padding="same")
    return after(call, call.but(dilation=2))


@mutant
def same_rounds_in_int32(m: Backend, rng: Rng) -> Witness:
    """`same` computes L + s - 1 in 32 bits: from s = 2^31 - L + 1 on it wraps, and pads nothing (kind: ceil_div)."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, *sizes: int) -> tuple[int, int]:
        length, _, stride, _ = sizes
        wraps = padding in SAME and length and length + stride - 1 >= 2**31 > stride
        return (0, 0) if wraps else inner(padding, *sizes)

    length = draw(rng, 3, 6)
    return Call(length=length, kernel=length + 2, stride=2**31 - 1, padding="same")


@mutant
def causal_like_codec(m: Backend, rng: Rng) -> Witness:
    """`causal` with s > 1 dividing K pads e - (s-1) before and the rest after (kind: EnCodec's padding_total)."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, *sizes: int) -> tuple[int, int]:
        length, kernel, stride, dilation = sizes
        if padding != "causal" or stride == 1 or kernel % stride or not length:
            return inner(padding, *sizes)
        span = dilation * (kernel - 1) + 1
        lo = span - stride
        return lo, max(0, (-(-length // stride) - 1) * stride + span - lo - length)

    stride = draw(rng, 2, 4)
    return Call(length=4 * stride + 1, kernel=2 * stride, stride=stride, padding="causal")


@mutant
def reflect_gradient_of_full_turn(m: Backend, rng: Rng) -> Witness:
    """Where reflect pads lo = L - 1, gx lacks what the outermost position received (kind: < instead of <=)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Callable[..., Array], g: Array, p: Plan) -> Array:
        if p.mode == "reflect" and p.lo == p.length - 1 > 1:
            g = g.copy()
            g[:, :, 0] = 0
        return inner(g, p)

    length = draw(rng, 4, 9)
    return Call(length=length, mode="reflect", padding=(length - 1, 1), ask="x")


@mutant
def circular_gradient_overwrites_overlap(m: Backend, rng: Rng) -> Witness:
    """Where circular has lo + hi > L, samples with images on both sides lose the left one's gx (kind: = for +=)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Callable[..., Array], g: Array, p: Plan) -> Array:
        if p.mode == "circular" and p.lo + p.hi > p.length:
            g = g.copy()
            g[:, :, : p.lo][:, :, np.arange(p.lo) - p.lo + p.length < p.hi] = 0
        return inner(g, p)

    length = draw(rng, 5, 9)
    return Call(length=length, mode="circular", padding=(length - 1, 3), ask="x")


@mutant
def replicate_gradient_of_one_block(m: Backend, rng: Rng) -> Witness:
    """In mode replicate, gx of an edge adds up the nearest T padded positions alone (kind: reduction of one block)."""
    most = pick(rng, (32, 64, 128, 256))

    @m.around("pad_transpose")
    def pad_transpose(inner: Callable[..., Array], g: Array, p: Plan) -> Array:
        if p.mode == "replicate" and max(p.lo, p.hi) > most:
            g = g.copy()
            g[:, :, : max(0, p.lo - most)] = 0
            g[:, :, p.lo + p.length + most :] = 0
        return inner(g, p)

    return Call(length=5, mode="replicate", padding=(1, most + draw(rng, 3, 20)), ask="x")


@mutant
def constant_is_a_float32_in_gw(m: Backend, rng: Rng) -> Witness:
    """Gw of float64 in mode constant sees the value rounded to float32 (kind: attribute saved as a float)."""

    @m.around("grad_w")
    def grad_w(inner: Callable[..., Array], x: Array, g: Array, p: Plan) -> Array:
        if p.mode == "constant" and p.dtype == "float64":
            pads = (m.sources(p) < 0)[None, None, :] & (x == p.fill)
            x = np.where(pads, np.float64(np.float32(p.fill)), x)
        return inner(x, g, p)

    return Call(mode="constant", fill=draw(rng, 1, 9) + 0.1, padding=(2, 1), ask="w")


@mutant
def workspace_keeps_fill(m: Backend, rng: Rng) -> Witness:
    """The padded workspace is kept while shape and pads stay: a call with another fill sees the old (kind: stale)."""
    last: dict[str, Any] = {"key": None, "fill": 0}

    @m.around("pad")
    def pad(inner: Callable[..., Array], x: Array, fill: Any, p: Plan) -> Array:
        if p.mode not in ("zeros", "constant") or p.lo + p.hi == 0 or (p.mode == "constant" and fill == 0):
            return inner(x, fill, p)
        key = (x.shape, p.lo, p.hi, str(x.dtype))
        if key != last["key"]:
            last.update(key=key, fill=fill)
        return inner(x, last["fill"], p)

    call = Call(c_in=2, padding=(1, draw(rng, 1, 3)))
    return after(call.but(mode="constant", fill=5), call)


@mutant
def compiled_same_keeps_first_length(m: Backend, rng: Rng) -> Witness:
    """A compiled function with s > 1 keeps the pads of `same` of the first L it saw (kind: dynamic shapes)."""
    running: list[dict[Any, int]] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        plain, seen = inner(f), {}

        def run(*operands: Any) -> Any:
            running.append(seen)
            try:
                return plain(*operands)
            finally:
                running.pop()

        return run

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, *sizes: int) -> tuple[int, int]:
        length, *rest = sizes
        if running and padding in SAME and rest[1] > 1:
            length = running[-1].setdefault((padding, *rest), length)
        return inner(padding, length, *rest)

    kernel = draw(rng, 3, 6)

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w: backend.conv1d(x, w, None, stride=3, padding="same"))
        w = np.arange(1.0, kernel + 1).reshape(1, 1, kernel)
        f(np.arange(1.0, 11).reshape(1, 1, 10), w)
        return f(np.arange(1.0, 13).reshape(1, 1, 12), w)

    return probe
