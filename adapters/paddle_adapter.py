"""PaddlePaddle on the CPU: F.conv1d as a user calls it; gradients through paddle.grad.

Without a jvp: paddle.incubate.autograd.jvp gives zeros along w alone, and for the derivative of a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import paddle
import paddle.nn.functional as F  # noqa: N812 - the name that every user of paddle knows
from paddle.incubate import autograd
from paddle.utils.dlpack import from_dlpack

name = native = "paddle"
versions = {"paddlepaddle": paddle.__version__}
dtypes = ("float32", "float64")
limits = {
    "padding in ('same_lower', 'causal', 'full')": "paddle has the names VALID and SAME",
    "padding_mode != 'zeros'": "F.conv1d pads with zeros",
}


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """F.conv1d: two sides, or a name."""
    return F.conv1d(x, w, b, stride, padding, dilation, groups)


def to_native(array: np.ndarray, device: str) -> Any:
    """Keep the array's strides, where paddle has such strides: not negative, and whole elements."""
    bits = array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array
    if any(step < 0 or step % bits.itemsize for step in bits.strides):
        bits = bits.copy()
    return from_dlpack(bits)


def to_numpy(tensor: Any) -> np.ndarray:
    """Return the array, bfloat16 as that of ml_dtypes."""
    array = np.asarray(tensor.detach().numpy())
    return array.view(ml_dtypes.bfloat16) if tensor.dtype == paddle.bfloat16 else array


def vjp(f: Callable[..., Any], primals: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
    """paddle.incubate.autograd.vjp, which is paddle.grad with create_graph and zeros for what f does not read."""
    gradients: tuple[Any, ...] = autograd.vjp(f, primals, cotangent)[1]
    return gradients


def accumulate(passes: Sequence[tuple[Callable[..., Any], Any]], primals: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `.backward()` leaves in `.grad`."""
    leaves = [primal.detach() for primal in primals]
    for leaf in leaves:
        leaf.stop_gradient = False
    for f, cotangent in passes:
        f(*leaves).backward(cotangent)
    return tuple(leaf.grad for leaf in leaves)
