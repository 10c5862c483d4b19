"""Rounding to any binary format, and sums and fused multiply-adds rounded once: all on float64 arrays.

A product of two numbers of at most 26 bits is exact in float64. A sum is not, and rounding it to float64 and then to
the format could round twice. So the sum is *rounded to odd* in float64 first: an inexact one goes to the neighbour
whose last bit is 1, which keeps the memory of what was lost. Rounding that to p bits, to nearest or towards zero, is
the same as rounding the exact sum where 53 >= p + 2 (Boldo and Melquiond, *Emulation of a FMA and correctly rounded
sums*, IEEE Trans. Computers 57, 2008); subnormal results have fewer bits still, and float64 has exponents to spare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """A binary format: bits of the significand, the leading one included, and the exponents of its normal numbers."""

    bits: int
    emin: int = -126
    emax: int = 127

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return float(2.0**self.emax * (2 - 2.0 ** (1 - self.bits)))


BINARY64 = Format(53, -1022, 1023)
BINARY32 = Format(24)
TF32 = Format(11)
BFLOAT16 = Format(8)
BINARY16 = Format(11, -14, 15)
FORMATS = {"float64": BINARY64, "float32": BINARY32, "bfloat16": BFLOAT16, "float16": BINARY16}


def rounded(a: Array, to: Format, truncate: bool = False, flush: bool = False) -> Array:
    """Return `a` in the format, as float64: nearest, ties to even, or towards zero; subnormals kept, or made zero."""
    _, exponent = np.frexp(a)
    quantum = np.ldexp(1.0, np.maximum(exponent - 1, to.emin) - (to.bits - 1))
    result = (np.trunc if truncate else np.rint)(a / quantum) * quantum
    beyond = np.copysign(to.largest if truncate else np.inf, a)
    result = np.where((np.abs(result) > to.largest) & np.isfinite(a), beyond, result)
    return np.where(np.abs(result) < 2.0**to.emin, np.copysign(0.0, a), result) if flush else result


def sum_to_odd(a: Array, b: Array) -> Array:
    """Return a + b in float64, an inexact sum rounded to odd. TwoSum (Knuth) gives what the rounding lost."""
    total = np.asarray(a + b)
    part = total - a
    lost = (a - (total - part)) + (b - part)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.copysign(np.inf, lost))
    return np.where(even & (lost != 0) & np.isfinite(total), odd, total)
