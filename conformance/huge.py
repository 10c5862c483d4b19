"""Legal calls with a parameter that the machine's integers do not hold, and what is right for them (ERR-7).

No array grows with the parameter: the windows that a call reads are few, and are laid side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from conv1d_cts.conformance import oracle, recipes
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.recipes import Operands
from conv1d_cts.spec.geometry import Geometry

Array = np.ndarray[Any, Any]

# Past what 32 and 64 bits hold, by itself or times a small number; two of them are 1 where they wrap around.
VALUES = (2**30, 2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63 - 1, 2**64 + 1)
# Fewer, since a framework may look for so much memory for ten seconds (TensorFlow does) before it refuses.
PADDING_VALUES = (2**31, 2**62, 2**63 - 1, 2**64 + 1)
# So many items that 2^30 samples of padding for each are more than an address space: no machine can compute the result.
_ITEMS = 2**16
_MOST_WINDOWS = 64  # an output this long can be compared; a huge one is none that a backend can have returned


def is_huge(case: Case) -> bool:
    """Whether a parameter is one that this module is for."""
    g = case.geometry
    return max(g.stride, g.dilation, *g.pads) >= min(VALUES)


def _strides(value: int) -> Iterator[Geometry]:
    """One window, whatever the kernel and the padding."""
    for kernel in (1, 3, 5):
        yield Geometry(2, 4, 6, 9, kernel, stride=value)
    for kernel, name in zip((11, 12, 3, 4), ("same", "same_lower", "causal", "full"), strict=True):
        yield Geometry(2, 4, 6, 9, kernel, stride=value, padding=name)


def _dilations(value: int) -> Iterator[Geometry]:
    """No window; the input's length where padding makes up for it, or where there is one tap."""
    for kernel in (1, 2, 3, 5):
        yield Geometry(2, 4, 6, 9, kernel, dilation=value)
        yield Geometry(1, 1, 1, 9, kernel, dilation=value)
    for kernel, name in product((3, 5), ("same", "same_lower", "causal")):
        yield Geometry(2, 4, 6, 9, kernel, dilation=value, padding=name)
    yield Geometry(_ITEMS, 1, 1, 4, 3, dilation=value, padding=(value, value))


def _sides(value: int) -> tuple[tuple[int, int], ...]:
    return (value, 0), (0, value), (value, value)


def _paddings(value: int) -> Iterator[Geometry]:
    """On either side and on both: more samples than memory."""
    for kernel, pads in zip((3, 5, 1), _sides(value), strict=True):
        yield Geometry(_ITEMS, 1, 1, 4, kernel, padding=pads)


def _padded_strides(value: int) -> Iterator[Geometry]:
    """The few windows that a huge stride leaves of huge padding."""
    for pads in _sides(value):
        yield Geometry(_ITEMS, 1, 1, 4, 3, stride=value, padding=pads)


def cases_of_gradients(given: Iterable[Case]) -> Iterator[Case]:
    """Those among the given cases, and every huge value in every parameter."""
    yield from filter(is_huge, given)
    for value in VALUES:
        yield from map(Case, (*_strides(value), *_dilations(value)))
    for value in PADDING_VALUES:
        yield from map(Case, _paddings(value))


def cases(given: Iterable[Case]) -> Iterator[Case]:
    """The same and strides in padding; their gradients would cost a backend that is right minutes or gigabytes."""
    yield from cases_of_gradients(given)
    for value in PADDING_VALUES:
        yield from map(Case, _padded_strides(value))


def operands(case: Case) -> Operands:
    """The operands of a case; its cotangent has one sample where y would not fit into memory."""
    g = case.geometry
    given = recipes.operands(case.with_geometry(stride=1, dilation=1, padding=(0, 0)))
    samples = g.l_out if g.l_out <= _MOST_WINDOWS else 1
    signs = np.random.default_rng(case.seed).choice(np.array([-1, 1]), (g.n, g.c_out, samples))
    return replace(given, cotangent=signs.astype(dtype_of(case.dtype)))


def _side_by_side(case: Case, given: Operands) -> tuple[Case, Operands, Array]:
    """The same sums without huge numbers: the windows one after another, and the sample at each place, -1 for a 0."""
    g = case.geometry
    reads = (i * g.stride + k * g.dilation - g.pads[0] for i in range(g.l_out) for k in range(g.kernel))
    places = np.array([at if 0 <= at < g.length else -1 for at in reads], np.int64)
    x = np.where(places >= 0, given.x[..., places], 0).astype(given.x.dtype)
    apart = Geometry(g.n, g.c_in, g.c_out, len(places), g.kernel, stride=g.kernel, groups=g.groups)
    return replace(case, geometry=apart), replace(given, x=x), places


def forward(case: Case, given: Operands) -> Array:
    """Y (N, O, L_out), where L_out is small."""
    apart, windows, _ = _side_by_side(case, given)
    return oracle.forward(apart, windows)


def gradients(case: Case, given: Operands) -> dict[str, Array]:
    """gx, gw and, with a bias, gb, where L_out is small."""
    apart, windows, places = _side_by_side(case, given)
    found = oracle.gradients(apart, windows)
    gx = np.zeros(given.x.shape)
    for at, sample in enumerate(places):
        gx[..., sample] += found["x"][..., at] * (sample >= 0)
    return {**found, "x": gx}
