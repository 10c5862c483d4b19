"""The probes of sums: how many bits partial sums keep, and how they, their products and results are rounded.

The order of summation is unknown: three terms are tried in the three arrangements that differ in who meets whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from conv1d_cts.conformance.arithmetic.facts import (
    DIRECTED,
    NEAREST_AWAY,
    NEAREST_EVEN,
    TRUNCATED,
    Fact,
)
from conv1d_cts.conformance.arithmetic.formats import rounded, significand
from conv1d_cts.conformance.arithmetic.probes import Place, Probe
from conv1d_cts.conformance.arithmetic.sums import Array, Request

EXACT = "exact in any order"

# Bits that sums may be found to have: all that formats have, and their neighbours.
SUM_BITS = (*range(7, 14), 16, 20, *range(22, 27), 32, 52, 53, 54, 64, 106)


def _arrangements(values: Sequence[float]) -> list[list[float]]:
    """(M, v, -M) in three orders: whichever two terms meet first, in one of the orders they are M and v (FPRev)."""
    large, small, negative = values
    return [[large, small, negative], [large, negative, small], [negative, large, small]]


def _selecting(place: Place) -> tuple[list[tuple[int, int, int]], Array]:
    """The triples, and a column for each of them that has ones there."""
    triples = place.triples()
    columns = np.zeros((place.n, len(triples)))
    for column, triple in enumerate(triples):
        columns[list(triple), column] = 1
    if not place.right_is_free:  # one triple, everything else being zero on the left
        return triples[-1:], columns[:, -1:]
    return triples, columns


def _rows(place: Place, triples: Sequence[tuple[int, int, int]], values: Sequence[float]) -> list[Array]:
    """A row for each arrangement of the three values, put at every triple."""
    at = [position for triple in triples for position in triple]
    return [place.row(arranged * len(triples), at) for arranged in _arrangements(values)]


def accumulator(place: Place) -> Probe:
    """M + 2^(h-j) - M, M = 3/2 * 2^h, in three orders: the small term survives where sums keep more than j bits."""
    high, low = place.large, max(place.format.smallest, -60)
    reach = [t for t in SUM_BITS if t - 1 <= high - low]
    triples, columns = _selecting(place)
    large = 1.5 * 2.0**high
    rows = [row for t in reach for row in _rows(place, triples, (large, 2.0 ** (high - t + 1), -large))]

    def read(results: list[Array]) -> list[Fact]:
        got = results[0].reshape(len(reach), -1)
        small = np.array([2.0 ** (high - t + 1) for t in reach])
        lost = np.flatnonzero((got != small[:, None]).any(axis=1))
        sums = [f"M + 2^{high - t + 1} - M" for t in reach]
        where = f", M = 1.5 * 2^{high}"
        if not lost.size:
            return [Fact("sum bits", reach[-1], f"{sums[-1]}{where}, {EXACT}")]
        first = int(lost[0])
        wrong = got[first][got[first] != small[first]][0]
        return [Fact("sum bits", reach[first - 1] if first else 1, f"{sums[first]} = {float(wrong)!r}{where}")]

    return Probe([Request(np.array(rows), columns)], read)


def result_rounding(place: Place) -> Probe:
    """1 plus parts of the distance to the next number: how the result is rounded."""
    p, at = place.format.bits, (0, place.n - 1)
    ulp = 2.0 ** (1 - p)
    pairs = [(1, 0.75 * ulp), (-1, -0.75 * ulp), (1, 0.5 * ulp), (1, 1.5 * ulp)]
    column = np.zeros((place.n, 1))
    column[list(at)] = 1
    rows = np.array([place.row(pair, at) for pair in pairs])

    def read(results: list[Array]) -> list[Fact]:
        steps = [float((g - a) / ulp) for g, (a, _) in zip(results[0][:, 0], pairs, strict=True)]
        parts = zip(("3/4", "1/2", "3/2"), (steps[0], *steps[2:]), strict=True)
        text = ", ".join(f"1 + {part} ulp = 1 + {step:g} ulp" for part, step in parts)
        return [Fact("result rounding", _way(steps), text)]

    return Probe([Request(rows, column)], read)


def _way(steps: Sequence[float]) -> str:
    """The rounding that takes 3/4, -3/4, 1/2 and 3/2 ulp to these whole steps."""
    named: dict[tuple[float, ...], str] = {
        (1, -1, 0, 2): NEAREST_EVEN,
        (1, -1, 1, 2): NEAREST_AWAY,
        (0, 0, 0, 1): TRUNCATED,
        (0, -1, 0, 1): DIRECTED,
        (1, 0, 1, 2): DIRECTED,
    }
    return named.get(tuple(steps), "none of the known")


def sum_rounding(place: Place, bits: int) -> Probe:
    """M + 3/4 step - M and its mirror, a step being what sums of so many bits resolve at M = 3/2 * 2^h.

    The orders in which 3/4 step meets M and those in which it meets -M differ where rounding is not to nearest.
    """
    large, step = 1.5 * 2.0**place.large, 2.0 ** (place.large - bits + 1)
    triples, columns = _selecting(place)
    rows = [r for s in (1.0, -1.0) for r in _rows(place, triples, (s * large, s * 0.75 * step, -s * large))]

    def read(results: list[Array]) -> list[Fact]:
        plus, minus = (half.ravel() / step for half in np.split(results[0], 2))
        up, down = (tuple(sorted(set(np.abs(a[np.abs(a) != 0.75]).tolist()))) for a in (plus, minus))
        told = " or ".join(f"{v:g}" for v in up) or "3/4"
        return [Fact("sum rounding", _SUM_ROUNDINGS.get((up, down), "other"), f"M + 3/4 step - M = {told} step")]

    return Probe([Request(np.array(rows), columns)], read)


# What 3/4 step becomes, and what -3/4 step becomes, in size: where it meets M, and where it meets -M.
_SUM_ROUNDINGS: dict[tuple[tuple[float, ...], tuple[float, ...]], str] = {
    ((1.0,), (1.0,)): "nearest",
    ((0.0, 1.0), (0.0, 1.0)): TRUNCATED,
    ((0.0,), (0.0,)): TRUNCATED,
    ((0.0,), (1.0,)): DIRECTED,
    ((1.0,), (0.0,)): DIRECTED,
}


def products_in_sums(place: Place) -> Probe:
    """a*b - c, c being a*b rounded: 0 where products are rounded first, what c lacks where they are not."""
    p = place.format.bits
    factors = [significand(p, seed) for seed in range(4)]
    b = significand(p, 9)
    c = [rounded(Fraction(a) * Fraction(b), p) for a in factors]
    both = [[(a, r, 0, 0), (0, 0, r, a)] for a, r in zip(factors, c, strict=True)]
    at = (0, 1, place.n - 2, place.n - 1)
    rows = np.array([place.row(values, at) for pair in both for values in pair])
    column = place.row((b, -1, -1, b), at)[:, None]

    def read(results: list[Array]) -> list[Fact]:
        lacks = [Fraction(a) * Fraction(b) - Fraction(r) for a, r in zip(factors, c, strict=True)]
        got = results[0].reshape(-1, 2)
        zero, exact = got == 0, got == np.array([[rounded_any(r, p)] for r in lacks])
        first, other = (float(v) for v in got[0])
        evidence = f"{factors[0]!r} * {b!r} - {c[0]!r} = {first!r}, and {other!r} in the other order"
        ways = {"rounded first": zero, "exact": exact, "fused": zero | exact}
        way = next((name for name, seen in ways.items() if seen.all()), "other")
        return [Fact("products in sums", way, evidence)]

    return Probe([Request(rows, column)], read)


def rounded_any(exact: Fraction, bits: int) -> float:
    """`exact` of any sign, to nearest."""
    return -rounded(-exact, bits) if exact < 0 else rounded(exact, bits) if exact else 0.0
