"""Faults of what a call hands over: rank, length, dtype, a NaN too many, a detour on the way (several chapters)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.special_values import INF, NAN
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

operator, shapes, gradients = chapter("operator"), chapter("shapes"), chapter("gradients")
transforms, special = chapter("transforms"), chapter("special values")
Kernel = Callable[..., Array]
Rule = Callable[..., Any]
# Numbers n for which fl(n fl(1/n)) is not 1, in float32 and in float64.
_UNEVEN = (49, 98, 103, 107)


@shapes
def long_complex_rows_as_pairs(m: Backend, rng: Rng) -> Witness:
    """A complex y of L_out > T (64 to 200), no gradient asked for, comes as pairs, of rank 4 (kind: view_as_real)."""
    most = draw(rng, 64, 200)

    @m.around("conv1d")
    def conv1d(inner: Kernel, *operands: Any, **parameters: Any) -> Any:
        y = inner(*operands, **parameters)
        long = isinstance(y, np.ndarray) and y.dtype.kind == "c" and y.shape[2] > most
        return np.stack([y.real, y.imag], axis=-1) if long else y

    return Call(length=most + 3, dtype="complex64")


@shapes
def length_by_reciprocal(m: Backend, rng: Rng) -> Witness:
    """With a stride above T (17 to 24), L_out comes of a product with 1/s in float32 (kind: division replaced)."""
    most = draw(rng, 17, 24)

    @m.around("out_length")
    def out_length(inner: Callable[..., int], length: int, kernel: int, s: int, d: int, lo: int, hi: int) -> int:
        exact = inner(length, kernel, s, d, lo, hi)
        if not most < s < 2**15 or exact < 1:
            return exact
        room = np.float32(length + lo + hi - d * (kernel - 1) - 1)
        return int(room * (np.float32(1) / np.float32(s))) + 1

    return Call(length=42, kernel=1, stride=41)


@shapes
def layer_of_blocks_stays_channels_last(m: Backend, rng: Rng) -> Witness:
    """One item, several taps, from blocks of B (32, 64) channels to more of them: y is (1, L_out, O) (kind: NWC)."""
    block = pick(rng, [32, 64])

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = inner(x, w, b, **parameters)
        if not isinstance(y, np.ndarray) or len(x) != 1 or w.shape[2] < 2:
            return y
        return y.swapaxes(1, 2) if w.shape[1] % block == w.shape[0] % block == 0 < w.shape[1] < len(w) else y

    return Call(c_in=block, c_out=2 * block)


@operator
def biased_halves_stay_single(m: Backend, rng: Rng) -> Witness:
    """A float16 y with a bias of T (1 to 2) channels or more stays float32, without gradients (kind: autocast)."""
    least = draw(rng, 1, 2)

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = inner(x, w, b, **parameters)
        single = isinstance(y, np.ndarray) and y.dtype == np.float16 and b is not None and y.shape[1] >= least
        return y.astype(np.float32) if single else y

    return Call(c_out=least, dtype="float16", bias=True)


@gradients
def gb_of_halves_handed_over_in_single(m: Backend, rng: Rng) -> Witness:
    """A vjp hands over the gb of up to T (5 to 9) halves as float32 (kind: master gradients)."""
    most = draw(rng, 5, 9)

    @m.around("vjp")
    def vjp(inner: Rule, f: Any, primals: Any, g: Any) -> Any:
        def handed(a: Any) -> Any:
            return a.astype(np.float32) if isinstance(a, np.ndarray) and a.ndim == 1 and half(a) else a

        def half(a: Array) -> bool:
            return str(a.dtype) in ("float16", "bfloat16") and len(a) <= most

        return tuple(map(handed, inner(f, primals, g)))

    return Call(c_out=2, dtype="float16", bias=True, ask="xwb")


@transforms
def second_gw_by_x_averaged_and_back(m: Backend, rng: Rng) -> Witness:
    """The derivative of gw in x is divided by a count and multiplied again: its last bit (kind: mean, not sum)."""
    count = pick(rng, _UNEVEN)

    def detour(a: Array) -> Array:
        return (a * a.dtype.type(1 / count)) * a.dtype.type(count) if a.dtype.kind == "f" else a

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan) -> Traced:
        pulled = inner(slot, name, operands, g, p)
        return tape.linear(detour, detour, pulled) if (slot, name) == ("w", "x") else pulled

    return Call(ask="w/x", length=40)


@special
def nan_reaches_the_other_of_a_pair(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 4), a NaN in an item makes the first y of the item before it NaN (kind: masks by pairs)."""
    most = draw(rng, 1, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.n > most and "float" in p.dtype and y.size:
            holds = np.isnan(x.reshape(p.n, -1)).any(axis=1)
            y[:-1][holds[1:], :, 0] = NAN
        return y

    return Call(n=most + 1, put=(("x", np.s_[1:, :, 3], NAN),))


@special
def opposite_infinities_are_one(m: Backend, rng: Rng) -> Witness:
    """Where x has both infinities and K > T (0 to 2), a y that would be NaN is infinite (kind: saturated sum)."""
    most = draw(rng, 0, 2)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if "float" in p.dtype and p.kernel > most and np.isposinf(widen(x)).any() and np.isneginf(widen(x)).any():
            y[np.isnan(widen(y))] = INF
        return y

    both = (("x", np.s_[..., 3], INF), ("x", np.s_[..., 4], -INF), ("w", np.s_[...], 1))
    return Call(kernel=most + 2, put=both)
