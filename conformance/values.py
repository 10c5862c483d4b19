"""Bodies shared by the chapters: a forward or gradient call on lattice data, compared exactly with the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Answer, Call, Refused, Surface, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import source_index

VJP: dict[str, Fact] = {"function": "vjp", "wrt": "xwb"}  # facts of a check that asks for all gradients jointly
HIGHER = ("jvp", "vjp_of_vjp", "jvp_of_vjp")  # the programs of tangents and of second derivatives


def forward_is_exact(surface: Surface, case: Case) -> None:
    """Y equals the definition's y in every element, on data for which no honest arithmetic rounds."""
    given = operands(case)
    judge.equal(surface.conv1d(case, given), oracle.forward(case, given), "y")


def operand_names(case: Case) -> str:
    """The operands of a case by their letters."""
    return "xwb" if case.bias else "xw"


@cache
def gradient_is_exact(wrt: str) -> Callable[[Surface, Case], None]:
    """A body, the same for equal `wrt`: each gradient in it (those that the case has), asked for jointly, is exact."""

    def body(surface: Surface, case: Case) -> None:
        given = operands(case)
        asked = "".join(name for name in wrt if name in operand_names(case))
        got = surface.vjp(case, given, asked)
        want = oracle.gradients(case, given)
        for name in asked:
            judge.equal(got[name], want[name], f"g{name}")

    return body


def is_plain(g: Geometry) -> bool:
    """Stride, dilation and groups are 1."""
    return g.stride == g.dilation == g.groups == 1


def with_bias(case: Case) -> Case:
    """The case with a bias."""
    return replace(case, bias=True)


def as_complex(case: Case) -> Case:
    """The case with complex operands of the width of its dtype."""
    return replace(case, dtype="complex128" if case.dtype in ("float64", "complex128") else "complex64")


def with_rounded_fill(case: Case) -> Case:
    """The case with its fill as its dtype holds it."""
    return replace(case, padding_value=np.asarray(case.padding_value).astype(dtype_of(case.dtype)).item())


def non_empty(case: Case) -> bool:
    """There is something to compute: no extent is 0, and there is a window."""
    g = case.geometry
    return min(g.n, g.c_in, g.c_out, g.length, g.l_out) > 0


def read_samples(case: Case) -> np.ndarray[Any, Any]:
    """Of each sample of the input, whether any tap of any window reads it, in place or through padding."""
    g = case.geometry
    read = np.zeros(g.length, dtype=bool)
    for i, k in product(range(g.l_out), range(g.kernel)):
        source = source_index(case.padding_mode, i * g.stride + k * g.dilation - g.pads[0], g.length)
        if source is not None:
            read[source] = True
    return read


def small(case: Case) -> bool:
    """There is something to compute, and no extent beyond 64: for checks that make many calls of one case."""
    g = case.geometry
    return non_empty(case) and max(*g.x_shape, *g.w_shape, *g.y_shape) <= 64


def small_zeros(case: Case) -> bool:
    """It is small, and padded with zeros if at all."""
    return case.padding_mode == "zeros" and small(case)


LARGE = 31  # one below the first power of two of the pool's ladders
_PAST_16_BITS = 2**16 + 2


def largest_extent(case: Case) -> int:
    """The largest of the extents and parameters."""
    g = case.geometry
    return max(g.n, g.c_in, g.c_out, g.length, g.l_out, g.kernel, g.stride, g.dilation, g.groups, *g.pads)


def heavy(case: Case) -> bool:
    """An operand or y has as many elements as in the layers of models."""
    g = case.geometry
    return non_empty(case) and max(map(math.prod, (g.x_shape, g.w_shape, g.y_shape))) >= 2**15


_ONE_LONG = (
    Geometry(40, 3, 2, 9, 3), Geometry(2, 48, 3, 9, 3), Geometry(2, 3, 48, 9, 3), Geometry(2, 40, 40, 9, 3, groups=40),
    Geometry(2, 2, 3, 260, 3), Geometry(3, 2, 3, 261, 3, 2, padding=(1, 1)), Geometry(2, 4, 6, 150, 3, 1, 2, groups=2),
    Geometry(1, 2, 3, 90, 40),
)  # fmt: skip


def one_long() -> list[Case]:
    """For checks of moderate cases: one extent of each in turn so long that its sums are split or blocked."""
    return [Case(geometry, seed=seed) for seed, geometry in enumerate(_ONE_LONG)]


def moderate(case: Case) -> bool:
    """It is not empty, and no extent is large, but of one that is long in a case of `one_long`."""
    return non_empty(case) and (largest_extent(case) < LARGE or case.geometry in _ONE_LONG)


def past_16_bits() -> list[Case]:
    """Past what 16 bits hold: each extent in turn, the dilation, each side of the padding, and products of two extents.

    Long inputs are strided, dilated and depthwise as well. Strides of that size are ERR-7's.
    """
    m, root = _PAST_16_BITS, math.isqrt(_PAST_16_BITS) + 1
    geometries = (
        Geometry(m, 1, 2, 4, 2), Geometry(1, m, 2, 3, 1), Geometry(1, 1, m, 4, 2),
        Geometry(1, 2, 2, m, 3), Geometry(1, 1, 2, m + 3, m), Geometry(1, 1, 2, m + 3, 2, dilation=m),
        Geometry(1, 1, 2, 5, 3, padding=(m, 0)), Geometry(1, 1, 2, 5, 3, padding=(0, m)),
        Geometry(1, 1, 2, 5, 3, padding=(m, m)), Geometry(m // 16 + 1, 16, 32, 2, 1, groups=16),
        Geometry(root, 1, root, 2, 1), Geometry(root, root, 1, 2, 1), Geometry(1, 2, root, root, 1),
        Geometry(1, root, 2, root, root),
        Geometry(1, 2, 2, m, 3, stride=2), Geometry(1, 2, 2, m, 3, dilation=2), Geometry(1, 2, 2, m, 3, groups=2),
        Geometry(1, 2, 2, m, 3, stride=3, groups=2), Geometry(1, 1, 2, 8 * m + 50, 2),
    )  # fmt: skip
    return [Case(geometry, seed=1) for geometry in geometries]


def calls_of(case: Case, given: Operands, program: str) -> list[Call]:
    """The calls of a program on all operands; second derivatives are taken through each gradient."""
    names = operand_names(case)
    if program in ("vjp_of_vjp", "jvp_of_vjp"):
        return [call_of(case, given, program, names, slot) for slot in names]
    return [call_of(case, given, program, "" if program == "conv1d" else names)]


def answers(surface: Surface, calls: list[Call]) -> list[Answer]:
    """The answers to calls made one after another. Raises Refused where one of them is."""
    found = []
    for reply in surface.sequence(calls):
        if isinstance(reply, Refused):
            raise reply
        found.append(reply)
    return found
