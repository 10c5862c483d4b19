"""Chapter PAD: explicit padding, names and modes."""

from __future__ import annotations

from collections.abc import Callable

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.values import forward_is_exact, non_empty


def _explicit(holds: Callable[[int, int, int], bool]) -> Callable[[Case], bool]:
    """Cases with explicit zeros for which `holds` is true of (lo, hi, the reach d (K-1) of the window)."""

    def telling(case: Case) -> bool:
        g = case.geometry
        explicit = case.padding_mode == "zeros" and not isinstance(g.padding, str)
        return explicit and non_empty(case) and holds(*g.pads, g.span - 1)

    return telling


def _named(name: str) -> Callable[[Case], bool]:
    """Cases with that padding, where it matters: a name that adds nothing would be any other name."""

    def telling(case: Case) -> bool:
        g = case.geometry
        return g.padding == name and case.padding_mode == "zeros" and non_empty(case) and g.span > 1

    return telling


def _mode(mode: str) -> Callable[[Case], bool]:
    return lambda case: case.padding_mode == mode and non_empty(case) and sum(case.geometry.pads) > 0


test_pad_1_both_sides_alike = tries("PAD-1", forward_is_exact, _explicit(lambda lo, hi, reach: lo == hi > 0))
test_pad_2_asymmetric = tries("PAD-2", forward_is_exact, _explicit(lambda lo, hi, reach: lo != hi))
test_pad_3_wide = tries("PAD-3", forward_is_exact, _explicit(lambda lo, hi, reach: max(lo, hi) > reach))
test_pad_4_valid = tries("PAD-4", forward_is_exact, _named("valid"))
test_pad_5_same = tries("PAD-5", forward_is_exact, _named("same"))
test_pad_6_same_lower = tries("PAD-6", forward_is_exact, _named("same_lower"))
test_pad_7_causal = tries("PAD-7", forward_is_exact, _named("causal"))
test_pad_8_full = tries("PAD-8", forward_is_exact, _named("full"))
test_pad_9_constant = tries("PAD-9", forward_is_exact, _mode("constant"))
test_pad_10_reflect = tries("PAD-10", forward_is_exact, _mode("reflect"))
test_pad_11_symmetric = tries("PAD-11", forward_is_exact, _mode("symmetric"))
test_pad_12_replicate = tries("PAD-12", forward_is_exact, _mode("replicate"))
test_pad_13_circular = tries("PAD-13", forward_is_exact, _mode("circular"))
