"""What is right for a case with the proven bound beside it (chapter ACC): what separates rounding from a fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.recipes import Later, Operands
from conv1d_cts.reference.bounds import Forms, Reading, Units, error_bounds

Array = np.ndarray[Any, Any]
Judged = tuple[Array, Array]  # the value, as near to exact as the oracle comes, and the bound on an honest error
Answers = Callable[[Case, Operands, Forms], dict[str, Array]]

UNIT_ROUNDOFF = {
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "float32": 2.0**-24,
    "float64": 2.0**-53,
    "complex64": 2.0**-24,
}


def forward(case: Case, given: Operands, accumulate: float) -> Judged:
    """Y, for sums accumulated with that unit roundoff (ACC-1)."""
    return _judged(lambda c, o, forms: {"y": oracle.forward(c, o, forms)}, case, given, accumulate)["y"]


def gradients(case: Case, given: Operands, accumulate: float) -> dict[str, Judged]:
    """gx, gw and gb by the operand's name (ACC-2)."""
    return _judged(oracle.gradients, case, given, accumulate)


def tangent(case: Case, given: Operands, wrt: str) -> Judged:
    """The tangent of y along the tangents of the operands in `wrt` (ACC-2)."""

    def answers(c: Case, o: Operands, forms: Forms) -> dict[str, Array]:
        return {"y": oracle.tangent(c, o, wrt, forms)}

    return _judged(answers, case, given, UNIT_ROUNDOFF[case.dtype])["y"]


def second_vjp(case: Case, given: Operands, slot: str) -> dict[str, Judged]:
    """The gradients of <u, g_slot> in x, w, b and the cotangent (ACC-2)."""
    unit = UNIT_ROUNDOFF[case.dtype]
    return _judged(lambda c, o, forms: oracle.second_vjp(c, o, slot), case, given, unit, compensate=False)


def second_jvp(case: Case, given: Operands, slot: str) -> Judged:
    """The tangent of g_slot along the tangents of every operand and of the cotangent (ACC-2)."""
    unit = UNIT_ROUNDOFF[case.dtype]
    answers: Answers = lambda c, o, forms: {"g": oracle.second_jvp(c, o, slot)}  # noqa: E731
    return _judged(answers, case, given, unit, compensate=False)["g"]


def accumulated(case: Case, passes: Sequence[Operands]) -> dict[str, Judged]:
    """What so many backward passes leave, by the operand's name: one tree of all their products (GRAD-17)."""

    def f(read: Reading, forms: Forms) -> dict[str, Array]:
        filled = replace(case, padding_value=read.fill(case.padding_value))
        each = [oracle.gradients(filled, _read(given, read), forms) for given in passes]
        return {name: np.sum([gradients[name] for gradients in each], axis=0) for name in each[0]}

    unit = UNIT_ROUNDOFF[case.dtype]
    return error_bounds(f, Units(unit, unit))


def _judged(
    answers: Answers, case: Case, given: Operands, accumulate: float, compensate: bool = True
) -> dict[str, Judged]:
    """The answers of the oracle with their bounds; for float64 in about twice its precision where `compensate`."""

    def f(read: Reading, forms: Forms) -> dict[str, Array]:
        return answers(replace(case, padding_value=read.fill(case.padding_value)), _read(given, read), forms)

    units = Units(accumulate, UNIT_ROUNDOFF[case.dtype])
    return error_bounds(f, units, compensate and case.dtype == "float64")


def _read(given: Operands, read: Reading) -> Operands:
    def tangents() -> dict[str, Array]:
        return {name: (read.term if name == "b" else read.factor)(a) for name, a in given.tangents.items()}

    return Operands(
        read.factor(given.x), read.factor(given.w), read.term(given.b), read.factor(given.cotangent), Later(tangents)
    )


def largest(dtype: str) -> float:
    """The largest finite number of a dtype."""
    return {"float16": 65504.0, "bfloat16": float(2.0**127 * (2 - 2.0**-7))}.get(dtype) or float(np.finfo(dtype).max)


def smallest_subnormal(dtype: str) -> float:
    """The smallest positive number of a dtype."""
    return {"float16": 2.0**-24, "bfloat16": 2.0**-133}.get(dtype) or float(
        np.finfo(dtype_of(dtype)).smallest_subnormal
    )
