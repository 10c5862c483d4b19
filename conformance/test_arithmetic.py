"""Chapter ARITH: what arithmetic the backend computes in, and long sums of random signs."""

from __future__ import annotations

from collections.abc import Callable
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
from conv1d_cts.conformance.arithmetic.formats import format_of
from conv1d_cts.conformance.arithmetic.moments import Units
from conv1d_cts.conformance.arithmetic.words import sentence
from conv1d_cts.conformance.backend import Surface, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test
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
        return Case(SIZES[0], dtype=self.dtype).facts() | {"function": self.function, "wrt": wrt}

    def describe(self) -> dict[str, Any]:
        """What a certificate says of it."""
        return {"dtype": self.dtype, "function": self.function}


def measure(surface: Surface, subject: Subject) -> Fingerprint:
    """The fingerprint, taken once for all checks. Raises Refused."""
    known = surface.backend.fingerprints
    key = (surface.name, subject.dtype, subject.function)
    if key not in known:
        sizes = SIZES[:1] if surface.brief else SIZES
        known[key] = fingerprint(surface, subject.dtype, subject.quantities, sizes)
    return known[key]


def class_is_known(surface: Surface, subject: Subject) -> str:
    """The arithmetic is in one of the classes, all observations taken together."""
    found = measure(surface, subject)
    if found.name == FAIL:
        why = next(o.why for o in found.observations if o.name == FAIL)
        raise Violation(sentence(subject.dtype, found.observations), "one of the classes", why)
    return f"{subject.dtype} {', '.join(subject.quantities)}: {found.name}"


def random_signs(surface: Surface, subject: Subject) -> None:
    """The errors of sums of random signs are those of the dtype's arithmetic."""
    unit = 2.0 ** -format_of(subject.dtype).bits
    for observation in measure(surface, subject).observations:
        if observation.sample is None:
            continue
        found = observation.sample.moment(Units(0.0, unit, unit))
        if not found.holds:
            raise Violation(
                f"{observation.facts.quantity}, {observation.facts.n} products of random signs: the mean square error"
                f" is {found.mean_square:.3g} of the largest that rounding can give, the largest {found.largest:.3g}",
                f"at most {found.limit:.3g} and {found.largest_limit:.3g}",
                f"{found.mean_square:.3g} and {found.largest:.3g}",
            )


def _subjects(*functions: str, integers: bool) -> Callable[[tuple[Case, ...]], list[Subject]]:
    subjects = [
        Subject(dtype, function)
        for dtype in SIGNIFICAND_BITS
        for function in functions
        if not is_integer(dtype) or (integers and function == "conv1d")
    ]
    return lambda cases: subjects


def _test(clause: str, body: Callable[[Surface, Subject], str | None], function: str, integers: bool) -> Any:
    return as_test(Check(clause, body, _subjects(function, integers=integers), minimum=1))


test_arith_1_class_of_results = _test("ARITH-1", class_is_known, "conv1d", True)
test_arith_1_class_of_gradients = _test("ARITH-1", class_is_known, "vjp", True)
test_arith_2_random_signs = _test("ARITH-2", random_signs, "conv1d", False)
test_arith_2_random_signs_in_gradients = _test("ARITH-2", random_signs, "vjp", False)
