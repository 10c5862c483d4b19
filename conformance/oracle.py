"""What is right for a case: the reference, in arithmetic above the precision under test, in the suite's own process.

Float64, which is above every shorter dtype and exact on a lattice, unless other `forms` of the reference are given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, overload

import numpy as np

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands
from conv1d_cts.reference.bounds import PLAIN, Forms

Array = np.ndarray[Any, Any]


@overload
def raised(array: Array) -> Array: ...
@overload
def raised(array: None) -> None: ...
def raised(array: Array | None) -> Array | None:
    """The same values in the widest dtype of their kind: float64, complex128 or int64."""
    if array is None:
        return None
    wide: type = {"c": np.complex128, "i": np.int64, "u": np.int64}.get(array.dtype.kind, np.float64)
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN like any other
        return array.astype(wide)


def forward(case: Case, operands: Operands, forms: Forms = PLAIN) -> Array:
    """Y (N, O, L_out)."""
    y: Array = forms.conv1d(raised(operands.x), raised(operands.w), raised(operands.b), **case.attributes)
    return y


def gradients(case: Case, operands: Operands, forms: Forms = PLAIN) -> dict[str, Array]:
    """gx, gw and, with a bias, gb; named by their operand."""
    return vjp(case, operands.x, operands.w, operands.b, operands.cotangent, forms)


def vjp(case: Case, x: Array, w: Array, b: Array | None, cotangent: Array, forms: Forms = PLAIN) -> dict[str, Array]:
    """The gradients at these operands along this cotangent."""
    grads = forms.conv1d_vjp(raised(x), raised(w), raised(b), raised(cotangent), **case.attributes)
    return {name: grad for name, grad in zip("xwb", grads, strict=True) if grad is not None}


def tangent(case: Case, operands: Operands, wrt: str, forms: Forms = PLAIN) -> Array:
    """The tangent of y along the tangents of the operands in `wrt`."""
    directions = (raised(operands.tangents[name]) if name in wrt else None for name in "xwb")
    ty: Array = forms.conv1d_jvp(
        raised(operands.x), raised(operands.w), raised(operands.b), *directions, **case.attributes
    )
    return ty


def _zero_padded(case: Case) -> Case:
    """The linear part of the operator: a constant is padded as 0."""
    return replace(case, padding_value=0)


def second_vjp(case: Case, operands: Operands, slot: str) -> dict[str, Array]:
    """The gradients of <u, g_slot> in x, w, b and the cotangent, u the tangent drawn for the slot (GRAD-13)."""
    u, g = operands.tangents[slot], operands.cotangent
    zeros = {
        n: np.zeros_like(raised(a))
        for n, a in (("x", operands.x), ("w", operands.w), ("b", operands.b))
        if a is not None
    }
    if slot == "x":
        linear = _zero_padded(case)
        inner = vjp(linear, u, operands.w, None, g)
        along_g = forward(linear, replace(operands, x=u, b=None))
        return zeros | {"w": inner["w"], "cotangent": along_g}
    if slot == "w":
        inner = vjp(case, operands.x, u, None, g)
        return zeros | {"x": inner["x"], "cotangent": forward(case, replace(operands, w=u, b=None))}
    return zeros | {"cotangent": np.broadcast_to(raised(u)[None, :, None], g.shape)}


def second_jvp(case: Case, operands: Operands, slot: str) -> Array:
    """The tangent of g_slot along the tangents of every operand and of the cotangent (GRAD-13)."""
    tangents, g = operands.tangents, operands.cotangent
    along_g = vjp(case, operands.x, operands.w, operands.b, tangents["cotangent"])[slot]
    if slot == "b":
        return along_g
    linear = _zero_padded(case)
    along_operands = vjp(linear, tangents["x"], tangents["w"], None, g)[slot]
    return along_g + along_operands


def absolute_sum(case: Case, operands: Operands) -> Array:
    """S: the sum of the absolute products, and of the bias (chapter ACC)."""
    value = {"padding_value": abs(case.padding_value)} if case.padding_mode == "constant" else {}
    x, w, b = (None if a is None else np.abs(raised(a)) for a in (operands.x, operands.w, operands.b))
    s: Array = PLAIN.conv1d(x, w, b, **{**case.attributes, **value})
    return s
