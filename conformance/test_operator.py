"""Chapter OP: the value of the operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Surface, require
from conv1d_cts.conformance.beyond import Beyond, rows_beyond
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.edges import (
    blocks,
    corners,
    depthwise_taps,
    half_rows,
    many_filters,
    model_sized,
    multipliers,
    past_tiles,
    patches,
    pointwise_blocks,
    taps,
)
from conv1d_cts.conformance.pool import FLOATS
from conv1d_cts.conformance.recipes import in_parts, lattice_fits, operands, structured
from conv1d_cts.conformance.values import (
    LARGE,
    as_complex,
    forward_is_exact,
    heavy,
    is_plain,
    largest_extent,
    moderate,
    non_empty,
    one_long,
    operand_names,
    past_16_bits,
    with_bias,
)
from conv1d_cts.spec.geometry import Geometry


def _zeros(case: Case) -> bool:
    return case.padding_mode == "zeros" and non_empty(case)


def dtype_is_kept(surface: Surface, case: Case) -> None:
    """Y has the one dtype of x, w and b."""
    judge.same_dtype(surface.conv1d(case, operands(case)), case.dtype, "y")


def _of_nothing(cases: tuple[Case, ...]) -> Iterator[Case]:
    """Each extent but the length 0, in every dtype."""
    for name, dtype in product(("n", "c_in", "c_out"), (*FLOATS, "complex64")):
        yield Case(Geometry(2, 2, 3, 7, 3), dtype, bias=False).with_geometry(**{name: 0})


test_op_1_value = tries(
    "OP-1",
    forward_is_exact,
    lambda c: _zeros(c) and is_plain(c.geometry),
    own=[*blocks(), *corners(), *taps(), *past_tiles(), *half_rows()],
)


def weights_of_structure(surface: Surface, case: Case) -> None:
    """Y is exact where taps are alike, mirrored, mirrored with the other sign, alternating, or one among zeros."""
    given = operands(case)
    for w in structured(given.w):
        placed = replace(given, w=w)
        judge.equal(surface.conv1d(case, placed), oracle.forward(case, placed), "y of structured weights")


_STRUCTURED = [Case(Geometry(2, 3, 4, 20, kernel), bias=False, seed=kernel) for kernel in (2, 3, 4, 5, 6, 7, 8, 9)]
test_op_1_structure = tries("OP-1", weights_of_structure, lambda c: c in _STRUCTURED, own=_STRUCTURED)
test_op_2_stride = tries(
    "OP-2", forward_is_exact, lambda c: _zeros(c) and c.geometry.stride > 1 and c.geometry.l_out > 1,
    own=[*blocks(), *past_tiles()],
)  # fmt: skip
test_op_3_dilation = tries(
    "OP-3", forward_is_exact, lambda c: _zeros(c) and c.geometry.dilation > 1 and c.geometry.kernel > 1,
    own=[*blocks(), *past_tiles(), *patches()],
)  # fmt: skip
test_op_4_groups = tries(
    "OP-4", forward_is_exact, lambda c: _zeros(c) and 1 < c.geometry.groups < c.geometry.c_in,
    own=[*blocks(), *many_filters()],
)  # fmt: skip
test_op_5_depthwise = tries(
    "OP-5", forward_is_exact, lambda c: _zeros(c) and c.geometry.groups == c.geometry.c_in > 1,
    own=[*blocks(), *multipliers(), *depthwise_taps()],
)  # fmt: skip
test_op_6_bias = tries("OP-6", forward_is_exact, _zeros, prepare=with_bias)


def bias_with_zeros(surface: Surface, case: Case) -> None:
    """Y is exact whatever values of the bias are 0: the first, the last, all, all but one; or where they cancel."""
    given = operands(case)
    channels = np.arange(case.geometry.c_out)
    some = require(given.b, "b")
    cancelling = (2 * (channels % 2) - 1).astype(some.dtype)
    kept = (channels > 0, channels < channels[-1], channels < 0, channels == case.seed % len(channels))
    for b in (*(some * which.astype(some.dtype) for which in kept), cancelling):
        placed = replace(given, b=b)
        judge.equal(surface.conv1d(case, placed), oracle.forward(case, placed), "y")


test_op_6_zeros = tries("OP-6", bias_with_zeros, _zeros, prepare=with_bias, sampled=True)
test_op_7_dtype = tries("OP-7", dtype_is_kept, non_empty)
test_op_7_nothing = as_test(Check("OP-7", dtype_is_kept, _of_nothing, may_refuse=True, minimum=0))
test_op_8_pointwise = tries(
    "OP-8", forward_is_exact, lambda c: _zeros(c) and c.geometry.kernel == 1, own=pointwise_blocks()
)
test_op_9_extents = tries(
    "OP-9", forward_is_exact, lambda c: _zeros(c) and largest_extent(c) >= LARGE, own=past_16_bits()
)
test_op_9_model_sized = tries("OP-9", forward_is_exact, lambda c: _zeros(c) and heavy(c), own=model_sized())
test_op_9_beyond_2_31_bytes = as_test(
    Check("OP-9", rows_beyond, lambda cases: [Beyond()], minimum=0, for_accelerators=True)
)


test_op_10_complex = tries(
    "OP-10", forward_is_exact,
    lambda c: _zeros(c) and moderate(c) and lattice_fits(c.geometry, c.dtype),
    own=one_long(), prepare=as_complex, sampled=True
)  # fmt: skip


def complex_in_parts(surface: Surface, case: Case) -> None:
    """Y is exact where operands are real or imaginary throughout, in a tap, or but for a sample."""
    for given in in_parts(operands(case)):
        judge.equal(surface.conv1d(case, given), oracle.forward(case, given), "y of real or imaginary operands")


_PARTS = [  # the first ones are without what some surfaces lack
    Case(geometry, dtype, bias=False, seed=seed)
    for dtype in ("complex64", "complex128")
    for seed, geometry in enumerate(
        (Geometry(2, 2, 3, 9, 4), Geometry(2, 4, 6, 9, 2, 2, groups=2), Geometry(1, 3, 3, 9, 3, groups=3))
    )
]
test_op_10_parts = tries("OP-10", complex_in_parts, lambda c: c in _PARTS, own=_PARTS, minimum=1)

_INTEGER_DTYPES = ("int8", "int16", "int32", "int64", "uint8")


def integer_arithmetic(surface: Surface, case: Case) -> str:
    """What becomes of integers: refused, or exact and of their dtype, as all of the ways to compute them are here."""
    forward_is_exact(surface, case)
    dtype_is_kept(surface, case)
    return f"{case.dtype}: exact"


# Integers that kernels pack, shift or pair: padded, dilated, in groups, depthwise, in long rows, of one tap and many
# channels.
_PACKED = tuple(
    Case(geometry, bias=seed % 2 == 0, seed=seed)
    for seed, geometry in enumerate((
        Geometry(1, 4, 4, 20, 3, dilation=3, padding=(2, 2)), Geometry(1, 3, 6, 20, 3, groups=3),
        Geometry(1, 2, 4, 40, 5), Geometry(2, 8, 4, 9, 3, groups=2, padding=(1, 2)), Geometry(2, 4, 4, 9, 3, stride=2),
        Geometry(2, 33, 4, 9, 1), Geometry(2, 16, 4, 9, 1, groups=2),
    ))
)  # fmt: skip


def _integers(cases: tuple[Case, ...]) -> Iterator[Case]:
    """The zero-padded cases of the pool in each integer dtype, and those that kernels of integers pack."""
    zeros = [*_PACKED, *(case for case in cases if _zeros(case))]
    for dtype in _INTEGER_DTYPES:
        yield from (replace(case, dtype=dtype) for case in zeros if lattice_fits(case.geometry, dtype))


def overflow(surface: Surface, case: Case) -> str | None:
    """What becomes of sums beyond the range of an integer dtype; None where wrapped and saturated ones look alike."""
    given, ends = operands(case), np.iinfo(case.dtype)
    rng = np.random.default_rng(case.seed)
    names = operand_names(case)
    drawn = {n: rng.integers(ends.min, ends.max, getattr(given, n).shape, given.x.dtype, endpoint=True) for n in names}
    given = replace(given, **drawn)
    got = surface.conv1d(case, given)
    wrapped = oracle.forward(case, given).astype(case.dtype)  # in 64 bits, modulo 2^64, and so modulo 2^k
    rounded = oracle.forward(case, replace(given, **{n: a.astype(np.float64) for n, a in drawn.items()}))
    saturated = np.where(rounded >= ends.max, ends.max, np.where(rounded <= ends.min, ends.min, wrapped))
    if np.array_equal(wrapped, saturated):
        return None
    for name, want in (("modulo 2^k", wrapped), ("saturating", saturated)):
        if np.array_equal(got, want):
            return f"{case.dtype}: {name}"
    return f"{case.dtype}: neither modulo 2^k nor saturating"


def _overflowing(dtype: str) -> Any:
    """The check of one integer dtype: it overflows in one way throughout."""

    def select(cases: tuple[Case, ...]) -> Iterator[Case]:
        return (case for case in _integers(cases) if case.dtype == dtype)

    return as_test(Check("OP-11", overflow, select, may_refuse=True, sampled=True, throughout=True, bias_aside=True))


(
    test_op_11_overflow_int8, test_op_11_overflow_int16, test_op_11_overflow_int32,
    test_op_11_overflow_int64, test_op_11_overflow_uint8,
) = map(_overflowing, _INTEGER_DTYPES)  # fmt: skip
test_op_11_integers = as_test(Check("OP-11", integer_arithmetic, _integers, may_refuse=True, sampled=True))
