"""The proven bounds of chapter ACC for a case: what separates rounding from a fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from conv1d_cts import reference
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.oracle import raised
from conv1d_cts.conformance.recipes import Operands

Array = np.ndarray[Any, Any]

UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}


def _units(dtype: str, accumulate: float) -> dict[str, Any]:
    return {"unit_roundoff_accumulate": accumulate, "unit_roundoff_result": UNIT_ROUNDOFF[dtype]}


def forward(case: Case, given: Operands, accumulate: float) -> Array:
    """The absolute bound on the error of each element of y, for sums accumulated with that unit roundoff (ACC-1)."""
    units = _units(case.dtype, accumulate)
    bound: Array = reference.conv1d_bound(raised(given.x), raised(given.w), raised(given.b), **case.attributes, **units)
    return bound


def gradients(case: Case, given: Operands, accumulate: float) -> dict[str, Array]:
    """The absolute bounds on gx, gw and gb by the operand's name (ACC-2)."""
    found = reference.conv1d_vjp_bound(
        raised(given.x), raised(given.w), raised(given.b), raised(given.cotangent),
        **case.attributes, **_units(case.dtype, accumulate),
    )  # fmt: skip
    return {name: bound for name, bound in zip("xwb", found, strict=True) if bound is not None}


def tangent(case: Case, given: Operands) -> Array:
    """The absolute bound on a jvp along all operands: F(tx, w), F(x, tw) and tb, each rounded, then added (ACC-2)."""
    unit = UNIT_ROUNDOFF[case.dtype]
    linear = replace(case, padding_value=0)
    parts = forward(linear, replace(given, x=given.tangents["x"], b=None), unit)
    parts = parts + forward(case, replace(given, w=given.tangents["w"], b=None), unit)
    sizes = _size(linear, given.tangents["x"], given.w) + _size(case, given.x, given.tangents["w"])
    if given.b is not None:
        sizes = sizes + np.abs(raised(given.tangents["b"]))[:, None]
    # Two more additions, each of which rounds a sum no larger than the sizes and the parts' own errors: (1 + u)^2 - 1,
    # which would round to 0 in float64 if written so. The oracle makes them too, in float64.
    growth = sum(u * (2 + u) for u in (unit, UNIT_ROUNDOFF["float64"]))
    total: Array = parts + growth * (parts + sizes)
    return total


def _size(case: Case, x: Array, w: Array) -> Array:
    value = {"padding_value": abs(case.padding_value)} if case.padding_mode == "constant" else {}
    size: Array = reference.conv1d(np.abs(raised(x)), np.abs(raised(w)), **{**case.attributes, **value})
    return size


def largest(dtype: str) -> float:
    """The largest finite number of a dtype."""
    return {"float16": 65504.0, "bfloat16": float(2.0**127 * (2 - 2.0**-7))}.get(dtype) or float(np.finfo(dtype).max)


def smallest_subnormal(dtype: str) -> float:
    """The smallest positive number of a dtype."""
    return {"float16": 2.0**-24, "bfloat16": 2.0**-133}.get(dtype) or float(
        np.finfo(dtype_of(dtype)).smallest_subnormal
    )
