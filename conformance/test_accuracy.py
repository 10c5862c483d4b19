"""Chapter ACC: errors against proven bounds, and what the arithmetic shows of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.backend import Flaw, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import non_empty, operand_names

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_HALVES = ("float16", "bfloat16")


def _recipe(name: str) -> Callable[[Case], Case]:
    return lambda case: replace(case, recipe=name)


def forward_within(unit: Callable[[str], float]) -> Callable[[Surface, Case], Accuracy]:
    """A body: y within the bound of an accumulation with that unit roundoff."""

    def body(surface: Surface, case: Case) -> Accuracy:
        given = operands(case)
        return judge.within(surface.conv1d(case, given), bounds.forward(case, given, unit(case.dtype)), "y")

    return body


def gradients_within(unit: Callable[[str], float]) -> Callable[[Surface, Case], Accuracy]:
    """A body: gx, gw and gb within the bound of an accumulation with that unit roundoff."""

    def body(surface: Surface, case: Case) -> Accuracy:
        given, judged = operands(case), bounds.gradients(case, operands(case), unit(case.dtype))
        got = surface.vjp(case, given, operand_names(case))
        return judge.worst([judge.within(grad, judged[name], f"g{name}") for name, grad in got.items()])

    return body


def _own(dtype: str) -> float:
    return bounds.UNIT_ROUNDOFF[dtype]


def _single(dtype: str) -> float:
    return bounds.UNIT_ROUNDOFF["float32"]


_VJP: dict[str, Any] = {"function": "vjp", "wrt": "xwb"}

test_acc_1_gaussian = tries("ACC-1", forward_within(_own), non_empty, prepare=_recipe("gaussian"))
test_acc_1_cancelling = tries(
    "ACC-1", forward_within(_own), lambda c: non_empty(c) and c.geometry.w_shape[1] > 1, prepare=_recipe("cancelling")
)
test_acc_2_gaussian = tries("ACC-2", gradients_within(_own), non_empty, prepare=_recipe("gaussian"), extra=_VJP)


def _double(case: Case) -> Case:
    return replace(case, dtype="float64", recipe="gaussian")


def _few_terms(case: Case) -> bool:
    """Few products a sum: there the bound is far below what a narrower arithmetic does."""
    g = case.geometry
    return non_empty(case) and g.w_shape[1] * g.kernel <= 64


test_acc_3_forward = tries("ACC-3", forward_within(_own), _few_terms, prepare=_double, sampled=True)
test_acc_3_gradients = tries("ACC-3", gradients_within(_own), _few_terms, prepare=_double, extra=_VJP, sampled=True)


def _last_bit(dtype: str) -> Callable[[Surface, Case], None]:
    """A body: 1 + ulp times 1 comes back unchanged, in x and in w."""

    def body(surface: Surface, case: Case) -> None:
        given = operands(case)
        ulp = 1 + 2 * bounds.UNIT_ROUNDOFF[dtype]
        ones = Operands(np.ones_like(given.x), np.ones_like(given.w), None, given.cotangent)
        for name in "xw":
            probe = replace(ones, **{name: np.full_like(getattr(ones, name), ulp)})
            got = surface.conv1d(case, probe)
            judge.equal(got, np.full(got.shape, ulp), f"1 + {ulp - 1:.3g} in {name}, times 1: y")

    return body


def _single_product(dtype: str) -> Callable[[Case], Case]:
    def prepare(case: Case) -> Case:
        plain = case.with_geometry(kernel=1, c_in=case.geometry.groups, padding=(0, 0))
        return replace(plain, dtype=dtype, bias=False, padding_mode="zeros", recipe="gaussian")

    return prepare


test_acc_3_last_bit = tries("ACC-3", _last_bit("float64"), non_empty, prepare=_single_product("float64"), sampled=True)
test_acc_4_last_bit = tries("ACC-4", _last_bit("float32"), non_empty, prepare=_single_product("float32"), sampled=True)


def _explicit_zeros(case: Case) -> bool:
    explicit = not isinstance(case.geometry.padding, str) and case.padding_mode == "zeros"
    return non_empty(case) and explicit and case.dtype in _HALVES


test_acc_5_forward = tries(
    "ACC-5", forward_within(_single), _explicit_zeros, prepare=lambda c: replace(c, recipe="gaussian", bias=False)
)
test_acc_5_gradients = tries(
    "ACC-5", gradients_within(_single), _explicit_zeros, prepare=_recipe("gaussian"), extra=_VJP
)


def large_sums_stay_finite(surface: Surface, case: Case) -> None:
    """Where S is just below the largest finite number of the dtype, y is finite and within its bound."""
    given = operands(case)
    scale = bounds.largest(case.dtype) / 2 / max(1.0, float(oracle.absolute_sum(case, given).max()))
    given = replace(
        given, w=(given.w.astype(np.float64) * min(scale, bounds.largest(case.dtype) / 128)).astype(given.w.dtype)
    )
    got = surface.conv1d(case, replace(given, b=None))
    if not np.isfinite(got).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(got))[0])
        flaw = Flaw("value", got, 0.0, at, bounds.largest(case.dtype))
        raise Violation("a sum whose absolute terms add up to a finite number overflowed", "finite", got[at], flaw)


test_acc_6_overflow = tries(
    "ACC-6", large_sums_stay_finite, lambda c: _few_terms(c) and c.padding_mode == "zeros",
    prepare=lambda c: replace(c, bias=False, recipe="lattice"),
)  # fmt: skip


def _finite_only(got: bounds.Array, judged: bounds.Judged, name: str) -> Accuracy:
    """How near the finite elements came to their bounds; an infinity or NaN is not judged."""
    want, bound = judged
    return judge.within(got, (want, np.where(np.isfinite(got), bound, np.inf)), name)


def _with_largest(case: Case, name: str) -> Operands:
    """Samples and weights of 1 and -1, and in one place of an operand, in all of its channels, the largest numbers.

    Their sums overflow or cancel, by the signs that fall together and by the order of summation.
    """
    given, rng = operands(case), np.random.default_rng(case.seed)
    signs = {name: np.sign(getattr(given, name).astype(np.float64)).astype(given.x.dtype) for name in "xw"}
    given = replace(given, **signs)
    array = getattr(given, name).copy()
    place = (
        (slice(None),)
        if name == "b"
        else (int(rng.integers(array.shape[0])), slice(None), int(rng.integers(array.shape[2])))
    )
    largest = rng.choice([-1, 1], array[place].shape) * bounds.largest(case.dtype)
    array[place] = largest.astype(array.dtype)
    return replace(given, **{name: array})


def overflow_is_no_number(name: str) -> Callable[[Surface, Case], Accuracy]:
    """A body: beside sums that overflow, y is within its bound wherever it is finite: no saturation, no remainder."""

    def body(surface: Surface, case: Case) -> Accuracy:
        given = _with_largest(case, name)
        return _finite_only(surface.conv1d(case, given), bounds.forward(case, given, _own(case.dtype)), "y")

    return body


def overflow_in_gradients(surface: Surface, case: Case) -> Accuracy:
    """The same of gx, gw and gb, with the largest finite numbers in the cotangent."""
    given = _with_largest(case, "cotangent")
    judged = bounds.gradients(case, given, _own(case.dtype))
    got = surface.vjp(case, given, operand_names(case))
    return judge.worst([_finite_only(grad, judged[name], f"g{name}") for name, grad in got.items()])


def _overflows_in_the_oracles_range(case: Case) -> bool:
    return _few_terms(case) and case.padding_mode == "zeros" and case.dtype != "float64"


test_acc_6_largest_samples = tries(
    "ACC-6", overflow_is_no_number("x"), _overflows_in_the_oracles_range, prepare=_recipe("lattice"), sampled=True
)
test_acc_6_largest_weights = tries(
    "ACC-6", overflow_is_no_number("w"), _overflows_in_the_oracles_range, prepare=_recipe("lattice"), sampled=True
)
test_acc_6_largest_bias = tries(
    "ACC-6", overflow_is_no_number("b"), _overflows_in_the_oracles_range,
    prepare=lambda c: replace(c, bias=True, recipe="lattice"), sampled=True,
)  # fmt: skip
test_acc_6_largest_cotangents = tries(
    "ACC-6", overflow_in_gradients, _overflows_in_the_oracles_range, prepare=_recipe("lattice"), extra=_VJP,
    sampled=True,
)  # fmt: skip


def _subnormal_in(case: Case, name: str) -> tuple[Operands, Any]:
    """Operands of 1, a bias of 0 where it is not looked at, and everywhere in one of them the smallest subnormal."""
    given = operands(case)
    tiny = given.x.dtype.type(bounds.smallest_subnormal(case.dtype))
    one = Operands(np.ones_like(given.x), np.ones_like(given.w), None, np.ones_like(given.cotangent))
    if name == "b":
        return replace(one, x=np.zeros_like(given.x), b=np.full(case.geometry.c_out, tiny)), tiny
    return replace(one, **{name: np.full_like(getattr(one, name), tiny)}), tiny


def _kept(case: Case, place: str, results: list[bounds.Array], tiny: Any) -> str:
    """What became of the subnormals. Raises Violation where it is neither they nor zeros."""
    found = np.concatenate([result.ravel() for result in results])
    if not np.isin(found, [0, tiny]).all():
        raise Violation(f"the smallest subnormal in {place}, times 1, is neither itself nor 0", tiny, found[0])
    what = "kept" if (found == tiny).all() else "flushed to zero" if (found == 0).all() else "both"
    return f"{case.dtype}: in {place} {what}"


def subnormals(name: str) -> Callable[[Surface, Case], str]:
    """A body: whether the smallest subnormal in an operand, times 1 or added to 0, comes back in y."""

    def body(surface: Surface, case: Case) -> str:
        given, tiny = _subnormal_in(case, name)
        return _kept(case, name, [surface.conv1d(case, given)], tiny)

    return body


def subnormal_cotangents(surface: Surface, case: Case) -> str:
    """Whether the smallest subnormal in gy, times 1, comes back in gx."""
    given, tiny = _subnormal_in(case, "cotangent")
    return _kept(case, "gy", [surface.vjp(case, given, "xw")["x"]], tiny)


def _any_single_product(case: Case) -> Case:
    return _single_product(case.dtype)(case)


def _single_product_in_gx(case: Case) -> Case:
    return _any_single_product(case).with_geometry(c_out=case.geometry.groups, stride=1)


test_acc_7_subnormal_samples = tries("ACC-7", subnormals("x"), non_empty, prepare=_any_single_product, sampled=True)
test_acc_7_subnormal_weights = tries("ACC-7", subnormals("w"), non_empty, prepare=_any_single_product, sampled=True)
test_acc_7_subnormal_bias = tries(
    "ACC-7", subnormals("b"), non_empty, prepare=lambda c: replace(_any_single_product(c), bias=True), sampled=True
)
test_acc_7_subnormal_cotangents = tries(
    "ACC-7", subnormal_cotangents, non_empty, prepare=_single_product_in_gx,
    extra={"function": "vjp", "wrt": "xw"}, sampled=True,
)  # fmt: skip
test_acc_8_wide_exponents = tries("ACC-8", forward_within(_own), non_empty, prepare=_recipe("wide"))
test_acc_8_wide_exponents_in_gradients = tries(
    "ACC-8", gradients_within(_own), non_empty, prepare=_recipe("wide"), extra=_VJP
)


def tangent_within(surface: Surface, case: Case) -> Accuracy:
    """A jvp along all operands is within its bound."""
    given, names = operands(case), operand_names(case)
    got = require(surface.answer(call_of(case, given, "jvp", names)).results[0], "the tangent")
    return judge.within(got, bounds.tangent(case, given, names), "the tangent")


def second_vjp_within(surface: Surface, case: Case) -> Accuracy:
    """The gradients of <u, g_slot> are within their bounds, for each slot."""
    given, wrt = operands(case), operand_names(case)
    found = []
    for slot in wrt:
        got = surface.answer(call_of(case, given, "vjp_of_vjp", wrt, slot)).results
        judged = bounds.second_vjp(case, given, slot)
        for name, array in zip((*wrt, "cotangent"), got, strict=True):
            found.append(judge.within(require(array, name), judged[name], f"d<u, g{slot}>/d{name}"))
    return judge.worst(found)


def second_jvp_within(surface: Surface, case: Case) -> Accuracy:
    """The tangent of g_slot is within its bound, for each slot."""
    given, wrt = operands(case), operand_names(case)
    found = []
    for slot in wrt:
        got = require(surface.answer(call_of(case, given, "jvp_of_vjp", wrt, slot)).results[0], "the tangent")
        found.append(judge.within(got, bounds.second_jvp(case, given, slot), f"the tangent of g{slot}"))
    return judge.worst(found)


test_acc_2_tangents = tries(
    "ACC-2", tangent_within, _few_terms, prepare=_recipe("gaussian"), extra={"function": "jvp", "wrt": "xwb"}
)
test_acc_2_second_vjp = tries(
    "ACC-2", second_vjp_within, _few_terms, prepare=_recipe("gaussian"), extra={"function": "vjp_of_vjp"}, sampled=True
)
test_acc_2_second_jvp = tries(
    "ACC-2", second_jvp_within, _few_terms, prepare=_recipe("gaussian"), extra={"function": "jvp_of_vjp"}, sampled=True
)
