"""Chapter INV, continued: the operator in the hands of the framework's compiler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import bounds, judge, malformed, oracle
from conv1d_cts.conformance.backend import Answer, Array, Refused, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test, tries
from conv1d_cts.conformance.edges import model_sized
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.outcomes import of_each_clause, of_operands, refused_alike, through
from conv1d_cts.conformance.recipes import Operands, along_themselves, operands
from conv1d_cts.conformance.special import agrees_around, with_a_special_value
from conv1d_cts.conformance.together import call_of_all, call_of_values, of_one_function, other_precision, tied_call
from conv1d_cts.conformance.values import non_empty, operand_names, small_zeros, with_rounded_fill
from conv1d_cts.spec.geometry import Geometry

_COMPILED: dict[str, Fact] = {"function": "compiled"}
_COMPILED_VJP: dict[str, Fact] = {"function": "compiled_vjp", "wrt": "xwb"}
_OFTEN = 6  # calls, past what a compiler makes a program of its own for
_ONE_IN = 512  # cases of the pool: a compiler takes seconds for some
_OWN = (
    Case(Geometry(2, 2, 3, 13, 3)),
    Case(Geometry(1, 3, 2, 14, 3, stride=2, padding=(1, 1)), bias=False, seed=1),
    Case(Geometry(2, 4, 6, 35, 2, dilation=3, groups=2, padding=(2, 2)), seed=2),
    Case(Geometry(1, 3, 3, 9, 3, groups=3, padding="same"), bias=False, seed=3),
    Case(Geometry(1, 2, 8, 11, 1), bias=False, seed=4),
    Case(Geometry(1, 2, 3, 12, 3, stride=2, padding="same"), seed=5),
    Case(Geometry(1, 2, 3, 45, 3), "float64", seed=6),
    Case(Geometry(1, 2, 3, 10, 3, padding=(2, 0)), bias=False, seed=7),  # as long as x, and not "same"
)
_LENGTHS = (  # 64 outputs; names that pad both sides alike at first, and later one alone, or nothing
    Case(Geometry(1, 2, 3, 66, 3), bias=False),
    Case(Geometry(1, 2, 3, 13, 3, stride=2, padding="same"), bias=False, padding_mode="reflect"),
    Case(Geometry(1, 2, 3, 13, 3, stride=2, padding="same"), bias=False),
    Case(Geometry(1, 2, 3, 11, 3, stride=5, padding="same"), bias=False),
    Case(Geometry(1, 4, 6, 40, 3, stride=3, dilation=2, groups=2, padding=(2, 1)), bias=False),
    *(
        Case(Geometry(1, 2, 3, 9, 3, padding=(1, 2)), bias=False, padding_mode=mode, padding_value=value)
        for mode, value in (("constant", 1.5), ("reflect", 0), ("symmetric", 0), ("replicate", 0), ("circular", 0))
    ),
)
_TRAINED = (
    Case(Geometry(2, 2, 3, 20, 3, padding=(1, 1))),
    Case(Geometry(2, 2, 3, 20, 3, padding=(2, 2)), bias=False, padding_mode="reflect"),
)
_MODEL_SIZED = tuple(model_sized())[::3]
_CONSTANTS = (*_OWN[:2], _OWN[6])
_DEPTHWISE = Case(Geometry(1, 3, 3, 9, 3, groups=3), "float64", False, seed=5)
_HALF = Case(Geometry(2, 1, 3, 12, 1), "bfloat16", False, seed=8)  # single products, the bound of which is narrow
_HALVES = tuple(Case(Geometry(1, 2, 3, 12, 3), dtype, False, seed=9) for dtype in ("bfloat16", "float16"))
_MODES = tuple(  # samples that are shown on both sides
    Case(Geometry(1, 2, 3, 4, 3, padding=(3, 2)), bias=False, padding_mode=mode, seed=7)
    for mode in ("reflect", "replicate", "circular")
)


_FILLED = Case(  # by what no dtype holds
    Geometry(1, 2, 3, 5, 3, padding=(2, 2)), "float32", False, "constant", 0.1, recipe="gaussian"
)
_ONE_ARRAY = (
    Case(Geometry(2, 2, 2, 4, 4), bias=False),
    Case(Geometry(3, 2, 3, 5, 5, stride=2, padding=(3, 3)), bias=False),
)


def _few(case: Case) -> bool:
    drawn = case.seed < len(_OWN) or case.seed % _ONE_IN == 0
    return case in (*_MODES, *_HALVES, _FILLED, _gaussian(_HALF)) or (small_zeros(case) and drawn)


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
        _is_right(one, got, f"compiled y of call {number}")


def _is_right(case: Case, got: Array | None, what: str) -> None:
    y = require(got, "y")
    judge.equal(y, oracle.forward(case, operands(case)), what)
    judge.same_dtype(y, case.dtype, what)


def compiled_at_the_size_of_models(surface: Surface, case: Case) -> None:
    """So it does for as much work as the layers of models have, and the gradients compiled with it are right."""
    y, gradients = (surface.answer(call_of_all([case], program)).results for program in ("compiled", "compiled_vjp"))
    _is_right(case, y[0], "compiled y")
    for (name, want), got in zip(oracle.gradients(case, operands(case)).items(), gradients, strict=True):
        judge.equal(require(got, f"g{name}"), want, f"compiled g{name}")


def compiled_many_times(surface: Surface, case: Case) -> None:
    """So it does, first called on zeros, for operands that are larger in all, smaller, or laid out otherwise."""
    g = case.geometry
    lengths = [case.with_geometry(n=g.n + more, length=g.length + more) for more in (0, 3, 1, 2, 5, 9)]
    layouts = [replace(case, seed=1, layout=layout) for layout in ("permuted", "strided", "contiguous", "broadcast")]
    zeros = replace(case.with_geometry(length=g.length + 8), recipe="zeros")
    cases, results = _compiled(surface, [zeros, *lengths, *layouts], "compiled", "conv1d")
    for number, (one, got) in enumerate(zip(cases, results, strict=True), start=1):
        _is_right(one, got, f"compiled y of call {number} ({one.layout})")


def compiled_for_any_length(surface: Surface, case: Case) -> None:
    """So it does for lengths with other remainders, by the stride and by blocks, than the first it was compiled for."""
    first = case.geometry.length
    lengths = (first, first - 1, *range(first + 1, first + 5), *(first + more for more in (7, 17, 33, 69)))
    cases, results = _compiled(surface, [case.with_geometry(length=one) for one in lengths], "compiled", "conv1d")
    for one, got in zip(cases, results, strict=True):
        _is_right(one, got, f"compiled y of length {one.geometry.length} after {first}")


def closures_stay_apart(surface: Surface, case: Case) -> None:
    """Functions of one code and other parameters are compiled each for itself, whatever was called how often."""
    g = case.geometry
    changes = ({"stride": g.stride + 1}, {"dilation": g.dilation + 1}, {"padding": (g.pads[0] + 1, g.pads[1] + 1)})
    others = (case.with_geometry(**change) for change in changes)
    cases = [case, *filter(non_empty, others), case]
    replies = surface.sequence([call_of_all([one] * _OFTEN, "compiled") for one in cases])
    for one, reply in zip(cases, replies, strict=True):
        if isinstance(reply, Answer):
            for got in reply.results:
                _is_right(one, got, f"compiled y of {one.attributes}")
        elif one == case:
            raise reply


def compiled_gradients_are_exact(surface: Surface, case: Case) -> None:
    """So do its gradients, where what is compiled is the gradient; the values of the last two change alone."""
    others = [*of_one_function(case), replace(case, seed=case.seed + 3)]
    cases, results = _compiled(surface, others, "compiled_vjp", "vjp")
    names = operand_names(case)
    for number, one in enumerate(cases):
        want = oracle.gradients(one, operands(one))
        for name, got in zip(names, results[number * len(names) :], strict=False):
            what = f"compiled g{name} of call {number + 1}"
            judge.equal(require(got, name), want[name], what)
            judge.same_dtype(require(got, name), one.dtype, what)


def compiled_gradients_for_any_length(surface: Surface, case: Case) -> None:
    """So do the gradients, compiled and through a compiled function, asked for one by one and jointly.

    And for a batch of twice as many items, which is as two of the first.
    """
    lengths, names = [case.geometry.length + more for more in (0, 1, 40, 300)], operand_names(case)
    cases = [*(case.with_geometry(length=length) for length in lengths), case.with_geometry(n=2 * case.geometry.n)]
    one_by_one = [*(cases[0] for _ in names), *cases]
    for program, asked in (
        ("compiled_vjp", [names] * len(cases)),
        ("vjp_through_compiled", [*names, *[names] * len(cases)]),
    ):
        of = cases if program == "compiled_vjp" else one_by_one
        results = iter(surface.answer(call_of_all(of, program)).results)
        for one, wrt in zip(of, asked, strict=True):
            want = oracle.gradients(one, operands(one))
            for name in wrt:
                shape, first = one.geometry.x_shape, case.geometry.x_shape
                what = f"g{name} of x {shape} after {first} ({program}, asked for as {wrt!r})"
                judge.equal(require(next(results), f"g{name}"), want[name], what)


def tangents_of_compiled(surface: Surface, case: Case) -> None:
    """So do the tangents through a compiled function, on other values and lengths, where there are such tangents."""
    cases = [case, replace(case, seed=case.seed + 1), case.with_geometry(length=case.geometry.length + 1)]
    call = call_of_all(cases, "compiled_jvp")
    of_last = {f"{name}_tangent2": operands(cases[-1]).tangents[name] for name in operand_names(case)}
    results = surface.answer(replace(call, arrays={**call.arrays, **of_last})).results
    for one, got in zip(cases, results, strict=True):
        given = operands(one) if one == cases[-1] else along_themselves(operands(one))
        want = oracle.tangent(one, given, operand_names(one))
        judge.equal(require(got, "the tangent"), want, "the tangent through the compiled function")


def gradients_of_compiled(surface: Surface, case: Case) -> None:
    """So do the gradients in w through a compiled function; x, a constant, and the layout of all change."""
    layouts = ("contiguous", "permuted", "strided")
    cases = [replace(case, seed=case.seed + offset, layout=layout) for offset, layout in enumerate(layouts)]
    results = surface.answer(call_of_all(cases, "vjp_of_compiled")).results
    for number, (one, got) in enumerate(zip(cases, results, strict=True), start=1):
        want = oracle.gradients(one, operands(one))["w"]
        judge.equal(require(got, "gw"), want, f"gw of call {number} ({one.layout}) through the compiled function")


def compiled_of_one_array(surface: Surface, case: Case) -> None:
    """A compiled function of x and w that is given one array for both uses it as both."""
    given, call = tied_call(case, "compiled", "xw")
    (got,) = surface.answer(call).results
    judge.equal(require(got, "y"), oracle.forward(case, given), "compiled y of one array as x and w")


def gradients_of_one_array(surface: Surface, case: Case) -> None:
    """Its gradient is the sum of theirs, of a compiled function and compiled itself."""
    for program, wrt in (("vjp_of_compiled", "xw"), ("compiled_vjp", "x")):
        given, call = tied_call(case, program, wrt)
        got = surface.answer(replace(call, arrays={**call.arrays, "cotangent": given.cotangent})).results[0]
        want = oracle.gradients(case, given)
        judge.equal(require(got, program), want["x"] + want["w"], f"{program} of one array as x and w")


def memory_is_left_alone(surface: Surface, case: Case) -> Accuracy | None:
    """No call of a compiled function, nor of a compiled gradient, writes to an operand that a result could lie in.

    Nor does a result lie there. Where nobody sees the memory of the device, that is not seen.
    """
    for program in ("compiled", "compiled_vjp"):
        answer = surface.answer(call_of_all([case] * 3, program))
        judge.unmodified(answer.modified, program)
        judge.own_memory(answer, program)
    return None if surface.backend.describe()["shows_memory"] else judge.UNSEEN


def compiled_special_values(surface: Surface, case: Case) -> None:
    """A NaN or an infinity is where the plain y has it, and nothing else is changed by it."""
    sets = with_a_special_value(case)
    results = surface.answer(call_of_values(case, [operands(case), *sets], "compiled")).results
    for given, got in zip(sets, results[1:], strict=True):
        agrees_around(case, given, require(got, "y"), "compiled y")


def compiled_around_constants(surface: Surface, case: Case) -> Accuracy:
    """A compiled function of x alone, of which w and b are part, is within its bound, and as plain around a NaN."""
    given = operands(_gaussian(case))
    got = _of_x_alone(surface, case, [given])[0]
    accuracy = judge.within(got, bounds.forward(case, given, bounds.UNIT_ROUNDOFF[case.dtype]), "y of constant weights")
    w = operands(case).w.copy()
    w[:, :, case.seed % case.geometry.kernel] = 0
    sets = [replace(one, w=w) for one in (operands(case), *with_a_special_value(case))]
    for one, y in zip(sets, _of_x_alone(surface, case, sets), strict=True):
        agrees_around(case, one, y, "y of constant weights")
    return accuracy


def _of_x_alone(surface: Surface, case: Case, sets: list[Operands]) -> list[Array]:
    """Y for each x, of one function of x that was compiled around the first w and b."""
    call = replace(call_of_values(case, sets, "compiled"), wrt="x")
    return [require(got, "y") for got in surface.answer(call).results]


def compiled_within(surface: Surface, case: Case) -> Accuracy:
    """On real data the compiled y lies within the bound of any y, also where another precision came before it."""
    cases, results = _compiled(surface, [case, replace(case, dtype=other_precision(case.dtype))], "compiled", "conv1d")
    found = []
    for one, got in zip(cases, results, strict=True):
        bound = bounds.forward(with_rounded_fill(one), operands(one), bounds.UNIT_ROUNDOFF[one.dtype])
        found.append(judge.within(require(got, "y"), bound, f"compiled y of {one.dtype}"))
    return judge.worst(found)


def compiled_gradients_within(surface: Surface, case: Case) -> Accuracy:
    """So do the compiled gradients."""
    cases, names = [case, replace(case, seed=case.seed + 1)], operand_names(case)
    results = iter(surface.answer(call_of_all(cases, "compiled_vjp")).results)
    found = []
    for one in cases:
        judged = bounds.gradients(with_rounded_fill(one), operands(one), bounds.UNIT_ROUNDOFF[one.dtype])
        found += [judge.within(require(next(results), name), judged[name], f"compiled g{name}") for name in names]
    return judge.worst(found)


def compiled_as_plain(surface: Surface, case: Case) -> None:
    """Of complex operands the compiled function gives the y and the gradients of the plain one, by its convention."""
    cases, names = [case, replace(case, seed=case.seed + 1)], operand_names(case)
    for one, got in zip(cases, surface.answer(call_of_all(cases, "compiled")).results, strict=True):
        _is_right(one, got, "compiled y")
    results = iter(surface.answer(call_of_all(cases, "compiled_vjp")).results)
    for one in cases:
        for name, want in surface.vjp(one, operands(one), names).items():
            judge.equal(require(next(results), name), want, f"compiled g{name}")


def compiled_in_bits(surface: Surface, case: Case) -> str:
    """Whether real data have the same bits compiled and not; the compiled function gives the same ones each time."""
    plain = surface.conv1d(case, operands(case))
    got, *again = (require(y, "y") for y in surface.answer(call_of_all([case] * 3, "compiled")).results)
    for other in again:
        judge.same_bits(other, got, "compiled y, called again,")
    judge.same_shape(got, plain.shape, "compiled y")
    return f"{case.dtype}: {'same bits' if got.tobytes() == plain.tobytes() else 'other bits'} compiled and not"


def _malformed_cotangents(cases: tuple[Case, ...]) -> Iterator[Malformed]:
    """One of each rule that is asked for jointly with all gradients, as a compiled gradient is."""
    joint = (call for call in malformed.cotangent() if (call.program, call.wrt) == ("vjp", "xw"))
    yield from malformed.of_each_rule(joint, 1)


def refused_after_a_legal_call(surface: Surface, example: Malformed) -> None:
    """What the plain function refuses, the compiled one refuses after a legal call, and it is right after that."""
    try:
        surface.answer(example.call())
    except Refused:
        pass
    else:
        return
    legal = call_of_all([example.base] * 3, "compiled_again")
    malformed = {f"{name}1": array for name, array in example.call().arrays.items()}
    before, got, after = surface.answer(replace(legal, arrays={**legal.arrays, **malformed})).results
    _is_right(example.base, before, "compiled y")
    if got is not None:
        said = f"{example.rule}: a result of shape {got.shape}, compiled and called before"
        raise Violation(said, "an error", got.shape)
    _is_right(example.base, after, f"compiled y after a refused call ({example.rule})")


_tried = partial(tries, telling=_few, sampled=True, costly=True)
_LIKE_Y = (  # x, or w, has the shape of y
    Case(Geometry(2, 3, 3, 9, 3, padding=(1, 1)), bias=False),
    Case(Geometry(2, 3, 3, 9, 3, padding="same"), bias=False),
    Case(Geometry(2, 3, 3, 7, 1), bias=False),
    Case(Geometry(3, 3, 3, 5, 3), bias=False),
)
_of_one_array = partial(tries, "INV-19", telling=lambda c: c in _ONE_ARRAY, own=_ONE_ARRAY, costly=True, minimum=1)
test_inv_19_compiled = _tried("INV-19", compiled_is_exact, own=_OWN, extra=_COMPILED)
test_inv_19_compiled_many_times = _tried("INV-19", compiled_many_times, own=[*_OWN[:2], *_MODES], extra=_COMPILED)
test_inv_19_model_sized = tries(
    "INV-19", compiled_at_the_size_of_models, lambda c: c in _MODEL_SIZED, own=_MODEL_SIZED, extra=_COMPILED_VJP,
    costly=True, minimum=1,
)  # fmt: skip
test_inv_19_any_length = tries(
    "INV-19", compiled_for_any_length, lambda c: c in _LENGTHS, own=_LENGTHS, extra=_COMPILED, costly=True, minimum=1
)
test_inv_19_gradients_for_any_length = tries(
    "INV-19", compiled_gradients_for_any_length, lambda c: c in _TRAINED, own=_TRAINED, extra=_COMPILED_VJP,
    costly=True, minimum=1,
)  # fmt: skip
test_inv_19_tangents = tries(
    "INV-19", tangents_of_compiled, lambda c: c in _OWN[:3], own=_OWN[:3], extra=_COMPILED, costly=True,
    may_refuse=True, minimum=0,
)  # fmt: skip
test_inv_19_constants = tries(
    "INV-19", compiled_around_constants, lambda c: c in _CONSTANTS, own=_CONSTANTS, extra=_COMPILED, costly=True,
    minimum=1,
)  # fmt: skip
test_inv_19_closures = _tried("INV-19", closures_stay_apart, own=_OWN[:2], extra=_COMPILED)
test_inv_19_compiled_gradients = _tried(
    "INV-19", compiled_gradients_are_exact, own=[*_OWN, *_HALVES, *_MODES], extra=_COMPILED_VJP
)
test_inv_19_gradients_of_compiled = tries(
    "INV-19", gradients_of_compiled, lambda c: c in _OWN[:3], own=_OWN[:3], extra=_COMPILED_VJP, costly=True, minimum=1
)
test_inv_19_one_array = _of_one_array(body=compiled_of_one_array, extra={**_COMPILED, "rule": "tied"})
test_inv_19_one_array_in_gradients = _of_one_array(body=gradients_of_one_array, extra={**_COMPILED_VJP, "rule": "tied"})
test_inv_19_memory = tries(
    "INV-19", memory_is_left_alone, lambda c: c in _LIKE_Y, own=_LIKE_Y, extra=_COMPILED_VJP, costly=True, minimum=1
)
test_inv_19_special_values = _tried("INV-19", compiled_special_values, own=[*_OWN[:6], _DEPTHWISE], extra=_COMPILED)
test_inv_19_compiled_bounds = _tried(
    "INV-19", compiled_within, own=[*_OWN[::3], _HALF, _FILLED], prepare=_gaussian, extra=_COMPILED
)
test_inv_19_compiled_gradients_bounds = _tried(
    "INV-19", compiled_gradients_within, own=[*_OWN[::3], _HALF, _FILLED], prepare=_gaussian, extra=_COMPILED_VJP
)
_COMPLEX = (Case(Geometry(2, 2, 3, 9, 3), "complex64", bias=False),)
test_inv_19_complex = tries(
    "INV-19", compiled_as_plain, lambda c: c in _COMPLEX, own=_COMPLEX, extra=_COMPILED_VJP, costly=True, minimum=1
)
test_inv_19_compiled_cotangents = refused_alike(
    "INV-19", "compiled", _malformed_cotangents, _COMPILED_VJP, through("compiled_vjp")
)
test_inv_19_compiled_refusals = refused_alike("INV-19", "compiled", of_each_clause(2), _COMPILED, through("compiled"))
test_inv_19_refusals_after_a_call = as_test(
    Check("INV-19", refused_after_a_legal_call, of_operands(3), _COMPILED, must_refuse=True)
)  # a compiled function keeps its parameters
test_inv_20_compiled_bits = _tried("INV-20", compiled_in_bits, own=_OWN[:3], prepare=_gaussian, extra=_COMPILED)
