"""Faults of derivatives in precision and in special values (chapters ACC, VAL)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, last_plan
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

numerics = chapter("numerics")
Kernel = Callable[..., Array]


def _normal(rng: Rng, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


@numerics
def saved_input_packed_beyond_a_budget(m: Backend, rng: Rng) -> Witness:
    """Joint x and w, float32, x beyond 2^12 to 2^14 samples: gw has it from bfloat16 (kind: packed activations)."""
    budget = 2 ** pick(rng, (12, 13, 14))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.wanted >= {"x", "w"} and p.n * p.c_in * p.length > budget:
            x = x.astype(bfloat16).astype(np.float32)
        return inner(x, g, p)

    return Call(c_in=budget // 16 + draw(rng, 1, 9), length=16, dtype="float32", data=_normal, ask="xw")


@numerics
def replicated_images_of_doubles_in_single(m: Backend, rng: Rng) -> Witness:
    """Replicate, float64, a side beyond 16 to 64: gx sums the images in float32 (kind: narrow reduction)."""
    most = pick(rng, (16, 32, 64))

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode != "replicate" or p.dtype != "float64" or max(p.lo, p.hi) <= most:
            return inner(g, p)
        end = p.lo + p.length
        own = np.zeros_like(g)
        own[..., p.lo : end] = g[..., p.lo : end]
        gx = inner(own, p)
        gx[..., 0] += g[..., : p.lo].sum(axis=-1, dtype=np.float32)
        gx[..., -1] += g[..., end:].sum(axis=-1, dtype=np.float32)
        return gx

    return Call(padding=(most + draw(rng, 1, 9), 2), mode="replicate", data=_normal, ask="x")


@numerics
def joint_tangents_by_a_central_difference(m: Backend, rng: Rng) -> Witness:
    """Forward mode in x and w at once is (f(p + t) - f(p - t)) / 2, exact but for its rounding (kind: polarisation)."""
    last = last_plan(m)

    @m.around("jvp")
    def jvp(inner: Callable[..., Traced], f: Any, primals: Any, tangents: Any) -> Traced:
        out = inner(f, primals, tangents)
        joint = bool(last) and last[0].wanted >= {"x", "w"}
        if not joint or not are_arrays(out, *primals, *tangents) or out.dtype.kind != "f":
            return out
        ahead = f(*(a + t for a, t in zip(primals, tangents, strict=True)))
        behind = f(*(a - t for a, t in zip(primals, tangents, strict=True)))
        return np.asarray((ahead - behind) / out.dtype.type(2))

    call = Call(dtype="float32", data=_normal)
    small = np.float32(2.0 ** -draw(rng, 12, 20))

    def probe(backend: Backend) -> Any:
        x, w = (call.operands()[key] for key in "xw")
        return backend.jvp(backend.conv1d, (x, w), (x[..., ::-1] * small, w[..., ::-1] * small))

    return probe


@chapter("special values")
def padding_adjoint_as_a_dense_matrix(m: Backend, rng: Rng) -> Witness:
    """Copying modes, L up to 32 to 128: gx is gxp times a matrix of 0 and 1; inf * 0 spreads (kind: dense adjoint)."""
    most = pick(rng, (32, 64, 128))

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode not in COPYING or p.padded == p.length or p.length > most:
            return inner(g, p)
        shown = m.sources(p)[:, None] == np.arange(p.length)
        return np.asarray(widen(g) @ shown.astype(widen(g).dtype)).astype(g.dtype)

    mode = COPYING[draw(rng, 0, 3)]
    return Call(padding=(1, 2), mode=mode, ask="x", put=(("g", (0, 0, draw(rng, 0, 8)), np.inf),))
