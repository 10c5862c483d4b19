"""TensorFlow: tf.nn.conv1d in NWC, in NCW and in a graph, tf.pad before it, tf.nn.convolution, conv2d of height 1."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf
from tensorflow.python.util._pywrap_util_port import IsMklEnabled  # of which there is no public name

from conv1d_cts.adapters import cuda, processor

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several processes share a GPU; read at its first use
tf.config.set_soft_device_placement(False)  # what the device cannot do it refuses, instead of another that does it

name = native = "tensorflow"
versions = {"tensorflow": tf.__version__}
dtypes = ("float16", "bfloat16", "float32", "float64", "int32")
precision_switches = {
    "float32": "TF_ENABLE_ONEDNN_OPTS on the CPU, tf.config.experimental.enable_tensor_float_32_execution on a GPU"
}
_NAMES = {"valid": "VALID", "same": "SAME", (0, 0): "VALID"}
_MODES = {"zeros": "CONSTANT", "constant": "CONSTANT", "reflect": "REFLECT", "symmetric": "SYMMETRIC"}


def _beyond_shapes(x: Any, w: Any, groups: Any) -> dict[str, Any]:
    """Hand `groups` over where the shapes (C and C/g) do not say it already: TensorFlow refuses such an argument."""
    return {} if groups == 1 or x.shape[1] == groups * w.shape[1] else {"groups": groups}


def _moved(x: Any, w: Any) -> tuple[Any, Any]:
    """Operands as TensorFlow has them by default: x in NWC, w as (K, C/g, O)."""
    return tf.transpose(x, (0, 2, 1)), tf.transpose(w, (2, 1, 0))


def _channels_first(y: Any, b: Any) -> Any:
    """(N, L_out, O) with the bias added, as (N, O, L_out)."""
    return tf.transpose(y if b is None else tf.nn.bias_add(y, b), (0, 2, 1))


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """tf.nn.conv1d: it pads by name alone; other padding goes to it as it is, and it refuses it."""
    extra = _beyond_shapes(x, w, groups)
    y = tf.nn.conv1d(*_moved(x, w), stride, _NAMES.get(padding, padding), dilations=dilation, **extra)
    return _channels_first(y, b)


def channels_first(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """tf.nn.conv1d in NCW."""
    w_kio, extra = tf.transpose(w, (2, 1, 0)), _beyond_shapes(x, w, groups)
    y = tf.nn.conv1d(x, w_kio, stride, _NAMES.get(padding, padding), "NCW", dilation, **extra)
    return y if b is None else tf.nn.bias_add(y, b, "NC..")


def convolution(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """tf.nn.convolution."""
    extra = _beyond_shapes(x, w, groups)
    y = tf.nn.convolution(*_moved(x, w), stride, _NAMES.get(padding, padding), dilations=dilation, **extra)
    return _channels_first(y, b)


def graph(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """tf.nn.conv1d in a tf.function, traced for the call."""
    return tf.function(conv1d)(x, w, b, **parameters)


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
    """tf.pad, then tf.nn.conv1d without padding."""
    mode = _MODES.get(padding_mode, padding_mode)
    xp = tf.pad(x, ((0, 0), (0, 0), padding), mode, padding_value)
    return conv1d(xp, w, b, stride=stride, padding="valid", dilation=dilation, groups=groups)


def conv2d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """tf.nn.conv2d on operands of height 1; it takes explicit padding."""
    x_nwc, w_kio = _moved(x, w)
    pads = _NAMES.get(padding, padding) if isinstance(padding, str) else ((0, 0), (0, 0), padding, (0, 0))
    extra = _beyond_shapes(x, w, groups)
    y = tf.nn.conv2d(x_nwc[:, None], w_kio[None], (1, stride), pads, dilations=(1, dilation), **extra)
    return _channels_first(tf.squeeze(y, 1), b)


surfaces = {
    "functional": conv1d,
    "padded": padded,
    "conv2d": conv2d,
    "convolution": convolution,
    "graph": graph,
}
if IsMklEnabled() or tf.config.list_physical_devices("GPU"):  # on the CPU oneDNN alone has channels first
    surfaces["channels-first"] = channels_first
limits = {
    "surface not in ('padded', 'conv2d') and padding == 'explicit' and lo + hi > 0": "tf.nn.conv1d pads by name alone",
    "surface != 'padded' and padding in ('same_lower', 'causal', 'full')": "TensorFlow has the names VALID and SAME",
    "surface == 'padded' and padding != 'explicit'": "tf.pad takes numbers",
    "surface != 'padded' and padding_mode != 'zeros'": "tf.nn.conv1d and tf.nn.conv2d pad with zeros",
    "padding_mode in ('replicate', 'circular')": "tf.pad has no such mode",
    "surface == 'convolution' and stride > 1 and dilation > 1": "tf.nn.convolution refuses a stride with a dilation",
}
# What oneDNN computes on this processor, where TensorFlow uses it: by default on those with AVX-512 VNNI and the like.
# The rest is Eigen's, which has no gradients of these:
_ONEDNN: tuple[str, ...] = ()
if IsMklEnabled():
    _ONEDNN = ("float32", "bfloat16", *(["float16"] if "avx512_fp16" in processor.instruction_sets() else []))
limits |= {
    f"device == 'cpu' and surface == 'channels-first' and dtype not in {_ONEDNN}"
    " and function not in ('compiled', 'compiled_vjp', 'eval_shape')": "oneDNN alone has channels first, and XLA",
    "device == 'cpu' and function in ('vjp', 'vjp_of_vjp', 'jvp_of_vjp') and (wrt != 'b' or surface == 'graph')"
    " and (dilation > 1 and surface != 'convolution' or groups > 1)"
    f" and (dtype not in {_ONEDNN} or surface == 'conv2d' and padding == 'explicit')": (
        "oneDNN alone has gradients of dilated and grouped convolutions, and takes padding by name"
    ),
}


def devices() -> list[str]:
    """One name a logical device: `CPU:0` is "cpu"."""
    return [_name(device.name) for device in tf.config.list_logical_devices()]


def _name(path: str) -> str:
    return path.rpartition("device:")[2].removesuffix(":0").lower()


def surfaces_on(device: str) -> dict[str, Callable[..., Any]]:
    """On a GPU tf.nn.conv1d once more without TF32, which is on there."""
    return {"tf32-off": conv1d} if device.startswith("gpu") else {}


@contextmanager
def settings(surface: str, device: str) -> Iterator[None]:
    """The device of every operation, which TensorFlow chooses itself otherwise, and the precision of a surface."""
    execution = tf.config.experimental
    before = execution.tensor_float_32_execution_enabled()
    execution.enable_tensor_float_32_execution(before and surface != "tf32-off")
    try:
        with tf.device(device):
            yield
    finally:
        execution.enable_tensor_float_32_execution(before)


def to_native(array: np.ndarray, device: str) -> Any:
    """Place a constant on the device, in the one layout that TensorFlow has."""
    with tf.device(device):
        if array.dtype == ml_dtypes.bfloat16:  # older releases have a bfloat16 of their own, and know its bits
            return tf.bitcast(tf.constant(array.view(np.uint16)), tf.bfloat16)
        return tf.constant(array)


def to_numpy(tensor: Any) -> np.ndarray:
    """Return the array, bfloat16 as that of ml_dtypes."""
    array = np.asarray(tensor.numpy())
    return array.view(ml_dtypes.bfloat16) if tensor.dtype == tf.bfloat16 else array


def device_of(tensor: Any) -> str:
    """The device whose kernel computed a tensor, by the name that `devices` gives it."""
    return _name(tensor.device)


def synchronize(device: str) -> None:
    """Wait for every device."""
    tf.test.experimental.sync_devices()


def device_facts(device: str) -> dict[str, str]:
    """The GPU, its driver, and the CUDA and cuDNN that TensorFlow computes by, or was built for."""
    if not device.startswith("gpu"):
        return {}
    gpus = tf.config.list_physical_devices("GPU")
    own = tf.config.experimental.get_device_details(gpus[int(device.partition(":")[2] or 0)])
    capability = ".".join(map(str, own.get("compute_capability", ())))
    build = tf.sysconfig.get_build_info()
    built = {"CUDA": build.get("cuda_version", ""), "cuDNN": build.get("cudnn_version", "")}
    told = {"GPU": own.get("device_name", ""), "compute capability": capability, **built, **cuda.facts()}
    return {name: fact for name, fact in told.items() if fact}


def vjp(f: Callable[..., Any], primals: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
    """tf.GradientTape; an operand that f does not read has zeros."""
    with tf.GradientTape() as tape:
        tape.watch(primals)
        y = f(*primals)
    gradients: tuple[Any, ...] = tape.gradient(y, primals, cotangent, tf.UnconnectedGradients.ZERO)
    return gradients


def jvp(f: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """tf.autodiff.ForwardAccumulator."""
    with tf.autodiff.ForwardAccumulator(primals, tangents) as accumulator:
        y = f(*primals)
    return accumulator.jvp(y, tf.UnconnectedGradients.ZERO)


def vmap(f: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """tf.vectorized_map over the operands that have an axis; f closes over the others."""

    def mapped(*operands: Any) -> Any:
        axes = (in_axes,) * len(operands) if isinstance(in_axes, int) else in_axes
        rows = {
            i: tf.experimental.numpy.moveaxis(operands[i], axis, 0) for i, axis in enumerate(axes) if axis is not None
        }

        def call(row: dict[int, Any]) -> Any:
            return f(*(row.get(i, operand) for i, operand in enumerate(operands)))

        return tf.vectorized_map(call, rows)

    return mapped


def compile(f: Callable[..., Any]) -> Callable[..., Any]:
    """tf.function with jit_compile=True."""
    compiled: Callable[..., Any] = tf.function(f, jit_compile=True)
    return compiled


def eval_shape(f: Callable[..., Any], operands: tuple[Any, ...]) -> tuple[tuple[int | None, ...], str]:
    """The graph of a tf.function: what it says of its result."""
    specs = [tf.TensorSpec(operand.shape, operand.dtype) for operand in operands]
    y = tf.function(f).get_concrete_function(*specs).structured_outputs
    return tuple(y.shape), y.dtype.name
