"""MLX: mx.conv1d, mx.pad before it, mx.conv_general, mx.conv2d of height 1; channels last, kernels (O, K, C/g)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np

name = native = "mlx"
versions = {"mlx": version("mlx")}
dtypes = tuple(dtype for dtype in ("float16", "bfloat16", "float32", "float64") if hasattr(mx, dtype))
_MODES = {"zeros": "constant", "replicate": "edge"}


def _finish(y: Any, b: Any) -> Any:
    """(N, L_out, O) with the bias added as mlx.nn.Conv1d adds it, as (N, O, L_out)."""
    return mx.swapaxes(y if b is None else y + b, 1, 2)


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """mx.conv1d: one padding for both sides; anything else goes to mlx as it is, and it refuses it."""
    alike = not isinstance(padding, str) and padding[0] == padding[1]
    pads = padding[0] if alike else padding
    return _finish(mx.conv1d(mx.swapaxes(x, 1, 2), mx.swapaxes(w, 1, 2), stride, pads, dilation, groups), b)


def general(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """mx.conv_general, which takes two sides."""
    pads = padding if isinstance(padding, str) else tuple([side] for side in padding)
    y = mx.conv_general(mx.swapaxes(x, 1, 2), mx.swapaxes(w, 1, 2), stride, pads, dilation, 1, groups)
    return _finish(y, b)


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
    """mx.pad, then mx.conv1d without padding."""
    xp = mx.pad(x, ((0, 0), (0, 0), padding), _MODES.get(padding_mode, padding_mode), padding_value)
    return conv1d(xp, w, b, stride=stride, padding=(0, 0), dilation=dilation, groups=groups)


def conv2d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """mx.conv2d on operands of height 1."""
    alike = not isinstance(padding, str) and padding[0] == padding[1]
    pads = (0, padding[0]) if alike else ((0, 0), padding)
    x_nhwc, w_ohwi = mx.expand_dims(mx.swapaxes(x, 1, 2), 1), mx.expand_dims(mx.swapaxes(w, 1, 2), 1)
    return _finish(mx.squeeze(mx.conv2d(x_nhwc, w_ohwi, (1, stride), pads, (1, dilation), groups), 1), b)


surfaces = {"functional": conv1d, "general": general, "padded": padded, "conv2d": conv2d}
_PRODUCTS = "only what becomes a product of matrices takes float64"
limits = {
    "surface in ('functional', 'conv2d') and lo != hi": "mlx pads both sides alike",
    "function == 'conv2d' and lo != hi": "mx.conv2d pads both sides alike",
    "padding != 'explicit'": "mlx takes numbers",
    "surface != 'padded' and padding_mode != 'zeros'": "mlx's convolutions pad with zeros",
    "padding_mode == 'circular'": "mx.pad has no such mode",
    "dtype == 'float64' and dilation > 1 and not (function == 'vjp' and wrt == 'b')": _PRODUCTS,
    "dtype == 'float64' and groups > 1 and (surface == 'conv2d' or function == 'conv2d')"
    " and not (function == 'vjp' and wrt == 'b')": _PRODUCTS,
    "dtype == 'float64' and function in ('vjp', 'vjp_of_vjp', 'compiled_vjp') and wrt != 'b'"
    " and (stride > 1 or groups > 1)": _PRODUCTS,
}


def to_native(array: np.ndarray, device: str) -> Any:
    """A copy on the CPU, which alone has float64; mlx takes no negative strides, and whole elements."""
    mx.set_default_device(getattr(mx, device))
    if any(step < 0 or step % array.itemsize for step in array.strides):
        array = array.copy()
    if array.dtype == ml_dtypes.bfloat16:  # older releases don't know it, and know its bits
        halves = mx.array(array.view(np.uint16)).view(mx.bfloat16)
        mx.eval(halves)  # another thread, in which a call may use it, has no stream of this one's
        return halves
    return mx.array(array, dtype=getattr(mx, array.dtype.name))


def to_numpy(native_array: Any) -> np.ndarray:
    """Compute what is still lazy and return the array, bfloat16 as that of ml_dtypes."""
    if native_array.dtype == mx.bfloat16:
        return np.array(native_array.view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.array(native_array)


def vjp(f: Callable[..., Any], primals: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
    """mx.vjp."""
    gradients: tuple[Any, ...] = tuple(mx.vjp(f, list(primals), [cotangent])[1])
    return gradients


def vmap(f: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """mx.vmap."""
    mapped: Callable[..., Any] = mx.vmap(f, in_axes)
    return mapped


def compile(f: Callable[..., Any]) -> Callable[..., Any]:
    """mx.compile."""
    compiled: Callable[..., Any] = mx.compile(f)
    return compiled
