"""The derivatives of conv1d, all exact because it is bilinear (chapter GRAD).

Of complex operands the vjp is the adjoint, as in torch: <conv(x), g> = <x, gx> with <a, b> = sum conj(a) b (GRAD-14).
"""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from conv1d_cts.reference.contractions import input_gradient, output, weight_gradient
from conv1d_cts.reference.pad import pad, pad_transpose
from conv1d_cts.reference.validation import Array, Namespace, check_dtypes, check_shape, plan_call
from conv1d_cts.spec.padding import Padding


def conv1d_vjp(
    x: Array,
    w: Array,
    b: Array,
    cotangent: Array,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> tuple[Array, Array, Array]:
    """Return (gx, gw, gb), in the shapes and dtype of x, w and b, for a cotangent (N, O, L_out); gb is None where b is.

    Raises as conv1d does, and for a cotangent of another shape (ValueError) or dtype (TypeError).
    """
    xp, plan = plan_call(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    check_shape("cotangent", cotangent, plan.y_shape)
    check_dtypes(x, cotangent=cotangent)
    padded = pad(xp, x, plan, padding_value)
    gx = pad_transpose(xp, input_gradient(xp, conj(xp, w), cotangent, plan), plan)
    gw = weight_gradient(xp, conj(xp, padded), cotangent, plan)
    return gx, gw, None if b is None else bias_gradient(xp, cotangent)


def conv1d_jvp(
    x: Array,
    w: Array,
    b: Array,
    x_tangent: Array,
    w_tangent: Array,
    b_tangent: Array,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> Array:
    """Return the tangent of y (N, O, L_out) along tangents in the shapes of x, w and b; None is a tangent of zeros.

    Raises as conv1d does, and for a tangent of another shape or without its operand (ValueError) or dtype (TypeError).
    """
    xp, plan = plan_call(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    if b is None and b_tangent is not None:
        raise ValueError("b has a tangent, but there is no b")
    check_dtypes(x, x_tangent=x_tangent, w_tangent=w_tangent, b_tangent=b_tangent)
    for name, tangent, operand in (("x", x_tangent, x), ("w", w_tangent, w), ("b", b_tangent, b)):
        if tangent is not None:
            check_shape(f"{name}_tangent", tangent, tuple(operand.shape))
    y = xp.zeros(plan.y_shape, dtype=x.dtype, device=device(x))
    if x_tangent is not None:
        y = y + output(xp, pad(xp, x_tangent, plan), w, plan)
    if w_tangent is not None:
        y = y + output(xp, pad(xp, x, plan, padding_value), w_tangent, plan)
    return y if b_tangent is None else y + b_tangent[None, :, None]


def bias_gradient(xp: Namespace, g: Array) -> Array:
    """Return gb (O,): the sum of g (N, O, L_out) over the batch and the positions (GRAD-3)."""
    return xp.sum(g, axis=(0, 2), dtype=g.dtype)


def conj(xp: Namespace, a: Array) -> Array:
    """Return the complex conjugate of a, which is a itself where it is real."""
    return xp.conj(a) if xp.isdtype(a.dtype, "complex floating") else a
