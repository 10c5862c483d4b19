"""JAX with 64-bit types: lax.conv_general_dilated in (NCW, OIW, NCW), jnp.pad before it, and height 1 in 2-D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import lax

jax.config.update("jax_enable_x64", True)  # without it float64 operands become float32 before the operator is called

name, native = "jax", "jaxlib"
versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
dtypes = (
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64", "uint8",
)  # fmt: skip
precision_switches = {"float32": "jax_default_matmul_precision"}
_NAMES = {"valid": "VALID", "same": "SAME", "same_lower": "SAME_LOWER"}
_MODES = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}


def _with_bias(y: Any, b: Any) -> Any:
    """Add the bias along the channels, which the convolution of lax leaves to its users."""
    return y if b is None else lax.add(y, lax.broadcast_in_dim(b, y.shape, (1,)))


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """lax.conv_general_dilated over one spatial dimension."""
    pads = _NAMES.get(padding, padding) if isinstance(padding, str) else [padding]
    numbers = ("NCW", "OIW", "NCW")
    y = lax.conv_general_dilated(
        x, w, (stride,), pads, rhs_dilation=(dilation,), dimension_numbers=numbers, feature_group_count=groups
    )
    return _with_bias(y, b)


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
    """jnp.pad, then the convolution without padding."""
    mode = _MODES.get(padding_mode, padding_mode)
    fill = {"constant_values": padding_value} if mode == "constant" else {}
    xp = jnp.pad(x, ((0, 0), (0, 0), padding), mode, **fill)
    return conv1d(xp, w, b, stride=stride, padding=(0, 0), dilation=dilation, groups=groups)


def conv2d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """lax.conv_general_dilated over two spatial dimensions, of which the first has extent 1."""
    pads = _NAMES.get(padding, padding) if isinstance(padding, str) else [(0, 0), padding]
    numbers = ("NCHW", "OIHW", "NCHW")
    high = lax.conv_general_dilated(
        jnp.expand_dims(x, -2),
        jnp.expand_dims(w, -2),
        (1, stride),
        pads,
        rhs_dilation=(1, dilation),
        dimension_numbers=numbers,
        feature_group_count=groups,
    )
    return _with_bias(jnp.squeeze(high, -2), b)


surfaces = {"functional": conv1d, "padded": padded, "conv2d": conv2d}
limits = {
    "surface != 'padded' and padding in ('causal', 'full')": "lax has the names VALID, SAME and SAME_LOWER",
    "surface == 'padded' and padding != 'explicit'": "jnp.pad takes numbers",
    "surface != 'padded' and padding_mode != 'zeros'": "lax.conv_general_dilated pads with zeros",
}


def devices() -> list[str]:
    """One name a device: its platform and its number there."""
    return [f"{device.platform}:{device.id}" if device.id else device.platform for device in jax.devices()]


def to_native(array: np.ndarray, device: str) -> Any:
    """Place a copy on the device; XLA chooses the layout."""
    platform, _, number = device.partition(":")
    return jax.device_put(array.copy(), jax.devices(platform)[int(number or 0)])


def to_numpy(native_array: Any) -> np.ndarray:
    """Return the array, bfloat16 as that of ml_dtypes. What JAX gives for an integer's gradient is none: refused."""
    if native_array.dtype == jax.dtypes.float0:
        raise TypeError("an integer has no gradient")
    return np.asarray(native_array)


def vjp(f: Callable[..., Any], primals: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
    """jax.vjp."""
    gradients: tuple[Any, ...] = jax.vjp(f, *primals)[1](cotangent)
    return gradients


def jvp(f: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """jax.jvp."""
    return jax.jvp(f, primals, tangents)[1]


def vmap(f: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """jax.vmap."""
    mapped: Callable[..., Any] = jax.vmap(f, in_axes)
    return mapped
