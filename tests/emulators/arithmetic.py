"""An arithmetic: what becomes of the operands, the products, the partial sums and the result of a sum of products."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.emulators.orders import Order, serial
from tests.emulators.rounding import BINARY32, BINARY64, FORMATS, Array, Format, rounded, sum_to_odd

Product = tuple[Array, Array]  # two factors, float64, not multiplied yet
Node = Any  # a Product or a partial sum


@dataclass(frozen=True)
class Arithmetic:
    """A way to add up products, to the last bit. All values are held in float64 arrays, which hold them exactly.

    `operands` is the format that x, w and gy are rounded to before anything else, None where they are left alone. With
    `parts` > 1 an operand becomes the sum of so many numbers of that format, and of the products of parts those that
    matter are kept: 3 of 4 for two parts. `sums` is the format of products and partial sums. `fused`: a product that
    is added at once is not rounded by itself. `truncate` and `flush` name what is rounded towards zero, and where
    subnormal numbers become zero: "operands", "sums", "result".
    """

    operands: Format | None = None
    sums: Format = BINARY32
    order: Order = serial
    fused: bool = False
    parts: int = 1
    truncate: frozenset[str] = frozenset()
    flush: frozenset[str] = frozenset()

    def dot(self, products: Iterable[Product], dtype: str) -> Array:
        """Return the sum, in float64 but with the values of the dtype; the factors broadcast to one shape."""
        ready = [pair for a, b in products for pair in self._pairs(a, b)]
        total = self._value(self.order(ready, self._join)) if ready else np.float64(0)
        return self._round(total, FORMATS[dtype], "result")

    def total(self, terms: Iterable[Array], dtype: str) -> Array:
        """Return the sum of terms that nothing is multiplied with: operands of such a sum are not shortened."""
        values = list(terms)
        total = self.order(values, self._join) if values else np.float64(0)
        return self._round(total, FORMATS[dtype], "result")

    def _round(self, a: Array, to: Format, what: str) -> Array:
        return a if to is BINARY64 else rounded(a, to, what in self.truncate, what in self.flush)

    def _pairs(self, a: Array, b: Array) -> list[Product]:
        """The products of the operands' parts; part i of one meets part j of the other where i + j < parts."""
        these, those = self._split(a), self._split(b)
        return [(p, q) for i, p in enumerate(these) for q in those[: self.parts - i]]

    def _split(self, a: Array) -> list[Array]:
        if self.operands is None:
            return [rounded(a, BINARY32, flush=True)] if "operands" in self.flush else [a]
        parts = []
        for _ in range(self.parts):
            parts.append(self._round(a, self.operands, "operands"))
            a = a - parts[-1]
        return parts

    def _value(self, node: Node) -> Array:
        return self._round(node[0] * node[1], self.sums, "sums") if isinstance(node, tuple) else node

    def _join(self, one: Node, other: Node) -> Node:
        """Add two nodes; a product is left unrounded where the arithmetic fuses it into the sum."""
        if self.fused and isinstance(other, tuple):
            return self._add(self._value(one), other[0] * other[1])
        if self.fused and isinstance(one, tuple):
            return self._add(one[0] * one[1], self._value(other))
        return self._add(self._value(one), self._value(other))

    def _add(self, a: Array, b: Array) -> Array:
        return a + b if self.sums is BINARY64 else self._round(sum_to_odd(a, b), self.sums, "sums")
