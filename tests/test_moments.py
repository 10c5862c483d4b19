"""The second-moment test: the constants of its theorem, honest long sums, faults that the worst case does not see."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from conv1d_cts.conformance.arithmetic.moments import (
    FALSE_ALARM,
    Units,
    quantile,
    scale,
    signed,
    worst_case,
)
from conv1d_cts.conformance.arithmetic.samples import Sample, sample_gradients, sample_y
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands
from conv1d_cts.spec.geometry import Geometry
from tests.emulators.bank import emulator
from tests.in_process import InProcess

Array = np.ndarray[Any, Any]
SINGLE = 2.0**-24


def tree_totals(n: int, rng: np.random.Generator) -> list[int]:
    """How many of n leaves are below each addition of a random tree."""
    nodes, totals = [1] * n, []
    while len(nodes) > 1:
        i, j = sorted(rng.choice(len(nodes), 2, replace=False))
        nodes.append(nodes.pop(j) + nodes.pop(i))
        totals.append(nodes[-1])
    return totals


def test_no_tree_has_larger_additions_than_the_serial_one() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 7, 40):
        for _ in range(50):
            totals = sorted(tree_totals(n, rng), reverse=True)
            assert all(total <= n - k for k, total in enumerate(totals))


def close(a: float, b: float) -> bool:
    """Equal but for a few roundings of float64."""
    return abs(a / b - 1) < 2.0**-36


def test_the_quantile_solves_chernoffs_equation() -> None:
    for groups in (1, 16, 64, 1000):
        x = quantile(groups, FALSE_ALARM)
        assert close(groups / 2 * (x - 1 - math.log(x)), -math.log(FALSE_ALARM))
    assert all(quantile(a, FALSE_ALARM) > quantile(b, FALSE_ALARM) for a, b in pairwise((1, 4, 16, 64)))


def test_the_scale_is_what_the_chapter_says() -> None:
    partial = sum(math.sqrt(m) for m in range(2, 385)) + math.sqrt(384)
    first = SINGLE * (partial + 384) + SINGLE * math.sqrt(384) + 2.0**-53 * (partial + 384)
    assert close(scale(384, 1.0, Units(0, SINGLE, SINGLE)), first * math.exp(389 * SINGLE))
    gamma = 385 * SINGLE / (1 - 385 * SINGLE)
    assert close(worst_case(384, 1.0, Units(0, SINGLE, SINGLE)), 384 * (gamma * (1 + SINGLE) + SINGLE + 385 * 2.0**-53))
    assert worst_case(300, 1.0, Units(0, 2.0**-8, 2.0**-8)) == math.inf


LONG = [Geometry(128, n // 3, 1, 5, 3) for n in (300, 1023, 2046, 4095)]


def sample_of(name: str, geometry: Geometry, seed: int = 0) -> Sample:
    case = Case(geometry, bias=False)
    return sample_y(InProcess(emulator(name)), case, signed(case, seed))


@pytest.mark.parametrize("geometry", LONG)
@pytest.mark.parametrize("name", ["fp32_serial", "fp32_tree", "fp32_pairwise_fma", "fp32_in_fp64"])
def test_honest_long_sums_pass(name: str, geometry: Geometry) -> None:
    assert sample_of(name, geometry).moment(Units(0, SINGLE, SINGLE)).holds


@pytest.mark.parametrize("geometry", LONG)
@pytest.mark.parametrize("name", ["fp32_tf32", "fp32_tf32_truncated", "fp32_bf16"])
def test_short_operands_are_found_in_long_sums(name: str, geometry: Geometry) -> None:
    found = sample_of(name, geometry).moment(Units(0, SINGLE, SINGLE))
    assert found.mean_square > found.limit


def test_the_worst_case_is_blind_where_the_mean_square_sees() -> None:
    found = sample_of("fp32_tf32", LONG[1]).moment(Units(0, SINGLE, SINGLE))
    assert found.share_of_worst_case < 1
    assert not found.holds


class Planted(InProcess):
    """One element of each result is off by so many times its worst-case bound."""

    times = 4.0

    def conv1d(self, case: Case, operands: Operands) -> Array:
        return self.plant(super().conv1d(case, operands), case.geometry.c_in * case.geometry.kernel)

    def vjp(self, case: Case, operands: Operands, wrt: str) -> dict[str, Array]:
        products = {"x": case.geometry.c_out * case.geometry.kernel}
        return {
            name: self.plant(g, products.get(name, case.geometry.n * case.geometry.l_out))
            for name, g in super().vjp(case, operands, wrt).items()
        }

    def plant(self, result: Array, n: int) -> Array:
        """Sizes are in [1, 9/8), so (9/8)^2 is the largest product."""
        middle = tuple(extent // 2 for extent in result.shape)
        result[middle] += result.dtype.type(self.times * worst_case(n, 81 / 64, Units(0, SINGLE, SINGLE)))
        return result


@pytest.mark.parametrize(("times", "found"), [(4.0, True), (0.25, True), (0.0, False)])
def test_one_wrong_element_among_sums_of_2000_products_is_found(times: float, found: bool) -> None:
    """Four times the bound of chapter ACC, and a quarter of it, which only random signs see."""
    planted = Planted(emulator("fp32_serial"))
    planted.__class__.times = times
    units = Units(0, SINGLE, SINGLE)
    case = Case(Geometry(2, 400, 3, 14, 5), bias=False)
    samples = [sample_y(planted, case, signed(case, 0))]
    case = Case(Geometry(40, 3, 400, 54, 5))
    samples += sample_gradients(planted, case, signed(case, 0))
    assert {s.quantity: s.n for s in samples} == {"y": 2000, "gx": 2000, "gw": 2000, "gb": 2000}
    for sample in samples:
        moment = sample.moment(units)
        assert moment.holds is not found, sample.quantity
        assert (moment.share_of_worst_case > 1) is (times > 1), sample.quantity
