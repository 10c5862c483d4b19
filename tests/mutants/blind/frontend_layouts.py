"""Faults of the Python front end: operands as they lie in memory (chapters ACC, INV, ERR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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
