"""Faults of a port to new hardware: maps, tangents, compiled graphs and sums of passes (chapters GRAD, INV, SHAPE)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, shape_only, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
gradients = chapter("gradients")
Kernel = Callable[..., Array]


@gradients
def tangents_meet_in_full_tiles_alone(m: Backend, rng: Rng) -> Witness:
    """Jvp along x and w, L_out > T and no multiple: the last tile has dw's part alone (kind: beta of an edge tile)."""
    tile = draw(rng, 4, 16)
    inside = within(m, "jvp")

    @m.around("push")
    def push(inner: Kernel, slot: str, name: str, operands: Mapping[str, Traced], tangent: Traced, p: Plan) -> Traced:
        part = inner(slot, name, operands, tangent, p)
        tail = p.l_out % tile
        if inside and slot + name == "gx" and {"x", "w"} <= p.wanted and p.l_out > tile and tail and are_arrays(part):
            part[:, :, -tail:] = 0
        return part

    return Call(c_in=2, length=3 * tile + 1, ask="jvp:xw")


@gradients
def freed_halo_comes_back_as_zeros(m: Backend, rng: Rng) -> Witness:
    """The reverse derivative of gw by gy, all modes but zeros: x's padding is freed, and read as 0 (kind: lifetime)."""

    @m.around("pull")
    def pull(inner: Kernel, slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan) -> Traced:
        if (slot, name) == ("w", "g") and p.mode != "zeros" and are_arrays(operands["x"]):
            x = np.array(operands["x"])
            x[:, :, : p.lo] = x[:, :, p.lo + p.length :] = 0
            operands = {**operands, "x": x}
        return inner(slot, name, operands, g, p)

    return Call(c_in=2, padding=(1, draw(rng, 0, 3)), mode="symmetric", ask="w/g")


@gradients
def later_pass_in_slices_of_the_first(m: Backend, rng: Rng) -> Witness:
    """Accumulated gw has as many slices of T windows as its first pass: a longer one loses the rest (kind: split-K)."""
    size = pick(rng, (16, 32, 64))
    inside = within(m, "accumulate")
    slices: dict[tuple[int, ...], int] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if not inside:
            slices.clear()
            return inner(x, g, p)
        count = slices.setdefault((p.c_out, p.fan_in, p.kernel), -(-p.n * p.l_out // size))
        late = np.arange(p.n * p.l_out).reshape(p.n, p.l_out) >= count * size
        g = np.array(g)
        g.swapaxes(1, 2)[late] = 0
        return inner(x, g, p)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], *args: Any) -> Any:
        slices.clear()
        return inner(*args)

    short = Call(c_in=2, length=size // 2)
    long = short.but(n=draw(rng, 3, 5), length=size + 2)

    def probe(backend: Backend) -> Any:
        first, second = short.operands(), long.operands()
        passes = [(lambda w, x=a["x"]: backend.conv1d(x, w), a["g"]) for a in (first, second)]
        return backend.accumulate(passes, (first["w"],))

    return probe


@mutant
def mapped_biases_in_few_slots(m: Backend, rng: Rng) -> Witness:
    """A map over b: the device's constant memory has T slots, and call i takes b of i modulo T (kind: constants)."""
    slots = pick(rng, (4, 8, 16))

    @m.around("slices")
    def slices(
        inner: Callable[..., list[Traced]], operands: Sequence[Traced], axes: Sequence[int | None], i: int
    ) -> list[Traced]:
        biases = inner(operands, axes, i % slots)
        taken = zip(operands, axes, biases, inner(operands, axes, i), strict=True)
        return [b if axis is not None and len(a.shape) == 2 else own for a, axis, b, own in taken]

    call, count = Call(c_out=2, bias=True), slots + draw(rng, 1, 3)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        biases = np.stack([arrays["b"] * (i + 1) for i in range(count)])
        return backend.vmap(lambda b: backend.conv1d(arrays["x"], arrays["w"], b))(biases)

    return probe


@mutant
def compiled_length_in_buckets(m: Backend, rng: Rng) -> Witness:
    """Compiled, a mode that copies: x is filled up to a multiple of B by zeros, which are shown (kind: buckets)."""
    bucket = pick(rng, (4, 8, 16))
    inside: list[bool] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        built = inner(f)

        def run(*operands: Any) -> Any:
            inside.append(True)
            try:
                return built(*operands)
            finally:
                inside.pop()

        return run

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        more = -p.length % bucket
        if not inside or not more or p.mode not in COPYING:
            return inner(x, fill, p)
        x = np.concatenate([x, np.zeros((*x.shape[:2], more), x.dtype)], axis=2)
        return inner(x, fill, replace(p, length=p.length + more, hi=max(p.hi - more, 0)))[:, :, : p.padded]

    call = Call(c_in=2, length=bucket + draw(rng, 1, 3), padding=(1, 2), mode="replicate")

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.compile(lambda x, w: backend.conv1d(x, w, **call.parameters()))(arrays["x"], arrays["w"])

    return probe


@mutant
def shape_by_truncated_division(m: Backend, rng: Rng) -> Witness:
    """In eval_shape, a window too long by less than s: the quotient is cut to 0, L_out 1 (kind: integer division)."""
    inside = shape_only(m)

    @m.around("out_length")
    def out_length(
        inner: Callable[..., int], length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int
    ) -> int:
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        return 1 if inside and -stride < slack < 0 else inner(length, kernel, stride, dilation, lo, hi)

    stride = draw(rng, 2, 5)
    call = Call(length=4, kernel=5, stride=stride)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, stride=stride), (arrays["x"], arrays["w"]))

    return probe
