"""Chapter INV, continued: what calls leave behind, and what later calls do to a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Answer, Call, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.together import call_of_all, call_of_values, other_precision
from conv1d_cts.conformance.values import VJP, answers, calls_of, non_empty, operand_names, small_zeros
from conv1d_cts.spec.geometry import Geometry

Judge = Callable[[Case, Answer, str], None]  # raises Violation where the results of that call are not right
_COMPILED: dict[str, Fact] = {"function": "compiled"}
_CALLS, _MANY = 9, 33  # of one shape, for INV-8: more than the buffers of most rings, and of large ones
_SETTLED = (  # cases whose neighbours are all tried, most of them without what a backend may lack
    Case(Geometry(2, 2, 3, 23, 5), bias=False),
    Case(Geometry(1, 3, 3, 23, 4, stride=2), bias=False),
    Case(Geometry(1, 3, 3, 23, 4, dilation=2), bias=False),
    Case(Geometry(2, 2, 3, 23, 5, padding=(2, 1))),
    Case(Geometry(2, 4, 6, 23, 4, stride=2, groups=2, padding=(1, 1))),
    Case(Geometry(2, 2, 3, 23, 4, padding="same"), bias=False),
    Case(Geometry(2, 2, 3, 23, 4, padding="valid"), bias=False),
)
_FILLED = tuple(
    Case(Geometry(2, 2, 3, length, 3, padding=pads), "float32", False, "constant", -1, seed=length)
    for length, pads in ((7, (2, 2)), (23, (5, 3)), (40, (9, 9)))
)
_HEAVY = tuple(  # of so many weights that to pack them pays
    Case(Geometry(2, channels, 2 * channels, 12, 3), bias=False, seed=channels) for channels in (4, 8, 16)
)
_SIZES = ("n", "c_in", "c_out", "length", "kernel", "stride", "dilation")
_DIGITS = tuple(  # one size of two digits among others of one
    Case(Geometry(2, 2, 3, 151, 4, 2, 3), bias=False).with_geometry(**{name: 12}) for name in _SIZES if name != "length"
)
_NOTHING = (Case(Geometry(0, 2, 3, 9, 3)), Case(Geometry(2, 2, 3, 2, 3)), Case(Geometry(2, 2, 3, 0, 3)))
_SPAN = 25  # of a kernel: eight numbers of taps reach as far


def no_state_is_left(surface: Surface, case: Case) -> None:
    """Other data of one shape, the weights alone changed, another geometry, the first call again: all are right."""
    first, second = operands(case), operands(replace(case, seed=case.seed + 1))
    longer = case.with_geometry(length=case.geometry.length + case.geometry.stride)
    third = operands(longer)
    steps = [
        (case, first), (case, second), (case, replace(first, w=second.w)), (case, replace(first, x=second.x)),
        (longer, third), (case, first),
    ]  # fmt: skip
    found = answers(surface, [call_of(c, given) for c, given in steps])
    for step, ((c, given), answer) in enumerate(zip(steps, found, strict=True)):
        judge.equal(require(answer.results[0], "y"), oracle.forward(c, given), f"y of call {step + 1} of 6")


def results_may_be_written_over(program: str) -> Callable[[Surface, Case], None]:
    """A body: what a caller writes to y, or to gradients, is in no later one; arrays that cannot change are refused."""

    def body(surface: Surface, case: Case) -> None:
        given, wrt = operands(case), operand_names(case) if program == "vjp" else ""
        got = surface.answer(replace(call_of(case, given, program, wrt), program="written_over")).results
        want = oracle.gradients(case, given) if wrt else {"y": oracle.forward(case, given)}
        for (name, right), again in zip(want.items(), got, strict=True):
            judge.equal(require(again, name), right, f"{name} after an earlier one was written over")

    return body


def _around(case: Case) -> list[Case]:
    """Others with one thing changed, which a key that is a little too short takes for the same call."""
    g = case.geometry
    lo, hi = g.pads
    around = (hi, lo) if lo != hi else (lo + hi, 0) if lo else (1, 0)
    changed = (
        {"padding": around}, {"padding": (lo + 1, hi + 1)}, {"stride": g.stride + 1}, {"dilation": g.dilation + 1},
        {"n": g.n + 1}, {"length": g.length + 1},
        {"dilation": g.dilation + 1, "padding": (lo, hi + g.kernel - 1)},  # the same sizes throughout, as with "same"
        {"stride": g.stride + 1, "padding": (lo, hi + g.l_out - 1)},
    )  # fmt: skip
    others = [replace(case, bias=not case.bias), *(case.with_geometry(**change) for change in changed)]
    return [other for other in others if non_empty(other) and other != case]


def _two_around(case: Case) -> list[Case]:
    others = _around(case)
    return [case, others[1], others[case.seed % len(others)], case]


def _all_around(case: Case) -> list[Case]:
    return [case, *_around(case), case]


def _of_one_span(case: Case) -> list[Case]:
    """The case and every other number of taps that spans as many samples, closer together or further apart."""
    reach = case.geometry.span - 1
    spreads = [(reach // d + 1, d) for d in range(1, reach + 1) if reach % d == 0 and d != case.geometry.dilation]
    return [case, *(case.with_geometry(kernel=kernel, dilation=d) for kernel, d in spreads), case]


def _alike_in_digits(case: Case) -> list[Case]:
    """Two neighbouring sizes of the case cut in two otherwise: 1 and 12 are told from 11 and 2, by who joins digits."""
    sizes = {name: str(getattr(case.geometry, name)) for name in _SIZES}
    found = [case]
    for one, other in pairwise(_SIZES):
        digits = sizes[one] + sizes[other]
        cut = len(sizes[other]) if len(sizes[one]) != len(sizes[other]) else 0
        if cut and digits[cut] != "0":
            found.append(case.with_geometry(**{one: int(digits[:cut]), other: int(digits[cut:])}))
    return [*filter(non_empty, found), case]


def _fills(case: Case) -> list[Case]:
    """The case with one fill after another, equal numbers of which Python makes one key among them."""
    return [replace(case, padding_value=value) for value in (-1, -2, 1, 2, -1, 0.5, -0.5, 0, -1)]


def _precisions(case: Case) -> list[Case]:
    """The case and its like in another precision of the same kind, on data that show how many bits are kept."""
    one = replace(case, recipe="gaussian")
    return [one, replace(one, dtype=other_precision(case.dtype)), one]


def _exact(case: Case, answer: Answer, call: str) -> None:
    judge.equal(require(answer.results[0], "y"), oracle.forward(case, operands(case)), f"y of {call}")


def _exact_gradients(case: Case, answer: Answer, call: str) -> None:
    want = oracle.gradients(case, operands(case))
    for name, got in zip(operand_names(case), answer.results, strict=True):
        judge.equal(require(got, name), want[name], f"g{name} of {call}")


def _within_bounds(case: Case, answer: Answer, call: str) -> None:
    bound = bounds.forward(case, operands(case), bounds.UNIT_ROUNDOFF[case.dtype])
    judge.within(require(answer.results[0], "y"), bound, f"y of {call}")


def _is_right(judged: Judge, case: Case, reply: Answer | Refused) -> bool:
    """Whether the results are what the judge wants; a refusal is no result, and so not a wrong one."""
    if isinstance(reply, Refused):
        return True
    try:
        judged(case, reply, "a call")
    except Violation:
        return False
    return True


def right_after_others(
    cases_of: Callable[[Case], list[Case]], judged: Judge, program: str = "conv1d"
) -> Callable[[Surface, Case], None]:
    """A body: of calls that differ in one thing, what is right in a fresh process is right after the others.

    What is refused is not wrong, but for the first of them.
    """

    def body(surface: Surface, case: Case) -> None:
        cases = cases_of(case)
        wrt = {"conv1d": "", "vjp": "xwb"}[program]
        calls = [call_of(one, operands(one), program, wrt if one.bias else wrt[:2]) for one in cases]
        for step, (one, reply) in enumerate(zip(cases, surface.sequence(calls), strict=True)):
            if one == cases[0] and isinstance(reply, Refused):
                raise reply
            if _is_right(judged, one, reply):
                continue
            with surface.backend.fresh_process():
                (alone,) = surface.sequence([calls[step]])
            again = surface.sequence(calls)[step]  # the last request made is the one that a script shows
            if _is_right(judged, one, alone) and isinstance(again, Answer):
                judged(one, again, f"call {step + 1} of {len(calls)}")

    return body


def arrays_are_read_again(program: str) -> Callable[[Surface, Case], None]:
    """A body: operands that are written to between calls, as an optimizer does, count as they are at each call.

    All is written, then the last part of each alone, then all again.
    """

    def body(surface: Surface, case: Case) -> None:
        steps, call = _written(case, program)
        for step, (given, got) in enumerate(zip(steps, surface.answer(call).results, strict=True)):
            judge.equal(require(got, "y"), oracle.forward(case, given), f"y after {step} writes to the operands")

    return body


def arrays_are_read_again_in_gradients(surface: Surface, case: Case) -> None:
    """So do they, and cotangents, in the gradients, asked for jointly and one alone, the others being constants."""
    steps, call = _written(case, "written_to_vjp")
    wanted = [oracle.gradients(case, given) for given in steps]
    for wrt in (operand_names(case), "x", "w"):
        results = surface.answer(replace(call, wrt=wrt)).results
        for step, want in enumerate(wanted):
            for name, got in zip(wrt, results[step * len(wrt) :], strict=False):
                judge.equal(require(got, name), want[name], f"g{name} after {step} writes to the operands")


def _written(case: Case, program: str) -> tuple[list[Operands], Call]:
    """The operands of each step, and the call that writes them one after another into the same arrays."""
    first, second = operands(case), operands(replace(case, seed=case.seed + 1))
    steps = [first, _ending(first, second), second, first]
    return steps, call_of_values(case, steps, program)


def _ending(given: Operands, other: Operands) -> Operands:
    """The operands, the last part of each of which is another's: who looks at the first ones sees nothing."""
    ended: dict[str, Any] = {}
    for name in ("x", "w", "cotangent", *(["b"] if given.b is not None else [])):
        ended[name] = np.concatenate([getattr(given, name)[:-1], getattr(other, name)[-1:]])
    return replace(given, **ended)


def no_state_is_left_by_gradients(surface: Surface, case: Case) -> None:
    """The same of gradients: other data, the weights alone changed, x alone changed."""
    names = operand_names(case)
    first, second = operands(case), operands(replace(case, seed=case.seed + 1))
    steps = [first, second, replace(first, w=second.w), replace(first, x=second.x)]
    found = answers(surface, [call_of(case, given, "vjp", names) for given in steps])
    for given, answer in zip(steps, found, strict=True):
        want = oracle.gradients(case, given)
        for name, got in zip(names, answer.results, strict=True):
            judge.equal(require(got, name), want[name], f"g{name} after other calls")


def _data(case: Case) -> list[Operands]:
    """Operands for many calls of one shape, no two alike: what comes round in a ring of buffers is seen."""
    calls = _MANY if case in _SETTLED[:2] else _CALLS
    return [operands(replace(case, seed=case.seed + offset)) for offset in range(calls)]


def results_stay(surface: Surface, case: Case) -> None:
    """A result read again after later calls of the same and of other shapes holds the same bits."""
    longer = case.with_geometry(length=case.geometry.length + case.geometry.stride)
    calls = [call_of(case, given) for given in _data(case)]
    calls.insert(2, call_of(longer, operands(longer)))
    for answer in answers(surface, calls):
        judge.same_bits(
            require(answer.later[0], "y"), require(answer.results[0], "y"), "y, read again after later calls,"
        )


def derivatives_stay(program: str) -> Callable[[Surface, Case], None]:
    """A body: the same of tangents and of second derivatives, which a framework may keep in other buffers."""

    def body(surface: Surface, case: Case) -> None:
        calls = [call for given in _data(case) for call in calls_of(case, given, program)]
        for answer in answers(surface, calls):
            for place, (first, later) in enumerate(zip(answer.results, answer.later, strict=True)):
                what = f"result {place + 1} of {program}, read again after later calls,"
                judge.same_bits(require(later, what), require(first, what), what)

    return body


def compiled_results_stay(surface: Surface, case: Case) -> None:
    """The same of functions compiled each for itself, the results of which are alike in shape."""
    cases = [replace(case, seed=case.seed + offset) for offset in range(3)]
    for one, answer in zip(cases, answers(surface, [call_of_all([c], "compiled") for c in cases]), strict=True):
        got, later = require(answer.results[0], "y"), require(answer.later[0], "y")
        judge.equal(got, oracle.forward(one, operands(one)), "compiled y")
        judge.same_bits(later, got, "y of a compiled function, read again after others were called,")


def gradients_stay(surface: Surface, case: Case) -> None:
    """The same of gradients."""
    names = operand_names(case)
    for answer in answers(surface, [call_of(case, given, "vjp", names) for given in _data(case)]):
        for name, first, later in zip(names, answer.results, answer.later, strict=True):
            judge.same_bits(require(later, name), require(first, name), f"g{name}, read again after later calls,")


def repeats_itself_among_others(program: str) -> Callable[[Surface, Case], None]:
    """A body: the same bits again and again, other geometries between: what a kernel is chosen by may change then."""

    def body(surface: Surface, case: Case) -> None:
        longer = case.with_geometry(length=case.geometry.length + case.geometry.stride)
        call = call_of(case, operands(case), program, "" if program == "conv1d" else operand_names(case))
        other = call_of(longer, operands(longer))  # forward in any case: compilers have met it in other checks
        calls = [*[call] * 3, other, *[call] * 3, other, other, *[call] * 3]
        first, *again = (a for made, a in zip(calls, answers(surface, calls), strict=True) if made is call)
        for answer, place in product(again, range(len(first.results))):
            what = f"result {place + 1} of {program}, called again after others,"
            judge.same_bits(require(answer.results[place], what), require(first.results[place], what), what)

    return body


def _gaussian(case: Case) -> Case:
    return replace(case, recipe="gaussian")


test_inv_3_among_others = tries(
    "INV-3", repeats_itself_among_others("conv1d"), small_zeros, prepare=_gaussian, sampled=True
)
test_inv_3_gradients_among_others = tries(
    "INV-3", repeats_itself_among_others("vjp"), small_zeros, prepare=_gaussian, extra=VJP, sampled=True
)
_written_over = partial(
    tries, "INV-7", telling=lambda c: small_zeros(c) or c in _NOTHING, own=_NOTHING, sampled=True, may_refuse=True,
    minimum=0,
)  # fmt: skip
test_inv_7_no_state = tries("INV-7", no_state_is_left, small_zeros, sampled=True)
test_inv_7_written_to = tries(
    "INV-7", arrays_are_read_again("written_to"), small_zeros, own=_HEAVY, sampled=True, may_refuse=True, minimum=0
)
test_inv_19_written_to = tries(
    "INV-19", arrays_are_read_again("compiled_written_to"), lambda c: c in _HEAVY, own=_HEAVY, extra=_COMPILED,
    costly=True, may_refuse=True, minimum=0,
)  # fmt: skip
test_inv_7_written_to_in_gradients = tries(
    "INV-7", arrays_are_read_again_in_gradients, small_zeros, own=_HEAVY, extra=VJP, sampled=True, may_refuse=True,
    minimum=0,
)  # fmt: skip
test_inv_7_written_over = _written_over(results_may_be_written_over("conv1d"))
test_inv_7_written_over_in_gradients = _written_over(results_may_be_written_over("vjp"), extra=VJP)
test_inv_7_neighbours = tries("INV-7", right_after_others(_two_around, _exact), small_zeros, sampled=True)
test_inv_7_all_neighbours = tries(
    "INV-7", right_after_others(_all_around, _exact), lambda c: c in _SETTLED, own=_SETTLED
)
test_inv_7_neighbours_in_gradients = tries(
    "INV-7", right_after_others(_all_around, _exact_gradients, "vjp"), lambda c: c in _SETTLED, own=_SETTLED, extra=VJP
)
test_inv_7_spans = tries(
    "INV-7", right_after_others(_of_one_span, _exact), lambda c: small_zeros(c) and c.geometry.span == _SPAN,
    own=[Case(Geometry(2, 2, 3, 29, k, dilation=(_SPAN - 1) // (k - 1)), seed=k) for k in (4, 5, 7, 9)]
)  # fmt: skip
test_inv_7_digits = tries("INV-7", right_after_others(_alike_in_digits, _exact), lambda c: c in _DIGITS, own=_DIGITS)
test_inv_7_fills = tries("INV-7", right_after_others(_fills, _exact), lambda c: c in _FILLED, own=_FILLED)
test_inv_7_precisions = tries("INV-7", right_after_others(_precisions, _within_bounds), small_zeros, sampled=True)
test_inv_7_gradients = tries("INV-7", no_state_is_left_by_gradients, small_zeros, extra=VJP, sampled=True)
test_inv_8_results_stay = tries("INV-8", results_stay, small_zeros, own=_SETTLED[:2], sampled=True)
test_inv_8_tangents_stay, test_inv_8_second_derivatives_stay = (
    tries("INV-8", derivatives_stay(program), small_zeros, own=_SETTLED[:2], extra={"function": program}, sampled=True)
    for program in ("jvp", "vjp_of_vjp")
)
test_inv_8_compiled_results_stay = tries(
    "INV-8",
    compiled_results_stay,
    lambda c: c in _SETTLED[:2],
    own=_SETTLED[:2],
    extra=_COMPILED,
    costly=True,
    minimum=1,
)
test_inv_8_gradients_stay = tries("INV-8", gradients_stay, small_zeros, own=_SETTLED[:2], extra=VJP, sampled=True)
