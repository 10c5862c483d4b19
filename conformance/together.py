"""Several cases in one: examples made of them, and calls of one function on a set of operands for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance.backend import Array, Call, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import non_empty, operand_names


@dataclass(frozen=True)
class Together:
    """Several cases tried as one example; limits forbid it where they forbid each of them."""

    cases: tuple[Case, ...]

    def facts(self) -> dict[str, Fact]:
        """Those of the first case."""
        return self.cases[0].facts()

    def describe(self) -> dict[str, Any]:
        """The first case, and how many there are."""
        return {**self.cases[0].describe(), "together with": len(self.cases) - 1}


def other_precision(dtype: str) -> str:
    """Another dtype of the same kind; of bfloat16 the one of as many bytes."""
    others = {"float32": "float64", "bfloat16": "float16", "complex64": "complex128", "complex128": "complex64"}
    return others.get(dtype, "float32")


def of_one_function(case: Case) -> list[Case]:
    """The case, and others that differ in one thing of their operands: values, length, what the seed chooses, values.

    A compiler takes its time for each: of batch, taps and precision one changes.
    """
    g = case.geometry
    chosen = (
        replace(case, dtype=other_precision(case.dtype)),
        case.with_geometry(kernel=g.kernel + 1),
        case.with_geometry(n=g.n + 1),
    )[case.seed % 3]
    others = (replace(case, seed=case.seed + 1), case.with_geometry(length=g.length + 1), chosen)
    return [case, *(other for other in others if non_empty(other)), replace(case, seed=case.seed + 2)]


def call_of_all(cases: list[Case], program: str) -> Call:
    """One call of a program that takes a set of operands for each case; the attributes are the first one's."""
    return _call_of_sets([(case, operands(case)) for case in cases], program)


def call_of_values(case: Case, sets: list[Operands], program: str) -> Call:
    """The same of several sets of operands for one case."""
    return _call_of_sets([(case, given) for given in sets], program)


def _call_of_sets(sets: list[tuple[Case, Operands]], program: str) -> Call:
    (first, own), *_ = sets
    call = call_of(first, own, program, operand_names(first))
    arrays: dict[str, Array | None] = {}
    layouts: dict[str, str] = {}
    for number, (case, given) in enumerate(sets):
        mark = str(number or "")
        marked: dict[str, Array | None] = {f"x{mark}": given.x, f"w{mark}": given.w, f"b{mark}": given.b}
        if "vjp" in program:
            marked[f"cotangent{mark}"] = given.cotangent
        arrays |= marked
        layouts |= dict.fromkeys(marked, case.layout)
    return replace(call, arrays=arrays, layouts=layouts)


def call_of_sum(case: Case, sets: list[Operands]) -> Call:
    """A backward pass from the first set's cotangent through the sum of the calls on each set."""
    call = call_of_values(case, sets, "conv1d")
    arrays = {**call.arrays, "cotangent": sets[0].cotangent}
    return replace(call, program="vjp_of_sum", wrt=operand_names(case), arrays=arrays)


def call_of_passes(case: Case, passes: list[Operands], wrt: str) -> Call:
    """The call of a backward pass for each of these operands: those in `wrt`, the same in all, gather gradients."""
    call = call_of(case, passes[0], "accumulated", wrt)
    constants = [name for name in ("x", "w", "b", "cotangent") if name not in wrt]
    further = {f"{name}{i}": getattr(passes[i], name) for i in range(1, len(passes)) for name in constants}
    return replace(call, arrays={**call.arrays, "cotangent": passes[0].cotangent, **further})


def tied_call(case: Case, program: str, wrt: str, slot: str = "") -> tuple[Operands, Call]:
    """The operands, of which x is w as well, and a call that gets the one array for both."""
    given = operands(case)
    call = call_of(case, given, program, wrt, slot)
    arrays = {name: array for name, array in call.arrays.items() if name != "w"}
    tangents = {**given.tangents, "w": given.tangents["x"]}
    return replace(given, w=given.x, tangents=tangents), replace(call, arrays=arrays)
