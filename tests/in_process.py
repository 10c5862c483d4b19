"""A backend of the tests as something that fingerprints can be taken of, without a process in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands
from tests.mutants.base import Backend

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class InProcess:
    """The adapter protocol, called directly."""

    backend: Backend

    def conv1d(self, case: Case, operands: Operands) -> Array:
        """Y (N, O, L_out)."""
        y: Array = self.backend.conv1d(operands.x, operands.w, operands.b, **case.attributes)
        return y

    def vjp(self, case: Case, operands: Operands, wrt: str) -> dict[str, Array]:
        """The gradients of the operands in `wrt`."""
        given = {"x": operands.x, "w": operands.w, "b": operands.b}

        def function(*primals: Array) -> Array:
            y: Array = self.backend.conv1d(**{**given, **dict(zip(wrt, primals, strict=True))}, **case.attributes)
            return y

        gradients = self.backend.vjp(function, [given[name] for name in wrt], operands.cotangent)
        return dict(zip(wrt, gradients, strict=True))
