"""Faults of ports: derivatives by transposed convolution, patches and folds (chapters GRAD, VAL, INV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, changed
from tests.mutants.plan import Array, Plan, taps, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

gradients = chapter("gradients")
specials = chapter("special values")
numbers = chapter("numerics")
maps = chapter("transforms")
Kernel = Callable[..., Array]


def _later(a: Array, count: int) -> Array:
    """Return a moved towards the end by `count` samples, zeros in front; negative counts move it towards the start."""
    moved = np.zeros_like(a)
    if count >= 0:
        moved[..., count:] = a[..., : a.shape[-1] - count]
    else:
        moved[..., :count] = a[..., -count:]
    return moved


@gradients
def gx_skips_the_window_that_touches(m: Backend, rng: Rng) -> Witness:
    """Gx of lo > e under a stride skips (lo - e) // s + 1 windows, one too many if s | lo - e (kind: division)."""
    stride = pick(rng, (2, 3))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        over = p.lo - p.span + 1
        if over > 0 and p.stride > 1 and over % p.stride == 0 and p.mode not in COPYING and over // p.stride < p.l_out:
            g = changed(g, (..., over // p.stride))
        return inner(w, g, p)

    return Call(length=9, stride=stride, padding=(2 + stride, 1), ask="x")


@gradients
def gx_of_same_by_the_length_of_a_transposed_layer(m: Backend, rng: Rng) -> Witness:
    """Gx of `same` crops as if L were s * L_out, its lo too small where s does not divide L (kind: length rule)."""
    most = draw(rng, 40, 80)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.padding == "same" and p.mode not in COPYING and p.length % p.stride and p.length <= most:
            g = _later(g, min(p.lo - max(p.span - p.stride, 0) // 2, g.shape[-1]))
        return inner(g, p)

    return Call(length=9, kernel=5, stride=2, padding="same", ask="x")


@gradients
def gx_of_a_kernel_stuffed_to_the_end(m: Backend, rng: Rng) -> Witness:
    """Gx of groups, d > 1, span <= T (9 to 15): w stuffed to d*K taps, then flipped (kind: trailing zeros)."""
    most = draw(rng, 9, 15)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        if p.groups > 1 and p.dilation > 1 and 1 < p.span <= most and p.dilation <= gx.shape[-1]:
            gx = _later(gx, 1 - p.dilation)
        return gx

    return Call(c_in=2, c_out=2, groups=2, length=10, dilation=2, ask="x")


@gradients
def gx_of_copied_channels_added_by_copies(m: Backend, rng: Rng) -> Witness:
    """Depthwise gx of O/C > 1 with d > 1 adds copies up as (m, C), not (C, m), for C <= T (kind: axis order)."""
    most = draw(rng, 6, 12)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if not (p.depthwise and p.fan_out > 1 and p.dilation > 1 and p.c_in <= most):
            return inner(w, g, p)
        each = widen(inner(w, g, replace(p, c_in=p.c_out, groups=p.c_out)))
        return each.reshape(p.n, p.fan_out, p.c_in, p.padded).sum(axis=1, dtype=each.dtype).astype(g.dtype)

    return Call(c_in=3, c_out=6, groups=3, length=11, dilation=2, ask="x")


_BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_G = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
    np.float32,
) / np.float32(24)
_AT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)


@numbers
def gx_by_winograd_four_three(m: Backend, rng: Rng) -> Witness:
    """float32 gx of 3 taps, s = d = 1, O/g >= T (4 to 8) by Winograd F(4, 3) in single (kind: fast algorithm)."""
    least = draw(rng, 4, 8)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        plain = p.kernel == 3 and p.stride == p.dilation == 1 and p.dtype == "float32"
        if not plain or p.fan_out < least or not p.l_out or not g.size:
            return inner(w, g, p)
        tiles = -(-p.padded // 4)
        row = np.zeros((p.n, p.groups, p.fan_out, 4 * tiles + 2), np.float32)
        row[..., 2 : 2 + p.l_out] = g.reshape(p.n, p.groups, p.fan_out, p.l_out)
        at = 4 * np.arange(tiles)[:, None] + np.arange(6)[None]
        u = np.einsum("ab,ngotb->atngo", _BT, row[..., at])
        flipped = w.reshape(p.groups, p.fan_out, p.fan_in, 3)[..., ::-1]
        v = np.einsum("ak,gock->agoc", _G, flipped)
        gx = np.einsum("ba,atngc->ngctb", _AT, np.einsum("atngo,agoc->atngc", u, v))
        return np.ascontiguousarray(gx.reshape(p.n, p.c_in, 4 * tiles)[..., : p.padded]).astype(g.dtype)

    def real(data: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return data.normal(size=shape) * 10.0 ** data.integers(-6, 7, shape)

    return Call(c_in=2, c_out=9, length=21, dtype="float32", ask="x", data=real)


@gradients
def gw_alone_pads_symmetric_by_another_reflect(m: Backend, rng: Rng) -> Witness:
    """Gw without gx pads x anew by scipy's name: symmetric (lo, hi <= T, 4 to 9) becomes mirror (kind: mode name)."""
    most = draw(rng, 4, 9)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.mode == "symmetric" and "x" not in p.wanted and max(p.lo, p.hi) <= min(most, p.length - 1):
            x = m.pad(x[..., p.lo : p.lo + p.length], 0, replace(p, mode="reflect"))
        return inner(x, g, p)

    return Call(length=8, padding=(2, 2), mode="symmetric", ask="w")


@specials
def gw_patches_by_an_identity_kernel(m: Backend, rng: Rng) -> Witness:
    """Gw of groups with C*K <= T (16 to 32): patches by a one-hot kernel spread a NaN of x (kind: zero products)."""
    most = draw(rng, 16, 32)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.groups == 1 or p.c_in * p.kernel > most or gw.dtype.kind in "iu":
            return gw
        return gw if all(np.isfinite(read).all() for read in taps(x, p)) else np.full_like(gw, np.nan)

    return Call(c_in=2, c_out=2, groups=2, ask="w", put=(("x", (0, 0, 3), np.nan),))


@gradients
def gx_of_named_pads_only_cropped(m: Backend, rng: Rng) -> Witness:
    """Under a copying mode gx of causal and full, e <= T (4 to 9), is cropped, not folded (kind: name with mode)."""
    most = draw(rng, 4, 9)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.padding in ("causal", "full") and p.mode in COPYING and p.span - 1 <= most:
            return np.array(g[..., p.lo : p.lo + p.length])
        return inner(g, p)

    return Call(length=9, padding="causal", mode=str(rng.choice(["replicate", "circular"])), ask="x")


@gradients
def output_padding_in_front_when_differentiated(m: Backend, rng: Rng) -> Witness:
    """The vjp of gx in w and gy drops its remainder >= T (1 to 2) in front, not behind (kind: output padding)."""
    least = draw(rng, 1, 2)

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        if slot == "x" and p.remainder >= least and p.l_out > 1:
            g = tape.linear(lambda a: _later(a, -p.remainder), lambda a: _later(a, p.remainder), g)
        return inner(slot, name, operands, g, p)

    return Call(length=11, kernel=3, stride=3, ask="x/w")


@maps
def bias_of_all_maps_unfolded_by_filters(m: Backend, rng: Rng) -> Witness:
    """Through a map of x and w as groups, the gb of one bias is summed as (O, maps), O <= T (kind: fold order)."""
    most = draw(rng, 6, 12)
    current: list[tuple[int, int, list[Any]]] = []
    folded: list[tuple[int, int]] = []

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            before = list(current)
            try:
                return mapped(*operands)
            finally:
                current[:] = before

        return run

    @m.around("slices")
    def slices(inner: Callable[..., Any], operands: Any, axes: Any, i: int) -> list[Any]:
        found = inner(operands, axes, i)
        count = next(a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
        current[:] = [(i, count, [a for a, axis in zip(found, axes, strict=True) if axis is not None])]
        return list(found)

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        folded.clear()
        for i, count, own in current:
            if b is not None and [any(a is o for o in own) for a in (x, w, b)] == [True, True, False]:
                folded.append((i, count))
        return inner(x, w, b, **given)

    @m.around("biased")
    def biased(inner: Callable[..., Any], y: Any, b: Any, p: Plan) -> Any:
        if not folded or not 1 < p.c_out <= most:
            return inner(y, b, p)
        ((i, count),) = folded
        to = (i * p.c_out + np.arange(p.c_out)) // count

        def gathered(g: Array) -> Array:
            gb = np.zeros(p.c_out, g.dtype)
            np.add.at(gb, to, m.grad_b(g, p))
            return gb

        return tape.add(y, tape.linear(lambda a: m.spread(a, p), gathered, b))

    def probe(backend: Backend) -> Any:
        arrays = Call(c_in=2, c_out=3, bias=True).operands()
        xs = np.stack([arrays["x"], 2 * arrays["x"]])
        ws = np.stack([arrays["w"], 3 * arrays["w"]])

        def f(b: Any) -> Any:
            return backend.vmap(lambda x, w: backend.conv1d(x, w, b))(xs, ws)

        return backend.vjp(f, (arrays["b"],), np.stack([arrays["g"], 5 * arrays["g"]]))

    return probe


@maps
def depthwise_tangent_carried_as_from_keras(m: Backend, rng: Rng) -> Witness:
    """The tangent of a depthwise w, K <= T (6 to 12), is read as (K, C, m), which it is not (kind: weight layout)."""
    most = draw(rng, 6, 12)

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        if slot == "g" and name == "w" and p.depthwise and 1 < p.kernel <= most:
            shape = (p.c_out, 1, p.kernel)
            tangent = tape.linear(
                lambda a: np.ascontiguousarray(a.reshape(p.kernel, p.c_out).T).reshape(shape),
                lambda g: np.ascontiguousarray(g[:, 0].T).reshape(shape),
                tangent,
            )
        return inner(slot, name, operands, tangent, p)

    return Call(c_in=2, c_out=4, groups=2, ask="jvp:w")
