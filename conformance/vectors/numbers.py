"""Arrays in JSON: a shape and, in row-major order, hexadecimal floats as C and IEEE 754 write them (annex Vectors)."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np

from conv1d_cts.conformance.backend import Violation
from conv1d_cts.conformance.isolation.wire import dtype_of

Array = np.ndarray[Any, Any]
_TRAILING_ZEROS = re.compile(r"\.?0*p")


def to_hex(number: float) -> str:
    """The number without loss: "0x1.8p+1", "-inf", "nan"."""
    return _TRAILING_ZEROS.sub("p", float(number).hex())


def to_json(array: Array) -> dict[str, Any]:
    """The values of a real array, whatever its dtype."""
    return {"shape": list(array.shape), "data": [to_hex(value) for value in array.ravel()]}


def from_json(payload: Any, name: str) -> Array:
    """The float64 array of a payload whose numbers may be decimal as well. Raises ValueError saying what is wrong."""
    try:
        shape, data = tuple(int(extent) for extent in payload["shape"]), payload["data"]
        values = [float.fromhex(value) if isinstance(value, str) else float(value) for value in data]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is no array with shape and data: {type(error).__name__} {error}") from None
    if min(shape, default=0) < 0 or len(values) != prod(shape):
        raise ValueError(f"{name} has {len(values)} numbers for shape {shape}")
    return np.array(values, float).reshape(shape)


def in_dtype(wide: Array, dtype: str, name: str) -> Array:
    """The array in its dtype. Raises Violation where a number is none of the dtype's: it was computed in another."""
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype_of(dtype))
    other = ~((narrow.astype(float) == wide) | np.isnan(wide))
    if other.any():
        raise Violation(f"{name} has the number {wide[other][0]!r}, which is no {dtype}", dtype, wide[other][0])
    return narrow
