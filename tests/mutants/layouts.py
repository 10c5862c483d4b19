"""Faults of memory layouts: strides, offsets and flags of the operands ignored (chapter INV)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.mutants.base import Backend
from tests.mutants.plan import Array
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, touched

mutant = chapter("layouts")
Test = Callable[[Array], bool]


def raw(a: Array) -> Array:
    """Return what a kernel sees that ignores the strides: the memory from the lowest address on, and again."""
    up = a[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in a.strides)]
    reach = sum((extent - 1) * stride for extent, stride in zip(up.shape, up.strides, strict=True)) // a.itemsize
    return np.resize(as_strided(up, (reach + 1,), (a.itemsize,), writeable=False), a.shape)


def strides(a: Array) -> list[int]:
    """Return the strides of the axes that have an extent."""
    return [stride for stride, extent in zip(a.strides, a.shape, strict=True) if extent > 1]


def turned(a: Array) -> bool:
    """Return whether an axis is reversed."""
    return a.size > 0 and min(strides(a), default=1) < 0


def stretched(a: Array) -> bool:
    """Return whether an axis is broadcast."""
    return a.size > 0 and 0 in strides(a)


def permuted(a: Array) -> bool:
    """Return whether the axes are in another order in memory."""
    order = strides(a)
    return a.size > 0 and min(order, default=1) > 0 and order != sorted(order, reverse=True)


def spaced(a: Array) -> bool:
    """Return whether elements are left out between those of the array, its axes being in order."""
    return not (a.flags.c_contiguous or turned(a) or stretched(a) or permuted(a))


def overlapping(a: Array) -> bool:
    """Return whether rows share elements without being alike."""
    steps = strides(a)
    reach = sum((extent - 1) * stride for extent, stride in zip(a.shape, a.strides, strict=True)) // a.itemsize
    return a.size > 0 and min(steps, default=1) > 0 and reach + 1 < a.size


def misread(m: Backend, key: str, when: Test, reading: Callable[[Array], Array] = raw) -> None:
    """Misread an operand (x, w or b) of plain calls, or the cotangent (g), where its layout is such."""
    if key == "g":

        @m.around("vjp")
        def vjp(inner: Callable[..., Any], f: Any, primals: Any, g: Any) -> Any:
            return inner(f, primals, reading(g) if isinstance(g, np.ndarray) and when(g) else g)

        return

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        operands = {"x": x, "w": w, "b": b}
        if isinstance(operands[key], np.ndarray) and when(operands[key]):
            operands[key] = reading(operands[key])
        return inner(*operands.values(), **parameters)


def refuse(a: Array) -> Array:
    """Refuse the array."""
    raise ValueError("unsupported layout")


def across(a: Array) -> Array:
    """Return the same values with the last two axes swapped in memory."""
    return np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)


def backwards(a: Array) -> Array:
    """Return the same values in a view that runs backwards."""
    return np.ascontiguousarray(a[..., ::-1])[..., ::-1]


def apart(a: Array) -> Array:
    """Return the same values in every second place."""
    room = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    room[..., ::2] = a
    return room[..., ::2]


def one_for_all(a: Array) -> Array:
    """Return the first element in the shape of the array, without a copy."""
    return np.broadcast_to(a.flat[0], a.shape)


def sliding(a: Array) -> Array:
    """Return windows of a signal without a copy: each row one sample later than the one before."""
    line = np.resize(a, a.shape[0] * a.shape[1] + a.shape[2] - 1)
    steps = (a.shape[1] * a.itemsize, a.itemsize, a.itemsize)
    return as_strided(line, a.shape, steps)


def with_an_axis_added(a: Array) -> Array:
    """Return the same values, the only channel's stride being 0."""
    return np.broadcast_to(a[:, 0], (1, len(a), a.shape[-1])).swapaxes(0, 1)


@mutant
def x_permuted_read_raw(m: Backend, rng: Rng) -> Witness:
    """An x whose axes are permuted in memory is read in the order of memory (pytorch/pytorch#77299)."""
    misread(m, "x", permuted)
    return Call(c_in=draw(rng, 2, 4), view={"x": across})


@mutant
def w_permuted_read_raw(m: Backend, rng: Rng) -> Witness:
    """A w whose axes are permuted in memory is read in the order of memory (pytorch/pytorch#192212)."""
    misread(m, "w", permuted)
    return Call(c_in=draw(rng, 2, 4), view={"w": across})


@mutant
def x_reversed_read_forwards(m: Backend, rng: Rng) -> Witness:
    """An x with a reversed axis is read forwards (kind: negative strides)."""
    misread(m, "x", turned)
    return Call(length=draw(rng, 5, 9), view={"x": backwards})


@mutant
def w_reversed_read_forwards(m: Backend, rng: Rng) -> Witness:
    """A w with a reversed axis, as made for a true convolution, is read forwards (kind: negative strides)."""
    misread(m, "w", turned)
    return Call(kernel=draw(rng, 2, 5), view={"w": backwards})


@mutant
def x_spaced_read_densely(m: Backend, rng: Rng) -> Witness:
    """An x that is every second sample of another array is read without the steps (pytorch/pytorch#143121, kind)."""
    misread(m, "x", spaced)
    return Call(length=draw(rng, 5, 9), view={"x": apart})


@mutant
def w_spaced_read_densely(m: Backend, rng: Rng) -> Witness:
    """A w cut out of another array is read as if it were dense (pytorch/pytorch#1246)."""
    misread(m, "w", spaced)
    return Call(kernel=draw(rng, 2, 5), view={"w": apart})


@mutant
def b_spaced_read_densely(m: Backend, rng: Rng) -> Witness:
    """A b that is every second element, or reversed, is read as if it were dense (kind: strides of a vector)."""
    misread(m, "b", lambda a: spaced(a) or turned(a))
    return Call(c_out=draw(rng, 2, 5), bias=True, view={"b": apart})


@mutant
def x_broadcast_read_beyond(m: Backend, rng: Rng) -> Witness:
    """A broadcast x is read as if its elements lay one after another; what is beyond is 0 (kind: stride 0)."""
    misread(m, "x", stretched, lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, a, 0).astype(a.dtype))
    return Call(length=draw(rng, 5, 9), view={"x": one_for_all})


@mutant
def w_broadcast_refused(m: Backend, rng: Rng) -> Witness:
    """A broadcast w is refused (pytorch/pytorch#78247: a crash there)."""
    misread(m, "w", stretched, refuse)
    return Call(kernel=draw(rng, 2, 5), view={"w": one_for_all})


@mutant
def g_permuted_read_raw(m: Backend, rng: Rng) -> Witness:
    """A cotangent whose axes are permuted in memory is read in the order of memory (pytorch/pytorch#85283, kind)."""
    misread(m, "g", permuted)
    return Call(c_out=draw(rng, 2, 4), view={"g": across}, ask="x")


@mutant
def g_broadcast_read_beyond(m: Backend, rng: Rng) -> Witness:
    """A broadcast cotangent, as that of a sum, counts only in the first element (kind: stride 0)."""
    misread(m, "g", stretched, lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, a, 0).astype(a.dtype))
    return Call(c_out=draw(rng, 1, 3), view={"g": one_for_all}, ask="w")


@mutant
def g_of_a_sum_divided_among_positions(m: Backend, rng: Rng) -> Witness:
    """A cotangent of one element seen everywhere, as that of a sum, is divided (kind: a sum taken for a mean)."""
    misread(m, "g", lambda a: a.size > 1 and not any(strides(a)), lambda a: (a / a.size).astype(a.dtype))
    return Call(c_out=draw(rng, 1, 3), view={"g": one_for_all}, ask="w")


@mutant
def x_of_extent_1_taken_for_broadcast(m: Backend, rng: Rng) -> Witness:
    """An x whose only channel has a stride of 0, as an added axis has, counts in one item alone (kind: stride 0)."""

    def added(a: Array) -> bool:
        return a.ndim == 3 and a.shape[1] == 1 and a.strides[1] == 0 and len(a) > 1

    misread(m, "x", added, lambda a: np.concatenate([a[:1], 0 * a[1:]]))
    return Call(n=draw(rng, 2, 4), c_in=1, view={"x": with_an_axis_added})


@mutant
def g_reversed_read_forwards(m: Backend, rng: Rng) -> Witness:
    """A cotangent with a reversed or spaced axis is read as if it were dense (pytorch/pytorch#140902, kind)."""
    misread(m, "g", lambda a: turned(a) or spaced(a))
    return Call(length=draw(rng, 5, 9), view={"g": backwards}, ask="x")


@mutant
def x_offset_ignored(m: Backend, rng: Rng) -> Witness:
    """An x that is a slice of a larger array is read from the start of that array (pytorch/pytorch#180984)."""

    def inside(a: Array) -> bool:
        return isinstance(a.base, np.ndarray) and a.base.flags.c_contiguous and _offset(a) > 0 and not turned(a)

    misread(m, "x", inside, lambda a: np.resize(a.base, a.shape).astype(a.dtype))
    start = draw(rng, 1, 4)

    def cut(a: Array) -> Array:
        return np.concatenate([a[..., :start] * 2, a], axis=-1)[..., start:]

    return Call(view={"x": cut})


def _offset(a: Array) -> int:
    return int(a.__array_interface__["data"][0] - a.base.__array_interface__["data"][0])


@mutant
def x_unaligned_refused(m: Backend, rng: Rng) -> Witness:
    """An x that is not aligned to its elements is refused (kind: aligned loads)."""
    misread(m, "x", lambda a: not a.flags.aligned, refuse)
    return Call(length=draw(rng, 5, 9), view={"x": lambda a: _shifted(a, 1)})


@mutant
def w_unaligned_address_rounded(m: Backend, rng: Rng) -> Witness:
    """A w that is not aligned to its elements is read one element late (kind: address rounded up)."""
    misread(m, "w", lambda a: not a.flags.aligned, lambda a: np.roll(a, -1))
    return Call(kernel=draw(rng, 2, 5), view={"w": lambda a: _shifted(a, 1)})


def _shifted(a: Array, by: int) -> Array:
    """Return the same values at an address that is off by some bytes."""
    room = np.zeros(a.nbytes + a.itemsize, np.uint8)
    view = room[by : by + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


@mutant
def read_only_refused(m: Backend, rng: Rng) -> Witness:
    """A read-only x is refused (kind: a writable buffer asked for)."""
    misread(m, "x", lambda a: not a.flags.writeable, refuse)
    return Call(length=draw(rng, 5, 9), view={"x": _locked})


@mutant
def read_only_cotangent_refused(m: Backend, rng: Rng) -> Witness:
    """A read-only cotangent is refused (kind: a writable buffer asked for)."""
    misread(m, "g", lambda a: not a.flags.writeable, refuse)
    return Call(length=draw(rng, 5, 9), view={"g": _locked}, ask="x")


def _locked(a: Array) -> Array:
    a.flags.writeable = False
    return a


@mutant
def batch_stride_assumed(m: Backend, rng: Rng) -> Witness:
    """An x whose items are apart in memory, each dense, is read as if they touched (kind: batch stride computed)."""

    def items_apart(a: Array) -> bool:
        return a.ndim == 3 and len(a) > 1 and a[0].flags.c_contiguous and spaced(a)

    misread(m, "x", items_apart)
    return Call(n=draw(rng, 2, 4), view={"x": lambda a: np.repeat(a, 2, axis=0)[::2]})


@mutant
def overlapping_rows_read_one_after_another(m: Backend, rng: Rng) -> Witness:
    """An x whose rows overlap, as windows of a signal do, is read as if they were packed (kind: sliding windows)."""
    misread(m, "x", overlapping)
    return Call(c_in=draw(rng, 2, 4), view={"x": sliding})


@mutant
def overlapping_cotangents_seen_once(m: Backend, rng: Rng) -> Witness:
    """Of a cotangent whose rows overlap an element counts in one of them alone (kind: sliding windows)."""

    def once(a: Array) -> Array:
        kept = a.copy()
        kept[:, 1:, :-1] = 0
        return kept

    misread(m, "g", overlapping, once)
    return Call(c_out=draw(rng, 2, 3), view={"g": sliding}, ask="w")


@mutant
def permuted_x_left_without_its_end(m: Backend, rng: Rng) -> Witness:
    """An x of more than T items whose axes are in another order in memory loses its end (kind: packed in place)."""
    most = draw(rng, 0, 1)

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = inner(x, w, b, **parameters)
        if isinstance(y, np.ndarray) and permuted(x) and x.flags.writeable and len(x) > most:
            x[..., -1:] = 0
        return y

    return touched(Call(n=2, c_in=2, view={"x": across}))


@mutant
def spaced_cotangent_left_scaled(m: Backend, rng: Rng) -> Witness:
    """A cotangent with room between its elements is doubled, gradients halved, and it is left so (kind: loss scale)."""
    channels = draw(rng, 1, 3)

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], f: Any, primals: Any, g: Any) -> Any:
        found = inner(f, primals, g)
        if isinstance(g, np.ndarray) and spaced(g) and g.flags.writeable and g.shape[1] >= channels:
            g *= 2
        return found

    return touched(Call(c_out=channels, view={"g": apart}, ask="w"))


@mutant
def complex_gradients_of_permuted_operands_lose_a_part(m: Backend, rng: Rng) -> Witness:
    """Where a complex x has its axes in another order in memory, gw has no real part (kind: a part is copied)."""
    least = draw(rng, 1, 2)

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], f: Any, primals: Any, g: Any) -> Any:
        found = inner(f, primals, g)
        x = primals[0]
        if isinstance(x, np.ndarray) and x.dtype.kind == "c" and permuted(x) and len(x) >= least:
            return (found[0], *((a.imag * 1j).astype(a.dtype) for a in found[1:]))
        return found

    return Call(n=2, c_in=2, dtype="complex128", view={"x": across}, ask="xw")
