"""Chapter PAD: explicit padding, names and modes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, product
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.edges import (
    around_powers,
    dilated,
    every_dtype,
    long_kernels,
    long_strides,
    named_pads,
    sides,
    strided_wide_pads,
    uneven_blocks,
    whole_strides,
    wide_pads,
)
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import forward_is_exact, non_empty, with_rounded_fill
from conv1d_cts.spec.geometry import Geometry


def _explicit(clause: str, holds: Callable[[int, int, int], bool], further: Iterable[Case] = ()) -> Any:
    """Cases with explicit zeros for which `holds` is true of (lo, hi, the reach d (K-1) of the window)."""

    def telling(case: Case) -> bool:
        g = case.geometry
        explicit = case.padding_mode == "zeros" and not isinstance(g.padding, str)
        return explicit and non_empty(case) and holds(*g.pads, g.span - 1)

    return tries(clause, forward_is_exact, telling, own=[*wide_pads("zeros"), *around_powers(), *further])


def _named(name: str) -> Callable[[Case], bool]:
    """Cases with that padding, where it matters: under stride 1 a name that adds nothing would be any other name."""

    def telling(case: Case) -> bool:
        g = case.geometry
        return g.padding == name and case.padding_mode == "zeros" and non_empty(case) and (g.span > 1 or g.stride > 1)

    return telling


def _name(clause: str, name: str) -> Any:
    kinds = (long_kernels, long_strides, dilated, whole_strides)
    return tries(clause, forward_is_exact, _named(name), own=chain.from_iterable(kind(name) for kind in kinds))


def _mode(clause: str, mode: str) -> Any:
    def telling(case: Case) -> bool:
        return case.padding_mode == mode and non_empty(case) and sum(case.geometry.pads) > 0

    return tries(clause, forward_is_exact, telling, own=[*wide_pads(mode), *named_pads(mode), *every_dtype(mode)])


def _sides(clause: str, mode: str) -> Any:
    """The mode with the names of most layers, for whoever has them."""

    def telling(case: Case) -> bool:
        return case.padding_mode == mode and case.geometry.padding in ("same", "same_lower") and non_empty(case)

    return tries(clause, forward_is_exact, telling, own=sides(mode), minimum=0)


test_pad_1_both_sides_alike = _explicit("PAD-1", lambda lo, hi, reach: lo == hi > 0)
test_pad_2_asymmetric = _explicit("PAD-2", lambda lo, hi, reach: lo != hi, uneven_blocks())
test_pad_3_wide = _explicit("PAD-3", lambda lo, hi, reach: max(lo, hi) > reach, strided_wide_pads())
test_pad_4_valid = _name("PAD-4", "valid")
test_pad_5_same = _name("PAD-5", "same")
test_pad_6_same_lower = _name("PAD-6", "same_lower")
test_pad_7_causal = _name("PAD-7", "causal")
test_pad_8_full = _name("PAD-8", "full")
test_pad_9_constant = _mode("PAD-9", "constant")
test_pad_9_constant_sides = _sides("PAD-9", "constant")


_REALS = ("float16", "bfloat16", "float32", "float64")
_INEXACT = (0.1, 1 / 3, -2 / 3, 3.14159265358979)  # no dtype holds them, and each dtype rounds them otherwise


def _one_product(case: Case) -> Case:
    """The case with windows of one sample and an inexact fill."""
    filled = replace(case, bias=False, padding_mode="constant", padding_value=_INEXACT[case.seed % len(_INEXACT)])
    pads, stride = (1 + case.seed % 6, case.seed % 4), 1 + case.seed % 3
    return filled.with_geometry(kernel=1, stride=stride, dilation=1, c_in=case.geometry.groups, padding=pads)


def fill_is_rounded(surface: Surface, case: Case) -> None:
    """Where a window holds the fill alone, y is the fill, rounded to x's dtype, times 1 or -1."""
    given = operands(case)
    given = Operands(given.x, np.sign(given.w.astype(np.float64)).astype(given.w.dtype), None, given.cotangent)
    want = oracle.forward(with_rounded_fill(case), given)
    judge.equal(surface.conv1d(case, given), want, "y")


_FILLED = [Case(Geometry(1, 1, 1, 8, 1), dtype, seed=seed) for dtype, seed in product(_REALS, range(8))]
test_pad_9_rounded = tries("PAD-9", fill_is_rounded, non_empty, own=_FILLED, prepare=_one_product, sampled=True)


def fill_of_any_range(surface: Surface, case: Case) -> None:
    """So it is at the ends of the range and beyond: what rounds to an infinity is one, or the call is refused."""
    given = operands(case)
    given = Operands(given.x, np.sign(given.w.astype(np.float64)).astype(given.w.dtype), None, given.cotangent)
    top = bounds.largest(case.dtype)
    for fill in (top, -top, np.inf, -np.inf, np.nan, 2 * top, -2 * top):  # the last two may be refused
        one = replace(case, padding_value=fill)
        with np.errstate(over="ignore", invalid="ignore"):
            want = oracle.forward(with_rounded_fill(one), given)
        judge.equal(surface.conv1d(one, given), want, f"y around a fill of {fill}")


test_pad_9_any_range = tries(
    "PAD-9", fill_of_any_range, lambda c: c.geometry.groups == 1, own=_FILLED, prepare=_one_product, sampled=True,
    may_refuse=True, minimum=0,
)  # fmt: skip


def fill_is_rounded_in_gw(surface: Surface, case: Case) -> None:
    """Where the cotangent is 1 or -1 for the first window, which sees the fill, and 0 for others, so is gw."""
    given = operands(case)
    cotangent = np.zeros_like(given.cotangent)
    cotangent[0, :, 0] = np.sign(given.cotangent[0, :, 0].astype(np.float64))
    gw = surface.vjp(case, replace(given, cotangent=cotangent), "w")["w"]
    want = cotangent[0, :, 0].astype(np.float64) * with_rounded_fill(case).padding_value
    judge.equal(gw, np.broadcast_to(want[:, None, None], case.geometry.w_shape), "gw")


test_pad_9_rounded_in_gradients = tries(
    "PAD-9", fill_is_rounded_in_gw, non_empty, own=_FILLED, prepare=_one_product,
    extra={"function": "vjp", "wrt": "w"}, sampled=True,
)  # fmt: skip
test_pad_10_reflect = _mode("PAD-10", "reflect")
test_pad_10_reflect_sides = _sides("PAD-10", "reflect")
test_pad_11_symmetric = _mode("PAD-11", "symmetric")
test_pad_11_symmetric_sides = _sides("PAD-11", "symmetric")
test_pad_12_replicate = _mode("PAD-12", "replicate")
test_pad_12_replicate_sides = _sides("PAD-12", "replicate")
test_pad_13_circular = _mode("PAD-13", "circular")
test_pad_13_circular_sides = _sides("PAD-13", "circular")
