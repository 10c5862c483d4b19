"""Chapter INV: what a call leaves alone: its operands, and the memory of what it returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Call, Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.isolation.arrange import LAYOUTS
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import HIGHER, VJP, calls_of, non_empty, operand_names, small_zeros
from conv1d_cts.spec.geometry import Geometry


def _alone(case: Case, given: Operands, program: str) -> list[Call]:
    """The calls that ask for one derivative alone: its result may take a way of its own."""
    return [call_of(case, given, program, wrt) for wrt in operand_names(case) if program in ("vjp", "jvp")]


def leaves_operands_alone(program: str) -> Callable[[Surface, Case], None]:
    """A body: no operand, cotangent or tangent has other bits after the call; of small cases for one derivative too."""

    def body(surface: Surface, case: Case) -> None:
        given = operands(case)
        for call in calls_of(case, given, program) + (_alone(case, given, program) if small_zeros(case) else []):
            judge.unmodified(surface.answer(call).modified, program)

    return body


def _nothing_to_sum(cases: tuple[Case, ...]) -> Iterator[Case]:
    """Where a result would equal an operand: y is x for single taps of 1, gb is gy for one window of one item."""
    for n, channels, length, bias in product((1, 2), (1, 3), (1, 7), (True, False)):
        yield Case(Geometry(n, channels, channels, length, 1, groups=channels), bias=bias, seed=n)
    for channels in (1, 3):
        yield Case(Geometry(2, channels, channels, 7, 1, stride=2, groups=channels), bias=False, seed=3)
    for c_in, c_out in product((1, 2), (1, 3)):
        yield Case(Geometry(1, c_in, c_out, 5, 5), seed=c_in)


def _empty(cases: tuple[Case, ...]) -> Iterator[Case]:
    """No item, in a call with a bias: y is empty."""
    for c_out in (3, 8, 17):
        yield Case(Geometry(0, 3, c_out, 7, 3))


_ALIKE = tuple(  # as large as x, or as w, their gradients may be written over something
    Case(Geometry(n, channels, channels, length, 1), seed=channels)
    for n, channels, length in ((2, 3, 7), (1, 4, 9), (3, 3, 3), (2, 1, 6))
)

test_inv_1_forward = tries("INV-1", leaves_operands_alone("conv1d"), non_empty)
test_inv_1_gradients = tries("INV-1", leaves_operands_alone("vjp"), non_empty, own=_ALIKE, extra=VJP)
test_inv_1_jvp, test_inv_1_vjp_of_vjp, test_inv_1_jvp_of_vjp = (
    tries(
        "INV-1", leaves_operands_alone(program), small_zeros, own=_nothing_to_sum(()) if program == "jvp" else (),
        extra={"function": program}, sampled=True,
    )
    for program in HIGHER
)  # fmt: skip
_IN_MEMORY = tuple(  # and where y is as large as x, and gx as gy, they may be written there
    Case(geometry, bias=False, layout=layout, seed=2)
    for layout, geometry in product(LAYOUTS[1:], (Geometry(2, 3, 3, 9, 3, padding=(1, 1)), Geometry(3, 3, 3, 3, 1)))
)
_laid_out_otherwise = partial(tries, telling=lambda c: c in _IN_MEMORY, own=_IN_MEMORY, minimum=1)
test_inv_1_layouts, test_inv_1_layouts_in_gradients, test_inv_1_layouts_in_tangents = (
    _laid_out_otherwise("INV-1", leaves_operands_alone(program), extra=facts)
    for program, facts in (("conv1d", {}), ("vjp", VJP), ("jvp", {"function": "jvp"}))
)
test_inv_1_nothing = as_test(Check("INV-1", leaves_operands_alone("conv1d"), _empty, may_refuse=True, minimum=0))
test_inv_1_nothing_in_gradients = as_test(
    Check("INV-1", leaves_operands_alone("vjp"), _empty, VJP, may_refuse=True, minimum=0)
)


def leaves_a_tied_cotangent_alone(surface: Surface, case: Case) -> None:
    """Nor has x where it is the cotangent as well, as of a loss of squares: gx is written to neither."""
    given = operands(case)
    call = call_of(case, given, "vjp", "x")
    answer = surface.answer(replace(call, arrays={n: a for n, a in call.arrays.items() if n != "cotangent"}))
    judge.unmodified(answer.modified, "the vjp of x along x")
    want = oracle.gradients(case, replace(given, cotangent=given.x))["x"]
    judge.equal(require(answer.results[0], "gx"), want, "gx along x")


_LIKE_X = tuple(
    Case(Geometry(2, 3, 3, 9, kernel, padding=padding), bias=False, seed=kernel)
    for kernel, padding in ((3, (1, 1)), (3, "same"), (1, (0, 0)))
)
test_inv_1_tied_cotangent = tries(
    "INV-1", leaves_a_tied_cotangent_alone, lambda c: c in _LIKE_X, own=_LIKE_X,
    extra={"function": "vjp", "wrt": "x"}, minimum=1,
)  # fmt: skip


def _with_odd_values(case: Case) -> Operands:
    """Operands with the smallest subnormal, -0, NaN and infinities in some place each, as far as there are places."""
    given, rng = operands(case), np.random.default_rng(case.seed)
    values = [bounds.smallest_subnormal(case.dtype), -0.0, np.nan, np.inf, -np.inf]
    odd: dict[str, Any] = {}
    for name in (*operand_names(case), "cotangent"):
        array = getattr(given, name).copy()
        places = rng.permutation(array.size)[: len(values)]
        array.flat[places] = rng.permutation(values)[: len(places)].astype(array.dtype)
        odd[name] = array
    return replace(given, **odd)


def leaves_odd_values_alone(program: str) -> Callable[[Surface, Case], None]:
    """A body: nor do operands with subnormal numbers, signed zeros, NaN and infinities, which some put in order."""

    def body(surface: Surface, case: Case) -> None:
        for call in calls_of(case, _with_odd_values(case), program):
            judge.unmodified(surface.answer(call).modified, program)

    return body


test_inv_1_odd_values = tries("INV-1", leaves_odd_values_alone("conv1d"), small_zeros, sampled=True)
test_inv_1_odd_values_in_gradients = tries(
    "INV-1", leaves_odd_values_alone("vjp"), small_zeros, extra=VJP, sampled=True
)


def _identity(case: Case) -> Operands:
    """Operands for which y is x, and gx the cotangent, where K = C/g = 1, and gw is x for one window of one item.

    A backend may be tempted to copy nothing.
    """
    given = operands(case)
    zero, ones = None if given.b is None else np.zeros_like(given.b), np.ones_like(given.cotangent)
    return replace(given, w=np.ones_like(given.w), b=zero, cotangent=ones)


def results_are_their_own(program: str) -> Callable[[Surface, Case], Accuracy | None]:
    """A body: no result shares memory with an operand, cotangent or tangent, also where it equals one.

    Where nobody sees the memory of the device, nothing is seen.
    """

    def body(surface: Surface, case: Case) -> Accuracy | None:
        if not surface.backend.describe()["shows_memory"]:
            return UNSEEN
        for given in (operands(case), _identity(case)):
            for call in calls_of(case, given, program) + _alone(case, given, program):
                judge.own_memory(surface.answer(call), program)
        return None

    return body


def _pointwise(case: Case) -> Case:
    return case.with_geometry(kernel=1, padding=(0, 0)) if case.seed % 3 == 0 else case


_EQUAL = (Case(Geometry(2, 1, 1, 6, 1)), Case(Geometry(2, 3, 3, 6, 1, groups=3)))  # by weights of 1 y is x
_FORWARD, _GRADIENTS = results_are_their_own("conv1d"), results_are_their_own("vjp")
_own_memory = partial(tries, "INV-2", telling=small_zeros, own=_EQUAL, prepare=_pointwise, sampled=True)
test_inv_2_forward = _own_memory(body=_FORWARD)
test_inv_2_gradients = _own_memory(body=_GRADIENTS, extra=VJP)
test_inv_2_layouts = _laid_out_otherwise("INV-2", _FORWARD)
test_inv_2_layouts_in_gradients = _laid_out_otherwise("INV-2", _GRADIENTS, extra=VJP)


# Nothing to sum but the bias, of which y might be a view.
_BIAS_ALONE = (Case(Geometry(2, 0, 3, 9, 3)), Case(Geometry(2, 2, 3, 0, 3, padding=(2, 2))))
test_inv_2_bias_alone = as_test(Check("INV-2", _FORWARD, lambda cases: iter(_BIAS_ALONE), may_refuse=True, minimum=0))
test_inv_2_nothing_to_sum = as_test(Check("INV-2", _FORWARD, _nothing_to_sum))
test_inv_2_nothing_to_sum_in_gradients = as_test(Check("INV-2", _GRADIENTS, _nothing_to_sum, VJP))
test_inv_2_jvp, test_inv_2_vjp_of_vjp, test_inv_2_jvp_of_vjp = (
    as_test(Check("INV-2", results_are_their_own(program), _nothing_to_sum, {"function": program}))
    for program in HIGHER
)
