"""How far from the reference an honest result may be: a-priori bounds, proved, element by element (chapter ACC).

With n products in a sum, S the same sum over absolute values, u the unit roundoff of the accumulation and u' that of
the result, any order of summation, with or without FMA, obeys |got - exact| <= gamma_{n+2}(u) S (1 + u') + u' |exact|
with gamma_n(u) = n u / (1 - n u) (Higham, *Accuracy and Stability of Numerical Algorithms*, ch. 3). n and S come from
the code of the reference itself, run on ones and on absolute values. The error of the reference in float64 is inside.
A sum without products is exactly 0, or the bias. Complex products count for two, within sqrt(2) (Higham, lemma 3.5).

An operation below the smallest normal number may lose up to that number: gradual underflow and flushing are both legal
(ACC-7). Operands that are themselves subnormal are outside these bounds, and so are sums that overflow.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from conv1d_cts.reference.convolution import conv1d
from conv1d_cts.reference.gradients import conv1d_vjp
from conv1d_cts.reference.validation import Array, Namespace

SMALLEST_NORMAL = {  # of the format with this unit roundoff; 0 is exact arithmetic
    0.0: 0.0,
    2.0**-8: 2.0**-126,  # bfloat16
    2.0**-11: 2.0**-14,  # float16
    2.0**-24: 2.0**-126,  # float32
    2.0**-53: 2.0**-1022,  # float64
}
_ORACLE = 2.0**-53


def conv1d_bound(
    x: Array,
    w: Array,
    b: Array = None,
    *,
    unit_roundoff_accumulate: float,
    unit_roundoff_result: float,
    padding_value: Any = 0,
    **parameters: Any,
) -> Array:
    """Return the absolute bound (N, O, L_out), float64, on |y - conv1d(x, w, b)| with the reference run in float64.

    x, w and b are the operands as the backend got them, of any dtype; the parameters are those of conv1d.
    Raises ValueError for a unit roundoff that is not one of SMALLEST_NORMAL.
    """
    exact = conv1d(*map(_wide, (x, w, b)), padding_value=padding_value, **parameters)
    scale = conv1d(*map(_size, (x, w, b)), padding_value=abs(padding_value), **parameters)
    count = conv1d(*map(_ones, (x, w, b)), padding_value=1, **parameters)
    return _bound(exact, scale, count, unit_roundoff_accumulate, unit_roundoff_result)


def conv1d_vjp_bound(
    x: Array,
    w: Array,
    b: Array,
    cotangent: Array,
    *,
    unit_roundoff_accumulate: float,
    unit_roundoff_result: float,
    padding_value: Any = 0,
    **parameters: Any,
) -> tuple[Array, Array, Array]:
    """Return the absolute bounds on gx, gw and gb, float64, in the shapes of x, w and b; None for gb where b is None.

    Otherwise as `conv1d_bound`, against `conv1d_vjp` run in float64.
    """
    operands = (x, w, b, cotangent)
    exact = conv1d_vjp(*map(_wide, operands), padding_value=padding_value, **parameters)
    scale = conv1d_vjp(*map(_size, operands), padding_value=abs(padding_value), **parameters)
    count = conv1d_vjp(*map(_ones, operands), padding_value=1, **parameters)
    units = unit_roundoff_accumulate, unit_roundoff_result
    bx, bw = (_bound(*parts, *units) for parts in zip(exact[:2], scale[:2], count[:2], strict=True))
    return bx, bw, None if b is None else _bound(exact[2], scale[2], count[2], *units)


def gamma(xp: Namespace, n: Array, unit_roundoff: float) -> Array:
    """Return gamma_n = n u / (1 - n u); infinite where n u >= 1."""
    nu = n * unit_roundoff
    return xp.where(nu < 1, nu / xp.where(nu < 1, 1 - nu, xp.ones_like(nu)), xp.full_like(nu, float("inf")))


def _bound(exact: Array, scale: Array, count: Array, accumulate: float, result: float) -> Array:
    xp = array_namespace(scale)
    tiny, tiny_result = (_smallest_normal(u) for u in (accumulate, result))
    if xp.isdtype(exact.dtype, "complex floating"):
        count, scale = 2 * count, 2**0.5 * scale
    rounding = gamma(xp, count + 2, accumulate) * scale * (1 + result) + result * xp.abs(exact)
    underflow = 4 * (count + 1) * tiny + 2 * tiny_result
    oracle = gamma(xp, count + 8, _ORACLE)
    total = (rounding + underflow + 2 * oracle * scale) * (1 + 4 * oracle)
    return xp.where(scale == 0, xp.zeros_like(total), total)


def _smallest_normal(unit_roundoff: float) -> float:
    if unit_roundoff not in SMALLEST_NORMAL:
        raise ValueError(f"no format has the unit roundoff {unit_roundoff!r}: one of {sorted(SMALLEST_NORMAL)}")
    return SMALLEST_NORMAL[unit_roundoff]


def _wide(a: Array) -> Array:
    """Cast to float64 or complex128, which hold every floating operand exactly."""
    if a is None:
        return None
    xp = array_namespace(a)
    complex_ = str(a.dtype).endswith(("complex64", "complex128"))  # a name, for bfloat16 is not in the standard
    return xp.astype(a, xp.complex128 if complex_ else xp.float64)


def _size(a: Array) -> Array:
    """Return the absolute values, real."""
    return None if a is None else array_namespace(a).abs(_wide(a))


def _ones(a: Array) -> Array:
    return None if a is None else array_namespace(a).ones_like(_size(a))
