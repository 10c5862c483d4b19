"""Cases, their data and the pool: rebuilt from integers, exact where they claim to be, aimed where faults sit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings

from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.cases import Case, case_from
from conv1d_cts.conformance.edges import model_sized
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, SHARING, arrange
from conv1d_cts.conformance.isolation.wire import decode, dtype_of, encode
from conv1d_cts.conformance.pool import FLOATS, PROFILES, every_padding, pool
from conv1d_cts.conformance.recipes import PERIOD, SIGNIFICAND_BITS, lattice_fits, operands
from conv1d_cts.conformance.script_literals import literal
from conv1d_cts.conformance.strategies import cases, shrink
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES

POOL = pool(PROFILES["standard"], 0, FLOATS)


def test_equal_arguments_give_equal_pools_and_other_seeds_others() -> None:
    assert pool.__wrapped__(PROFILES["quick"], 3, FLOATS) == pool.__wrapped__(PROFILES["quick"], 3, FLOATS)
    assert pool(PROFILES["quick"], 3, FLOATS) != pool(PROFILES["quick"], 4, FLOATS)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_meets_every_name_mode_and_dtype(name: str) -> None:
    profile_pool = pool(PROFILES[name], 1, FLOATS)
    assert {c.geometry.padding for c in profile_pool if isinstance(c.geometry.padding, str)} == set(PADDING_NAMES)
    assert {c.padding_mode for c in profile_pool} == set(PADDING_MODES)
    assert {c.dtype for c in profile_pool} == set(FLOATS)


def test_the_standard_pool_reaches_the_edges() -> None:
    geometries = [c.geometry for c in POOL]
    aims = {
        "one tap": lambda g: g.kernel == 1,
        "one sample": lambda g: g.length == 1,
        "one output": lambda g: g.l_out == 1,
        "stride past the kernel": lambda g: g.stride > g.kernel,
        "wide padding": lambda g: max(g.pads) > g.span - 1,
        "asymmetric": lambda g: g.pads[0] != g.pads[1],
        "dilation past the input": lambda g: g.dilation > g.length and g.kernel > 1,
        "remainder": lambda g: g.remainder > 0,
        "no remainder under stride": lambda g: g.remainder == 0 and g.stride > 1 and g.l_out > 1,
        "three groups or more": lambda g: g.groups >= 3,
        "depthwise": lambda g: g.groups == g.c_in > 1,
        "depth multiplier": lambda g: g.groups == g.c_in > 1 and g.c_out > g.c_in,
        "l_out == c_out": lambda g: g.l_out == g.c_out > 1,
        "c_in == length": lambda g: g.c_in == g.length > 1,
        "c_out == c_in": lambda g: g.c_out == g.c_in > 1,
    }
    reached = Counter(name for name, aim in aims.items() for g in geometries if aim(g))
    assert {name for name in aims if reached[name] < 3} == set()


@pytest.mark.parametrize("extent", ["n", "c_in", "c_out", "groups", "length", "l_out", "kernel", "stride", "dilation"])
def test_every_extent_is_met_at_small_values_and_around_powers_of_two(extent: str) -> None:
    met = {getattr(c.geometry, extent) for c in POOL}
    if extent in ("length", "l_out", "kernel", "n"):
        assert set(range(1, 12)) <= met
    assert any(size >= 2**k for k in (5,) for size in met)
    assert max(met) >= 2048


def test_padding_kinds_meet_strides_dilations_and_groups() -> None:
    def kind(case: Case) -> str:
        g = case.geometry
        lo, hi = g.pads
        return g.padding if isinstance(g.padding, str) else f"{(lo > hi) - (lo < hi)} {min(lo, hi) > 0}"

    features = {
        "strided": lambda g: g.stride > 1,
        "dilated": lambda g: g.dilation > 1,
        "grouped": lambda g: g.groups > 1,
    }
    seen = {(kind(c), name) for c in POOL for name, has in features.items() if has(c.geometry)}
    assert {(k, f) for k, f in product({kind(c) for c in POOL}, features)} == seen


def test_every_dtype_meets_every_kind_of_layer() -> None:
    kinds = {
        "dense": lambda g: g.groups == 1,
        "in groups": lambda g: 1 < g.groups < g.c_in,
        "depthwise": lambda g: g.groups == g.c_in == g.c_out > 1,
        "multiplier": lambda g: g.groups == g.c_in > 1 and g.c_out > g.c_in,
    }
    taps = {
        **{f"{k} taps": lambda g, k=k: (g.kernel, g.stride, g.dilation) == (k, 1, 1) for k in (1, 3, 5)},
        "strided": lambda g: g.stride == 2 and g.dilation == 1,
        "dilated": lambda g: g.stride == 1 and g.dilation == 2,
        "one window": lambda g: g.length == g.kernel > 1 == g.l_out,
    }
    for dtype, (kind, of_kind), (name, taken) in product(FLOATS, kinds.items(), taps.items()):
        geometries = [c.geometry for c in POOL if c.dtype == dtype and c.padding_mode == "zeros"]
        assert any(of_kind(g) and taken(g) for g in geometries), (dtype, kind, name)


@settings(max_examples=600, deadline=None)
@given(cases(FLOATS))
def test_lattice_data_are_exact_in_their_dtype(case: Case) -> None:
    arrays = operands(case)
    limit = 2 ** SIGNIFICAND_BITS[case.dtype]
    assert oracle.absolute_sum(case, arrays).max(initial=0) <= limit
    sizes = replace(arrays, **{name: np.abs(getattr(arrays, name)) for name in ("x", "w", "cotangent")})
    value = replace(case, padding_value=abs(case.padding_value))
    assert all(np.abs(grad).max(initial=0) <= limit for grad in oracle.gradients(value, sizes).values())


@settings(max_examples=50, deadline=None)
@given(cases(FLOATS))
def test_a_case_rebuilds_itself_and_its_arrays(case: Case) -> None:
    again = case_from(case.describe())
    assert again == case
    for name in ("x", "w", "cotangent"):
        assert getattr(operands(again), name).tobytes() == getattr(operands(case), name).tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 5), (4, 1, 1), (0, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_a_layout_keeps_the_values(layout: str, shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).integers(-9, 9, shape).astype(dtype_of(dtype))
    if layout in SHARING:
        values[...] = arrange(values, layout)
    laid_out = arrange(values.copy(), layout)
    assert laid_out.shape == shape
    assert np.array_equal(laid_out, values)


def test_a_repeated_value_is_one_element() -> None:
    values = np.zeros((2, 3, 4), np.float32)
    assert arrange(values, "repeated").strides == (0, 0, 0)
    values[:, 1] = 5
    assert arrange(values, "repeated").strides == (0, 4, 0)
    values[0, 0, 0] = -0.0  # another bit pattern of an equal value
    assert arrange(values, "repeated").strides == (48, 16, 4)


def test_layouts_differ_in_memory() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    values[...] = values[:1, :, :1]
    facts = {
        name: (a.strides, a.flags.writeable, a.flags.aligned)
        for name in LAYOUTS
        if (a := arrange(values, name)) is not None
    }
    assert len(set(facts.values())) == len(LAYOUTS)


@pytest.mark.parametrize("dtype", sorted(SIGNIFICAND_BITS))
def test_the_wire_keeps_every_bit(dtype: str) -> None:
    raw = np.frombuffer(np.random.default_rng(1).bytes(96), dtype=dtype_of(dtype)).reshape(2, 3, -1)
    back = decode(encode(raw[:, ::-1]))
    assert back.dtype == raw.dtype
    assert back.tobytes() == raw[:, ::-1].tobytes()


def test_shrinking_finds_the_smallest_case_that_still_fails() -> None:
    def fails(case: Case) -> bool:
        g = case.geometry
        return g.length >= 17 and g.stride > 1 and g.groups > 1

    start = next(c for c in POOL if fails(c))
    g = shrink(start, fails).geometry
    assert (g.n, g.kernel, g.stride, g.groups) == (1, 1, 2, 2)
    assert g.length == 17


def test_a_case_that_fails_once_only_stays_as_it_was() -> None:
    case = POOL[0]
    calls = iter([True] + [False] * 10_000)
    assert shrink(case, lambda _: next(calls)).geometry.length <= case.geometry.length


@pytest.mark.parametrize("case", list(model_sized()), ids=str)
def test_a_script_can_print_large_arrays(case: Case) -> None:
    """They repeat a short one, with which no extent keeps step."""
    drawn = operands(case)
    large = [array for array in (drawn.x, drawn.w, drawn.cotangent) if array.size > 2**15]
    assert large
    for array in large:
        expression = literal(array)
        assert len(expression) < 600
        assert np.array_equal(eval(expression, {"np": np}), array)
        assert all(extent % PERIOD for extent in array.shape)


def test_sums_too_long_for_a_dtype_have_no_lattice() -> None:
    wide = Geometry(1, 900, 1, 3, 3)
    assert [d for d in FLOATS if lattice_fits(wide, d)] == ["float32", "float64"]
    assert all(lattice_fits(c.geometry, c.dtype, c.padding_mode) for c in POOL)


def test_classes_of_parameters_meet_in_pairs() -> None:
    classes = [
        {c.geometry.stride > 1 for c in POOL}, {c.geometry.dilation > 1 for c in POOL}, {c.bias for c in POOL},
    ]  # fmt: skip
    for one, other in combinations(range(3), 2):
        values = [(c.geometry.stride > 1, c.geometry.dilation > 1, c.bias) for c in POOL]
        assert len({(v[one], v[other]) for v in values}) == len(classes[one]) * len(classes[other])


def test_a_part_of_the_pool_has_as_many_of_every_mode_and_name_as_there_are() -> None:
    part = every_padding(POOL, 120)
    assert len(part) == len(set(part)) == 120
    assert list(part) == [case for case in POOL if case in set(part)]
    for mode in PADDING_MODES:
        assert sum(case.padding_mode == mode for case in part) >= 10
    for name in PADDING_NAMES:
        assert sum(case.geometry.padding == name for case in part) >= 5
    assert set(every_padding(POOL[:7], 120)) == set(POOL[:7])
