"""An array as an expression of Python, exact in its dtype: nested lists where those are short, its bytes else.

A large array that repeats a short one is written as that.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.recipes import PERIOD

Array = np.ndarray[Any, Any]
_LITERAL = 600  # characters; a longer operand is written as its bytes
_MOST = 2000  # characters; a still longer one is not written


class Unwritten(Exception):  # noqa: N818 - what became of the script
    """No script can show the fault; the message says why."""


def literal(array: Array) -> str:
    """The values as an expression. Raises Unwritten where it would be too long to print."""
    shape = array.shape
    if not array.size:
        return f"np.zeros({shape})"
    wide = array.astype(array.dtype if array.dtype.kind in "iuc" else np.float64)
    plain = _numbers(wide.tolist())
    if len(plain) <= _LITERAL:
        return plain
    if (wide == wide.flat[0]).all():
        return f"np.full({shape}, {_numbers(wide.flat[0].item())})"
    if array.size > PERIOD and (array == np.resize(array.flat[:PERIOD], shape)).all():
        return f"np.resize({literal(array.flat[:PERIOD])}, {shape})"
    packed = array.astype(_packing(array))
    text = base64.b85encode(packed.tobytes()).decode()
    if len(text) > _MOST:
        raise Unwritten(f"its operands are too large to print: {shape}")
    return f"np.frombuffer(base64.b85decode({text!r}), {packed.dtype.name!r}).reshape({shape})"


def _packing(array: Array) -> np.dtype[Any]:
    """The smallest dtype of NumPy's own that holds the values."""
    if (
        array.dtype.kind != "c"
        and np.isfinite(array.astype(np.float64)).all()
        and (array == array.astype(np.int8)).all()
    ):
        return np.dtype(np.int8)
    return dtype_of("float32") if array.dtype.name == "bfloat16" else array.dtype


def _numbers(value: Any) -> str:
    """Nested numbers as Python writes them, whole ones without a fraction."""
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0"
    return str(int(value)) if whole else repr(value)
