"""Bodies of chapter ACC: results within their proven bounds, and the cases that its checks are tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from conv1d_cts.conformance import bounds, judge
from conv1d_cts.conformance.backend import Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import non_empty, operand_names

Within = Callable[[bounds.Array, bounds.Judged, str], Accuracy]
HALVES = ("float16", "bfloat16")


def recipe(name: str) -> Callable[[Case], Case]:
    """What gives a case the data of that recipe."""
    return lambda case: replace(case, recipe=name)


def judged_forward(
    surface: Surface, case: Case, given: Operands, unit: float, within: Within = judge.within
) -> Accuracy:
    """How near y comes to the bound of an accumulation with that unit roundoff. Raises Violation beyond it."""
    return within(surface.conv1d(case, given), bounds.forward(case, given, unit), "y")


def judged_gradients(
    surface: Surface, case: Case, given: Operands, unit: float, within: Within = judge.within
) -> Accuracy:
    """The same of gx, gw and gb, asked for jointly."""
    judged, got = bounds.gradients(case, given, unit), surface.vjp(case, given, operand_names(case))
    return judge.worst([within(grad, judged[name], f"g{name}") for name, grad in got.items()])


def forward_within(unit: Callable[[str], float]) -> Callable[[Surface, Case], Accuracy]:
    """A body: y within the bound of an accumulation with that unit roundoff."""

    def body(surface: Surface, case: Case) -> Accuracy:
        return judged_forward(surface, case, operands(case), unit(case.dtype))

    return body


def gradients_within(unit: Callable[[str], float]) -> Callable[[Surface, Case], Accuracy]:
    """A body: gx, gw and gb within the bound of an accumulation with that unit roundoff."""

    def body(surface: Surface, case: Case) -> Accuracy:
        return judged_gradients(surface, case, operands(case), unit(case.dtype))

    return body


def own_unit(dtype: str) -> float:
    """The unit roundoff of the dtype itself."""
    return bounds.UNIT_ROUNDOFF[dtype]


def single_unit(dtype: str) -> float:
    """The unit roundoff of float32, in which halves are to be added up (ACC-5)."""
    return bounds.UNIT_ROUNDOFF["float32"]


def halves_under_zeros(case: Case) -> bool:
    """Halves, explicitly padded with zeros, that give something to compute (ACC-5)."""
    explicit = not isinstance(case.geometry.padding, str) and case.padding_mode == "zeros"
    return non_empty(case) and explicit and case.dtype in HALVES


def few_terms(case: Case) -> bool:
    """Few products a sum: there the bound is far below what a narrower arithmetic does."""
    g = case.geometry
    return non_empty(case) and g.w_shape[1] * g.kernel <= 64


def single_product(dtype: str) -> Callable[[Case], Case]:
    """What makes each element of y one product, in that dtype."""

    def prepare(case: Case) -> Case:
        plain = case.with_geometry(kernel=1, c_in=case.geometry.groups, padding=(0, 0))
        return replace(plain, dtype=dtype, bias=False, padding_mode="zeros", recipe="gaussian")

    return prepare
