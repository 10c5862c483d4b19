"""Chapter ACC: errors against proven bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, product
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge
from conv1d_cts.conformance.accuracy import (
    HALVES,
    few_terms,
    forward_within,
    gradients_within,
    halves_under_zeros,
    own_unit,
    recipe,
    single_product,
    single_unit,
)  # fmt: skip
from conv1d_cts.conformance.backend import Surface, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.edges import blocks, model_sized, pointwise_blocks
from conv1d_cts.conformance.isolation.arrange import LAYOUTS
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import VJP, heavy, non_empty, operand_names
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_NAMES

_BLOCKS = [*blocks(), *pointwise_blocks()]  # where kernels for matrices begin, and with them other arithmetic
test_acc_1_gaussian = tries("ACC-1", forward_within(own_unit), non_empty, own=_BLOCKS, prepare=recipe("gaussian"))
test_acc_1_cancelling = tries(
    "ACC-1",
    forward_within(own_unit),
    lambda c: non_empty(c) and c.geometry.w_shape[1] > 1,
    prepare=recipe("cancelling"),
)
test_acc_2_gaussian = tries(
    "ACC-2", gradients_within(own_unit), non_empty, own=_BLOCKS, prepare=recipe("gaussian"), extra=VJP
)
_MODEL_SIZED = [  # so much work may go to a faster arithmetic: every second one in float32, the others by turns
    replace(case, dtype=dtype, recipe="gaussian")
    for case, dtype in zip(
        model_sized(), cycle(("float32", "bfloat16", "float32", "float16", "float32", "float64")), strict=False
    )
]
test_acc_1_model_sized = tries("ACC-1", forward_within(own_unit), heavy, own=_MODEL_SIZED)
test_acc_2_model_sized = tries("ACC-2", gradients_within(own_unit), heavy, own=_MODEL_SIZED, extra=VJP)
# Whoever finds integers may add them up as such.
_whole = partial(tries, telling=few_terms, prepare=recipe("whole"), sampled=True)
test_acc_1_whole_numbers = _whole("ACC-1", forward_within(own_unit))
test_acc_2_whole_numbers = _whole("ACC-2", gradients_within(own_unit), extra=VJP)


def _double(case: Case) -> Case:
    return replace(case, dtype="float64", recipe="gaussian")


def _kinds() -> Iterator[Case]:
    """Each kind of call that may have a kernel of its own: of few taps and many, of one item and several."""
    kinds: tuple[dict[str, Any], ...] = (
        {}, {"stride": 2}, {"dilation": 2}, {"padding": (2, 2)},
        {"c_in": 4, "c_out": 4, "groups": 4}, {"groups": 2}, {"c_in": 1, "c_out": 1},
    )  # fmt: skip
    for kind, kernel, n in product(kinds, (1, 3, 21), (1, 3)):
        sizes = {"c_in": 2, "c_out": 4, "length": 2 * kernel + 9} | kind
        yield Case(Geometry(n=n, kernel=kernel, **sizes), seed=kernel)


test_acc_3_whole_numbers = _whole(
    "ACC-3", forward_within(own_unit), prepare=lambda c: replace(c, dtype="float64", recipe="whole")
)
# Operands that do not lie row by row, short and past a block: what copies them first may round them.
_LAID_OUT = [
    Case(Geometry(2, 3, 4, length, 3), layout=layout, seed=length) for layout, length in product(LAYOUTS[1:], (9, 150))
]
_NAMED = [
    Case(Geometry(2, 2, 3, 12, kernel, 1, dilation, padding=name), seed=kernel)
    for name, (kernel, dilation) in product(PADDING_NAMES, ((2, 1), (3, 2), (4, 3)))
]
test_acc_3_forward = tries(
    "ACC-3", forward_within(own_unit), few_terms, own=[*_kinds(), *_LAID_OUT, *_NAMED], prepare=_double, sampled=True
)
test_acc_3_gradients = tries(
    "ACC-3", gradients_within(own_unit), few_terms, own=_LAID_OUT, prepare=_double, extra=VJP, sampled=True
)


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


test_acc_3_last_bit = tries("ACC-3", _last_bit("float64"), non_empty, prepare=single_product("float64"), sampled=True)
test_acc_4_last_bit = tries("ACC-4", _last_bit("float32"), non_empty, prepare=single_product("float32"), sampled=True)


def _long_sums() -> Iterator[Case]:
    """Halves with many terms in the sums of y, of gx, and of gw and gb: n around powers of two."""
    for dtype, n in product(HALVES, (33, 129, 511, 2049)):
        for c_in, c_out, length in ((n, 2, 4), (2, n, 4), (2, 2, n)):
            yield Case(Geometry(2, c_in, c_out, length, 1), dtype, seed=n)


test_acc_5_forward = tries(
    "ACC-5", forward_within(single_unit), halves_under_zeros, own=_long_sums(),
    prepare=lambda c: replace(c, recipe="gaussian", bias=False),
)  # fmt: skip
test_acc_5_gradients = tries(
    "ACC-5", gradients_within(single_unit), halves_under_zeros, own=_long_sums(), prepare=recipe("gaussian"), extra=VJP
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


_COMPLEX = [
    Case(geometry, "complex64", bias=False, recipe="gaussian", seed=seed)
    for seed, geometry in enumerate(
        (Geometry(2, 3, 4, 20, 3), Geometry(1, 4, 6, 20, 2, 2, groups=2), Geometry(1, 8, 3, 70, 9))
    )
]
test_acc_1_complex = tries("ACC-1", forward_within(own_unit), lambda c: c in _COMPLEX, own=_COMPLEX, minimum=1)
_LONG_DOUBLES = [
    Case(geometry, "float64", recipe="gaussian", seed=seed)
    for seed, geometry in enumerate((Geometry(2, 16, 3, 20, 9), Geometry(1, 70, 2, 9, 3), Geometry(1, 2, 3, 90, 40)))
]
test_acc_2_long_tangents = tries(
    "ACC-2", tangent_within, lambda c: c in _LONG_DOUBLES, own=_LONG_DOUBLES, extra={"function": "jvp", "wrt": "xwb"},
    minimum=1,
)  # fmt: skip
test_acc_8_tangents = tries(
    "ACC-8", tangent_within, few_terms, prepare=recipe("wide"), extra={"function": "jvp", "wrt": "xwb"}, sampled=True
)
test_acc_2_tangents = tries(
    "ACC-2", tangent_within, few_terms, prepare=recipe("gaussian"), extra={"function": "jvp", "wrt": "xwb"}
)
test_acc_2_second_vjp = tries(
    "ACC-2", second_vjp_within, few_terms, prepare=recipe("gaussian"), extra={"function": "vjp_of_vjp"}, sampled=True
)
test_acc_2_second_jvp = tries(
    "ACC-2", second_jvp_within, few_terms, prepare=recipe("gaussian"), extra={"function": "jvp_of_vjp"}, sampled=True
)
