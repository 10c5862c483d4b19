"""From the arguments of a call to its plan: every refusal of chapter ERR, before any array is made.

The plan is integers alone, so it is computed once for each set of shapes and parameters and then remembered.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from array_api_compat import array_namespace

from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import Padding, check_domain

Array = Any  # an array of any library that follows the Array API standard
Namespace = Any  # its namespace, as array_api_compat gives it

MOST_ELEMENTS = 2**31 - 1  # of a padded input or an output: beyond it a call is refused, not attempted (ERR-7)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a call is apart from its data: extents, parameters, resolved padding. Extents in samples."""

    n: int
    c_in: int
    c_out: int
    length: int
    kernel: int
    stride: int
    dilation: int
    groups: int
    lo: int
    hi: int
    mode: str
    l_out: int

    @property
    def padded(self) -> int:
        """Samples of the padded input."""
        return self.lo + self.length + self.hi

    @property
    def step(self) -> int:
        """The stride that is taken: one output takes none, and a stride may be immense (ERR-7)."""
        return self.stride if self.l_out > 1 else 1

    @property
    def x_shape(self) -> tuple[int, int, int]:
        """(N, C, L)."""
        return self.n, self.c_in, self.length

    @property
    def w_shape(self) -> tuple[int, int, int]:
        """(O, C/g, K)."""
        return self.c_out, self.c_in // self.groups, self.kernel

    @property
    def y_shape(self) -> tuple[int, int, int]:
        """(N, O, L_out)."""
        return self.n, self.c_out, self.l_out


def plan_call(
    x: Array, w: Array, b: Array, *, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: Any
) -> tuple[Namespace, Plan]:
    """Return the namespace of the operands and the plan of the call.

    Raises TypeError for what is not an array, mixed or non-numeric dtypes and non-integers, ValueError for shapes and
    parameters outside the operator's domain (chapter ERR).
    """
    xp = array_namespace(x, w) if b is None else array_namespace(x, w, b)
    check_dtypes(x, w=w, b=b)
    if not _is_numeric(xp, x.dtype):
        raise TypeError(f"conv1d is defined on numbers, got {x.dtype}")
    plan = _plan(
        tuple(x.shape),
        tuple(w.shape),
        None if b is None else tuple(b.shape),
        _integer("stride", stride),
        _padding(padding),
        _integer("dilation", dilation),
        _integer("groups", groups),
        padding_mode,
    )
    return xp, plan


def check_dtypes(x: Array, **others: Array) -> None:
    """Raise TypeError where an operand's dtype is not that of x (ERR-10); None stands for an absent operand."""
    for name, other in others.items():
        if other is not None and other.dtype != x.dtype:
            raise TypeError(f"operands must have one dtype: x is {x.dtype}, {name} is {other.dtype}")


def check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raise ValueError where an array has not the shape that it must have (ERR-12)."""
    if tuple(array.shape) != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {tuple(array.shape)}")


@lru_cache(maxsize=64)
def _is_numeric(xp: Namespace, dtype: Any) -> bool:
    return bool(xp.isdtype(dtype, "numeric"))


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def _padding(padding: Any) -> Padding:
    if isinstance(padding, str):
        return padding
    if not isinstance(padding, tuple | list) or len(padding) != 2:
        raise TypeError(f"padding must be a name or (lo, hi), got {padding!r}")
    return _integer("padding", padding[0]), _integer("padding", padding[1])


@lru_cache(maxsize=1024)
def _plan(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    b_shape: tuple[int, ...] | None,
    stride: int,
    padding: Padding,
    dilation: int,
    groups: int,
    mode: str,
) -> Plan:
    if len(x_shape) != 3 or len(w_shape) != 3:
        raise ValueError(f"x must be (N, C, L) and w (O, C/g, K), got the shapes {x_shape} and {w_shape}")
    (n, c_in, length), (c_out, fan_in, kernel) = x_shape, w_shape
    geometry = Geometry(n, c_in, c_out, length, kernel, stride, dilation, groups, padding)
    if w_shape != geometry.w_shape:
        raise ValueError(f"w has {fan_in} channels; {c_in} input channels in {groups} groups need {c_in // groups}")
    if b_shape is not None and b_shape != geometry.b_shape:
        raise ValueError(f"b must have the shape {geometry.b_shape}, got {b_shape}")
    lo, hi = geometry.pads
    check_domain(mode, lo, hi, length)
    plan = Plan(n, c_in, c_out, length, kernel, stride, dilation, groups, lo, hi, mode, geometry.l_out)
    largest = max(max(n * c_in, 1) * plan.padded, max(n * c_out, 1) * plan.l_out)
    if largest > MOST_ELEMENTS:
        raise ValueError(f"{largest} elements in one array are more than {MOST_ELEMENTS}: {geometry}")
    return plan
