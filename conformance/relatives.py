"""The nearest relative of a case that a surface can do, so that what a backend lacks costs it no part of the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import lattice_fits

_MOST_CHANGES = 3
_MOST_PADDING = 2**20


def _materialized(case: Case) -> Case:
    """No padding, on an input as long as the padded one. Raises ValueError where no memory holds such an input."""
    g = case.geometry
    if sum(g.pads) > _MOST_PADDING:
        raise ValueError(f"{sum(g.pads)} samples of padding are not written out")
    return case.with_geometry(length=g.length + sum(g.pads), padding=(0, 0))


def _without_mode(case: Case) -> Case:
    return replace(case, padding_mode="zeros", padding_value=0)


def _one_group(case: Case) -> Case:
    """The first of the groups alone: all channels in one would make a thousand groups a thousand times larger."""
    g = case.geometry
    return case.with_geometry(c_in=g.c_in // g.groups, c_out=g.c_out // g.groups, groups=1)


# One property of a case made plain, or written in another way; the shape of the result is kept where that is possible.
_CHANGES: tuple[Callable[[Case], Case], ...] = (
    _without_mode,
    lambda case: case.with_geometry(padding=case.geometry.pads),
    lambda case: case.with_geometry(padding=(max(case.geometry.pads),) * 2),
    lambda case: case.with_geometry(padding="same"),
    _materialized,
    lambda case: case.with_geometry(stride=1),
    lambda case: case.with_geometry(dilation=1),
    _one_group,
    lambda case: replace(case, dtype="float32"),
    lambda case: replace(case, bias=False),
)


def relatives(case: Case) -> Iterator[Case]:
    """The case itself, then those with a lattice that differ from it by one change, by two, and by three.

    Among relatives equally near, the seed of the case chooses which comes first, so that a pool keeps its variety.
    """
    turn = case.seed % len(_CHANGES)
    changes = (*_CHANGES[turn:], *_CHANGES[:turn])
    for count in range(_MOST_CHANGES + 1):
        for chosen in combinations(changes, count):
            relative = case
            try:
                for change in chosen:
                    relative = change(relative)
            except ValueError:  # a padding outside the domain of its mode or of memory, a window longer than its input
                continue
            if count == 0 or lattice_fits(relative.geometry, relative.dtype, relative.padding_mode):
                yield relative


def nearest(case: Case, possible: Callable[[Case], bool]) -> Case | None:
    """The nearest relative that is possible; None where no relative is."""
    return next(filter(possible, relatives(case)), None)
