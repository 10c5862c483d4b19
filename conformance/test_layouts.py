"""Chapter INV: what stays the same however the operands lie in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, SHARING
from conv1d_cts.conformance.recipes import lattice_fits, operands
from conv1d_cts.conformance.values import VJP, operand_names, small
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES


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
