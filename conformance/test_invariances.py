"""Chapter INV: what a call leaves alone, and what stays the same when the call is asked for differently."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Answer, Call, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.isolation.arrange import LAYOUTS
from conv1d_cts.conformance.maps import Level, Map
from conv1d_cts.conformance.recipes import Operands, lattice_fits, operands
from conv1d_cts.conformance.values import non_empty, operand_names

Array = np.ndarray[Any, Any]


def _small(case: Case) -> bool:
    g = case.geometry
    return non_empty(case) and max(*g.x_shape, *g.w_shape, *g.y_shape) <= 64


def _programs(case: Case, given: Operands) -> list[Call]:
    """The forward call and the joint gradient."""
    return [call_of(case, given), call_of(case, given, "vjp", operand_names(case))]


def operands_are_left_alone(surface: Surface, case: Case) -> None:
    """No operand, cotangent or tangent holds other bits after the call."""
    answer = surface.answer(call_of(case, operands(case)))
    if answer.modified:
        raise Violation(f"the call modified {', '.join(answer.modified)}", "operands unchanged", answer.modified)


def gradients_leave_operands_alone(surface: Surface, case: Case) -> None:
    """The same of the gradient call."""
    answer = surface.answer(_programs(case, operands(case))[1])
    if answer.modified:
        raise Violation(f"the gradient modified {', '.join(answer.modified)}", "operands unchanged", answer.modified)


_VJP: dict[str, Fact] = {"function": "vjp", "wrt": "xwb"}
test_inv_1_forward = tries("INV-1", operands_are_left_alone, non_empty)
test_inv_1_gradients = tries("INV-1", gradients_leave_operands_alone, non_empty, extra=_VJP)


def _identity(case: Case) -> Operands:
    """Operands for which y is x, and gx the cotangent, where K = C/g = 1: a backend may be tempted to copy nothing."""
    given = operands(case)
    zero = None if given.b is None else np.zeros_like(given.b)
    return replace(given, w=np.ones_like(given.w), b=zero)


def _no_alias(answer: Answer) -> None:
    if answer.aliases:
        raise Violation(f"a result shares memory with {', '.join(answer.aliases)}", "memory of its own", answer.aliases)


def results_are_their_own(surface: Surface, case: Case) -> None:
    """Y shares memory with no operand, also where it equals one."""
    for given in (operands(case), _identity(case)):
        _no_alias(surface.answer(call_of(case, given)))


def gradients_are_their_own(surface: Surface, case: Case) -> None:
    """No gradient shares memory with an operand or the cotangent."""
    for given in (operands(case), _identity(case)):
        for wrt in (operand_names(case), *operand_names(case)):
            _no_alias(surface.answer(call_of(case, given, "vjp", wrt)))


def _pointwise(case: Case) -> Case:
    return case.with_geometry(kernel=1, padding=(0, 0)) if case.seed % 3 == 0 else case


def _zeros(case: Case) -> bool:
    return _small(case) and case.padding_mode == "zeros"


test_inv_2_forward = tries("INV-2", results_are_their_own, _zeros, prepare=_pointwise, sampled=True)
test_inv_2_gradients = tries("INV-2", gradients_are_their_own, _zeros, prepare=_pointwise, extra=_VJP, sampled=True)


def _answers(surface: Surface, calls: list[Call]) -> list[Answer]:
    """The answers to calls made one after another. Raises Refused where one of them is."""
    answers = []
    for reply in surface.sequence(calls):
        if isinstance(reply, Refused):
            raise reply
        answers.append(reply)
    return answers


def repeats_itself(surface: Surface, case: Case) -> None:
    """Four identical calls give identical bits."""
    given = operands(case)
    answers = _answers(surface, [call_of(case, given)] * 4)
    for first, second in pairwise(answers):
        judge.same_bits(require(second.results[0], "y"), require(first.results[0], "y"), "y of a repeated call")


def gradients_repeat_themselves(surface: Surface, case: Case) -> None:
    """Three identical gradient calls give identical bits."""
    given, names = operands(case), operand_names(case)
    for first, second in pairwise(_answers(surface, [call_of(case, given, "vjp", names)] * 3)):
        for name, one, other in zip(names, first.results, second.results, strict=True):
            judge.same_bits(require(other, name), require(one, name), f"g{name} of a repeated call")


def _gaussian(case: Case) -> Case:
    return replace(case, recipe="gaussian")


test_inv_3_forward = tries("INV-3", repeats_itself, non_empty, prepare=_gaussian)
test_inv_3_gradients = tries("INV-3", gradients_repeat_themselves, non_empty, prepare=_gaussian, extra=_VJP)


@dataclass(frozen=True)
class Together:
    """Several cases tried as one example."""

    cases: tuple[Case, ...]

    def facts(self) -> dict[str, Fact]:
        """Those of the first case."""
        return self.cases[0].facts()

    def describe(self) -> dict[str, Any]:
        """The first case, and how many there are."""
        return {**self.cases[0].describe(), "together with": len(self.cases) - 1}


def same_in_another_process(surface: Surface, example: Together) -> None:
    """A fresh process gives the bits that this one gave; what is refused in both, as a limit may be, says nothing."""
    calls = [call_of(case, operands(case)) for case in example.cases]
    here = surface.sequence(calls)
    with surface.backend.fresh_process():
        there = surface.sequence(calls)
    compared = 0
    for case, one, other in zip(example.cases, here, there, strict=True):
        if isinstance(one, Answer) and isinstance(other, Answer):
            what = f"y in another process ({case.describe()})"
            judge.same_bits(require(other.results[0], "y"), require(one.results[0], "y"), what)
            compared += 1
        elif not (isinstance(one, Refused) and isinstance(other, Refused)):
            raise Violation(f"one process refuses what the other computes ({case.describe()})", one, other)
    if not compared:
        raise next(refusal for refusal in here if isinstance(refusal, Refused))


def _one_bundle(cases: tuple[Case, ...]) -> list[Together]:
    plain = [c for c in map(_gaussian, cases) if _zeros(c) and not isinstance(c.geometry.padding, str)]
    alike = [c for c in plain if c.geometry.pads[0] == c.geometry.pads[1]][:12]
    return [Together(tuple(alike))] if alike else []


test_inv_4_another_process = as_test(Check("INV-4", same_in_another_process, _one_bundle, minimum=1))


def _item(operand_set: Operands, n: int) -> Operands:
    return replace(operand_set, x=operand_set.x[n : n + 1])


def items_stand_alone(surface: Surface, case: Case) -> None:
    """Each item alone gives what it gives in the batch."""
    given = operands(case)
    whole = surface.conv1d(case, given)
    for n in sorted({0, case.geometry.n // 2, case.geometry.n - 1}):
        alone = surface.conv1d(case.with_geometry(n=1), _item(given, n))
        judge.agree(whole[n : n + 1], alone, f"y[{n}] in its batch")


def items_in_bits(surface: Surface, case: Case) -> str:
    """Whether real data keep their bits when the batch changes."""
    given = operands(case)
    whole = surface.conv1d(case, given)
    alone = surface.conv1d(case.with_geometry(n=1), _item(given, case.geometry.n - 1))
    judge.same_shape(alone, (1, *whole.shape[1:]), "y of one item")
    return (
        f"{case.dtype}: {'same bits' if whole[-1:].tobytes() == alone.tobytes() else 'other bits'} alone and in a batch"
    )


def _batched(case: Case) -> bool:
    return _small(case) and case.geometry.n > 1 and case.padding_mode == "zeros"


test_inv_5_batch = tries("INV-5", items_stand_alone, _batched, sampled=True)
test_inv_18_batch_in_bits = tries("INV-18", items_in_bits, _batched, prepare=_gaussian, sampled=True)


def _laid_out(case: Case) -> Case:
    """The case in one of the unusual layouts, the same one each time."""
    layouts = LAYOUTS[1:]
    return case if case.layout != "contiguous" else replace(case, layout=layouts[case.seed % len(layouts)])


def every_layout(surface: Surface, case: Case) -> None:
    """Y is the formula's, however the operands lie in memory."""
    given = operands(case)
    judge.equal(surface.conv1d(case, given), oracle.forward(case, given), f"y of {case.layout} operands")


def every_layout_in_gradients(surface: Surface, case: Case) -> None:
    """So are the gradients, with the cotangent laid out likewise."""
    given = operands(case)
    want = oracle.gradients(case, given)
    for name, got in surface.vjp(case, given, operand_names(case)).items():
        judge.equal(got, want[name], f"g{name} of {case.layout} operands")


def _exact_in_broadcast(case: Case) -> bool:
    """Values that repeat along the first axis keep their sums exact, so every small lattice case will do."""
    return _zeros(case) and lattice_fits(case.geometry, case.dtype)


test_inv_6_forward = tries("INV-6", every_layout, _exact_in_broadcast, prepare=_laid_out)
test_inv_6_gradients = tries("INV-6", every_layout_in_gradients, _exact_in_broadcast, prepare=_laid_out, extra=_VJP)


def no_state_is_left(surface: Surface, case: Case) -> None:
    """Other data of one shape, the weights alone changed, another geometry, the first call again: all are right."""
    first, second = operands(case), operands(replace(case, seed=case.seed + 1))
    longer = case.with_geometry(length=case.geometry.length + case.geometry.stride)
    third = operands(longer)
    steps = [
        (case, first), (case, second), (case, replace(first, w=second.w)), (case, replace(first, x=second.x)),
        (longer, third), (case, first),
    ]  # fmt: skip
    answers = _answers(surface, [call_of(c, given) for c, given in steps])
    for step, ((c, given), answer) in enumerate(zip(steps, answers, strict=True)):
        judge.equal(require(answer.results[0], "y"), oracle.forward(c, given), f"y of call {step + 1} of 6")


def no_state_is_left_by_gradients(surface: Surface, case: Case) -> None:
    """The same of gradients: other data, the weights alone changed, x alone changed."""
    first, second = operands(case), operands(replace(case, seed=case.seed + 1))
    steps = [first, second, replace(first, w=second.w), replace(first, x=second.x)]
    for given, answer in zip(steps, _answers(surface, [_programs(case, given)[1] for given in steps]), strict=True):
        want = oracle.gradients(case, given)
        for name, got in zip(operand_names(case), answer.results, strict=True):
            judge.equal(require(got, name), want[name], f"g{name} after other calls")


def results_stay(surface: Surface, case: Case) -> None:
    """A result read again after later calls of the same and of other shapes holds the same bits."""
    given, other = operands(case), operands(replace(case, seed=case.seed + 1))
    longer = case.with_geometry(length=case.geometry.length + case.geometry.stride)
    calls = [call_of(case, given), call_of(case, other), call_of(longer, operands(longer)), call_of(case, other)]
    for answer in _answers(surface, calls):
        judge.same_bits(
            require(answer.later[0], "y"), require(answer.results[0], "y"), "y, read again after later calls,"
        )


def gradients_stay(surface: Surface, case: Case) -> None:
    """The same of gradients."""
    names = operand_names(case)
    data = (operands(case), operands(replace(case, seed=case.seed + 1)))
    for answer in _answers(surface, [call_of(case, given, "vjp", names) for given in data]):
        for name, first, later in zip(names, answer.results, answer.later, strict=True):
            judge.same_bits(require(later, name), require(first, name), f"g{name}, read again after later calls,")


test_inv_7_no_state = tries("INV-7", no_state_is_left, _zeros, sampled=True)
test_inv_7_gradients = tries("INV-7", no_state_is_left_by_gradients, _zeros, extra=_VJP, sampled=True)
test_inv_8_results_stay = tries("INV-8", results_stay, _zeros, sampled=True)
test_inv_8_gradients_stay = tries("INV-8", gradients_stay, _zeros, extra=_VJP, sampled=True)


_MAPS = tuple(
    (Level(over, extent),)
    for over, extent in (("x", 1), ("x", 3), ("w", 3), ("xw", 2), ("b", 2), ("wb", 3), ("xwb", 2))
)
_NESTED = tuple(
    (Level(outer, 2), Level(inner, 3))
    for outer, inner in (("w", "x"), ("x", "w"), ("x", "x"), ("xw", "x"), ("wb", "x"), ("b", "xwb"))
)
_EMPTY = tuple((Level(over, 0),) for over in ("x", "w", "xw", "b", "xwb"))
_TRIED = 4  # ways of all to map one case: a compiler pays for each


def _ways(case: Case, ways: tuple[tuple[Level, ...], ...], most: int) -> list[Map]:
    """So many of the ways that the case's operands allow, as its seed chooses."""
    names = set(operand_names(case))
    possible = [way for way in ways if names.issuperset("".join(level.over for level in way))]
    return [Map(case, way) for way in (possible * 2)[case.seed % len(possible) :][:most]]


def _is_the_loop(surface: Surface, mapping: Map) -> None:
    got = require(surface.answer(mapping.call()).results[0], "the map")
    judge.equal(got, mapping.want(), f"vmap over {' of vmap over '.join(level.over for level in mapping.levels)}")


def vmap_is_a_loop(surface: Surface, case: Case) -> None:
    """Mapped over x, w, b, a pair or all of them, as the case chooses, the map gives the stack of the single calls."""
    for mapping in _ways(case, _MAPS, _TRIED):
        _is_the_loop(surface, mapping)


def vmap_of_vmap_is_a_loop(surface: Surface, case: Case) -> None:
    """A map of a map, over one operand twice or over two in turn, gives the stack of stacks."""
    (mapping,) = _ways(case, _NESTED, 1)
    _is_the_loop(surface, mapping)


def vmap_over_nothing(surface: Surface, case: Case) -> None:
    """Mapped over an axis of size 0, the stack is empty: (0, N, O, L_out)."""
    for mapping in _ways(case, _EMPTY, len(_EMPTY)):
        got = require(surface.answer(mapping.call()).results[0], "the map")
        judge.same_shape(got, mapping.want().shape, f"vmap over an axis of size 0 of {mapping.levels[0].over}")


_VMAP: dict[str, Fact] = {"function": "vmap"}
test_inv_17_vmap = tries("INV-17", vmap_is_a_loop, _zeros, extra=_VMAP, sampled=True)
test_inv_17_vmap_of_vmap = tries(
    "INV-17", vmap_of_vmap_is_a_loop, _zeros, extra={**_VMAP, "rule": "nested"}, sampled=True
)
test_inv_17_vmap_over_nothing = tries(
    "INV-17", vmap_over_nothing, _zeros, extra={**_VMAP, "rule": "size 0"}, sampled=True, may_refuse=True
)
