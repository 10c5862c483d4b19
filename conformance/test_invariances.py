"""Chapter INV: what a call leaves alone, and what stays the same when the call is asked for differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Answer, Call, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, SHARING
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.conformance.recipes import Operands, lattice_fits, operands
from conv1d_cts.conformance.together import Together
from conv1d_cts.conformance.values import VJP, answers, non_empty, operand_names, small, small_zeros
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES

Array = np.ndarray[Any, Any]


_DERIVATIVES = ("jvp", "vjp_of_vjp", "jvp_of_vjp")


def _calls(case: Case, given: Operands, program: str) -> list[Call]:
    """The calls of a program on all operands; second derivatives are taken through each gradient."""
    names = operand_names(case)
    if program in ("vjp_of_vjp", "jvp_of_vjp"):
        return [call_of(case, given, program, names, slot) for slot in names]
    return [call_of(case, given, program, "" if program == "conv1d" else names)]


def _alone(case: Case, given: Operands, program: str) -> list[Call]:
    """The calls that ask for one derivative alone: its result may take a way of its own."""
    return [call_of(case, given, program, wrt) for wrt in operand_names(case) if program in ("vjp", "jvp")]


def leaves_operands_alone(program: str) -> Callable[[Surface, Case], None]:
    """A body: no operand, cotangent or tangent has other bits after the call; of small cases for one derivative too."""

    def body(surface: Surface, case: Case) -> None:
        given = operands(case)
        for call in _calls(case, given, program) + (_alone(case, given, program) if small_zeros(case) else []):
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
    for program in _DERIVATIVES
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
    extra={"function": "vjp", "wrt": "x", "rule": "tied"}, minimum=1,
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
        for call in _calls(case, _with_odd_values(case), program):
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
            for call in _calls(case, given, program) + _alone(case, given, program):
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
    for program in _DERIVATIVES
)


def repeats_itself(program: str, times: int) -> Callable[[Surface, Case], None]:
    """A body: identical calls give identical bits."""

    def body(surface: Surface, case: Case) -> None:
        for call in _calls(case, operands(case), program):
            for first, second in pairwise(answers(surface, [call] * times)):
                for place, (one, other) in enumerate(zip(first.results, second.results, strict=True)):
                    what = f"result {place + 1} of {program}, called again,"
                    judge.same_bits(require(other, what), require(one, what), what)

    return body


def _gaussian(case: Case) -> Case:
    return replace(case, recipe="gaussian")


test_inv_3_forward = tries("INV-3", repeats_itself("conv1d", 4), non_empty, prepare=_gaussian)
test_inv_3_gradients = tries("INV-3", repeats_itself("vjp", 3), non_empty, prepare=_gaussian, extra=VJP)
test_inv_3_jvp, test_inv_3_vjp_of_vjp, test_inv_3_jvp_of_vjp = (
    tries(
        "INV-3", repeats_itself(program, 2), small_zeros, prepare=_gaussian, extra={"function": program}, sampled=True
    )
    for program in _DERIVATIVES
)


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


_LONG_SUMS = tuple(_gaussian(Case(g, bias=False)) for g in (Geometry(2, 8, 3, 40, 9), Geometry(2, 48, 3, 12, 3)))


def _bundles(cases: tuple[Case, ...]) -> Iterator[Together]:
    """A few small cases; and sums of many taps and of many channels, whose bits tell the order of summation."""
    plain = [c for c in map(_gaussian, cases) if small_zeros(c) and not isinstance(c.geometry.padding, str)]
    if alike := [c for c in plain if c.geometry.pads[0] == c.geometry.pads[1]][:12]:
        yield Together(tuple(alike))
    yield Together(_LONG_SUMS)


test_inv_4_another_process = as_test(Check("INV-4", same_in_another_process, _bundles, minimum=1))


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
    return small_zeros(case) and case.geometry.n > 1


test_inv_5_batch = tries("INV-5", items_stand_alone, _batched, sampled=True, in_a_row=True)
# Batches past those of the pool that are tried here: from some on a backend sums in another order, in other buffers.
_WIDE = tuple(_gaussian(Case(Geometry(n, 3, 2, 8, 3), seed=n)) for n in (65, 96, 129, 200))
test_inv_18_batch_in_bits = tries(
    "INV-18", items_in_bits, lambda c: _batched(c) or c in _WIDE, own=_WIDE, prepare=_gaussian, sampled=True,
    in_a_row=True,
)  # fmt: skip


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
    return small(case) and lattice_fits(case.geometry, case.dtype, case.padding_mode)


def every_layout_in_tangents(surface: Surface, case: Case) -> None:
    """So is the tangent of y, with the tangents laid out likewise."""
    given, names = operands(case), operand_names(case)
    got = require(surface.answer(call_of(case, given, "jvp", names)).results[0], "the tangent")
    judge.equal(got, oracle.tangent(case, given, names), f"the tangent of {case.layout} operands")


def every_layout_in_second_derivatives(surface: Surface, case: Case) -> None:
    """So are the gradients of <u, gx> and of <u, gw>, with u laid out likewise."""
    given, names = operands(case), operand_names(case)
    for slot in "xw":
        want = oracle.second_vjp(case, given, slot)
        results = surface.answer(call_of(case, given, "vjp_of_vjp", names, slot)).results
        for name, got in zip((*names, "cotangent"), results, strict=True):
            judge.equal(require(got, name), want[name], f"d<u, g{slot}>/d{name} of {case.layout} operands")


def complex_gradients_of_a_layout(surface: Surface, case: Case) -> None:
    """So are those of complex operands, by whichever convention: they are those of contiguous copies."""
    given, names = operands(case), operand_names(case)
    plain = surface.vjp(replace(case, layout="contiguous"), given, names)
    for name, got in surface.vjp(case, given, names).items():
        judge.equal(got, plain[name], f"g{name} of {case.layout} operands")


def layout_of_one_operand(surface: Surface, case: Case) -> None:
    """So are the gradients where x, w or the cotangent alone is laid out otherwise, its values being of that layout."""
    plain = replace(case, layout="contiguous")
    for name in ("x", "w", "cotangent"):
        given = replace(operands(plain), **{name: getattr(operands(case), name)})
        call = call_of(plain, given, "vjp", operand_names(case))
        results = surface.answer(replace(call, layouts={name: case.layout})).results
        for (of, want), got in zip(oracle.gradients(case, given).items(), results, strict=True):
            judge.equal(require(got, of), want, f"g{of} of {name} {case.layout} and the others not")


def layout_of_one_tangent(surface: Surface, case: Case) -> None:
    """So is the tangent of y where x, w or the tangent of one alone is laid out otherwise."""
    plain = replace(case, layout="contiguous")
    for name, is_tangent in product("xw", (False, True)):
        given, other = operands(plain), operands(case)
        if is_tangent:
            given = replace(given, tangents={**given.tangents, name: other.tangents[name]})
        else:
            given = replace(given, **{name: getattr(other, name)})
        laid_out = f"{name}_tangent" if is_tangent else name
        call = replace(call_of(plain, given, "jvp", operand_names(case)), layouts={laid_out: case.layout})
        got = require(surface.answer(call).results[0], "the tangent")
        want = oracle.tangent(case, given, operand_names(case))
        judge.equal(got, want, f"the tangent of {laid_out} {case.layout} and the others not")


_WAYS = (  # past which the operands may be taken for what they are not: one item, one tap, a channel a group
    Geometry(1, 4, 5, 6, 1), Geometry(3, 4, 4, 6, 1),
    Geometry(1, 4, 4, 9, 3, groups=4), Geometry(1, 6, 4, 9, 2, groups=2), Geometry(2, 3, 2, 9, 3),
)  # fmt: skip
_LAID_OUT = [
    Case(geometry, bias=False, layout=layout, seed=seed)
    for layout, (seed, geometry) in product(LAYOUTS[1:], enumerate(_WAYS))
]
_LAID_OUT_TWICE = [
    Case(Geometry(2, 3, 2, 9, 3), bias=False, layout=layout) for layout in LAYOUTS[1:] if layout not in SHARING
]
_PADDED_OUT = [  # what a mode shows is read from memory once more, forwards and backwards
    Case(Geometry(2, 2, 3, 6, 3, padding=(3, 2)), "float32", False, mode, 2 if mode == "constant" else 0, layout=layout)
    for mode, layout in product(PADDING_MODES[1:], LAYOUTS[1:])
]
_in_memory = partial(tries, telling=_exact_in_broadcast, own=_LAID_OUT + _PADDED_OUT, prepare=_laid_out)
test_inv_6_forward = _in_memory("INV-6", every_layout)
_ONE_LAID_OUT = [Case(Geometry(3, 3, 2, 9, 3), bias=False, layout=layout) for layout in LAYOUTS[1:]]
_of_one_operand = partial(tries, "INV-6", telling=lambda c: c in _ONE_LAID_OUT, own=_ONE_LAID_OUT, minimum=1)
test_inv_6_one_operand = _of_one_operand(layout_of_one_operand, extra={"function": "vjp", "wrt": "xw"})
test_inv_6_one_tangent = _of_one_operand(layout_of_one_tangent, extra={"function": "jvp", "wrt": "xw"})
_LAID_OUT_COMPLEX = [Case(_WAYS[-1], "complex64", bias=False, layout=layout) for layout in LAYOUTS[1:]]
test_inv_6_complex = tries("INV-6", every_layout, lambda c: c in _LAID_OUT_COMPLEX, own=_LAID_OUT_COMPLEX, minimum=1)
test_inv_6_complex_gradients = tries(
    "INV-6", complex_gradients_of_a_layout, lambda c: c in _LAID_OUT_COMPLEX, own=_LAID_OUT_COMPLEX,
    extra={"function": "vjp", "wrt": "xw"}, minimum=1,
)  # fmt: skip
_LAID_OUT_WHOLE = [
    Case(geometry, dtype, bias=False, layout=layout, seed=1)
    for layout, (geometry, dtype) in product(LAYOUTS[1:], ((_WAYS[1], "int32"), (_WAYS[-1], "int8")))
]
test_inv_6_integers = tries(
    "INV-6", every_layout, lambda c: c in _LAID_OUT_WHOLE, own=_LAID_OUT_WHOLE, may_refuse=True, minimum=0
)
test_inv_6_gradients = _in_memory("INV-6", every_layout_in_gradients, extra=VJP)
test_inv_6_tangents = _in_memory(
    "INV-6", every_layout_in_tangents, extra={"function": "jvp", "wrt": "xwb"}, sampled=True
)
test_inv_6_second_derivatives = tries(
    "INV-6", every_layout_in_second_derivatives, lambda c: c in _LAID_OUT_TWICE, own=_LAID_OUT_TWICE,
    extra={"function": "vjp_of_vjp", "wrt": "xw"}, sampled=True,
)  # fmt: skip
