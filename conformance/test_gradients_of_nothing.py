"""Chapter GRAD, continued: gradients, tangents and second derivatives where there is nothing to sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance.backend import Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test
from conv1d_cts.conformance.edges import without_windows
from conv1d_cts.conformance.test_gradients import (
    chosen,
    companies,
    jvp_is_exact,
    jvp_of_vjp_is_exact,
    vjp_of_vjp_is_exact,
)
from conv1d_cts.conformance.values import VJP, gradient_is_exact, non_empty, operand_names
from conv1d_cts.spec.geometry import Geometry


def _empty_cases(cases: tuple[Case, ...]) -> Iterator[Case]:
    """Each extent in turn 0, and no window at all."""
    for name, groups, stride, bias in product(("n", "c_in", "c_out", "length", "l_out"), (1, 2), (1, 2), (True, False)):
        extents = {"n": 2, "c_in": 2 * groups, "c_out": 3 * groups, "length": 5}
        extents |= {"length": 1} if name == "l_out" else {name: 0}
        padding = (3, 3) if name == "length" else (int(bias), 1)
        geometry = Geometry(**extents, kernel=4, stride=stride, groups=groups, padding=padding)
        yield Case(geometry, bias=bias, seed=3 * groups + stride)
    for padding in ((2, 2), (3, 1)):  # windows that see nothing but the fill
        yield Case(Geometry(2, 2, 3, 0, 3, padding=padding), padding_mode="constant", padding_value=1.5)
    yield from without_windows()
    yield from (case for case in cases if not non_empty(case))


def exact_in_company(surface: Surface, case: Case) -> None:
    """The gradients of some operands, which the case chooses, are exact."""
    gradient_is_exact(chosen(case, companies(operand_names(case))))(surface, case)


test_grad_10_zero_size = as_test(Check("GRAD-10", gradient_is_exact("xwb"), _empty_cases, VJP, may_refuse=True))
test_grad_10_in_company = as_test(
    Check("GRAD-10", exact_in_company, _empty_cases, {"function": "vjp"}, may_refuse=True)
)

_OF_NOTHING = tuple(
    Case(geometry, bias=bias, seed=seed)
    for bias in (False, True)
    for seed, geometry in enumerate((
        Geometry(0, 2, 3, 9, 3), Geometry(2, 0, 3, 9, 3), Geometry(2, 2, 0, 9, 3), Geometry(2, 2, 3, 0, 3),
        Geometry(2, 2, 3, 3, 4), Geometry(2, 2, 3, 3, 4, stride=2), Geometry(2, 4, 6, 3, 2, dilation=3, groups=2),
    ))
)  # fmt: skip


def _derivative(body: Callable[[Surface, Case], None], program: str) -> Any:
    """The check of a derivative where an extent is 0, or there is no window."""
    facts: dict[str, Fact] = {"function": program}
    return as_test(Check("GRAD-10", body, lambda cases: iter(_OF_NOTHING), facts, may_refuse=True, minimum=0))


test_grad_10_tangents = _derivative(jvp_is_exact, "jvp")
test_grad_10_vjp_of_vjp = _derivative(vjp_of_vjp_is_exact, "vjp_of_vjp")
test_grad_10_jvp_of_vjp = _derivative(jvp_of_vjp_is_exact, "jvp_of_vjp")
