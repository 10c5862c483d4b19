"""Faults of the Python front end: operands as they lie in memory (chapters ACC, INV, ERR)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, touched

layouts = chapter("layouts")
Kernel = Callable[..., Array]


@chapter("numerics")
def spaced_doubles_packed_in_single(m: Backend, rng: Rng) -> Witness:
    """An x of float64, L >= 32 to 128, whose samples lie apart is packed as float32 (kind: pack routine)."""
    least = pick(rng, (32, 64, 128))

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.dtype == "float64" and p.length >= least and x.strides[2] != x.itemsize:
            x = x.astype(np.float32).astype(np.float64)
        return inner(x, fill, p)

    views = (lambda a: a[:, :, ::-1], lambda a: np.repeat(a, 2, axis=2)[:, :, ::2], np.asfortranarray)
    view = views[draw(rng, 0, 2)]
    return Call(c_in=3, length=least + 9, data=lambda r, shape: r.standard_normal(shape), view={"x": view})


@layouts
def gradient_laid_out_like_overlapping_items(m: Backend, rng: Rng) -> Witness:
    """C = 1, items of x overlap in memory, as sliding windows: gx has x's strides, overwritten (kind: empty like)."""

    def laid_out(g: Array, like: Array) -> Array:
        step = like.strides[0]
        if like.ndim != 3 or min((*like.strides, g.size)) <= 0 or len(g) < 2 or step % like.itemsize:
            return g
        if step >= (like.shape[2] - 1) * like.strides[2] + like.itemsize or like.shape[1] > 1:
            return g
        room = sum((n - 1) * s for n, s in zip(like.shape, like.strides, strict=True)) // like.itemsize + 1
        shared = as_strided(np.zeros(room, g.dtype), like.shape, like.strides)
        for item, row in zip(shared, g, strict=True):
            item[...] = row
        return np.array(shared)

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], f: Any, primals: Sequence[Any], cotangent: Any) -> Any:
        results = inner(f, primals, cotangent)
        pairs = zip(results, primals, strict=True)
        return tuple(laid_out(g, a) if are_arrays(g, a) and a.ndim == 3 else g for g, a in pairs)

    hop = draw(rng, 1, 5)

    def overlap(a: Array) -> Array:
        signal = np.arange(1.0, 3 * hop + a.shape[2] + 1)
        return as_strided(signal, a.shape, (8 * hop, 8 * a.shape[2], 8))

    return Call(n=4, length=draw(rng, 8, 20), view={"x": overlap}, ask="x")


@chapter("state")
def bias_alone_is_a_view(m: Backend, rng: Rng) -> Witness:
    """C = 0 or L = 0: there is nothing to sum, and y is a broadcast view of b, not a copy (kind: empty shortcut)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = inner(x, w, b, **given)
        if are_arrays(x, w, b) and not (x.shape[1] and x.shape[2]):
            y = np.broadcast_to(b[:, None], y.shape)
        return y

    empty = Call(c_out=draw(rng, 1, 3), bias=True, padding=(2, 2))
    return touched(empty.but(c_in=0) if draw(rng, 0, 1) else empty.but(length=0))
