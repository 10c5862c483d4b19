"""Chapter ARITH: what arithmetic the backend computes in, and long sums of random signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance.arithmetic.classes import FAIL
from conv1d_cts.conformance.arithmetic.fingerprint import (
    FORWARD,
    GRADIENTS,
    SIZES,
    Fingerprint,
    fingerprint,
    is_integer,
)
from conv1d_cts.conformance.backend import Surface, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Body, Check, as_test
from conv1d_cts.conformance.recipes import SIGNIFICAND_BITS


@dataclass(frozen=True)
class Subject:
    """One dtype, in the results or in the gradients: what a fingerprint is taken of."""

    dtype: str
    function: str

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the function returns."""
        return FORWARD if self.function == "conv1d" else GRADIENTS

    def facts(self) -> dict[str, Fact]:
        """What conditions may ask: those of the first geometry, which all others resemble."""
        wrt = "" if self.function == "conv1d" else "xwb"
        case = Case(SIZES[0], dtype=self.dtype, bias=bool(wrt))  # as in the probes: gb alone asks for one
        return case.facts() | {"function": self.function, "wrt": wrt}

    def describe(self) -> dict[str, Any]:
        """What a certificate says of it."""
        return {"dtype": self.dtype, "function": self.function}


def measure(surface: Surface, subject: Subject) -> Fingerprint:
    """The arithmetic, found by probes and by sums of random signs once for all checks. Raises Refused."""
    known = surface.backend.fingerprints
    key = (surface.name, subject.dtype, subject.function)
    if key not in known:
        sizes = SIZES[:1] if surface.brief else SIZES
        known[key] = fingerprint(surface, subject.dtype, subject.quantities, sizes)
    return known[key]


def is_in_a_class(surface: Surface, subject: Subject) -> None:
    """The arithmetic is in one of the classes, all observations taken together."""
    found = measure(surface, subject)
    if found.name == FAIL:
        why = next(o.why for o in found.observations if o.name == FAIL)
        raise Violation(f"{found.finding}, no class of the specification: {why}", "one of the classes", why)


def random_signs(surface: Surface, subject: Subject) -> None:
    """The errors of sums of random signs are those that the dtype's arithmetic can have."""
    for observation in measure(surface, subject).observations:
        found = observation.moment
        if found is not None and not found.holds:
            raise Violation(
                f"{observation.facts.quantity}, {observation.facts.n} products of random signs: the mean square error"
                f" is {found.mean_square:.3g} of the largest that rounding can give, the largest {found.largest:.3g}",
                f"at most {found.limit:.3g} and {found.largest_limit:.3g}",
                f"{found.mean_square:.3g} and {found.largest:.3g}",
            )


def _test(clause: str, body: Body, function: str, integers: bool = True) -> Any:
    dtypes = (d for d in SIGNIFICAND_BITS if not is_integer(d) or (integers and function == "conv1d"))
    subjects = [Subject(dtype, function) for dtype in dtypes]
    return as_test(Check(clause, body, lambda cases: subjects, minimum=1))


test_arith_1_class_of_results = _test("ARITH-1", measure, "conv1d")
test_arith_1_class_of_gradients = _test("ARITH-1", measure, "vjp")
test_arith_1_results_are_in_a_class = _test("ARITH-1", is_in_a_class, "conv1d")
test_arith_1_gradients_are_in_a_class = _test("ARITH-1", is_in_a_class, "vjp")
test_arith_2_random_signs = _test("ARITH-2", random_signs, "conv1d", integers=False)
test_arith_2_random_signs_in_gradients = _test("ARITH-2", random_signs, "vjp", integers=False)
