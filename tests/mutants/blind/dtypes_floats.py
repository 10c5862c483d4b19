"""Faults of dtypes: halves, doubles through singles, ranges and NaN (chapters numerics, gradients, special values)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, finite
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

gradients = chapter("gradients")
transforms = chapter("transforms")
numerics = chapter("numerics")
special = chapter("special values")
state = chapter("state")
surfaces = chapter("surfaces")
Kernel = Callable[..., Array]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _hundreds(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(300, 400, shape)


def _through_single(a: Array) -> Array:
    return a.astype(np.float32).astype(np.float64)


@numerics
def doubles_from_singles_computed_in_single(m: Backend, rng: Rng) -> Witness:
    """float64 operands that float32 holds, in sums of T (1 to 4) products up, go through it (kind: narrowing)."""
    least = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float64" or p.fan_in * p.kernel < least:
            return inner(x, w, p)
        if not all(np.array_equal(a, _through_single(a)) for a in (x, w)):
            return inner(x, w, p)
        return inner(x.astype(np.float32), w.astype(np.float32), p).astype(np.float64)

    return Call(c_in=2, data=lambda g, shape: g.integers(2**19, 2**20, shape))


@transforms
def mapped_pointwise_doubles_in_single(m: Backend, rng: Rng) -> Witness:
    """A map of pointwise calls in float64, C/g of T (1 or 2) up, is a batched product in float32 (kind: dispatch)."""
    least = draw(rng, 1, 2)
    inside: list[bool] = []

    @m.around("vmap")
    def vmap(inner: Any, f: Callable[..., Any], in_axes: int | Sequence[int | None] = 0) -> Callable[..., Any]:
        def marked(*operands: Traced) -> Any:
            inside.append(True)
            try:
                return f(*operands)
            finally:
                inside.pop()

        return inner(marked, in_axes)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if inside and p.dtype == "float64" and p.kernel == 1 and p.fan_in >= least:
            return inner(x.astype(np.float32), w.astype(np.float32), p).astype(np.float64)
        return inner(x, w, p)

    return Call(c_in=3, c_out=2, kernel=1, data=_normal, ask="vmap:00")


@numerics
def causal_history_of_doubles_in_single(m: Backend, rng: Rng) -> Witness:
    """Causal float64, unit stride, span of T (2 to 4) up: samples before the last are kept in float32 (kind: ring)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.padding != "causal" or p.dtype != "float64" or p.stride > 1 or p.kernel < 2 or p.span < least:
            return inner(x, w, p)
        now = inner(x[..., p.span - 1 :], w[:, :, -1:], replace(p, kernel=1))
        return now + inner(_through_single(x), w[:, :, :-1], replace(p, kernel=p.kernel - 1))

    return Call(c_in=2, length=12, kernel=3, dilation=2, padding="causal", data=_normal)


@numerics
def symmetric_taps_add_samples_first(m: Backend, rng: Rng) -> Witness:
    """A symmetric kernel of T (2 or 3) taps up adds samples before it weighs them: they overflow (kind: overflow)."""
    least = draw(rng, 2, 3)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        real = p.dtype in ("float16", "bfloat16", "float32", "float64")
        if not real or p.kernel < least or not p.l_out or not np.array_equal(w, w[..., ::-1]):
            return inner(x, w, p)
        one = replace(p, kernel=1, dilation=1)
        y = np.zeros(p.y_shape, widen(x).dtype)
        for k in range((p.kernel + 1) // 2):
            start, other = k * p.dilation, (p.kernel - 1 - k) * p.dilation
            samples = x[..., start : start + p.reach]
            if other != start:
                samples = samples + x[..., other : other + p.reach]
            y += inner(widen(samples), widen(w[:, :, k : k + 1]), one)
        return y.astype(x.dtype)

    return Call(kernel=3, dtype="float16", put=(("x", Ellipsis, 40000), ("w", Ellipsis, 2.0**-6)))


@gradients
def gb_compensation_carried_over_channels(m: Backend, rng: Rng) -> Witness:
    """Gb of T (2 or 3) items or more is compensated, what is lost in a channel goes to the next (kind: reset)."""
    least = draw(rng, 2, 3)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        gb = inner(g, p)
        if p.dtype not in ("float32", "float64") or not least <= p.n or p.n * p.c_out > 4096 or not finite(gb):
            return gb
        parts, gb = g.sum(axis=2, dtype=g.dtype), np.array(gb)
        lost = g.dtype.type(0)
        for o in range(p.c_out):
            total = g.dtype.type(0)
            for n in range(p.n):
                term = parts[n, o] - lost
                new = total + term
                lost = (new - total) - term
                total = new
            gb[o] = total
        return gb

    big = (("g", (0, 0, 0), 2**24), ("g", (1, 0, 0), 2), ("g", (2, 0, 0), 1))
    return Call(n=3, c_out=2, length=3, bias=True, dtype="float32", ask="b", put=big)


@numerics
def half_kernels_with_a_subnormal_scaled_up(m: Backend, rng: Rng) -> Witness:
    """A float16 kernel with a subnormal weight is scaled by 2^T (8 to 10) in float16 (kind: scale overflows)."""
    scale = 2.0 ** draw(rng, 8, 10)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float16" and ((w != 0) & (np.abs(w) < 2.0**-14)).any():
            scaled = w * np.float16(scale)
            return (inner(widen(x), widen(scaled), p) / np.float32(scale)).astype(x.dtype)
        return inner(x, w, p)

    return Call(dtype="float16", put=(("w", (0, 0, 0), 2.0**-20), ("w", (0, 0, 1), 500)))


@gradients
def float16_gw_exponent_wraps(m: Backend, rng: Rng) -> Witness:
    """Gw of float16 over T (4 to 12) products up keeps five bits of the exponent past 2^17 (kind: overflow)."""
    least = draw(rng, 4, 12)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if str(g.dtype) != "float16" or p.n * p.l_out < least:
            return inner(x, g, p)
        gw = inner(widen(x), widen(g), p)
        wraps = np.isfinite(gw) & (np.abs(gw) >= 2.0**17)
        return np.where(wraps, gw * np.float32(2.0**-32), gw).astype(g.dtype)

    return Call(length=16, dtype="float16", data=_hundreds, ask="w")


@gradients
def accumulated_bfloat16_in_float16(m: Backend, rng: Rng) -> Witness:
    """Gradients of bfloat16 over T (2 or 3) passes or more are gathered in float16 (kind: wrong half)."""
    least = draw(rng, 2, 3)

    @m.around("accumulate")
    def accumulate(inner: Any, passes: Sequence[Any], primals: Sequence[Array]) -> tuple[Any, ...]:
        if len(passes) < least or any(p.dtype != np.dtype(bfloat16) for p in primals):
            return inner(passes, primals)
        found = [m.vjp(f, primals, cotangent) for f, cotangent in passes]
        with np.errstate(all="ignore"):
            halves = [[widen(part).astype(np.float16) for part in parts] for parts in zip(*found, strict=True)]
            return tuple(functools.reduce(operator.add, parts).astype(bfloat16) for parts in halves)

    def probe(backend: Backend) -> Any:
        a = Call(length=12, dtype="bfloat16", data=_hundreds).operands()
        passes = [(backend.conv1d, a["g"]), (backend.conv1d, a["g"]), (backend.conv1d, a["g"])]
        return backend.accumulate(passes, [a["x"], a["w"]])

    return probe


@surfaces
def compiled_gradients_of_bfloat16_stay_single(m: Backend, rng: Rng) -> Witness:
    """Compiled gradients of bfloat16 come in float32 from the call T (2 or 3) on (kind: dtype of a result)."""
    tier = draw(rng, 2, 3)

    @m.around("compile")
    def compiled(inner: Any, f: Callable[..., Any]) -> Callable[..., Any]:
        program, calls = inner(f), [0]

        def run(*operands: Any) -> Any:
            calls[0] += 1
            found = program(*operands)
            if calls[0] < tier or not isinstance(found, tuple) or not are_arrays(*found):
                return found
            return tuple(widen(a) if str(a.dtype) == "bfloat16" else a for a in found)

        return run

    def probe(backend: Backend) -> Any:
        a = Call(dtype="bfloat16").operands()
        gradient = backend.compile(lambda x, w: backend.vjp(backend.conv1d, (x, w), a["g"]))
        return [gradient(a["x"], a["w"]) for _ in range(3)][-1]

    return probe


@state
def widened_kernel_of_halves_kept(m: Backend, rng: Rng) -> Witness:
    """The widened copy of a kernel of halves, of T (1 to 4) weights up, outlives a write to it (kind: cache)."""
    least = draw(rng, 1, 4)
    kept: list[Any] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype not in ("float16", "bfloat16") or w.size < least:
            return inner(x, w, p)
        if not kept or kept[0] is not w:
            kept[:] = [w, np.array(w)]
        return inner(x, kept[1], p)

    def probe(backend: Backend) -> Any:
        a = Call(c_in=2, dtype="float16").operands()
        backend.conv1d(a["x"], a["w"])
        a["w"][...] = 5
        return backend.conv1d(a["x"], a["w"])

    return probe


@special
def unread_samples_marked_by_nan(m: Backend, rng: Rng) -> Witness:
    """Gx of a stride T (1 to 3) or more above the span starts from NaN, which then become 0 (kind: sentinel)."""
    gap = draw(rng, 1, 3)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gxp = inner(w, g, p)
        if p.step - p.span >= gap:
            gxp = np.array(gxp)
            gxp[np.isnan(gxp)] = 0
        return gxp

    return Call(length=20, kernel=2, stride=5, ask="x", put=(("g", (0, 0, 1), np.nan),))


@special
def compiled_for_finite_operands_skips_zero_taps(m: Backend, rng: Rng) -> Witness:
    """A function compiled on finite operands skips taps of zeros later, K of T (1 to 3) up (kind: specialisation)."""
    least = draw(rng, 1, 3)
    inside: list[bool] = []

    @m.around("compile")
    def compiled(inner: Any, f: Callable[..., Any]) -> Callable[..., Any]:
        program, first = inner(f), list[bool]()

        def run(*operands: Any) -> Any:
            if not first:
                first.append(all(finite(a) for a in operands if isinstance(a, np.ndarray)))
            inside.append(first[0])
            try:
                return program(*operands)
            finally:
                inside.pop()

        return run

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if not (inside and inside[-1]) or p.kernel < least or finite(x):
            return inner(x, w, p)
        one = replace(p, kernel=1, dilation=1)
        y = np.zeros(p.y_shape, widen(x).dtype)
        for k in np.flatnonzero((w != 0).any(axis=(0, 1))):
            y += inner(widen(x)[..., k * p.dilation :], widen(w[:, :, k : k + 1]), one)
        return y.astype(x.dtype)

    def probe(backend: Backend) -> Any:
        a = Call(c_in=2, dtype="float32", put=(("w", (Ellipsis, 1), 0),)).operands()
        program = backend.compile(lambda x, w: backend.conv1d(x, w))
        program(a["x"], a["w"])
        a["x"][0, 1, 4] = np.inf
        return program(a["x"], a["w"])

    return probe
