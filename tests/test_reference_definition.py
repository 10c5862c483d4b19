"""The reference equals the definition, exactly: on every small geometry, and on generated ones in every mode."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conv1d_cts.reference import conv1d, conv1d_jvp, conv1d_vjp
from conv1d_cts.reference.contractions import _blocks
from conv1d_cts.reference.pad import pad
from conv1d_cts.reference.validation import Plan, plan_call
from conv1d_cts.spec import definition
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES, source_index, widest

Array = npt.NDArray[Any]
FRACTION = 67  # the values of every 67th small geometry are computed; a prime, so that no parameter keeps step with it


def lattice(shape: tuple[int, ...], seed: int) -> Array:
    """Return integers in [-4, 4], as float64: every partial sum of the cases here is exact."""
    return np.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(np.float64)


def parameters(g: Geometry) -> dict[str, Any]:
    return {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups}


def small_geometries() -> Iterator[Geometry]:
    extents = itertools.product(range(3), range(3), range(3), (1, 2), range(7), range(1, 5))
    for n, c_in, c_out, groups, length, kernel in extents:
        if c_in % groups == 0 and c_out % groups == 0:
            for stride, dilation, lo, hi in itertools.product(range(1, 4), range(1, 4), range(4), range(4)):
                yield Geometry(n, c_in, c_out, length, kernel, stride, dilation, groups, (lo, hi))


def check_values(g: Geometry, bias: bool, mode: str = "zeros", fill: int = 0) -> None:
    """Compare y, the vjp and the jvp of one lattice case with the definition."""
    x, w = lattice(g.x_shape, 1), lattice(g.w_shape, 2)
    b = lattice(g.b_shape, 3) if bias else None
    cotangent, dx, dw = lattice(g.y_shape, 4), lattice(g.x_shape, 5), lattice(g.w_shape, 6)
    lists: list[Any] = [None if a is None else a.astype(int).tolist() for a in (x, w, b, cotangent, dx, dw)]
    px, pw, pb, pg, pdx, pdw = lists
    how = {**parameters(g), "padding_mode": mode, "padding_value": fill}
    equal(conv1d(x, w, b, **how), definition.conv1d(px, pw, pb, g, mode, fill), g.y_shape)
    expected = definition.conv1d_vjp(px, pw, pb, pg, g, mode, fill)
    for got, want, shape in zip(
        conv1d_vjp(x, w, b, cotangent, **how), expected, (g.x_shape, g.w_shape, g.b_shape), strict=True
    ):
        equal(got, want, shape)
    equal(
        conv1d_jvp(x, w, b, dx, dw, b, **how),
        definition.conv1d_jvp(px, pw, pb, pdx, pdw, pb, g, mode, fill),
        g.y_shape,
    )


def equal(got: Array | None, want: Any, shape: tuple[int, ...]) -> None:
    if want is None:
        assert got is None
    else:
        assert got is not None
        assert got.shape == shape
        assert np.array_equal(got, np.array(want, dtype=np.float64).reshape(shape))


def test_every_small_geometry_has_the_defined_shape() -> None:
    ones: dict[tuple[int, int, int], Array] = {}
    count = 0
    for g in small_geometries():
        count += 1
        x, w = (ones.setdefault(shape, np.ones(shape)) for shape in (g.x_shape, g.w_shape))
        assert conv1d(x, w, **parameters(g)).shape == g.y_shape
    assert count == 3 * 13 * 7 * 4 * 9 * 16


def test_a_fraction_of_the_small_geometries_has_the_defined_values() -> None:
    for i, g in enumerate(itertools.islice(small_geometries(), 0, None, FRACTION)):
        check_values(g, bias=i % 2 == 0)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Geometry, str]:
    groups = draw(st.integers(1, 3))
    c_in, c_out = groups * draw(st.integers(0, 3)), groups * draw(st.integers(0, 3))
    length, kernel = draw(st.integers(0, 12)), draw(st.integers(1, 5))
    stride, dilation, n = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(0, 3))
    mode = draw(st.sampled_from(PADDING_MODES))
    limit = widest(mode, length)
    amounts = st.integers(0, 14 if limit is None else limit)
    padding = draw(st.one_of(st.tuples(amounts, amounts), st.sampled_from(PADDING_NAMES)))
    g = Geometry(n, c_in, c_out, length, kernel, stride, dilation, groups, padding)
    assume(limit is None or max(g.pads) <= limit)
    return g, mode


@settings(max_examples=400, deadline=None)
@given(geometries(), st.booleans(), st.integers(-3, 3))
def test_generated_geometries_have_the_defined_values(case: tuple[Geometry, str], bias: bool, fill: int) -> None:
    geometry, mode = case
    check_values(geometry, bias, mode, fill)


def test_padding_shows_the_samples_of_the_spec() -> None:
    for mode, length in itertools.product(PADDING_MODES, range(7)):
        limit = widest(mode, length)
        for lo, hi in itertools.product(range((5 if limit is None else limit) + 1), repeat=2):
            plan = Plan(1, 1, 1, length, 1, 1, 1, 1, lo, hi, mode, lo + length + hi)
            shown = [source_index(mode, p, length) for p in range(-lo, length + hi)]
            x = np.arange(1.0, length + 1).reshape(1, 1, length)
            fill = 9 if mode == "constant" else 0
            assert pad(np, x, plan, 9).tolist() == [[[fill if s is None else s + 1 for s in shown]]]


def test_long_inputs_in_blocks_have_the_defined_values() -> None:
    for g, by_items, by_positions in (
        (Geometry(1, 3, 2, 170000, 3, 2, 5, 1, (4, 1)), False, True),
        (Geometry(3, 2, 4, 30000, 2, groups=2), True, False),
        (Geometry(2, 1, 9, 40000, 2), True, True),
    ):
        _, plan = plan_call(np.ones(g.x_shape), np.ones(g.w_shape), None, **parameters(g), padding_mode="zeros")
        blocks = _blocks(plan, 1)
        assert (len({items.start for items, _, _ in blocks}) > 1) == by_items
        assert (len({start for _, start, _ in blocks}) > 1) == by_positions
        x, w = lattice(g.x_shape, 1), lattice(g.w_shape, 2)
        y = conv1d(x, w, **parameters(g))
        padded = np.pad(x, ((0, 0), (0, 0), g.pads)).reshape(g.n, g.groups, -1, g.length + sum(g.pads))
        windows = np.lib.stride_tricks.sliding_window_view(padded, g.span, axis=3)[:, :, :, :: g.stride, :: g.dilation]
        matrices = w.reshape(g.groups, -1, g.c_in // g.groups, g.kernel)
        assert np.array_equal(y, np.einsum("ngcik,gock->ngoi", windows, matrices).reshape(g.y_shape))
