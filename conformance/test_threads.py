"""Chapter INV, continued: calls made at once, and the number of processors that a process may use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Answer, Refused, Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.isolation.programs.threads import ROUNDS
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.outcomes import of_each_clause, refused_alike, through
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.together import Together, call_of_all
from conv1d_cts.conformance.values import VJP, operand_names, small_zeros
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES

_AT_ONCE: dict[str, Fact] = {"function": "at_once"}
_ONE_CPU: dict[str, Fact] = {"function": "one_cpu"}
_SHARED_OUT = (  # enough of each kind of work for a backend to share it out
    Geometry(16, 8, 8, 64, 3), Geometry(1, 64, 64, 32, 3), Geometry(1, 4, 128, 64, 5), Geometry(2, 96, 4, 48, 3),
    Geometry(1, 2, 2, 4096, 5), Geometry(3, 32, 32, 65, 4, stride=2), Geometry(2, 24, 24, 70, 5, groups=24),
    Geometry(2, 16, 32, 60, 3, dilation=2, groups=4), Geometry(2, 8, 8, 60, 3, padding=(1, 1)),
)  # fmt: skip

_COMPILED = (Case(Geometry(2, 2, 3, 20, 3)), Case(Geometry(1, 4, 6, 31, 3, stride=2, groups=2), bias=False))
_SHARED = (Case(Geometry(2, 2, 3, 20, 3), bias=False), Case(Geometry(1, 16, 64, 60, 5), bias=False))
_FIRST = (Case(_SHARED_OUT[2], bias=False),)

_PADS: tuple[tuple[int, tuple[int, int] | str], ...] = ((3, (2, 2)), (3, (7, 7)), (3, "same"), (4, "same"))
_MODES = tuple(
    Case(Geometry(2, 2, 3, 13, kernel, padding=pads), "float32", False, mode, 1.5 if mode == "constant" else 0)
    for mode, (kernel, pads) in product(PADDING_MODES[1:], _PADS)
)
_SUMS = tuple(  # three of each dtype, since a surface may have one of them alone
    Case(Geometry(2, 16, 4, length, 3), dtype, bias=False, recipe="gaussian", seed=length)
    for dtype, length in product(("float32", "float64", "bfloat16", "float16"), (20, 33, 50))
)


def calls_at_once(surface: Surface, case: Case) -> None:
    """Each of three threads gets the y of its own operands, eight times over, while the others call on theirs."""
    _each_gets_its_own(surface, _of_threads(case), "at_once")


def compiled_calls_at_once(surface: Surface, case: Case) -> None:
    """So they do of one compiled function that nobody has called yet."""
    _each_gets_its_own(surface, [case, replace(case, seed=case.seed + 1), replace(case, seed=2)], "compiled_at_once")


def _each_gets_its_own(surface: Surface, cases: list[Case], program: str) -> None:
    results = surface.answer(call_of_all(cases, program)).results
    for number, got in enumerate(results):
        one = cases[number // ROUNDS]
        what = f"y of thread {number // ROUNDS + 1}, call {number % ROUNDS + 1},"
        judge.equal(require(got, "y"), oracle.forward(one, operands(one)), what)


def weights_are_shared(surface: Surface, case: Case) -> None:
    """So does each thread where all use one w and one b, as those of a model that is served."""
    cases = [case, replace(case, seed=case.seed + 1), replace(case, seed=case.seed + 2)]
    call = call_of_all(cases, "at_once")
    shared = {name: array for name, array in call.arrays.items() if name[0] == "x" or len(name) == 1}
    results = surface.answer(replace(call, arrays=shared)).results
    for number, got in enumerate(results):
        given = replace(operands(case), x=operands(cases[number // ROUNDS]).x)
        what = f"y of thread {number // ROUNDS + 1}, call {number % ROUNDS + 1}, of shared weights"
        judge.equal(require(got, "y"), oracle.forward(case, given), what)


def gradients_at_once(surface: Surface, case: Case) -> None:
    """And so its gradients."""
    cases, names = _of_threads(case), operand_names(case)
    results = iter(surface.answer(call_of_all(cases, "vjp_at_once")).results)
    for thread, one in enumerate(cases, start=1):
        want = oracle.gradients(one, operands(one))
        for (turn, name), got in zip(product(range(ROUNDS), names), results, strict=False):
            judge.equal(require(got, name), want[name], f"g{name} of thread {thread}, call {turn + 1},")


def _of_threads(case: Case) -> list[Case]:
    """What each of three threads calls on: two of them on operands of one shape."""
    longer = case.with_geometry(length=case.geometry.length + case.geometry.stride)
    return [case, replace(case, seed=case.seed + 1), longer]


def threads_before_the_main_one(surface: Surface, case: Case) -> None:
    """So they do in a process whose main thread has not called yet: what it makes ready is made ready for them too."""
    with surface.backend.fresh_process():
        calls_at_once(surface, case)


def threads_are_accurate(surface: Surface, case: Case) -> Accuracy:
    """On real data the y of each thread lies within its bound: a precision may be a setting of the main thread."""
    results = surface.answer(call_of_all([case, replace(case, seed=case.seed + 1)], "at_once")).results
    bound = bounds.forward(case, operands(case), bounds.UNIT_ROUNDOFF[case.dtype])
    return judge.worst([judge.within(require(got, "y"), bound, "y of a thread") for got in results[:ROUNDS]])


def gradients_of_threads_are_accurate(surface: Surface, case: Case) -> Accuracy:
    """And so do its gradients."""
    cases, names = [case, replace(case, seed=case.seed + 1)], operand_names(case)
    results = surface.answer(call_of_all(cases, "vjp_at_once")).results
    judged = bounds.gradients(case, operands(case), bounds.UNIT_ROUNDOFF[case.dtype])
    found = zip(results[: ROUNDS * len(names)], names * ROUNDS, strict=True)
    return judge.worst([judge.within(require(got, name), judged[name], f"g{name} of a thread") for got, name in found])


def _bundle(cases: tuple[Case, ...]) -> Iterator[Together]:
    """Every second one has no bias: some surfaces have none, and refuse the others."""
    yield Together(tuple(Case(geometry, bias=seed % 2 == 1, seed=seed) for seed, geometry in enumerate(_SHARED_OUT)))


def one_cpu_is_enough(surface: Surface, example: Together) -> None:
    """A process that may use one processor computes the y and the gradients of one that may use all."""
    calls = [
        (case, program, call_of(case, operands(case), program, wrt))
        for case in example.cases
        for program, wrt in (("conv1d", ""), ("vjp", operand_names(case)))
    ]
    backend = surface.backend
    replies = surface.sequence([call for _, _, call in calls])
    with backend.on_cpus(1):
        if backend.describe()["process"]["cpus"] != 1:
            raise Refused({"type": "NotImplementedError", "message": "no one processor can be chosen", "where": ""})
        alone = surface.sequence([call for _, _, call in calls])
    if not any(isinstance(reply, Answer) for reply in replies):
        raise next(reply for reply in replies if isinstance(reply, Refused))
    for where, found in (("on all processors", replies), ("on one processor", alone)):
        for (case, program, _), reply in zip(calls, found, strict=True):
            if isinstance(reply, Answer):
                _is_right(case, program, reply, where)


def _is_right(case: Case, program: str, answer: Answer, where: str) -> None:
    given = operands(case)
    want = {"y": oracle.forward(case, given)} if program == "conv1d" else oracle.gradients(case, given)
    for (name, right), got in zip(want.items(), answer.results, strict=True):
        what = name if program == "conv1d" else f"g{name}"
        judge.equal(require(got, what), right, f"{what} {where} ({case.describe()})")


test_inv_21_at_once = tries("INV-21", calls_at_once, small_zeros, extra=_AT_ONCE, sampled=True)
test_inv_21_gradients = tries("INV-21", gradients_at_once, small_zeros, extra={**VJP, "rule": "at once"}, sampled=True)
test_inv_21_modes = tries("INV-21", calls_at_once, lambda c: c in _MODES, own=_MODES, extra=_AT_ONCE, sampled=True)
test_inv_21_threads_first = tries(
    "INV-21", threads_before_the_main_one, lambda c: c in _FIRST, own=_FIRST, extra=_AT_ONCE, minimum=1
)
test_inv_21_accurate = tries(
    "INV-21", threads_are_accurate, lambda c: c in _SUMS, own=_SUMS, extra=_AT_ONCE, sampled=True
)
test_inv_21_shared = tries("INV-21", weights_are_shared, lambda c: c in _SHARED, own=_SHARED, extra=_AT_ONCE, minimum=1)
test_inv_21_accurate_gradients = tries(
    "INV-21", gradients_of_threads_are_accurate, lambda c: c in _SUMS, own=_SUMS, extra={**VJP, "rule": "at once"},
    sampled=True,
)  # fmt: skip
test_inv_19_at_once = tries(  # of INV-19, so that who has no compiler may pass INV-21
    "INV-19", compiled_calls_at_once, lambda c: c in _COMPILED, own=_COMPILED,
    extra={"function": "compiled", "rule": "at once"}, costly=True, minimum=1,
)  # fmt: skip
test_inv_21_refusals = refused_alike("INV-21", "in a thread", of_each_clause(2), _AT_ONCE, through("at_once"))
test_inv_22_one_cpu = as_test(Check("INV-22", one_cpu_is_enough, _bundle, _ONE_CPU, minimum=1))
