"""How far from the reference an honest result may be: the bound of chapter ACC, proved there, element by element.

`error_bounds` reads any function made of conv1d and its derivatives three times: on the operands themselves, on their
absolute values, which gives S, and on ones, which gives n, the products of each sum. The error of the reference is
inside the bound, and so is that of computing the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from conv1d_cts.reference import compensated, convolution, gradients
from conv1d_cts.reference.validation import Array, Namespace

SMALLEST_NORMAL = {  # of the format with this unit roundoff; 0 is exact arithmetic
    0.0: 0.0,
    2.0**-8: 2.0**-126,  # bfloat16
    2.0**-11: 2.0**-14,  # float16
    2.0**-24: 2.0**-126,  # float32
    2.0**-53: 2.0**-1022,  # float64
}
_ORACLE = 2.0**-53  # the unit roundoff in which the reference and the bound are computed


@dataclass(frozen=True, slots=True)
class Units:
    """The unit roundoffs of an arithmetic: of its operands' rounding (0 for none), of its sums, and of the result."""

    accumulate: float
    result: float
    operands: float = 0.0

    def __post_init__(self) -> None:
        for unit in (self.accumulate, self.result):
            if unit not in SMALLEST_NORMAL:
                raise ValueError(f"no format has the unit roundoff {unit!r}: one of {sorted(SMALLEST_NORMAL)}")


@dataclass(frozen=True, slots=True)
class Forms:
    """conv1d and its derivatives, in one precision."""

    conv1d: Callable[..., Array]
    conv1d_vjp: Callable[..., tuple[Array, Array, Array]]
    conv1d_jvp: Callable[..., Array]


PLAIN = Forms(convolution.conv1d, gradients.conv1d_vjp, gradients.conv1d_jvp)
COMPENSATED = Forms(compensated.conv1d, compensated.conv1d_vjp, compensated.conv1d_jvp)


@dataclass(frozen=True, slots=True)
class Reading:
    """A way to read operands: `factor` those that are multiplied, `term` a bias, `fill` the padding's number."""

    factor: Callable[[Array], Array]
    term: Callable[[Array], Array]
    fill: Callable[[Any], Any]


Function = Callable[[Reading, Forms], dict[str, Array]]


def error_bounds(f: Function, units: Units, compensate: bool = False) -> dict[str, tuple[Array, Array]]:
    """Return for each result of f its value, as near to exact as the reference comes, and the absolute bound, float64.

    f(read, forms) computes its results by the forms given, on operands read by `read`. `compensate` computes the values
    in about twice the precision of float64, as results of that dtype need it. Operands may have any floating dtype. A
    complex result has one bound for its real and its imaginary part each; subnormal parts of it are not looked for.
    """
    watch = _Subnormals(SMALLEST_NORMAL[units.result])
    exact = f(Reading(_value, _value, _same), COMPENSATED if compensate else PLAIN)
    size = f(Reading(watch.size, watch.size, abs), PLAIN)
    normal = f(Reading(watch.flushed, watch.flushed, abs), PLAIN) if watch.seen else size
    count = f(Reading(_ones, _zeros, lambda fill: 1), PLAIN)
    lost = {name: size[name] - normal[name] if watch.seen else None for name in exact}
    return {
        name: (exact[name], _bound(exact[name], size[name], lost[name], count[name], units, compensate))
        for name in exact
    }


def conv1d_bound(
    x: Array, w: Array, b: Array = None, *, units: Units, padding_value: Any = 0, **parameters: Any
) -> Array:
    """Return the absolute bound (N, O, L_out), float64, on |y - conv1d(x, w, b)| with the reference run in float64.

    x, w and b are the operands as the backend got them; the parameters are those of conv1d.
    """

    def f(read: Reading, forms: Forms) -> dict[str, Array]:
        operands = read.factor(x), read.factor(w), read.term(b)
        return {"y": forms.conv1d(*operands, padding_value=read.fill(padding_value), **parameters)}

    return error_bounds(f, units)["y"][1]


def conv1d_vjp_bound(
    x: Array, w: Array, b: Array, cotangent: Array, *, units: Units, padding_value: Any = 0, **parameters: Any
) -> tuple[Array, Array, Array]:
    """Return the absolute bounds on gx, gw and gb, float64, in the shapes of x, w and b; None where b is None."""

    def f(read: Reading, forms: Forms) -> dict[str, Array]:
        operands = read.factor(x), read.factor(w), read.term(b), read.factor(cotangent)
        grads = forms.conv1d_vjp(*operands, padding_value=read.fill(padding_value), **parameters)
        return {name: grad for name, grad in zip("xwb", grads, strict=True) if grad is not None}

    bounds = error_bounds(f, units)
    return bounds["x"][1], bounds["w"][1], bounds["b"][1] if "b" in bounds else None


def gamma(xp: Namespace, n: Array, unit_roundoff: float) -> Array:
    """Return gamma_n = n u / (1 - n u); infinite where n u >= 1."""
    nu = n * unit_roundoff
    return xp.where(nu < 1, nu / xp.where(nu < 1, 1 - nu, xp.ones_like(nu)), xp.full_like(nu, float("inf")))


def _bound(exact: Array, size: Array, subnormal: Array, n: Array, units: Units, compensate: bool) -> Array:
    """Return T of chapter ACC: size is S, `subnormal` the part D of it whose operands are; None where none is."""
    xp = array_namespace(size)
    value, empty = xp.abs(exact), size == 0
    size = xp.where(empty, xp.ones_like(size), size)  # of a sum that is surely 0 the bound is 0, not infinity times 0
    roundings = 2 * n + 8 if xp.isdtype(exact.dtype, "complex floating") else n + 1
    growth = (1 + units.operands) ** 2 * gamma(xp, roundings, units.accumulate) + units.operands * (2 + units.operands)
    own = gamma(xp, 2 * roundings + 16, _ORACLE)
    lost = 0.0 if subnormal is None else subnormal + 2 * own * size
    underflow = (1 + growth) * (2 * roundings * SMALLEST_NORMAL[units.accumulate] + lost)
    bound = (1 + units.result) * (growth * size + underflow) + units.result * value + SMALLEST_NORMAL[units.result]
    reference = 2 * _ORACLE * value + own * own * size if compensate else 2 * own * size
    return xp.where(empty, xp.zeros_like(size), (bound + reference) * (1 + 2 * own))


def _value(a: Array) -> Array:
    """Cast to float64 or complex128, which hold every floating operand exactly."""
    if a is None:
        return None
    xp = array_namespace(a)
    complex_ = str(a.dtype).endswith(("complex64", "complex128"))  # a name, for bfloat16 is not in the standard
    return xp.astype(a, xp.complex128 if complex_ else xp.float64)


def _same(fill: Any) -> Any:
    return fill


def _size(a: Array) -> Array:
    """Return the absolute values, real: of a complex number the sum of those of its parts."""
    if a is None:
        return None
    xp, value = array_namespace(a), _value(a)
    if xp.isdtype(value.dtype, "complex floating"):
        return xp.abs(xp.real(value)) + xp.abs(xp.imag(value))
    return xp.abs(value)


@dataclass(slots=True)
class _Subnormals:
    """Reads absolute values and remembers whether one was subnormal; reads them again with those as 0."""

    smallest_normal: float
    seen: bool = False

    def _are(self, size: Array) -> Array:
        return (size > 0) & (size < self.smallest_normal)

    def size(self, a: Array) -> Array:
        """Return the absolute values."""
        size = _size(a)
        self.seen |= size is not None and bool(array_namespace(size).any(self._are(size)))
        return size

    def flushed(self, a: Array) -> Array:
        """Return the absolute values, normal or 0."""
        size = _size(a)
        if size is None:
            return None
        xp = array_namespace(size)
        return xp.where(self._are(size), xp.zeros_like(size), size)


def _ones(a: Array) -> Array:
    return None if a is None else array_namespace(a).ones_like(_size(a))


def _zeros(a: Array) -> Array:
    return None if a is None else array_namespace(a).zeros_like(_size(a))
