"""Chapters GRAD and INV, continued: several calls on the very same arrays, each with parameters of its own.

What a backend keeps of an array, or a compiler of a call, it keeps by the array alone where it forgets the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Array, Call, Refused, Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.values import VJP, operand_names
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES

_STEPS = tuple(  # of one kernel on nine samples: y has five samples under each
    tuple(
        Case(Geometry(2, 2 * groups, 6, 9, 3, stride, dilation, groups, padding), bias=bias, seed=groups)
        for stride, dilation, padding in (
            (1, 2, "valid"), (2, 1, "same"), (1, 2, (0, 0)), (2, 1, (1, 1)), (1, 3, (1, 1)), (2, 2, (2, 2)),
        )
    )
    for groups, bias in ((1, False), (2, True))
)  # fmt: skip
_SIDES = tuple(
    Case(Geometry(2, 2, 3, 6, 4, padding=padding), bias=False, seed=3) for padding in ("same_lower", "same", (3, 0))
)
_MODES = tuple(
    Case(Geometry(2, 2, 3, 5, 3, padding=(2, 2)), "float32", False, mode, value, seed=4)
    for mode, value in (*((mode, 0) for mode in reversed(PADDING_MODES)), ("constant", 1), ("constant", 2))
)
_KINDS = {kinds[0]: kinds for kinds in (*_STEPS, *(steps[3:] for steps in _STEPS), _SIDES, _MODES)}


def _together(surface: Surface, case: Case, program: str, plain: str) -> tuple[list[Case], tuple[Array | None, ...]]:
    """The calls on the case's arrays and what comes of all of them; without those that are refused by themselves."""
    try:
        return list(_KINDS[case]), surface.answer(_call_of_each(case, _KINDS[case], program)).results
    except Refused:
        kinds = _answered(surface, case, plain)
        return kinds, surface.answer(_call_of_each(case, kinds, program)).results


def _answered(surface: Surface, case: Case, program: str) -> list[Case]:
    """Of the calls on the case's arrays those that are possible alone.

    Raises Refused where the first is not, or no other one.
    """
    wrt = operand_names(case) if program == "vjp" else ""
    replies = surface.sequence([call_of(one, operands(case), program, wrt) for one in _KINDS[case]])
    refusals = [reply for reply in replies if isinstance(reply, Refused)]
    if isinstance(replies[0], Refused) or len(refusals) > len(replies) - 2:
        raise refusals[0]
    return [one for one, reply in zip(_KINDS[case], replies, strict=True) if not isinstance(reply, Refused)]


def _call_of_each(case: Case, kinds: Sequence[Case], program: str) -> Call:
    """One call of a program on the case's arrays, for all these parameters."""
    given = operands(case)
    call = call_of(case, given, "vjp" if program == "vjp_of_each" else "conv1d", operand_names(case))
    first, *others = (one.attributes for one in kinds)
    return replace(call, program=program, attributes=first, others=tuple(others))


def each_has_its_own_y(program: str) -> Callable[[Surface, Case], None]:
    """A body: each call gives the y of its own parameters."""

    def body(surface: Surface, case: Case) -> None:
        kinds, results = _together(surface, case, program, "conv1d")
        given = operands(case)
        for one, y in zip(kinds, results, strict=True):
            what = f"y of {one.attributes} beside others on the same arrays"
            judge.equal(require(y, "y"), oracle.forward(one, given), what)

    return body


def gradients_add_up(surface: Surface, case: Case) -> None:
    """The gradient of the sum of the calls' y is the sum of their gradients."""
    kinds, results = _together(surface, case, "vjp_of_each", "vjp")
    each = [oracle.gradients(one, operands(case)) for one in kinds]
    for name, got in zip(operand_names(case), results, strict=True):
        want = np.sum([gradients[name] for gradients in each], axis=0)
        judge.equal(require(got, name), want, f"g{name} of the sum of {len(kinds)} calls on the same arrays")


_tried = partial(tries, telling=lambda c: c in _KINDS, own=tuple(_KINDS), may_refuse=True, minimum=1)
test_inv_7_same_arrays = _tried("INV-7", each_has_its_own_y("each"))
test_inv_19_same_arrays = _tried(
    "INV-19", each_has_its_own_y("compiled_each"), extra={"function": "compiled"}, costly=True
)
test_grad_17_same_arrays = _tried("GRAD-17", gradients_add_up, extra={**VJP, "rule": "sum"})
