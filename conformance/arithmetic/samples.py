"""The errors of one quantity on sums of random signs: what moments and norms judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.arithmetic import moments
from conv1d_cts.conformance.arithmetic.moments import Moment, Units
from conv1d_cts.conformance.arithmetic.sums import Array, Evaluator
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands


@dataclass(frozen=True)
class Sample:
    """Errors of a quantity, all sums of n products of at most `largest`; `groups` share no random sign.

    `norms` is, for each, the product of the 2-norms of the two operands it is made of, whole.
    """

    quantity: str
    n: int
    errors: Array
    groups: int
    largest: float
    norms: Array

    def moment(self, units: Units) -> Moment:
        """The errors against those of an honest arithmetic with these units."""
        return moments.moment(self.errors, self.n, self.groups, self.largest, units)

    def norm_wise(self) -> float:
        """The largest error as a share of the product of the norms."""
        return float((np.abs(self.errors) / self.norms).max())


def sample_y(evaluator: Evaluator, case: Case, given: Operands) -> Sample:
    """Y: the signs of x are random; windows without a common sample are independent. Raises Refused, Died."""
    g = case.geometry
    plain = Operands(given.x, given.w, None, given.cotangent)
    errors = _errors(evaluator.conv1d(case, plain), oracle.forward(case, plain), "y")
    groups = g.n * max(1, g.l_out // g.kernel)
    norms = _norm(given.x, (1, 2)), _norm(given.w, (1, 2))
    return _sample("y", g.c_in * g.kernel, errors, groups, (given.x, given.w), *norms)


def sample_gradients(evaluator: Evaluator, case: Case, given: Operands, wrt: str = "xwb") -> list[Sample]:
    """Those of gx, gw, gb that `wrt` names: the signs of the cotangent are random. Raises Refused, Died."""
    want = oracle.gradients(case, given)
    got = evaluator.vjp(case, given, wrt)
    errors = {name: _errors(gradient, want[name], f"g{name}") for name, gradient in got.items()}
    found = [_SAMPLES[name](case, given, error) for name, error in errors.items()]
    return [sample for sample in found if sample.errors.size]


def _gx(case: Case, given: Operands, errors: Array) -> Sample:
    """The samples that every tap reads."""
    g, gy = case.geometry, given.cotangent
    inner = errors[:, :, g.kernel - 1 : g.l_out]
    groups = g.n * max(1, inner.shape[2] // g.kernel)
    return _sample("gx", g.c_out * g.kernel, inner, groups, (gy, given.w), _norm(gy, (1, 2)), _norm(given.w, (0, 2)))


def _gw(case: Case, given: Operands, errors: Array) -> Sample:
    g, gy = case.geometry, given.cotangent
    norms = _norm(gy, (0, 2)), _norm(given.x, (0, 2))
    return _sample("gw", g.n * g.l_out, errors, g.c_out, (gy, given.x), *norms)


def _gb(case: Case, given: Operands, errors: Array) -> Sample:
    g, gy = case.geometry, given.cotangent
    ones = np.ones((1, g.n * g.l_out))
    norms = _norm(gy, (0, 2)), _norm(ones, (1,))
    return _sample("gb", g.n * g.l_out, errors[:, None, None], g.c_out, (gy, ones), *norms)


_SAMPLES = {"x": _gx, "w": _gw, "b": _gb}


def _errors(got: Array, want: Array, name: str) -> Array:
    judge.same_shape(got, want.shape, name)
    errors: Array = np.abs(np.real(got).astype(np.float64) - np.real(want))
    return np.where(np.isnan(errors), np.inf, errors)


def _norm(a: Array, axes: tuple[int, ...]) -> Array:
    norm: Array = np.sqrt(np.sum(np.abs(a.astype(np.complex128)) ** 2, axis=axes))
    return norm


def _sample(
    quantity: str, n: int, errors: Array, groups: int, operands: tuple[Array, Array], rows: Array, columns: Array
) -> Sample:
    """`rows` and `columns` are norms along the first two axes of the errors."""
    largest = float(np.prod([np.abs(a.astype(np.complex128)).max() for a in operands]))
    return Sample(quantity, n, errors, groups, largest, rows[:, None, None] * columns[None, :, None])
