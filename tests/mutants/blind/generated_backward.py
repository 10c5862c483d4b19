"""Faults of generated code: backward kernels and what they assume of the forward pass (GRAD, VAL, INV)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, finite
from tests.mutants.plan import Array, Plan, split_w, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Isolated, Witness, after

gradients = chapter("gradients")
special = chapter("special values")
layouts = chapter("layouts")
state = chapter("state")
process = chapter("process")
Kernel = Callable[..., Array]


@gradients
def gx_halo_counts_taps_alone(m: Backend, rng: Rng) -> Witness:
    """Gx in tiles of T (16 to 40) stages cotangents K - 1 samples before, not d*(K-1) (kind: halo)."""
    tile = draw(rng, 16, 40)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.dilation == 1 or p.kernel == 1 or p.padded <= tile or not p.l_out:
            return inner(w, g, p)
        room = max(p.padded, p.reach + p.span - 1)
        gx = np.zeros((p.n, p.groups, p.fan_in, room), widen(g).dtype)
        g4 = widen(g).reshape(p.n, p.groups, p.fan_out, p.l_out)
        starts = np.arange(p.l_out) * p.step
        for k, matrix in enumerate(split_w(w, p)):
            at = k * p.dilation
            staged = (starts + at) % tile + p.kernel - 1 >= at
            staged |= starts + at < tile
            part = np.swapaxes(matrix, -1, -2) @ g4
            part[..., ~staged] = 0
            gx[..., at : at + p.reach : p.step] += part
        return gx[..., : p.padded].reshape(p.n, p.c_in, p.padded).astype(g.dtype)

    return Call(length=2 * tile + 3, dilation=5, ask="x")


@gradients
def persistent_programs_keep_their_sum(m: Backend, rng: Rng) -> Witness:
    """Strided gx of more tiles of 64 than P (24 to 48) programs starts from the tile before (kind: accumulator)."""
    programs = draw(rng, 24, 48)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        tiles = -(-p.padded // 64)
        total = p.n * p.c_in * tiles
        if p.stride == 1 or total <= programs:
            return gx
        rows = np.zeros((p.n * p.c_in, tiles * 64), widen(gx).dtype)
        rows[:, : p.padded] = gx.reshape(-1, p.padded)
        waves = np.zeros((-(-total // programs) * programs, 64), rows.dtype)
        waves[:total] = rows.reshape(total, 64)
        waves = np.cumsum(waves.reshape(-1, programs, 64), axis=0, dtype=rows.dtype).reshape(-1, 64)
        rows = waves[:total].reshape(-1, tiles * 64)[:, : p.padded]
        return np.ascontiguousarray(rows.reshape(gx.shape)).astype(gx.dtype)

    return Call(n=2, c_in=programs, length=9, stride=2, ask="x")


@gradients
def gw_positions_masked_by_the_input(m: Backend, rng: Rng) -> Witness:
    """Depthwise gw in blocks of B (8, 16) masks positions by the input's end, not L_out (kind: mask extent)."""
    block = pick(rng, (8, 16))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        lanes = min(-(-p.l_out // block) * block, -(-p.padded // p.stride))
        more = lanes - p.l_out
        if not p.depthwise or not p.l_out or more <= 0:
            return inner(x, g, p)
        flat = np.concatenate([np.ascontiguousarray(g).ravel(), np.zeros(more, g.dtype)])
        read = np.arange(p.n * p.c_out)[:, None] * p.l_out + np.arange(lanes)
        return inner(x, flat[read].reshape(p.n, p.c_out, lanes), replace(p, l_out=lanes))

    return Call(c_in=3, c_out=3, groups=3, length=block + 5, ask="w")


@process
def gw_advances_by_whole_strides(m: Backend, rng: Rng) -> Witness:
    """Gw steps T // s windows at a time, T (24 to 64) samples a tile: with s > T for ever (kind: loop step)."""
    tile = draw(rng, 24, 64)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        step = tile // p.stride
        while p.l_out > 1 and not step:
            time.sleep(0.05)
        return inner(x, g, p)

    return Isolated(Call(length=2 * tile + 6, stride=tile + 1, ask="w"))


@special
def gx_phases_evened_by_a_zero_tap(m: Backend, rng: Rng) -> Witness:
    """A strided gx evens its phases by a tap of 0, which meets NaN in gy, from M (1, 2) windows on (kind: zero tap)."""
    least = draw(rng, 1, 2)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        rounds = -(-p.kernel // p.stride)
        if p.stride == 1 or p.dilation > 1 or rounds < 2 or p.l_out < least or gx.dtype.kind in "iu" or finite(g):
            return gx
        bad = np.where(np.isfinite(widen(g)), 0, np.nan).reshape(p.n, p.groups, p.fan_out, p.l_out).sum(axis=2)
        wide = np.array(widen(gx), order="C").reshape(p.n, p.groups, p.fan_in, p.padded)
        for phase in range(p.kernel - (rounds - 1) * p.stride, p.stride):
            at = phase + (rounds - 1) * p.stride + np.arange(p.l_out) * p.step
            inside = at < p.padded
            wide[..., at[inside]] += bad[:, :, None, inside].astype(wide.dtype)
        return wide.reshape(gx.shape).astype(gx.dtype)

    return Call(length=13, stride=2, ask="x", put=(("g", (0, 0, 1), np.nan),))


@gradients
def second_gx_by_w_reads_whole_strides(m: Backend, rng: Rng) -> Witness:
    """d(gx)/dw takes L for L_out*s: later samples, past M (1, 2) windows, are no part of it (kind: length)."""
    least = draw(rng, 1, 2)

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        end = p.l_out * p.stride
        if (slot, name) == ("x", "w") and isinstance(g, np.ndarray) and p.stride > 1 and least < p.l_out:
            g = changed(g, np.s_[..., end:])
        return inner(slot, name, operands, g, p)

    return Call(c_in=2, length=11, kernel=5, stride=2, ask="x/w")


@gradients
def packed_kernel_of_the_later_forward(m: Backend, rng: Rng) -> Witness:
    """Gx of g >= M (2, 3) takes the packed w of the last forward call of that shape (kind: saved tensor)."""
    least = draw(rng, 2, 3)
    packed: dict[Any, Array] = {}

    def key(w: Array, p: Plan) -> Any:
        return threading.get_ident(), w.shape, str(w.dtype), p.groups

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.groups >= least:
            packed[key(w, p)] = np.array(w)
        return inner(x, w, p)

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        w = operands.get("w")
        if (slot, name) == ("g", "x") and isinstance(w, np.ndarray) and p.groups >= least:
            operands = {**operands, "w": packed.get(key(w, p), w)}
        return inner(slot, name, operands, g, p)

    call = Call(c_in=6, c_out=6, groups=3, ask="x")

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()
        x, w, other = arrays["x"], arrays["w"], np.ascontiguousarray(np.flip(arrays["w"]))

        def f(first: Any, second: Any) -> Any:
            return backend.conv1d(first, w, **given) + backend.conv1d(second, other, **given)

        return backend.vjp(f, (x, 2 * x), arrays["g"])

    return probe


@layouts
def broadcast_items_meet_the_first_cotangent(m: Backend, rng: Rng) -> Witness:
    """Gw of x broadcast over N > M (1, 2) is N times that of the first item's cotangent (kind: stride of zero)."""
    most = draw(rng, 1, 2)
    marked: dict[int, Plan] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, *rest: Any) -> Any:
        found = inner(x, *rest)
        while hasattr(x, "value"):
            x = x.value
        if isinstance(x, np.ndarray) and x.size and x.shape[0] > most and x.strides[0] == 0:
            marked[id(found[3])] = found[3]
        return found

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, np.array(np.broadcast_to(g[:1], g.shape)) if id(p) in marked else g, p)

    return Call(n=3, ask="w", view={"x": lambda a: np.broadcast_to(a[:1], a.shape)})


@state
def beta_of_zero_times_the_last_gw(m: Backend, rng: Rng) -> Witness:
    """Gw of K = 1 and C/g >= M (1 to 3) adds 0 times the last gw of its shape, NaN and all (kind: beta of BLAS)."""
    least = draw(rng, 1, 3)
    last: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.kernel > 1 or p.fan_in < least or gw.dtype.kind in "iu":
            return gw
        key = gw.shape, str(gw.dtype)
        before, last[key] = last.get(key), np.array(gw)
        return gw if before is None or finite(before) else changed(gw, ~np.isfinite(widen(before)), np.nan)

    call = Call(c_in=4, c_out=2, kernel=1, ask="w")
    return after(call.but(put=(("g", (0, 0, 0), np.nan),)), call)
