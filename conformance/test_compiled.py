"""Chapter INV, continued: the operator in the hands of the framework's compiler."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Answer, Array, Refused, Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.outcomes import alike, of_each_rule
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.together import call_of_all, of_one_function
from conv1d_cts.conformance.values import operand_names, small_zeros
from conv1d_cts.spec.geometry import Geometry

_COMPILED: dict[str, Fact] = {"function": "compiled"}
_COMPILED_VJP: dict[str, Fact] = {"function": "compiled_vjp", "wrt": "xwb"}
_ONE_IN = 512  # cases of the pool: a compiler takes seconds for some
_OWN = (
    Case(Geometry(2, 2, 3, 13, 3)),
    Case(Geometry(1, 3, 2, 14, 3, stride=2, padding=(1, 1)), bias=False, seed=1),
    Case(Geometry(2, 4, 6, 15, 2, dilation=3, groups=2, padding=(2, 2)), seed=2),
    Case(Geometry(1, 3, 3, 9, 3, groups=3, padding="same"), bias=False, seed=3),
)


def _few(case: Case) -> bool:
    return small_zeros(case) and (case.seed % _ONE_IN == 0 or case.seed < len(_OWN))


def _gaussian(case: Case) -> Case:
    return replace(case, recipe="gaussian")


def _compiled(
    surface: Surface, cases: list[Case], program: str, plain: str
) -> tuple[list[Case], tuple[Array | None, ...]]:
    """The cases and what the compiled function gives for all of them; without those that the plain one refuses too.

    Raises Refused.
    """
    try:
        return cases, surface.answer(call_of_all(cases, program)).results
    except Refused:
        wrt = "" if plain == "conv1d" else operand_names(cases[0])
        replies = surface.sequence([call_of(case, operands(case), plain, wrt) for case in cases])
        possible = [case for case, reply in zip(cases, replies, strict=True) if isinstance(reply, Answer)]
        if len(possible) == len(cases) or cases[0] not in possible:
            raise
        return possible, surface.answer(call_of_all(possible, program)).results


def compiled_is_exact(surface: Surface, case: Case) -> None:
    """A function compiled once and called on other values, extents, taps and precisions gives the formula's y."""
    cases, results = _compiled(surface, of_one_function(case), "compiled", "conv1d")
    for number, (one, got) in enumerate(zip(cases, results, strict=True), start=1):
        judge.equal(require(got, "y"), oracle.forward(one, operands(one)), f"compiled y of call {number}")


def compiled_gradients_are_exact(surface: Surface, case: Case) -> None:
    """So do its gradients, where what is compiled is the gradient."""
    cases, results = _compiled(surface, of_one_function(case), "compiled_vjp", "vjp")
    names = operand_names(case)
    for number, one in enumerate(cases):
        want = oracle.gradients(one, operands(one))
        for name, got in zip(names, results[number * len(names) :], strict=False):
            judge.equal(require(got, name), want[name], f"compiled g{name} of call {number + 1}")


def compiled_within(surface: Surface, case: Case) -> judge.Accuracy:
    """On real data the compiled y lies within the bound of any y."""
    got = surface.answer(call_of_all([case], "compiled")).results[0]
    bound = bounds.forward(case, operands(case), bounds.UNIT_ROUNDOFF[case.dtype])
    return judge.within(require(got, "y"), bound, "compiled y")


def compiled_in_bits(surface: Surface, case: Case) -> str:
    """Whether real data have the same bits compiled and not; the compiled function gives the same ones each time."""
    plain = surface.conv1d(case, operands(case))
    got, *again = (require(y, "y") for y in surface.answer(call_of_all([case] * 3, "compiled")).results)
    for other in again:
        judge.same_bits(other, got, "compiled y, called again,")
    judge.same_shape(got, plain.shape, "compiled y")
    return f"{case.dtype}: {'same bits' if got.tobytes() == plain.tobytes() else 'other bits'} compiled and not"


_tried = partial(tries, telling=_few, sampled=True)
test_inv_19_compiled = _tried("INV-19", compiled_is_exact, own=_OWN, extra=_COMPILED)
test_inv_19_compiled_gradients = _tried("INV-19", compiled_gradients_are_exact, own=_OWN, extra=_COMPILED_VJP)
test_inv_19_compiled_bounds = _tried("INV-19", compiled_within, own=_OWN[:3], prepare=_gaussian, extra=_COMPILED)
test_inv_19_compiled_refusals = as_test(
    Check("INV-19", alike("compiled", "compiled"), of_each_rule(2), _COMPILED, may_refuse=True, must_refuse=True)
)
test_inv_20_compiled_bits = _tried("INV-20", compiled_in_bits, own=_OWN[:3], prepare=_gaussian, extra=_COMPILED)
