"""tinygrad on the CPU: Tensor.conv2d of one dimension, Tensor.pad before it, and of height 1. It needs clang."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ml_dtypes
import numpy as np

os.environ.setdefault("DEV", "CPU")  # read at its import
from tinygrad import Tensor
from tinygrad import dtypes as types

_COMPILER = os.environ.get("CC", "clang")
_HALVES = "_Float16 f(void) { return (_Float16)0.0f; } __bf16 b(void) { return (__bf16)0.0f; }"
_COMPILE = [_COMPILER, "-fsyntax-only", "-march=native", "-x", "c", "-"]
if not shutil.which(_COMPILER):
    raise ImportError(f"tinygrad compiles its kernels by {_COMPILER}, which is not here: apt install clang, or set CC")
if subprocess.run(_COMPILE, input=_HALVES, text=True, capture_output=True, check=False).returncode:
    raise ImportError(f"tinygrad's float16 and bfloat16 need clang 17 or newer, which {_COMPILER} is not: set CC")

name = native = "tinygrad"
versions = {"tinygrad": version("tinygrad")}
dtypes = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
_MODES = {"zeros": "constant"}


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """Tensor.conv2d, which takes any number of spatial dimensions, and a number for each side."""
    return x.conv2d(w, b, groups, stride, dilation, padding)


def padded(
    x: Any,
    w: Any,
    b: Any,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> Any:
    """Tensor.pad, then Tensor.conv2d without padding."""
    xp = x.pad(padding, _MODES.get(padding_mode, padding_mode), padding_value)
    return xp.conv2d(w, b, groups, stride, dilation)


def conv2d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """Tensor.conv2d on operands of height 1."""
    pads = padding if isinstance(padding, str) else (*padding, 0, 0)
    return x.unsqueeze(2).conv2d(w.unsqueeze(2), b, groups, (1, stride), (1, dilation), pads).squeeze(2)


surfaces = {"functional": conv1d, "padded": padded, "conv2d": conv2d}
limits = {
    "padding != 'explicit'": "tinygrad takes numbers",
    "surface != 'padded' and padding_mode != 'zeros'": "Tensor.conv2d pads with zeros",
    "padding_mode == 'symmetric'": "Tensor.pad has no mode that repeats the edge",
}


def to_native(array: np.ndarray, device: str) -> Any:
    """A copy on the device; tinygrad has no bfloat16 from NumPy but its bits."""
    if array.dtype == ml_dtypes.bfloat16:
        return Tensor(array.view(np.uint16).copy(), device=device.upper()).bitcast(types.bfloat16)
    return Tensor(array.copy(), device=device.upper())


def to_numpy(tensor: Any) -> np.ndarray:
    """Compute what is still lazy and return the array, bfloat16 as that of ml_dtypes."""
    if tensor.dtype == types.bfloat16:
        return np.asarray(tensor.bitcast(types.ushort).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(tensor.numpy())


def device_of(tensor: Any) -> str:
    """The device of a tensor."""
    return str(tensor.device).lower()


def vjp(f: Callable[..., Any], primals: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
    """Tensor.gradient."""
    return tuple(f(*primals).gradient(*primals, gradient=cotangent))
