"""What is right for a case: the reference, in arithmetic above the precision under test, in the suite's own process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, overload

import numpy as np

from conv1d_cts import reference
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands

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
    return array.astype(wide)


def forward(case: Case, operands: Operands) -> Array:
    """Y (N, O, L_out)."""
    y: Array = reference.conv1d(raised(operands.x), raised(operands.w), raised(operands.b), **case.attributes)
    return y


def gradients(case: Case, operands: Operands) -> dict[str, Array]:
    """gx, gw and, with a bias, gb; named by their operand."""
    return vjp(case, operands.x, operands.w, operands.b, operands.cotangent)


def vjp(case: Case, x: Array, w: Array, b: Array | None, cotangent: Array) -> dict[str, Array]:
    """The gradients at these operands along this cotangent."""
    grads = reference.conv1d_vjp(raised(x), raised(w), raised(b), raised(cotangent), **case.attributes)
    return {name: grad for name, grad in zip("xwb", grads, strict=True) if grad is not None}


def tangent(case: Case, operands: Operands, wrt: str) -> Array:
    """The tangent of y along the tangents of the operands in `wrt`."""
    directions = (raised(operands.tangents[name]) if name in wrt else None for name in "xwb")
    ty: Array = reference.conv1d_jvp(
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
        return zeros | {"w": inner["w"], "cotangent": _conv(linear, u, operands.w)}
    if slot == "w":
        return zeros | {"x": vjp(case, operands.x, u, None, g)["x"], "cotangent": _conv(case, operands.x, u)}
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


def _conv(case: Case, x: Array, w: Array) -> Array:
    y: Array = reference.conv1d(raised(x), raised(w), **case.attributes)
    return y


def absolute_sum(case: Case, operands: Operands) -> Array:
    """S: the sum of the absolute products, and of the bias (chapter ACC)."""
    value = {"padding_value": abs(case.padding_value)} if case.padding_mode == "constant" else {}
    sizes = (None if a is None else np.abs(raised(a)) for a in (operands.x, operands.w, operands.b))
    s: Array = reference.conv1d(*sizes, **{**case.attributes, **value})
    return s
