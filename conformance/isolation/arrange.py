"""Operand layouts in memory: the same values, differently laid out (INV-6).

What surrounds or interleaves the values is filled with bytes that are NaN in every floating format, so that a backend
that reads the raw buffer, or past its end, shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

Array = np.ndarray[Any, Any]


def _filled(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array whose every byte is 0xFF."""
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(bytearray(b"\xff" * count), dtype=dtype).reshape(shape)


def _permuted(a: Array) -> Array:
    """Axes stored in reverse order: (L, C, N) for x."""
    return a.T.copy().T


def _swapped(a: Array) -> Array:
    """The last two axes stored swapped: the memory of a channels-last array."""
    return np.swapaxes(np.swapaxes(a, -1, -2).copy(), -1, -2) if a.ndim > 1 else a


def _samples_first(a: Array) -> Array:
    """The last axis stored first, as of time-major data: (L, N, C) for x."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1)


def _turned(a: Array) -> Array:
    """The first two axes stored swapped and the last backwards, as w of a transposed convolution."""
    if a.ndim < 3:
        return a
    return np.swapaxes(np.ascontiguousarray(np.swapaxes(a, 0, 1)[..., ::-1])[..., ::-1], 0, 1)


def _reversed(axis: int) -> Callable[[Array], Array]:
    """An axis stored backwards: a negative stride."""
    return lambda a: np.flip(np.flip(a, axis).copy(), axis) if a.ndim >= abs(axis) else a


def _strided(a: Array) -> Array:
    """Every second element of a wider last axis."""
    wide = _filled((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    view = wide[..., ::2]
    view[...] = a
    return view


def _embedded(a: Array) -> Array:
    """The middle of a larger array, along every axis."""
    large = _filled(tuple(e + 2 for e in a.shape), a.dtype)
    view = large[tuple(slice(1, e + 1) for e in a.shape)]
    view[...] = a
    return view


def _sliced(axis: int) -> Callable[[Array], Array]:
    """Part of a longer axis, as `split` gives it: the axes inside it are packed, those outside step over more."""

    def sliced(a: Array) -> Array:
        if a.ndim < abs(axis):
            return a
        extents = list(a.shape)
        extents[axis] += 3
        view = np.moveaxis(np.moveaxis(_filled(tuple(extents), a.dtype), axis, 0)[1:-2], 0, axis)
        view[...] = a
        return view

    return sliced


def _broadcast(a: Array) -> Array:
    """The first item seen again and again: a stride of 0. The values must be alike along the first axis."""
    return np.broadcast_to(a[:1].copy(), a.shape) if a.shape[0] else a


def _expanded(a: Array) -> Array:
    """The first sample or tap seen again and again. The values must be alike along the last axis."""
    return np.broadcast_to(a[..., :1].copy(), a.shape) if a.shape[-1] else a


def _sliding(a: Array) -> Array:
    """Each row one element further along one line: rows overlap. The values must be those of such rows."""
    if a.ndim < 2:
        return a
    rows = a.reshape(-1, a.shape[-1])
    line = np.concatenate([rows[:-1, 0], rows[-1]])
    steps = (*(int(np.prod(a.shape[axis + 1 : -1])) for axis in range(a.ndim - 1)), 1)
    return as_strided(line, a.shape, tuple(step * a.itemsize for step in steps))


def _repeated(a: Array) -> Array:
    """Strides of 0 along every axis on which nothing changes: a single value is one element, seen everywhere."""
    once = a
    for axis in range(a.ndim):
        first = once.take([0], axis)
        once = first if np.broadcast_to(first, once.shape).tobytes() == once.tobytes() else once
    return np.broadcast_to(once.copy(), a.shape)


def _read_only(a: Array) -> Array:
    view = a.copy()
    view.flags.writeable = False
    return view


def _unaligned(a: Array) -> Array:
    """One byte past an aligned address."""
    buffer = bytearray(a.nbytes + 1)
    view = np.frombuffer(memoryview(buffer)[1:], dtype=a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _field(a: Array) -> Array:
    """A field of packed records: strides that are no multiples of an element."""
    records = _filled(a.shape, np.dtype([("value", a.dtype), ("mark", np.uint8)]))
    records["value"] = a
    return records["value"]


_ARRANGEMENTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda a: a,
    "permuted": _permuted,
    "swapped": _swapped,
    "samples first": _samples_first,
    "turned": _turned,
    "reversed": _reversed(-1),
    "reversed channels": _reversed(-2),
    "reversed items": _reversed(-3),
    "strided": _strided,
    "embedded": _embedded,
    "sliced channels": _sliced(-2),
    "sliced samples": _sliced(-1),
    "broadcast": _broadcast,
    "expanded": _expanded,
    "sliding": _sliding,
    "repeated": _repeated,
    "read-only": _read_only,
    "unaligned": _unaligned,
    "field": _field,
}

LAYOUTS = tuple(_ARRANGEMENTS)
SHARING = ("broadcast", "expanded", "sliding")  # layouts in which several elements are one in memory


def arrange(array: Array, layout: str) -> Array:
    """`array` (rank >= 1) laid out in memory as `layout` says; a scalar or an empty array stays as it is."""
    return _ARRANGEMENTS[layout](array) if array.ndim and array.size else array


def in_memory(view: Array) -> tuple[Array, tuple[int, ...]] | None:
    """The elements from the first to the last in memory, and the steps among them that give the view.

    None where it is dense, or where it goes backwards or by parts of elements.
    """
    size = view.itemsize
    if view.strides == np.empty(view.shape, view.dtype).strides or any(s < 0 or s % size for s in view.strides):
        return None
    steps = tuple(stride // size for stride in view.strides)
    last = sum((extent - 1) * step for extent, step in zip(view.shape, steps, strict=True))
    return as_strided(view, (last + 1,), (size,), writeable=False), steps
