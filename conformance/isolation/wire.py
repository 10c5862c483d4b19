"""What goes over the wire: plain values alone; an array is a dtype's name, a shape and bytes.

The bytes are in row-major order and native byte order.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

Payload = dict[str, Any]


def dtype_of(name: str) -> np.dtype[Any]:
    """The numpy dtype of that name; `bfloat16` comes from ml_dtypes. Raises TypeError for an unknown name."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def encode(array: np.ndarray[Any, Any]) -> Payload:
    """An array as a payload; its layout in memory is not kept."""
    return {"dtype": array.dtype.name, "shape": tuple(int(e) for e in array.shape), "data": array.tobytes()}


def decode(payload: Payload) -> np.ndarray[Any, Any]:
    """The array of a payload: C-contiguous, writable, in memory of its own."""
    return np.frombuffer(bytearray(payload["data"]), dtype=dtype_of(payload["dtype"])).reshape(payload["shape"])


def encode_attributes(attributes: Mapping[str, Any]) -> str:
    """Parameters as JSON, which holds integers of any size; a scalar of NumPy's goes with the name of its type."""
    return json.dumps(dict(attributes), default=lambda scalar: {"type": scalar.dtype.name, "value": scalar.item()})


def decode_attributes(text: str) -> dict[str, Any]:
    """The parameters again; sequences are tuples."""
    return {name: _decoded(value) for name, value in json.loads(text).items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_decoded, value))
    return np.dtype(value["type"]).type(value["value"]) if isinstance(value, dict) else value


class _Plain(pickle.Unpickler):
    """Reads None, numbers, strings, bytes and collections of them; a pickle of anything else could run code."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def pack(values: Any) -> bytes:
    """Plain values as bytes, at once, where execnet would walk through them in Python."""
    return pickle.dumps(values, pickle.HIGHEST_PROTOCOL)


def unpack(message: bytes) -> Any:
    """What was packed. Raises UnpicklingError for anything but plain values."""
    return _Plain(io.BytesIO(message)).load()
