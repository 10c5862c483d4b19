"""JAX with 64-bit types: lax.conv_general_dilated in several layouts, jnp.pad before it, and height 1 in 2-D."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import lax

from conv1d_cts.adapters import cuda

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU; read at its first use
jax.config.update("jax_enable_x64", True)  # without it float64 operands become float32 before the operator is called
if "CONV1D_CTS_CACHE" in os.environ and jax.config.jax_compilation_cache_dir is None:  # XLA compiles each program once,
    jax.config.update("jax_compilation_cache_dir", os.environ["CONV1D_CTS_CACHE"])  # and not again in each process
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

name, native = "jax", "jaxlib"
versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
dtypes = (
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64", "uint8",
)  # fmt: skip
precision_switches = {"float32": "jax_default_matmul_precision"}
_NAMES = {"valid": "VALID", "same": "SAME", "same_lower": "SAME_LOWER"}
_WIDER = {
    jnp.dtype(narrow): wide
    for narrow, wide in (
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float64"),
        ("int8", "int32"),
        ("int16", "int32"),
        ("int32", "int64"),
    )
}
_MODES = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}


_biased: Callable[[Any, Any], Any] = jax.jit(lambda y, b: lax.add(y, lax.broadcast_in_dim(b, y.shape, (1,))))


def _with_bias(y: Any, b: Any) -> Any:
    """Add the bias along the channels, which the convolution of lax leaves to its users: one program, not two."""
    return y if b is None else _biased(y, b)


def _conv(
    x: Any,
    w: Any,
    numbers: tuple[str, str, str],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    wider: Any = None,
) -> Any:
    """lax.conv_general_dilated over one spatial dimension, the operands' axes in the order that `numbers` says."""
    pads = _NAMES.get(padding, padding) if isinstance(padding, str) else [padding]
    return lax.conv_general_dilated(
        x,
        w,
        (stride,),
        pads,
        rhs_dilation=(dilation,),
        dimension_numbers=numbers,
        feature_group_count=groups,
        preferred_element_type=wider,
    )


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """Channels first: (NCW, OIW, NCW)."""
    return _with_bias(_conv(x, w, ("NCW", "OIW", "NCW"), stride, padding, dilation, groups), b)


def channels_last(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """Channels last, as flax and haiku call it: (NWC, WIO, NWC)."""
    x_nwc, w_wio = jnp.transpose(x, (0, 2, 1)), jnp.transpose(w, (2, 1, 0))
    y = _conv(x_nwc, w_wio, ("NWC", "WIO", "NWC"), stride, padding, dilation, groups)
    return _with_bias(jnp.transpose(y, (0, 2, 1)), b)


def mixed(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """No two orders alike: (WNC, IOW, CNW)."""
    x_wnc, w_iow = jnp.transpose(x, (2, 0, 1)), jnp.transpose(w, (1, 0, 2))
    y = _conv(x_wnc, w_iow, ("WNC", "IOW", "CNW"), stride, padding, dilation, groups)
    return _with_bias(jnp.transpose(y, (1, 0, 2)), b)


def preferred(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """The result asked for in a wider type (preferred_element_type) and rounded to that of the operands."""
    y = _conv(x, w, ("NCW", "OIW", "NCW"), stride, padding, dilation, groups, _WIDER.get(x.dtype))
    return _with_bias(y.astype(x.dtype), b)


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


surfaces = {
    "functional": conv1d,
    "padded": padded,
    "conv2d": conv2d,
    "channels-last": channels_last,
    "mixed": mixed,
    "preferred": preferred,
}
limits = {
    "surface != 'padded' and padding in ('causal', 'full')": "lax has the names VALID, SAME and SAME_LOWER",
    "surface == 'padded' and padding != 'explicit'": "jnp.pad takes numbers",
    "surface != 'padded' and padding_mode != 'zeros'": "lax.conv_general_dilated pads with zeros",
}


def surfaces_on(device: str) -> dict[str, Callable[..., Any]]:
    """On a GPU the convolution once more at the highest precision: by default its float32 may be TF32."""
    return {"tf32-off": conv1d} if device.startswith("gpu") else {}


@contextmanager
def settings(surface: str, device: str) -> Iterator[None]:
    """The device of arrays that jax makes itself, and the precision of a surface."""
    with jax.default_device(_devices()[device]):
        if surface != "tf32-off":
            yield
            return
        with jax.default_matmul_precision("highest"):
            yield


def _devices() -> dict[str, Any]:
    """The processor and the devices of the default platform by name: the platform, and the number where it is not 0."""
    found = jax.devices()
    with suppress(RuntimeError):  # where JAX_PLATFORMS leaves the processor out
        found = [*jax.devices("cpu"), *found]
    return {_name(device): device for device in found}


def _name(device: Any) -> str:
    return f"{device.platform}:{device.id}" if device.id else str(device.platform)


def devices() -> list[str]:
    """The processor, and whatever else jax sees."""
    return list(_devices())


def to_native(array: np.ndarray, device: str) -> Any:
    """Place a copy on the device; XLA chooses the layout."""
    return jax.device_put(array.copy(), _devices()[device])


def to_numpy(native_array: Any) -> np.ndarray:
    """Return the array, bfloat16 as that of ml_dtypes. What JAX gives for an integer's gradient is none: refused."""
    if native_array.dtype == jax.dtypes.float0:
        raise TypeError("an integer has no gradient")
    return np.asarray(native_array)


def device_of(native_array: Any) -> str:
    """The devices of an array by the names that `devices` gives them; one, unless jax has divided it."""
    return " and ".join(sorted(map(_name, native_array.devices())))


def shares_memory(one: Any, other: Any) -> bool:
    """Whether two arrays have one buffer."""
    return bool(one.size and one.unsafe_buffer_pointer() == other.unsafe_buffer_pointer())


def device_facts(device: str) -> dict[str, str]:
    """The GPU, its driver, and what XLA computes by."""
    if device.startswith("cpu"):
        return {}
    own = _devices()[device]
    return {"GPU": own.device_kind, "XLA": " ".join(own.client.platform_version.split()), **cuda.facts()}


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


def compile(f: Callable[..., Any]) -> Callable[..., Any]:
    """jax.jit."""
    compiled: Callable[..., Any] = jax.jit(f)
    return compiled


def eval_shape(f: Callable[..., Any], operands: tuple[Any, ...]) -> tuple[tuple[int, ...], str]:
    """jax.eval_shape."""
    y = jax.eval_shape(f, *operands)
    return y.shape, y.dtype.name
