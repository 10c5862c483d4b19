"""Chapter SHAPE: output length, and what happens where an extent is 0."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import product

from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.edges import (
    long_complex_rows,
    long_strided_rows,
    long_windows,
    odd_strides,
    without_windows,
)
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.values import forward_is_exact, non_empty
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES


def shape_is_defined(surface: Surface, case: Case) -> None:
    """Y has shape (N, O, L_out)."""
    judge.same_shape(surface.conv1d(case, operands(case)), case.geometry.y_shape, "y")


def _distinct(case: Case) -> bool:
    return len(set(case.geometry.y_shape)) == 3 and non_empty(case)


test_shape_1_axes = tries("SHAPE-1", shape_is_defined, _distinct, own=long_complex_rows())
test_shape_2_output_length = tries("SHAPE-2", shape_is_defined, non_empty, own=[*odd_strides(), *long_strided_rows()])

_TRIED = 24  # of 128 combinations; three values of three parameters meet in a sample with probability 0.96


def _single_outputs() -> Iterable[Case]:
    """One window: as long as the input or with samples left over, over one and several items, channels and groups."""
    combinations = list(product((1, 3), (1, 2), (1, 2), (1, 3), (2, 5), (1, 2), (0, 2)))
    for n, groups, c_in, c_out, kernel, dilation, left in random.Random(0).sample(combinations, 2 * _TRIED):
        length = dilation * (kernel - 1) + 1 + left
        geometry = Geometry(n, groups * c_in, groups * c_out, length, kernel, left + 1, dilation, groups)
        yield Case(geometry, seed=left + 10 * n)


test_shape_3_single_output = tries(
    "SHAPE-3", forward_is_exact, lambda c: c.geometry.l_out == 1 and non_empty(c),
    own=[*_single_outputs(), *long_windows()],
)  # fmt: skip


def empty(name: str, cases: Iterable[Case]) -> Iterable[Case]:
    """One extent 0 beside a sample of the others; padding keeps windows alive for L = 0, unless a name finds it."""
    combinations = list(product((1, 3), (1, 2), (1, 3), (1, 2), (1, 2), (True, False), ("float32", "float64")))
    for n, groups, kernel, stride, dilation, bias, dtype in random.Random(name).sample(combinations, _TRIED):
        lo = dilation * (kernel - 1) + 1 if name == "length" else 1
        pads = (lo, lo if bias == (n == 1) else lo - 1)  # alike in half of them: a backend may know nothing else
        extents = {"n": n, "c_in": 2 * groups, "c_out": 3 * groups, "length": 7} | {name: 0}
        geometry = Geometry(**extents, kernel=kernel, stride=stride, dilation=dilation, groups=groups, padding=pads)
        yield Case(geometry, dtype, bias, seed=kernel + 10 * n)
    if name == "length":
        for padding, (kernel, stride, dilation) in product(PADDING_NAMES, ((3, 1, 1), (2, 2, 1), (4, 1, 3))):
            yield Case(Geometry(2, 2, 3, 0, kernel, stride, dilation, padding=padding), bias=False)
    else:
        plain = Case(Geometry(2, 2, 3, 7, 3), bias=False).with_geometry(**{name: 0})
        for mode in PADDING_MODES[1:]:
            value = 1.5 if mode == "constant" else 0
            yield replace(plain.with_geometry(padding=(2, 1)), padding_mode=mode, padding_value=value)
        yield from (replace(plain, dtype=dtype) for dtype in ("float16", "bfloat16"))
    yield from (case for case in cases if getattr(case.geometry, name) == 0)


def _too_long(cases: Iterable[Case]) -> Iterable[Case]:
    """Windows longer than the padded input, by one sample and by many, of one channel and several."""
    kinds = product((3, 7), (1, 2), (1, 2), (1, 2, 5), (0, 1), ((1, 1, 1), (2, 2, 3)), (True, False))
    for kernel, dilation, stride, short, lo, sizes, bias in kinds:
        length = dilation * (kernel - 1) + 1 - short - lo
        if length > 0:
            yield Case(Geometry(*sizes, length, kernel, stride, dilation, 1, (lo, 0)), bias=bias, seed=short)
    yield from without_windows()
    yield from (case for case in cases if case.geometry.l_out == 0)


def _empty_check(clause: str, name: str) -> Check:
    return Check(clause, forward_is_exact, lambda cases: empty(name, cases), may_refuse=True)


test_shape_4_no_window = as_test(Check("SHAPE-4", forward_is_exact, _too_long, may_refuse=True))
test_shape_5_empty_batch = as_test(_empty_check("SHAPE-5", "n"))
test_shape_6_empty_length = as_test(_empty_check("SHAPE-6", "length"))
test_shape_7_no_input_channels = as_test(_empty_check("SHAPE-7", "c_in"))
test_shape_8_no_output_channels = as_test(_empty_check("SHAPE-8", "c_out"))
