"""Chapter SHAPE, continued: shape and dtype of y, told without the operands' data, and what a refusal of it leaves."""

from __future__ import annotations

from collections.abc import Iterator

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import huge, judge, malformed, oracle
from conv1d_cts.conformance.backend import Flaw, Refused, Surface, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.edges import named_pads
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.outcomes import of_each_clause, refused_alike, through
from conv1d_cts.conformance.pool import evenly
from conv1d_cts.conformance.recipes import SIGNIFICAND_BITS, operands
from conv1d_cts.conformance.test_shapes import empty
from conv1d_cts.conformance.values import non_empty, operand_names
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES

_EVAL_SHAPE: dict[str, Fact] = {"function": "eval_shape"}
# One geometry: dtypes of as many bytes are told apart by their names alone.
_DTYPES = tuple(Case(Geometry(2, 2, 3, 9, 3), dtype, bias=False) for dtype in SIGNIFICAND_BITS)
_OF_EACH = 8  # cases of each extent in which it is 0
_RULES = 16  # malformed calls of a clause


def shape_without_data(surface: Surface, case: Case) -> None:
    """Shape and dtype of y, asked for without the operands' data, are those of y."""
    given = huge.operands(case) if huge.is_huge(case) else operands(case)
    shape, dtype = surface.answer(call_of(case, given, "eval_shape", operand_names(case))).spec or ((), "")
    want = case.geometry.y_shape
    if shape != want:
        raise Violation(f"without data y has shape {shape}, not {want}", want, shape, Flaw("shape", want=want))
    if dtype != case.dtype:
        said = f"without data y has dtype {dtype}, not {case.dtype}"
        raise Violation(said, case.dtype, dtype, Flaw("dtype", want=case.dtype))


def right_after_its_shape(surface: Surface, case: Case) -> None:
    """Y is right where its shape was asked for first: what was planned without data is planned for data."""
    given = operands(case)
    surface.answer(call_of(case, given, "eval_shape", operand_names(case)))
    judge.equal(surface.conv1d(case, given), oracle.forward(case, given), "y, its shape having been asked for")


def right_after_a_refused_shape(surface: Surface, example: Malformed) -> Accuracy | None:
    """Y of a legal call is right straight after a shape was refused: nothing is left of a call without data."""
    given = operands(example.base)
    try:
        surface.answer(through("eval_shape")(example))
    except Refused:
        y = surface.conv1d(example.base, given)
    else:
        return UNSEEN
    judge.equal(y, oracle.forward(example.base, given), f"y after a refused shape ({example.rule})")
    return None


def _nothing(cases: tuple[Case, ...]) -> Iterator[Case]:
    """Each extent 0 in turn, and whatever else of the cases has nothing to compute."""
    for extent in ("n", "length", "c_in", "c_out"):
        yield from evenly(list(empty(extent, ())), _OF_EACH)
    yield from (case for case in cases if not non_empty(case))


def _malformed(cases: tuple[Case, ...]) -> Iterator[Malformed]:
    """Some of each clause; and every parameter that is no integer where there is nothing to compute."""
    yield from of_each_clause(_RULES)(cases)
    calls = malformed.no_integers()
    yield from (call for call in calls if call.program == "conv1d" and call.base in malformed.EMPTY)


_of_data = of_each_clause(2, lambda call: non_empty(call.base))  # what an empty call gives is for its own clauses

test_shape_9_without_data = tries(
    "SHAPE-9", shape_without_data, non_empty, own=named_pads("zeros"), extra=_EVAL_SHAPE, sampled=True
)
test_shape_9_dtypes = tries(
    "SHAPE-9", shape_without_data, lambda c: c in _DTYPES, own=_DTYPES, extra=_EVAL_SHAPE, minimum=1
)
_PLANNED = (
    *(Case(Geometry(2, 2, 3, 8, 3, padding=pads), bias=False) for pads in ((1, 1), "same")),
    *(
        Case(Geometry(2, 2, 3, 8, 3, padding=(2, 3)), padding_mode=mode, padding_value=1.5 if mode == "constant" else 0)
        for mode in PADDING_MODES
    ),
)
test_shape_9_planned = tries(
    "SHAPE-9", right_after_its_shape, lambda c: c in _PLANNED, own=_PLANNED, extra=_EVAL_SHAPE, minimum=1,
    in_a_row=True,
)  # fmt: skip
test_shape_9_nothing = as_test(
    Check("SHAPE-9", shape_without_data, _nothing, _EVAL_SHAPE, may_refuse=True, sampled=True)
)
test_shape_9_huge_integers = as_test(
    Check("SHAPE-9", shape_without_data, huge.cases_of_gradients, {**_EVAL_SHAPE, "rule": "huge"}, may_refuse=True)
)
test_shape_9_refusals = refused_alike("SHAPE-9", "without data", _malformed, _EVAL_SHAPE, through("eval_shape"))
test_err_14_refused_shapes = as_test(
    Check("ERR-14", right_after_a_refused_shape, _of_data, _EVAL_SHAPE, may_refuse=True, minimum=0, in_a_row=True)
)
