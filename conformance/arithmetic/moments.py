"""Sums of random signs: their errors against what any honest order of summation can do (chapter ARITH).

Where n is large the worst-case bound of chapter ACC is far above all that rounding does, and an arithmetic of fewer
bits hides below it. Here the signs of one operand are drawn by us. Then every partial sum is of the size of the root
of its number of terms, whatever the tree of summation, and a theorem without any assumption on the rounding errors but
their size bounds the mean square of the errors, but for a probability that is chosen here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from conv1d_cts.conformance.arithmetic.formats import format_of
from conv1d_cts.conformance.arithmetic.sums import Array
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.recipes import Operands

# The false alarms of a certificate are below 10^-9 as long as it makes fewer than 2^14 tests of this probability.
FALSE_ALARM = 2.0**-44
_ORACLE = 2.0**-53


@dataclass(frozen=True)
class Units:
    """Unit roundoffs of an arithmetic: of its operands, of its products and partial sums, of its results."""

    operands: float
    sums: float
    result: float


def signed(case: Case, seed: int) -> Operands:
    """x, w and a cotangent of random signs; their sizes are full significands in [1, 9/8)."""
    rng = np.random.default_rng([seed, 1729])
    dtype, bits = dtype_of(case.dtype), format_of(case.dtype).bits

    def draw(shape: tuple[int, ...]) -> Array:
        sizes = 1 + rng.integers(0, 2 ** (bits - 4), shape) * 2.0 ** (1 - bits)
        values: Array = (sizes * rng.choice([-1.0, 1.0], shape)).astype(dtype)
        return values

    g = case.geometry
    return Operands(draw(g.x_shape), draw(g.w_shape), np.zeros(g.b_shape, dtype), draw(g.y_shape))


def scale(n: int, largest: float, units: Units, oracle: float = _ORACLE) -> float:
    """The root mean square that no error of a sum of n products of at most this size can exceed (ARITH theorem).

    The sum over all operations of (unit roundoff) * (root mean square of the value rounded there), at its largest over
    all trees: partial sums of 2, 3, ... n products, one conversion, n products, n pairs of operands, one result. The
    reference's own sums, in float64, come on top.
    """
    partial = math.fsum(math.sqrt(m) for m in range(2, n + 1)) + math.sqrt(n)
    operands = 2 * units.operands + units.operands**2
    first = units.sums * (partial + n) + operands * n + units.result * math.sqrt(n) + oracle * (partial + n)
    return largest * first * math.exp((n + 4) * max(units.sums, oracle) + 4 * units.operands + units.result)


def worst_case(n: int, largest: float, units: Units, oracle: float = _ORACLE) -> float:
    """The bound of chapter ACC for n products of at most this size, rounded operands included; infinite where void."""
    first, reference = (_gamma(n + 1, u) for u in (units.sums, oracle))
    relative = (1 + units.operands) ** 2 * (1 + first) - 1
    return n * largest * (relative * (1 + units.result) + units.result + reference) * (1 + 2.0**-40)


def _gamma(n: int, unit: float) -> float:
    return n * unit / (1 - n * unit) if n * unit < 1 else math.inf


def quantile(groups: int, probability: float) -> float:
    """The x above which chi-square of so many degrees, over their number, lies with at most this probability.

    Chernoff: exp(-groups (x - 1 - ln x) / 2) = probability, solved by bisection.
    """
    wanted = 2 * math.log(1 / probability) / groups
    low, high = 1.0, 2 * wanted + 4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if middle - 1 - math.log(middle) > wanted else (middle, high)
    return high


@dataclass(frozen=True)
class Moment:
    """Errors over their scale: the mean square with what it may be, the largest with what it may be.

    `share_of_worst_case` is the largest error over its bound, which needs no random signs.
    """

    mean_square: float
    limit: float
    largest: float
    largest_limit: float
    share_of_worst_case: float

    @property
    def holds(self) -> bool:
        """Whether all are what an honest arithmetic of these units gives, but for FALSE_ALARM."""
        within = self.mean_square <= self.limit and self.largest <= self.largest_limit
        return within and self.share_of_worst_case <= 1


def moment(errors: Array, n: int, groups: int, largest: float, units: Units) -> Moment:
    """The errors of sums of n products of at most this size, in so many groups of independent signs."""
    ratios = np.abs(errors) / scale(n, largest, units)
    return Moment(
        float(np.mean(ratios**2)),
        quantile(groups, FALSE_ALARM),
        float(ratios.max()),
        math.sqrt(quantile(1, FALSE_ALARM / errors.size)),
        float(np.abs(errors).max()) / worst_case(n, largest, units),
    )
