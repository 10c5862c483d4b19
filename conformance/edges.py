"""Cases at the edges of each padding, past those of the pool: long kernels, strides past the window, wide pads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from conv1d_cts.conformance.cases import Case
from conv1d_cts.spec.geometry import Geometry


def long_kernels(name: str) -> Iterator[Case]:
    """A named padding for kernels longer than those of the pool, with every small stride and dilation."""
    for kernel, stride, dilation in ((8, 1, 1), (11, 2, 1), (14, 3, 1), (16, 1, 2), (17, 2, 2), (33, 1, 1)):
        yield Case(Geometry(2, 2, 3, 2 * kernel + 5, kernel, stride, dilation, 1, name), seed=kernel)


def long_strides(name: str) -> Iterator[Case]:
    """A named padding for strides past the window, with every remainder."""
    for kernel, length in product((1, 2), range(10, 15)):
        yield Case(Geometry(2, 2, 3, length, kernel, stride=5, padding=name), seed=length)


def wide_pads(mode: str) -> Iterator[Case]:
    """A padding mode with ever wider pads on either side and on both, up to the last sample that it may show."""
    for pad in (3, 6, 10, 18, 33):
        for pads, more in (((pad, 0), 4), ((0, pad), 4), ((pad, pad), 1)):
            value = 1.5 if mode == "constant" else 0
            yield Case(Geometry(2, 2, 3, pad + more, 3, padding=pads), "float32", True, mode, value, seed=pad)
