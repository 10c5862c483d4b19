"""Hypothesis strategies: free cases for the pool, and the smaller relatives of a failing one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, NoSuchExample, Unsatisfiable

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import LARGEST_FILL, lattice_fits
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES

_QUIET: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": False,
}


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Legal geometries with small parameters and at least one window."""
    kernel, stride, dilation = (draw(st.integers(1, top)) for top in (9, 6, 6))
    sides = st.integers(0, dilation * (kernel - 1) + 3)
    padding = draw(st.one_of(st.tuples(sides, sides), st.sampled_from(PADDING_NAMES)))
    groups, c_in, c_out = (draw(st.integers(1, top)) for top in (4, 6, 6))
    length = draw(st.integers(1, 40))
    geometry = Geometry(
        draw(st.integers(1, 6)), groups * c_in, groups * c_out, length, kernel, stride, dilation, groups, padding
    )
    return geometry if geometry.l_out else reject()


@st.composite
def cases(draw: st.DrawFn, dtypes: tuple[str, ...]) -> Case:
    """Legal cases whose dtype holds a lattice for the geometry."""
    geometry, dtype, mode = draw(geometries()), draw(st.sampled_from(dtypes)), draw(st.sampled_from(PADDING_MODES))
    halves = st.integers(-2 * LARGEST_FILL, 2 * LARGEST_FILL)
    value = draw(halves) / 2 if mode == "constant" else 0
    if not lattice_fits(geometry, dtype, mode):
        reject()
    try:
        return Case(geometry, dtype, draw(st.booleans()), mode, value, seed=draw(st.integers(0, 2**31)))
    except ValueError:
        return reject()


def drawn_cases(count: int, seed_value: int, dtypes: tuple[str, ...]) -> list[Case]:
    """`count` cases as Hypothesis draws them; equal arguments give equal cases."""
    found: list[Case] = []

    @seed(seed_value)
    @settings(max_examples=count, phases=[Phase.generate], **_QUIET)
    @given(cases(dtypes))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


@st.composite
def smaller(draw: st.DrawFn, case: Case) -> Case:
    """Relatives of a case with no parameter larger: each is kept, or drawn between its least value and the case's."""

    def up_to(value: int, least: int) -> int:
        drawn = draw(st.integers(least, max(least, value)))
        return value if draw(st.booleans()) else drawn

    def plain_or(value: Any, plain: Any) -> Any:
        return value if draw(st.booleans()) else plain

    g = case.geometry
    groups = up_to(g.groups, 1)
    if isinstance(g.padding, str):
        padding: tuple[int, int] | str = g.padding
    else:
        padding = up_to(g.padding[0], 0), up_to(g.padding[1], 0)
    try:
        geometry = Geometry(
            up_to(g.n, min(g.n, 1)),
            groups * up_to(g.c_in // g.groups, min(g.c_in, 1)),
            groups * up_to(g.c_out // g.groups, min(g.c_out, 1)),
            up_to(g.length, min(g.length, 1)), up_to(g.kernel, 1), up_to(g.stride, 1), up_to(g.dilation, 1),
            groups, padding,
        )  # fmt: skip
        return Case(
            geometry, plain_or(case.dtype, "float32"), plain_or(case.bias, False),
            plain_or(case.padding_mode, "zeros"), case.padding_value, case.recipe,
            plain_or(case.layout, "contiguous"), case.seed,
        )  # fmt: skip
    except ValueError:
        return reject()


class _StillFails(Exception):  # noqa: N818 - a signal to Hypothesis, never seen by a user
    pass


def _size(case: Case) -> tuple[int, ...]:
    g = case.geometry
    extents = g.n * g.c_in * g.length + g.c_out * g.kernel
    odd = (case.dtype != "float32") + case.bias + (case.padding_mode != "zeros") + (case.layout != "contiguous")
    return extents + g.stride + g.dilation + g.groups + sum(g.pads), odd


def shrink(case: Case, fails: Callable[[Case], bool], max_examples: int = 200) -> Case:
    """The smallest relative of `case` found for which `fails` still holds; `case` itself where there is none.

    Each round starts from the last one's find, until a round finds nothing smaller.
    """
    best = case
    while _size(found := _smallest_relative(best, fails, max_examples)) < _size(best):
        best = found
    return best


def _smallest_relative(case: Case, fails: Callable[[Case], bool], max_examples: int) -> Case:
    best = case

    @seed(0)
    @settings(max_examples=max_examples, phases=[Phase.generate, Phase.shrink], **_QUIET)
    @given(smaller(case))
    def search(candidate: Case) -> None:
        nonlocal best
        if fails(candidate):
            best = min(best, candidate, key=_size)
            raise _StillFails

    # A backend that does not repeat itself looks flaky to Hypothesis; what was found stays found.
    with suppress(_StillFails, Flaky, NoSuchExample, Unsatisfiable):
        search()
    return best
