"""The exact probes of a floating-point arithmetic: products and sums chosen so that each answer names a property.

Sources: Fasi, Higham, Mikaitis, Pranesh, *Numerical behavior of NVIDIA tensor cores* (2021); Xie, Gao, Wang, Xue,
*FPRev* (2024), for probes that hold whatever the order of summation is. No probe has a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from conv1d_cts.conformance.arithmetic.facts import (
    NEAREST_EVEN,
    TRUNCATED,
    Fact,
)
from conv1d_cts.conformance.arithmetic.formats import Format, rounded, significand
from conv1d_cts.conformance.arithmetic.sums import Array, Request

Reader = Callable[[list[Array]], list[Fact]]

DIRECT = "sums of products"

# Bits that an operand may be found to have: all that formats have, and their neighbours.
OPERAND_BITS = (*range(7, 19), *range(20, 27), 32, 52, 53)


@dataclass(frozen=True)
class Probe:
    """Matrices of sums, and what is read from them."""

    requests: Sequence[Request]
    read: Reader


@dataclass(frozen=True)
class Place:
    """Where probes are put: the format of the operands and the number of products of a sum."""

    format: Format
    n: int
    right_is_free: bool  # False for gb, whose right operand is all ones

    @property
    def large(self) -> int:
        """An exponent far from overflow, from which one can go down as far."""
        return min(50, self.format.largest)

    def row(self, values: Sequence[float], at: Sequence[int]) -> Array:
        """A row of n with the values at these terms, zeros elsewhere."""
        row = np.zeros(self.n)
        row[list(at)] = values
        return row

    def triples(self) -> list[tuple[int, int, int]]:
        """Places for three terms: beside each other, and as far apart as can be."""
        near, far = (0, 1, 2), (3, self.n // 2 + 2, self.n - 1)
        return [near] if self.n < 8 else [near, far]


def operands(place: Place) -> Probe:
    """Odd significands of t bits, times 1: they come back as they are where an operand keeps t bits.

    Dense ones: a power of two plus one far bit would survive being split into two short numbers.
    """
    bits = [t for t in OPERAND_BITS if t <= place.format.bits]
    values = np.array([significand(t, seed) for t in bits for seed in (0, 1)])
    at = place.n // 2
    one, many = np.zeros((1, place.n)), np.zeros((len(values), place.n))
    one[0, at], many[:, at] = 1, values
    requests = [Request(many, one.T), Request(one, many.T)][: 1 + place.right_is_free]

    def read(results: list[Array]) -> list[Fact]:
        sides = zip(("left", "right"), (r.ravel() for r in results), strict=False)
        return [_operand_bits(f"{side} operand bits", bits, values, got) for side, got in sides]

    return Probe(requests, read)


def _operand_bits(name: str, bits: Sequence[int], values: Array, got: Array) -> Fact:
    lost = np.flatnonzero(got != values)
    if not lost.size:
        return Fact(name, bits[-1], f"{float(values[-1])!r} * 1 = {float(got[-1])!r}")
    first = int(lost[0])
    kept = bits[first // 2 - 1] if first >= 2 else 1
    return Fact(name, kept, f"{float(values[first])!r} * 1 = {float(got[first])!r}")


def products(place: Place) -> Probe:
    """A lone product of two full operands is rounded once, to nearest; its worst relative error otherwise."""
    p, at = place.format.bits, place.n // 2
    values = [significand(p, seed) for seed in range(6)]
    column = np.zeros((len(values), place.n))
    column[:, at] = values

    def read(results: list[Array]) -> list[Fact]:
        exact = [Fraction(a) * Fraction(b) for a in values for b in values]
        got = results[0].ravel().tolist()
        if not np.isfinite(got).all():
            return [Fact("product error", float("inf"), f"a product of two numbers below 2 is {max(got)!r}")]
        errors = [abs(Fraction(g) / e - 1) for g, e in zip(got, exact, strict=True)]
        worst = max(range(len(errors)), key=errors.__getitem__)
        a, b = values[worst // len(values)], values[worst % len(values)]
        evidence = f"{a!r} * {b!r} = {got[worst]!r}"
        ways = {
            NEAREST_EVEN: [rounded(e, p) for e in exact],
            TRUNCATED: [rounded(e, p, nearest=False) for e in exact],
        }
        way = next((name for name, want in ways.items() if want == got), "neither nearest nor truncated")
        return [Fact("lone product", way, evidence), Fact("product error", float(errors[worst]), evidence)]

    return Probe([Request(column, column.T)], read)


def subnormals(place: Place) -> Probe:
    """A subnormal operand times a power of two, and two normal ones with a subnormal product: kept, or flushed."""
    f, at = place.format, place.n // 2
    tiny, lift = 2.0 ** (f.smallest - 2), 2.0 ** min(20, f.largest // 2)
    half = 2.0 ** (f.smallest // 2)
    pairs = ((tiny, lift), (lift, tiny), (half / 4, half))
    requests = [_lone(place, at, [left], [right]) for left, right in pairs]
    if not place.right_is_free:
        requests = [_lone(place, at, [tiny], [1.0])]

    def read(results: list[Array]) -> list[Fact]:
        got = [float(r[0, 0]) for r in results]
        if not place.right_is_free:
            return [_kept("subnormals", got[0], tiny, f"{tiny!r}")]
        return [
            _kept("subnormal left operand", got[0], tiny * lift, f"{tiny!r} * {lift!r}"),
            _kept("subnormal right operand", got[1], tiny * lift, f"{lift!r} * {tiny!r}"),
            _kept("subnormal result", got[2], half * half / 4, f"{half / 4!r} * {half!r}"),
        ]

    return Probe(requests, read)


def _kept(name: str, got: float, want: float, text: str) -> Fact:
    word = "kept" if got == want else "flushed" if got == 0 else "neither kept nor flushed"
    return Fact(name, word, f"{text} = {got!r}")


def _lone(place: Place, at: int, left: Sequence[float], right: Sequence[float]) -> Request:
    rows, columns = np.zeros((len(left), place.n)), np.zeros((place.n, len(right)))
    rows[:, at], columns[at] = left, right
    return Request(rows, columns)


def exponents(place: Place) -> Probe:
    """2^r * 2^-r and its mirror are 1: operands keep their range of exponents, a third of which is tried."""
    reach = place.format.largest // 3
    values = [2.0**reach, 2.0**-reach]
    requests = [_lone(place, place.n // 2, values[:1], values[1:]), _lone(place, place.n // 2, values[1:], values[:1])]

    def read(results: list[Array]) -> list[Fact]:
        got = [float(r[0, 0]) for r in results]
        wide = all(0.5 <= g <= 2 for g in got)
        return [Fact("range of exponents", wide, f"2^{reach} * 2^-{reach} = {got[0]!r}, mirrored {got[1]!r}")]

    return Probe(requests, read)


def isolation(place: Place) -> Probe:
    """One small operand among huge ones that are multiplied with 0: sums of products return it exactly.

    A transform (Winograd, FFT, Strassen) mixes operands before it multiplies, and what it rounds there reaches
    every sum. Huge on the left, then huge on the right.
    """
    huge, small = 2.0**place.large, 2.0 ** max(place.large - 80, place.format.smallest)
    hot = sorted({0, place.n // 2, place.n - 1})
    signs = np.resize([1.0, -1.0, 1.0, 1.0, -1.0, 0.75], place.n)
    rows = np.tile(huge * signs, (2 * len(hot), 1))
    ones = np.zeros((place.n, len(hot)))
    for i, at in enumerate(hot):
        rows[2 * i, at], ones[at, i] = small, 1
    requests = [Request(rows, ones), Request(ones.T.copy(), rows.T.copy())]

    def read(results: list[Array]) -> list[Fact]:
        wants = [rows[:, hot], rows[:, hot].T]
        for got, want in zip(results, wants, strict=True):
            wrong = np.argwhere(got != want)
            if wrong.size:
                i = tuple(wrong[0])
                text = f"{float(want[i])!r} times 1, beside {huge!r} times 0, came back as {float(got[i])!r}"
                return [Fact(DIRECT, False, text)]
        return [Fact(DIRECT, True, f"{small!r} times 1, beside {huge!r} times 0, came back exactly")]

    return Probe(requests, read)
