"""Chapter INV: what stays the same when a call is made again, in another process, or in another batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Answer, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.edges import model_sized
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.together import Together
from conv1d_cts.conformance.values import HIGHER, VJP, answers, calls_of, non_empty, small_zeros
from conv1d_cts.spec.geometry import Geometry


def repeats_itself(program: str, times: int) -> Callable[[Surface, Case], None]:
    """A body: identical calls give identical bits."""

    def body(surface: Surface, case: Case) -> None:
        for call in calls_of(case, operands(case), program):
            for first, second in pairwise(answers(surface, [call] * times)):
                for place, (one, other) in enumerate(zip(first.results, second.results, strict=True)):
                    what = f"result {place + 1} of {program}, called again,"
                    judge.same_bits(require(other, what), require(one, what), what)

    return body


def _gaussian(case: Case) -> Case:
    return replace(case, recipe="gaussian")


# Sums of so many products that threads share them out may be added up in the order in which they come.
_often = partial(tries, "INV-3", telling=non_empty, own=list(model_sized())[::3], prepare=_gaussian)
test_inv_3_forward = _often(repeats_itself("conv1d", 4))
test_inv_3_gradients = _often(repeats_itself("vjp", 3), extra=VJP)
test_inv_3_jvp, test_inv_3_vjp_of_vjp, test_inv_3_jvp_of_vjp = (
    tries(
        "INV-3", repeats_itself(program, 2), small_zeros, prepare=_gaussian, extra={"function": program}, sampled=True
    )
    for program in HIGHER
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
