"""Chapter GRAD, continued: gradients that are added up, of several calls and of one array as both operands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice, product
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.accuracy import few_terms, recipe
from conv1d_cts.conformance.backend import Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.edges import each_mode
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.recipes import Operands, exact_in_sums, lattice_fits, operands
from conv1d_cts.conformance.special import chosen_place
from conv1d_cts.conformance.test_gradients import chosen, companies
from conv1d_cts.conformance.together import call_of_passes, call_of_sum, tied_call
from conv1d_cts.conformance.values import (
    LARGE,
    VJP,
    largest_extent,
    moderate,
    non_empty,
    one_long,
    operand_names,
    small_zeros,
)
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_NAMES, widest

_ONE_TERM = [Case(Geometry(1, c_in, 3, 3, 3), seed=c_in) for c_in in (1, 2)]  # gb of one pass is its cotangent
_DEEP = 4  # calls, each on the y of the one before
_PASSES = 3  # of which a backend that keeps two has lost one


def _gathered(surface: Surface, cases: list[Case], passes: list[Operands], wrt: str) -> None:
    """The gradients in `wrt` after a backward pass over each case, on operands of which those in `wrt` are shared."""
    answer = surface.answer(call_of_passes(cases[0], passes, wrt))
    judge.unmodified(answer.modified, "a sum of gradients")
    want = [oracle.gradients(case, given) for case, given in zip(cases, passes, strict=True)]
    shapes = ", ".join(str(given.x.shape) for given in passes)
    for name, gradient in zip(wrt, answer.results, strict=True):
        what = f"g{name} after passes over {shapes}, asked for as {wrt!r},"
        judge.equal(require(gradient, what), np.sum([gradients[name] for gradients in want], axis=0), what)


def _passes(cases: list[Case], wrt: str) -> list[Operands]:
    """The operands of each case, but those in `wrt`, which are the first one's in all."""
    each = [operands(case) for case in cases]
    shared = {name: getattr(each[0], name) for name in wrt}
    return [replace(given, **shared) for given in each]


def accumulated_is_exact(surface: Surface, case: Case) -> None:
    """Three backward passes leave the sum of their gradients in some operands, which the case chooses, and in all."""
    names, cases = operand_names(case), [replace(case, seed=case.seed + offset) for offset in range(_PASSES)]
    for wrt in (chosen(case, companies(names)), names):
        _gathered(surface, cases, _passes(cases, wrt), wrt)


def sum_of_calls_is_exact(surface: Surface, case: Case) -> None:
    """One pass through the sum of three calls gives each its gradients: two of one shape, a larger one between."""
    g, names = case.geometry, operand_names(case)
    larger = case.with_geometry(c_in=g.c_in + g.groups, length=g.length + g.dilation, kernel=g.kernel + 1)
    cases = [case, larger, replace(case, seed=case.seed + 1)]
    got = iter(surface.answer(call_of_sum(case, [operands(one) for one in cases])).results)
    for number, one in enumerate(cases, start=1):
        want = oracle.gradients(one, replace(operands(one), cotangent=operands(case).cotangent))
        for name in names:
            judge.equal(require(next(got), name), want[name], f"g{name} of call {number} of {len(cases)}")


def chain_of_calls_is_exact(surface: Surface, case: Case) -> None:
    """One pass through calls on each other's y, all of one shape, gives x and each w its gradient: data of 1 and -1."""
    sets = [operands(replace(case, seed=case.seed + offset)) for offset in range(_DEEP)]
    kernels, x, cotangent = [np.sign(given.w) for given in sets], np.sign(sets[0].x), np.sign(sets[0].cotangent)
    first = replace(sets[0], x=x, w=kernels[0], cotangent=cotangent)
    call = call_of(case, first, "vjp", "xw")
    arrays = {**call.arrays, **{f"w{place}": w for place, w in enumerate(kernels) if place}}
    got = surface.answer(replace(call, program="vjp_of_chain", arrays=arrays)).results
    inputs = [x]
    for w in kernels[:-1]:
        inputs.append(oracle.forward(case, replace(first, x=inputs[-1], w=w)))
    want: list[np.ndarray[Any, Any]] = []
    for y, w in zip(reversed(inputs), reversed(kernels), strict=True):
        found = oracle.vjp(case, y, w, None, cotangent)
        want, cotangent = [found["w"], *want], found["x"]
    for place, (array, right) in enumerate(zip(got, [cotangent, *want], strict=True)):
        what = f"the gradient of {f'w of call {place}' if place else 'x'} in a chain of {_DEEP}"
        judge.equal(require(array, what), right, what)


def accumulated_within(surface: Surface, case: Case) -> Accuracy:
    """On real data what three backward passes leave lies within the bound of one sum of all their products."""
    names, cases = operand_names(case), [replace(case, seed=case.seed + offset) for offset in range(_PASSES)]
    passes = _passes(cases, names)
    got = surface.answer(call_of_passes(case, passes, names)).results
    judged = bounds.accumulated(case, passes)
    found = (judge.within(require(g, f"g{n}"), judged[n], f"g{n}") for n, g in zip(names, got, strict=True))
    return judge.worst(list(found))


def _of_other_shapes(case: Case) -> list[Case]:
    g = case.geometry
    more, larger = case.with_geometry(n=g.n + 2), case.with_geometry(n=g.n + 4, length=4 * g.length + 32)
    return [replace(one, seed=case.seed + offset) for offset, one in enumerate((more, case, larger, case))]


def accumulated_over_shapes_is_exact(surface: Surface, case: Case) -> None:
    """Passes over other batches and lengths, as of sentences, leave the sum of their gradients in w, and in w and b."""
    cases, names = _of_other_shapes(case), operand_names(case)[1:]
    for wrt in dict.fromkeys(("w", names)):
        _gathered(surface, cases, _passes(cases, names), wrt)


def accumulated_around_special_values(surface: Surface, case: Case) -> None:
    """A NaN or an infinity in the cotangent of one of three passes is in the sums that it is part of, and no other."""
    names, cases = operand_names(case), [replace(case, seed=case.seed + offset) for offset in range(_PASSES)]
    for number, value in product(range(_PASSES), (np.nan, np.inf)):
        passes = _passes(cases, names)
        cotangent = passes[number].cotangent.copy()
        cotangent[chosen_place(case, cotangent.shape, number)] = value
        passes[number] = replace(passes[number], cotangent=cotangent)
        with np.errstate(invalid="ignore"):
            _gathered(surface, cases, passes, names)


def accumulated_beside_nothing(surface: Surface, case: Case) -> None:
    """A pass over an empty batch, the last or another, adds nothing to what the others leave in w."""
    empty = case.with_geometry(n=0)
    for cases in ([case, empty], [empty, case], [case, empty, replace(case, seed=case.seed + 1)]):
        _gathered(surface, cases, _passes(cases, "w"), "w")


def _adds_up(case: Case) -> bool:
    return moderate(case) and exact_in_sums(case, _PASSES)


def _adds_up_over_shapes(case: Case) -> bool:
    others = _of_other_shapes(case)
    return small_zeros(case) and all(exact_in_sums(one, len(others)) for one in others)


_MANY_CALLS = [  # and as many more kinds without padding or bias, which some surfaces lack
    *each_mode(),
    *(
        Case(Geometry(2, 4, 6, 12, 3, stride, dilation, groups), bias=False)
        for stride, dilation, groups in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))
    ),
]
test_grad_17_sum_of_calls = tries(
    "GRAD-17",
    sum_of_calls_is_exact,
    lambda c: c in _MANY_CALLS,
    own=_MANY_CALLS,
    extra={**VJP, "rule": "sum"},
    minimum=1,
)
_CHAINED = [  # y is as long as x, and has as many channels
    Case(Geometry(2, 4, 4, 9, kernel, 1, dilation, groups, (pad, pad)), bias=False, seed=seed)
    for seed, (kernel, dilation, groups, pad) in enumerate(((3, 1, 1, 1), (3, 2, 2, 2), (1, 1, 1, 0), (3, 1, 4, 1)))
]
test_grad_17_chain_of_calls = tries(
    "GRAD-17", chain_of_calls_is_exact, lambda c: c in _CHAINED, own=_CHAINED,
    extra={"function": "vjp", "wrt": "xw", "rule": "sum"}, minimum=1,
)  # fmt: skip
test_grad_17_bounds = tries(
    "GRAD-17", accumulated_within, few_terms, prepare=recipe("gaussian"), extra={"function": "accumulated"},
    sampled=True,
)  # fmt: skip
test_grad_17_range = tries(
    "GRAD-17", accumulated_within, few_terms, prepare=recipe("wide"), extra={"function": "accumulated"}, sampled=True
)
test_grad_17_beside_nothing = tries(
    "GRAD-17", accumulated_beside_nothing, lambda c: c in _MANY_CALLS[-4:], own=_MANY_CALLS[-4:],
    extra={"function": "accumulated"}, may_refuse=True, minimum=0,
)  # fmt: skip
test_val_7_in_one_of_several_passes = tries(
    "VAL-7", accumulated_around_special_values, lambda c: _adds_up(c) and small_zeros(c) and c.geometry.pads == (0, 0),
    extra={"function": "accumulated"}, sampled=True,
)  # fmt: skip
test_grad_17_over_shapes = tries(
    "GRAD-17", accumulated_over_shapes_is_exact, _adds_up_over_shapes, extra={"function": "accumulated"}, sampled=True
)
test_grad_17_accumulated = tries(
    "GRAD-17",
    accumulated_is_exact,
    _adds_up,
    own=[*one_long(), *_ONE_TERM],
    extra={"function": "accumulated"},
    sampled=True,
)


def _tie(case: Case) -> Case:
    """The case with x and w of one shape; padded with zeros where its mode is not defined for pads of such a kernel."""
    g = replace(case.geometry, n=case.geometry.c_out, kernel=case.geometry.length, groups=1)
    limit = widest(case.padding_mode, g.length)
    if limit is not None and max(g.pads) > limit:
        return replace(case, geometry=g, padding_mode="zeros", padding_value=0)
    return replace(case, geometry=g)


def _is_tied(case: Case) -> bool:
    """The shapes are one, not empty and small, and there is a lattice for them."""
    g = case.geometry
    fits = lattice_fits(g, case.dtype, case.padding_mode)
    return fits and g.x_shape == g.w_shape and non_empty(case) and largest_extent(case) < LARGE


def _tied_cases() -> Iterator[Case]:
    """Arrays of small lengths by turns, under each name and under wide pads; with a stride, a dilation and neither."""
    paddings: tuple[tuple[int, int] | str, ...] = (*PADDING_NAMES, (9, 6))
    kinds = product(paddings, ((1, 1), (2, 1), (1, 2)))
    for length, (padding, (stride, dilation)) in zip(cycle((2, 5, 1, 8)), kinds, strict=False):
        yield Case(Geometry(3, 2, 3, length, length, stride, dilation, padding=padding), seed=length)


def tied_forward(surface: Surface, case: Case) -> None:
    """Y of one array as x and w."""
    given, call = tied_call(case, "conv1d", "")
    y = require(surface.answer(call).results[0], "y")
    judge.equal(y, oracle.forward(case, given), "y of one array as x and w")


def tied_vjp(surface: Surface, case: Case) -> None:
    """The gradient of an array that is x and w is the sum of theirs."""
    given, call = tied_call(case, "vjp", "x")
    got = require(surface.answer(call).results[0], "the gradient")
    want = oracle.gradients(case, given)
    judge.equal(got, want["x"] + want["w"], "the gradient of one array as x and w")


def tied_jvp(surface: Surface, case: Case) -> None:
    """The tangent of y along an array that is x and w is the sum of those along each."""
    given, call = tied_call(case, "jvp", "x")
    got = require(surface.answer(call).results[0], "the tangent")
    judge.equal(got, oracle.tangent(case, given, "xw"), "the tangent along one array as x and w")


def tied_second_vjp(surface: Surface, case: Case) -> None:
    """The gradients of <u, the gradient of an array that is x and w>, in that array and in the cotangent."""
    given, call = tied_call(case, "vjp_of_vjp", "x", "x")
    of_gx, of_gw = (oracle.second_vjp(case, given, slot) for slot in "xw")
    want = {
        "x": of_gx["x"] + of_gx["w"] + of_gw["x"] + of_gw["w"],
        "cotangent": of_gx["cotangent"] + of_gw["cotangent"],
    }
    for (name, right), got in zip(want.items(), surface.answer(call).results, strict=True):
        judge.equal(require(got, name), right, f"d<u, the gradient of one array as x and w>/d{name}")


_TIED_TWICE = [  # a compiler pays for each
    case for case in (replace(_tie(case), dtype="float64") for case in islice(_tied_cases(), 0, None, 3))
    if exact_in_sums(case, 4)
]  # fmt: skip
test_grad_16_second_vjp = tries(
    "GRAD-16", tied_second_vjp, lambda c: c in _TIED_TWICE, own=_TIED_TWICE,
    extra={"function": "vjp_of_vjp", "wrt": "xw", "rule": "tied"}, minimum=1,
)  # fmt: skip
_TIED_COMPLEX = [replace(_tie(case), dtype="complex64") for case in islice(_tied_cases(), 0, None, 3)]
test_grad_16_complex = tries(
    "GRAD-16", tied_forward, lambda c: c in _TIED_COMPLEX, own=_TIED_COMPLEX, extra={"rule": "tied"}, minimum=1
)
test_grad_16_forward, test_grad_16_vjp, test_grad_16_jvp = (
    tries(
        "GRAD-16", body, _is_tied, own=_tied_cases(), prepare=_tie,
        extra={"rule": "tied", **facts}, sampled=True,
    )
    for body, facts in (
        (tied_forward, {}), (tied_vjp, {"function": "vjp", "wrt": "xw"}), (tied_jvp, {"function": "jvp", "wrt": "xw"})
    )
)  # fmt: skip
