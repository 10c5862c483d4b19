"""The number formats of the dtypes, and rounding to one of them by integers alone."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_REAL = {"complex64": "float32", "complex128": "float64"}


@dataclass(frozen=True)
class Format:
    """A binary format: bits of the significand with the leading one, exponents of its smallest and largest normals."""

    bits: int
    smallest: int
    largest: int


FORMATS = {
    "float16": Format(11, -14, 15),
    "bfloat16": Format(8, -126, 127),
    "float32": Format(24, -126, 127),
    "float64": Format(53, -1022, 1023),
}


def format_of(dtype: str) -> Format:
    """The format of a real or complex floating dtype. Raises KeyError for any other."""
    return FORMATS[_REAL.get(dtype, dtype)]


def rounded(exact: Fraction, bits: int, nearest: bool = True) -> float:
    """`exact` > 0 as a number of so many bits, to the nearest (ties to even) or towards zero."""
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent -= exact < Fraction(2) ** exponent
    quantum = Fraction(2) ** (exponent - bits + 1)
    steps = round(exact / quantum) if nearest else exact // quantum
    return float(steps * quantum)


def significand(bits: int, seed: int = 0) -> float:
    """An odd significand of exactly so many bits, in [1, 2), its other bits scattered."""
    middle = int(np.random.default_rng([seed, bits]).integers(0, 2 ** max(bits - 2, 0)))
    return (2 ** (bits - 1) + 2 * middle + 1) * 2.0 ** (1 - bits) if bits > 1 else 1.0
