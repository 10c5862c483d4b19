"""A result of more than 2^31 bytes, of which a few rows come back: for devices with memory enough (OP-9).

Offsets that are counted in 32 bits go wrong there, and nowhere before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.conformance.recipes import Operands
from conv1d_cts.spec.geometry import Geometry

_OFFSETS = 2**31  # bytes


@dataclass(frozen=True)
class Beyond:
    """One signal of one channel under so many short kernels that y (1, O, L_out) exceeds `limit` bytes by a row."""

    l_out: int = 2**14
    limit: int = _OFFSETS
    dtype: str = "float32"

    @property
    def case(self) -> Case:
        """The call, but for its data: those of the suite would come with a cotangent of the size of y."""
        row = self.l_out * np.dtype(self.dtype).itemsize
        return Case(Geometry(1, 1, self.limit // row + 1, self.l_out + 1, 2), self.dtype, bias=False)

    @property
    def rows(self) -> tuple[int, ...]:
        """Channels of y: the first, around half of the bytes, and the last two, between which the limit lies."""
        last = self.case.geometry.c_out - 1
        return 0, last // 2 - 1, last // 2, last - 1, last

    def facts(self) -> dict[str, Fact]:
        """Those of the call."""
        return self.case.facts()

    def describe(self) -> dict[str, Any]:
        """The call; its data are small integers."""
        return {name: value for name, value in self.case.describe().items() if name != "recipe"}

    def operands(self) -> Operands:
        """Integers from -4 to 4, whose sums of two products are exact in every dtype."""
        rng, g = np.random.default_rng(0), self.case.geometry
        x, w = (rng.integers(-4, 5, shape).astype(self.dtype) for shape in (g.x_shape, g.w_shape))
        return Operands(x, w, None, np.zeros(()))


def rows_beyond(surface: Surface, example: Beyond) -> Accuracy | None:
    """A few rows of y, before and behind its first 2^31 bytes, are exact; where memory does not allow it, unseen."""
    given = example.operands()
    try:
        answer = surface.answer(replace(call_of(example.case, given), rows=example.rows))
    except Refused as refusal:
        if refusal.exhausted is None:
            raise
        return UNSEEN
    y, one = require(answer.results[0], "y"), example.case.with_geometry(c_out=1)
    for place, row in enumerate(example.rows):
        want = oracle.forward(one, replace(given, w=given.w[row : row + 1]))
        try:
            judge.equal(y[:, place : place + 1], want, f"channel {row} of y")
        except Violation as violation:
            violation.flaw = None  # a script has no rows
            raise
    return None
