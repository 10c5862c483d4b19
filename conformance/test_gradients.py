"""Chapter GRAD: first and second derivatives, through the backend's own transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from typing import Any

import numpy as np

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.edges import (
    around_powers,
    blocks,
    complex_modes,
    depthwise_taps,
    dilated,
    each_mode,
    long_kernels,
    many_filters,
    model_sized,
    multipliers,
    named_pads,
    past_tiles,
    patches,
    taps,
    wide_pads,
)
from conv1d_cts.conformance.outcomes import of_each_clause, refused_alike, through
from conv1d_cts.conformance.recipes import along_themselves, in_parts, lattice_fits, operands
from conv1d_cts.conformance.values import (
    LARGE,
    VJP,
    answers,
    as_complex,
    gradient_is_exact,
    heavy,
    is_plain,
    largest_extent,
    moderate,
    non_empty,
    one_long,
    operand_names,
    past_16_bits,
    read_samples,
    with_bias,
)
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES

Gradients = dict[str, np.ndarray[Any, Any]]
_MODES = [mode for mode in PADDING_MODES if mode != "zeros"]
_EACH_MODE = list(each_mode())


def _zeros(case: Case) -> bool:
    return case.padding_mode == "zeros" and non_empty(case)


def _vjp(
    clause: str, wrt: str, telling: Callable[[Case], bool], prepare: Callable[[Case], Case] = with_bias, **more: Any
) -> Any:
    return tries(
        clause, gradient_is_exact(wrt), telling, prepare=prepare, extra={"function": "vjp", "wrt": wrt},
        bias_aside=wrt != "b", **more
    )  # fmt: skip


def companies(names: str) -> list[str]:
    """Some of the operands, but not all: each alone, and each pair where there are three."""
    return ["".join(some) for size in range(1, len(names)) for some in combinations(names, size)]


def chosen(case: Case, ways: Sequence[str]) -> str:
    """One of the ways, as the case's seed has it."""
    return ways[case.seed % len(ways)]


test_grad_1_of_x = _vjp(
    "GRAD-1", "x", lambda c: _zeros(c) and is_plain(c.geometry), own=[*blocks(), *taps(), *past_tiles()]
)
test_grad_2_of_w = _vjp(
    "GRAD-2", "w", lambda c: _zeros(c) and is_plain(c.geometry), own=[*blocks(), *taps(), *past_tiles()]
)
test_grad_3_of_b = _vjp("GRAD-3", "b", _zeros)
test_grad_3_of_complex_b = _vjp("GRAD-3", "b", _zeros, lambda c: with_bias(as_complex(c)), sampled=True)
test_grad_5_explicit_padding = _vjp(
    "GRAD-5", "xwb", lambda c: _zeros(c) and not isinstance(c.geometry.padding, str) and sum(c.geometry.pads) > 0,
    own=[*wide_pads("zeros"), *around_powers()],
)  # fmt: skip
test_grad_6_names_and_modes = _vjp(
    "GRAD-6", "xwb",
    lambda c: non_empty(c) and (isinstance(c.geometry.padding, str) or c.padding_mode != "zeros"),
    own=[
        *chain.from_iterable(cases(name) for name in PADDING_NAMES for cases in (long_kernels, dilated)),
        *chain.from_iterable(pads(mode) for mode in _MODES for pads in (wide_pads, named_pads)),
    ],
)  # fmt: skip
test_grad_7_stride_and_dilation = _vjp(
    "GRAD-7", "xwb", lambda c: _zeros(c) and (c.geometry.stride > 1 or c.geometry.dilation > 1),
    own=[*blocks(), *past_tiles(), *patches()],
)  # fmt: skip
test_grad_8_groups = _vjp(
    "GRAD-8",
    "xwb",
    lambda c: _zeros(c) and c.geometry.groups > 1,
    own=[*blocks(), *multipliers(), *depthwise_taps(), *many_filters()],
)
test_grad_15_extents = _vjp("GRAD-15", "xwb", lambda c: _zeros(c) and largest_extent(c) >= LARGE, own=past_16_bits())
test_grad_15_model_sized = _vjp("GRAD-15", "xwb", lambda c: _zeros(c) and heavy(c), own=model_sized())


def unread_have_none(surface: Surface, case: Case) -> None:
    """Gx is exactly 0 at samples that no tap reads."""
    gx = surface.vjp(case, operands(case), "x")["x"]
    judge.same_shape(gx, case.geometry.x_shape, "gx")
    judge.equal(gx, np.zeros(gx.shape), "the gradient of a sample that no tap reads: gx", ~read_samples(case))


test_grad_4_unread_samples = tries(
    "GRAD-4", unread_have_none,
    lambda c: non_empty(c) and largest_extent(c) < 300 and not read_samples(c).all(),
    extra={"function": "vjp", "wrt": "x"},
)  # fmt: skip


def shapes_and_dtypes(surface: Surface, case: Case) -> None:
    """Each gradient has the shape and dtype of its operand, asked for jointly and in company that the case chooses."""
    given, names = operands(case), operand_names(case)
    for asked in (names, chosen(case, companies(names))):
        for name, gradient in surface.vjp(case, given, asked).items():
            operand = require(getattr(given, name), name)
            judge.same_shape(gradient, operand.shape, f"g{name}")
            judge.same_dtype(gradient, operand.dtype.name, f"g{name}")


test_grad_9_shapes_and_dtypes = tries("GRAD-9", shapes_and_dtypes, non_empty, extra=VJP)


def alone_and_jointly(surface: Surface, case: Case) -> None:
    """Asked for in any company, each gradient is the same."""
    given, names = operands(case), operand_names(case)
    want = oracle.gradients(case, given)
    for asked in companies(names):
        for name, gradient in surface.vjp(case, given, asked).items():
            judge.equal(gradient, want[name], f"g{name}, asked for as {asked!r},")


test_grad_11_alone = tries(
    "GRAD-11",
    alone_and_jointly,
    moderate,
    own=[*chain.from_iterable(map(named_pads, PADDING_MODES)), *one_long()],
    extra={"function": "vjp"},
    sampled=True,
    in_a_row=True,
)


def _complex_fits(case: Case) -> bool:
    return lattice_fits(case.geometry, case.dtype, case.padding_mode)


def jvp_is_exact(surface: Surface, case: Case) -> None:
    """The tangent of y, along one operand or some of them, which the case chooses, and along all."""
    given, names = operands(case), operand_names(case)
    for wrt in (chosen(case, companies(names)), names):
        got = require(surface.answer(call_of(case, given, "jvp", wrt)).results[0], "the tangent")
        judge.equal(got, oracle.tangent(case, given, wrt), f"the tangent along {wrt}")


def jvp_beside_zeros(surface: Surface, case: Case) -> None:
    """The tangent of y along all operands, of which all, or all but one, have been zeros: zeros may be left out."""
    given, names = operands(case), operand_names(case)
    zeros = {name: np.zeros_like(tangent) for name, tangent in given.tangents.items()}
    alone = (replace(given, tangents={**zeros, name: given.tangents[name]}) for name in names)
    sets = [replace(given, tangents=zeros), *alone, given]
    found = answers(surface, [call_of(case, one, "jvp", names) for one in sets])
    for one, answer in zip(sets, found, strict=True):
        got = require(answer.results[0], "the tangent")
        judge.equal(got, oracle.tangent(case, one, names), "the tangent beside zeros")


def jvp_along_the_operands(surface: Surface, case: Case) -> None:
    """The tangent along the operands themselves, each array being both: x is padded with its fill, dx with zeros."""
    given, names = operands(case), operand_names(case)
    call = call_of(case, given, "jvp", names)
    arrays = {name: array for name, array in call.arrays.items() if not name.endswith("_tangent")}
    got = require(surface.answer(replace(call, arrays=arrays)).results[0], "the tangent")
    judge.equal(got, oracle.tangent(case, along_themselves(given), names), "the tangent along the operands themselves")


_of_each_mode = partial(tries, "GRAD-12", telling=lambda c: c in _EACH_MODE, own=_EACH_MODE, minimum=1)
test_grad_12_beside_zeros = _of_each_mode(body=jvp_beside_zeros, extra={"function": "jvp", "wrt": "xwb"})
test_grad_12_themselves = _of_each_mode(body=jvp_along_the_operands, extra={"function": "jvp", "wrt": "xwb"})
test_grad_12_jvp = tries(
    "GRAD-12", jvp_is_exact, non_empty, extra={"function": "jvp"},
    own=[*chain.from_iterable(pads(mode) for mode in PADDING_MODES for pads in (wide_pads, named_pads))],
)  # fmt: skip


def vjp_of_vjp_is_exact(surface: Surface, case: Case) -> None:
    """The gradient of <outer, g_slot> in x, w, b and the cotangent."""
    given, wrt = operands(case), operand_names(case)
    for slot in wrt:
        got = surface.answer(call_of(case, given, "vjp_of_vjp", wrt, slot)).results
        want = oracle.second_vjp(case, given, slot)
        for name, array in zip((*wrt, "cotangent"), got, strict=True):
            judge.equal(require(array, name), want[name], f"d<u, g{slot}>/d{name}")


def vjp_of_one_gradient_is_exact(surface: Surface, case: Case) -> None:
    """So is that of a gradient which is asked for alone, the other operands being constants there."""
    given, wrt = operands(case), operand_names(case)
    for slot in "xw":
        call = call_of(case, given, "vjp_of_vjp", wrt, slot)
        got = surface.answer(replace(call, program="vjp_of_vjp_alone")).results
        want = oracle.second_vjp(case, given, slot)
        for name, array in zip((*wrt, "cotangent"), got, strict=True):
            judge.equal(require(array, name), want[name], f"d<u, g{slot} asked for alone>/d{name}")


def jvp_of_vjp_is_exact(surface: Surface, case: Case) -> None:
    """The tangent of g_slot along directions of every operand and of the cotangent."""
    given, wrt = operands(case), operand_names(case)
    for slot in wrt:
        got = require(surface.answer(call_of(case, given, "jvp_of_vjp", wrt, slot)).results[0], "the tangent")
        judge.equal(got, oracle.second_jvp(case, given, slot), f"the tangent of g{slot}")


# Integers have no tangents.
_of_reals = of_each_clause(16, lambda call: not any("int" in one for one in (call.base.dtype, *call.dtypes.values())))
test_grad_12_refusals = refused_alike(
    "GRAD-12", "with tangents", _of_reals, {"function": "jvp", "wrt": "xwb"}, through("jvp")
)
test_grad_12_complex = tries(
    "GRAD-12", jvp_is_exact, lambda c: moderate(c) and _complex_fits(c), own=one_long(),
    prepare=as_complex, extra={"function": "jvp"}, sampled=True,
)  # fmt: skip


def _for_second_order(case: Case) -> bool:
    return moderate(case) and case.dtype in ("float32", "float64")


_REMAINDERS = [  # samples after the last window, as a transposed convolution has output padding for
    Case(Geometry(2, 2, 3, length, 3, stride), bias=False, seed=length) for length, stride in ((8, 2), (11, 3), (16, 4))
]
_second_order = partial(
    tries, telling=_for_second_order, own=[*named_pads("zeros"), *_REMAINDERS, *one_long()], sampled=True
)
test_grad_13_vjp_of_vjp = _second_order("GRAD-13", vjp_of_vjp_is_exact, extra={"function": "vjp_of_vjp"})
test_grad_13_alone = tries(
    "GRAD-13", vjp_of_one_gradient_is_exact, lambda c: c in _EACH_MODE, own=_EACH_MODE,
    extra={"function": "vjp_of_vjp", "rule": "alone"}, minimum=1,
)  # fmt: skip
test_grad_13_jvp_of_vjp = _second_order("GRAD-13", jvp_of_vjp_is_exact, extra={"function": "jvp_of_vjp"})


def _convention(what: str, got: Gradients, adjoint: Gradients, transpose: Gradients) -> str | None:
    """Which of the two all of the gradients are; None where the two look alike."""

    def are(one: Gradients, other: Gradients) -> bool:
        return all(np.array_equal(one[name], other[name]) for name in got)

    for convention, want in (("adjoint: conj(w), conj(x)", adjoint), ("transpose: w, x", transpose)):
        if are(got, want):
            return None if are(adjoint, transpose) else convention
    raise Violation(f"{what} are neither all the adjoint's nor all the transpose's", "one of the two", "neither")


def complex_convention(surface: Surface, case: Case) -> str | None:
    """Which of the two legal gradients of a complex convolution this is; None where the two look alike."""
    given = operands(case)
    adjoint = oracle.vjp(case, given.x, given.w, given.b, given.cotangent)
    transpose = oracle.vjp(case, given.x.conj(), given.w.conj(), given.b, given.cotangent)
    return _convention("gx and gw", surface.vjp(case, given, "xw"), adjoint, transpose)


def complex_convention_in_parts(surface: Surface, case: Case) -> str | None:
    """Which of the two they are where operands are real or imaginary throughout, in a tap, or but for a sample."""
    found = set()
    for given in in_parts(operands(case)):
        adjoint = oracle.gradients(case, given)
        transpose = oracle.vjp(case, given.x.conj(), given.w.conj(), given.b, given.cotangent)
        found.add(_convention("gx and gw", surface.vjp(case, given, "xw"), adjoint, transpose))
    found.discard(None)
    if len(found) > 1:
        raise Violation("a mixture of the adjoint and the transpose", "one of the two", "both")
    return found.pop() if found else None


def complex_convention_of_second(surface: Surface, case: Case) -> str | None:
    """Which of the two the gradients of <u, gx> or <u, gw> are: where gx has conj(w), they have conj(u), and else u."""
    given, slot = operands(case), "xw"[case.seed % 2]
    results = surface.answer(call_of(case, given, "vjp_of_vjp", "xw", slot)).results
    got = {name: require(array, name) for name, array in zip(("x", "w", "cotangent"), results, strict=True)}
    adjoint = oracle.second_vjp(case, given, slot)
    conjugated = replace(given, tangents={slot: given.tangents[slot].conj()})
    transpose = {**oracle.second_vjp(case, conjugated, slot), "cotangent": adjoint["cotangent"]}
    return _convention(f"the gradients of <u, g{slot}>", got, adjoint, transpose)


test_grad_14_complex = tries(
    "GRAD-14", complex_convention,
    lambda c: moderate(c) and _complex_fits(c),
    own=[*complex_modes(), *one_long()], prepare=as_complex,
    extra={"function": "vjp", "wrt": "xw"}, sampled=True, throughout=True,
)  # fmt: skip


def complex_convention_of_tangents(surface: Surface, case: Case) -> str | None:
    """Which of the two the tangent of gx or gw is, along all operands and the cotangent."""
    given, slot = operands(case), "xw"[case.seed % 2]
    got = require(surface.answer(call_of(case, given, "jvp_of_vjp", "xw", slot)).results[0], "the tangent")
    tangents = {name: tangent if name == "cotangent" else tangent.conj() for name, tangent in given.tangents.items()}
    conjugated = replace(given, x=given.x.conj(), w=given.w.conj(), tangents=tangents)
    adjoint, transpose = (oracle.second_jvp(case, one, slot) for one in (given, conjugated))
    return _convention(f"the tangents of g{slot}", {slot: got}, {slot: adjoint}, {slot: transpose})


_PARTS = [Case(Geometry(2, 4, 6, 9, 3, groups=groups), "complex64", bias=False, seed=groups) for groups in (1, 2)]
test_grad_14_parts = tries(
    "GRAD-14", complex_convention_in_parts, lambda c: c in _PARTS, own=_PARTS, extra={"function": "vjp", "wrt": "xw"},
    throughout=True, minimum=1,
)  # fmt: skip
_COMPLEX_TWICE = [  # a compiler pays for each; the first ones are without what some surfaces lack
    *(
        Case(Geometry(2, 4, 6, 9, 3, stride, dilation, groups, (pad, pad)), "complex64", bias=False, seed=seed)
        for seed, (stride, dilation, groups, pad) in enumerate(((1, 1, 1, 0), (1, 1, 2, 0), (2, 1, 1, 1), (1, 2, 1, 2)))
    ),
    *(replace(case, bias=False) for case in complex_modes()),
]
_complex_twice = partial(
    tries, "GRAD-13", telling=lambda c: c in _COMPLEX_TWICE, own=_COMPLEX_TWICE, throughout=True, minimum=1
)
test_grad_13_complex = _complex_twice(complex_convention_of_second, extra={"function": "vjp_of_vjp", "wrt": "xw"})
test_grad_13_complex_tangents = _complex_twice(
    complex_convention_of_tangents, extra={"function": "jvp_of_vjp", "wrt": "xw"}
)
