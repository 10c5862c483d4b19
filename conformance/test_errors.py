"""Chapter ERR: what is not defined is refused, cleanly, on every surface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import huge, judge, malformed, oracle
from conv1d_cts.conformance.backend import Answer, Call, Flaw, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.outcomes import of_each_clause, takes
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.values import VJP, non_empty, operand_names
from conv1d_cts.spec.geometry import Geometry


def is_refused(surface: Surface, example: Malformed) -> Accuracy | None:
    """The call raises; where the valid one that it was made from does too, nothing is seen."""
    try:
        answer = surface.answer(example.call())
    except Refused:
        return None if takes(surface, example.valid) else UNSEEN
    shapes = ", ".join(str(array.shape) if array is not None else "None" for array in answer.results)
    raise Violation(
        f"{example.rule}: silently accepted; out came {shapes}",
        "an error",
        f"a result of shape {shapes}",
        Flaw("accepted"),
    )


def _refuses(clause: str, calls: Callable[[], Iterable[Malformed]], minimum: int = 2) -> Any:
    return as_test(Check(clause, is_refused, lambda cases: calls(), must_refuse=True, minimum=minimum))


test_err_1_rank = _refuses("ERR-1", malformed.rank)
test_err_2_channels = _refuses("ERR-2", malformed.channels)
test_err_3_groups = _refuses("ERR-3", malformed.groups)
test_err_4_stride = _refuses("ERR-4", malformed.stride)
test_err_5_dilation = _refuses("ERR-5", malformed.dilation)
test_err_6_padding = _refuses("ERR-6", malformed.padding)
test_err_8_empty_kernel = _refuses("ERR-8", malformed.empty_kernel)
test_err_9_bias = _refuses("ERR-9", malformed.bias)
test_err_10_mixed_dtypes = _refuses("ERR-10", malformed.mixed_dtypes)
test_err_10_mixed_integers = _refuses("ERR-10", malformed.mixed_integers)
test_err_10_mixed_complex = _refuses("ERR-10", malformed.mixed_complex)
test_err_11_names = _refuses("ERR-11", malformed.names)
test_pad_14_domain = _refuses("PAD-14", malformed.beyond_domain)
test_err_12_cotangent = _refuses("ERR-12", malformed.cotangent)
test_err_12_tangent = _refuses("ERR-12", malformed.tangent)
test_err_13_no_integers = _refuses("ERR-13", malformed.no_integers)


def taken_for_the_integer(surface: Surface, example: Malformed) -> None:
    """The call gives what the integer gives; a refusal is legal too, and counted as such."""
    given, results = operands(example.base), surface.answer(example.call()).results
    want = {"y": oracle.forward(example.base, given)}
    if example.program == "vjp":
        want = {f"g{name}": g for name, g in oracle.gradients(example.base, given).items() if name in example.wrt}
    for (name, right), got in zip(want.items(), results, strict=True):
        judge.equal(require(got, name), right, f"{name} ({example.rule})")


_taken = partial(Check, "ERR-13", taken_for_the_integer, may_refuse=True, minimum=0)
test_err_13_integers_by_other_names = as_test(_taken(lambda cases: malformed.integers_by_other_names()))
test_err_13_integers_of_few_bits = as_test(_taken(lambda cases: malformed.integers_of_few_bits()))


def right_or_refused(surface: Surface, case: Case) -> None:
    """The call is computed rightly; a refusal is legal too, and counted as such."""
    given = huge.operands(case)
    got = surface.conv1d(case, given)
    judge.same_shape(got, case.geometry.y_shape, "y")
    judge.equal(got, huge.forward(case, given), "y")


def gradients_right_or_refused(surface: Surface, case: Case) -> None:
    """So are the gradients."""
    given, names = huge.operands(case), operand_names(case)
    got = surface.vjp(case, given, names)
    if given.cotangent.shape != case.geometry.y_shape:
        raise Violation(
            "gradients came of a y that no memory holds", "an error", case.geometry.y_shape, Flaw("accepted")
        )
    want = huge.gradients(case, given)
    for name in names:
        judge.equal(got[name], want[name], f"g{name}")


_HUGE: dict[str, Fact] = {"rule": "huge"}
test_err_7_huge_integers = as_test(Check("ERR-7", right_or_refused, huge.cases, _HUGE, may_refuse=True))
test_err_7_huge_integers_in_gradients = as_test(
    Check(
        "ERR-7",
        gradients_right_or_refused,
        huge.cases_of_gradients,
        _HUGE | VJP,
        may_refuse=True,
    )
)


_OF_A_CLAUSE = 16  # malformed calls


def refused_and_untouched(surface: Surface, example: Malformed) -> Accuracy | None:
    """The operands of a call that is refused, or should be, are what they were before it."""
    try:
        modified = surface.answer(example.call()).modified
    except Refused as refusal:
        if refusal.modified is None:
            return UNSEEN
        modified = refusal.modified
    judge.unmodified(modified, f"{example.program} of a malformed call ({example.rule})")
    return None


def unharmed(program: str) -> Callable[[Surface, Malformed], None]:
    """A body: legal calls of the program, one like the malformed call and another, give the same bits after it.

    Each is the first call after it once. The one like it has other values: those of the malformed call may be kept.
    """

    def body(surface: Surface, example: Malformed) -> None:
        calls = {
            "like": _legal(_other_values(example.base), program), "other": _legal(_PADDED, program),
            "malformed": example.call(),
        }  # fmt: skip
        order = ("like", "other", "malformed", "other", "like", "malformed", "like", "other")
        replies = surface.sequence([calls[which] for which in order])
        before = dict(zip(order[:2], replies, strict=False))
        if isinstance(before["like"], Refused) and non_empty(example.base):
            raise before["like"]
        for which, last in zip(order[2:], replies[2:], strict=True):
            first = before.get(which)
            if first is None or isinstance(first, Refused):
                continue
            if isinstance(last, Refused):
                raise last
            names = {"conv1d": ["y"], "jvp": ["the tangent"]}.get(program, [f"g{name}" for name in calls[which].wrt])
            for name, one, again in zip(names, first.results, last.results, strict=True):
                what = f"{name} after the malformed call ({example.rule})"
                judge.same_bits(require(again, what), require(one, what), what)

    return body


def refused_after_its_like(surface: Surface, example: Malformed) -> Accuracy | None:
    """A call that is refused in a fresh process is refused right after the legal call that it was made from."""
    like, reply = surface.sequence([_legal(example.base, "conv1d"), example.call()])
    if isinstance(like, Refused):
        return UNSEEN
    if isinstance(reply, Answer):
        with surface.backend.fresh_process():
            (alone,) = surface.sequence([example.call()])
        if isinstance(alone, Refused):
            raise Violation(f"{example.rule}: accepted after a legal call", "an error", "a result", Flaw("accepted"))
    return None


def _other_values(case: Case) -> Case:
    return replace(case, seed=case.seed + 100)


# What a refused call may have left is a padding, or the mode of one: this call has both sides, and as many zeros.
_PADDED = Case(Geometry(2, 2, 3, 9, 3, padding=(4, 4)))


def _legal(case: Case, program: str) -> Call:
    return call_of(case, operands(case), program, "" if program == "conv1d" else operand_names(case))


def _two_of_each_rule(cases: tuple[Case, ...]) -> Iterator[Malformed]:
    for calls in (
        malformed.rank, malformed.channels, malformed.groups, malformed.stride, malformed.dilation, malformed.padding,
        malformed.bias, malformed.mixed_dtypes, malformed.names, malformed.empty_kernel, malformed.no_integers,
        malformed.cotangent, malformed.beyond_domain,
    ):  # fmt: skip
        yield from malformed.of_each_rule(calls(), 2)


test_inv_1_refused_calls = as_test(Check("INV-1", refused_and_untouched, _two_of_each_rule, must_refuse=True))
# A malformed call must be refused anyway, so that it says nothing about a limit that it lies in.
test_err_14_after_a_refusal = as_test(Check("ERR-14", unharmed("conv1d"), _two_of_each_rule, must_refuse=True))
test_err_14_after_its_like = as_test(
    Check("ERR-14", refused_after_its_like, of_each_clause(_OF_A_CLAUSE), must_refuse=True)
)
test_err_14_gradients_after_a_refusal = as_test(
    Check("ERR-14", unharmed("vjp"), _two_of_each_rule, VJP, must_refuse=True)
)
test_err_14_tangents_after_a_refusal = as_test(
    Check("ERR-14", unharmed("jvp"), _two_of_each_rule, {"function": "jvp", "wrt": "xwb"}, must_refuse=True)
)
