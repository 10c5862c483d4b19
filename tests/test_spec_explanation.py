"""Explaining a geometry: the samples that are never read, and paddings as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv1d_cts.spec.explanation import explain, parse_padding, ranges, unread
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_NAMES

PADDINGS = st.one_of(st.sampled_from(PADDING_NAMES), st.tuples(st.integers(0, 5), st.integers(0, 5)))


@given(st.integers(0, 20), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), PADDINGS)
def test_a_sample_is_unread_when_no_tap_of_any_window_meets_it(
    length: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int] | str
) -> None:
    g = Geometry(1, 1, 1, length, kernel, stride, dilation, 1, padding)
    read = {i * stride + k * dilation - g.pads[0] for i in range(g.l_out) for k in range(kernel)}
    assert unread(g) == tuple(p for p in range(length) if p not in read)


def test_ranges_join_neighbours() -> None:
    assert ranges(()) == ""
    assert ranges((0, 4, 5, 6, 9)) == "0, 4-6, 9"


@pytest.mark.parametrize(
    ("text", "padding"), [("same", "same"), ("2", (2, 2)), ("2,1", (2, 1)), ("0,3", (0, 3)), (" 1, 2 ", (1, 2))]
)
def test_paddings_as_people_write_them(text: str, padding: object) -> None:
    assert parse_padding(text) == padding


def test_a_large_geometry_is_explained_at_once() -> None:
    assert "never read  99999 of 100000" in explain(Geometry(1, 1, 1, 100_000, 1, 100_000))
    assert "never read  none" in explain(Geometry(1, 1, 1, 100_000, 50_000))
