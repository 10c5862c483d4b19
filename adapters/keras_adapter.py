"""Keras 3 on a backend of its own choice: keras.ops.conv, keras.ops.pad before it, Conv1D, DepthwiseConv1D.

`Keras("torch")` is an adapter. The transforms are those of the framework below, and its arrays are what is passed. On
NumPy there are no transforms, and keras convolves by means of JAX.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from conv1d_cts.adapters import devices
from conv1d_cts.adapters.conditions import TRANSFORMED

_MODES = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}
_OWN_MODES = {"torch": {"circular": "circular"}}  # which keras hands on to F.pad
_FROM_BELOW = (
    "dtypes", "native", "precision_switches", "devices", "device_of", "device_facts", "shares_memory", "synchronize",
    "to_native", "to_numpy", "vjp", "jvp", "vmap", "accumulate",
)  # fmt: skip
_WIDE = ("float64", "complex128", "int64")
_INTEGERS = "('int8', 'int16', 'int32', 'int64', 'uint8')"
limits = {
    "surface not in ('layer', 'depthwise', 'reloaded') and bias": "keras.ops.conv has no bias",
    "surface != 'padded' and padding == 'explicit' and lo + hi > 0": "keras pads by name",
    "surface == 'padded' and padding != 'explicit'": "keras.ops.pad takes numbers",
    "surface not in ('padded', 'layer', 'reloaded') and padding in ('same_lower', 'causal', 'full')": "not its words",
    "surface in ('layer', 'reloaded') and padding in ('same_lower', 'full')": "Conv1D has valid, same and causal",
    "surface in ('layer', 'reloaded') and stride > 1 and dilation > 1": "Conv1D refuses a stride with a dilation",
    "surface in ('layer', 'depthwise', 'reloaded') and dtype == 'int8'": "a layer of int8 is one to be quantized",
    "surface == 'depthwise' and groups != c_in": "DepthwiseConv1D has a group for each channel",
    "surface != 'padded' and padding_mode != 'zeros'": "keras pads with zeros before a convolution",
}
limits |= {
    f"surface == 'reloaded' and function in {TRANSFORMED}": "what a transform traces cannot be saved",
    "surface in ('layer', 'depthwise', 'reloaded') and function == 'eval_shape'": "a layer takes no symbolic weights",
}
_OWN_LIMITS = {  # of the backend below, which symbolic tensors do not reach
    "torch": {
        "padding_mode == 'replicate'": "on torch keras.ops.pad has no mode edge",
        f"surface in ('layer', 'depthwise', 'reloaded') and dtype in {_INTEGERS}": "weights can have gradients",
        "dtype in ('int8', 'int16', 'int32', 'uint8') and dilation > 1": "torch dilates integers of 64 bits only",
    },
    "tensorflow": {
        "padding_mode in ('replicate', 'circular')": "tf.pad has no such mode",
        "surface != 'depthwise' and stride > 1 and dilation > 1": "tf.nn.convolution refuses both at once",
        "surface == 'depthwise' and dtype == 'int32'": "tf.nn.depthwise_conv2d takes no integers",
        "surface in ('layer', 'depthwise') and function in ('vmap', 'mapped_vjp', 'vjp_of_vmap')": (
            "the layer is made in the call, and tf.vectorized_map traces it, where no variables can be made"
        ),
        "surface == 'channels-first' and groups == 1 and dtype not in ('float32', 'bfloat16')": (
            "the CPU has channels first by oneDNN, or by XLA, with which keras compiles what has groups"
        ),
        "surface != 'depthwise' and function == 'jvp_of_vjp' and groups > 1": (
            "keras compiles it by XLA, and tangents don't reach its gradients"
        ),
    },
    "jax": {},
    "numpy": {},
}


def _arrays() -> SimpleNamespace:
    """What keras stands on with NumPy: arrays, and for convolutions JAX, which it calls as it comes: in 32 bits."""
    below = [importlib.import_module(name) for name in ("numpy", "jax", "jaxlib")]
    versions = {module.__name__: module.__version__ for module in below}
    dtypes = ("float16", "bfloat16", "float32", "complex64", "int8", "int16", "int32", "uint8", *_WIDE)
    return SimpleNamespace(native="numpy", versions=versions, dtypes=dtypes)


class Keras:
    """An adapter of keras on the backend named, in a process that has not imported keras yet."""

    def __init__(self, backend: str) -> None:
        os.environ["KERAS_BACKEND"] = backend  # which keras reads when it is imported, and only then
        self._keras = importlib.import_module("keras")
        framework: Any = (
            _arrays() if backend == "numpy" else importlib.import_module(f"{__package__}.{backend}_adapter")
        )
        self.name = f"keras-{backend}"
        self.versions = {"keras": self._keras.__version__, **framework.versions}
        below = _OWN_LIMITS[backend].items()
        self.limits = limits | {f"({when}) and function != 'eval_shape'": reason for when, reason in below}
        self._modes = _MODES | _OWN_MODES.get(backend, {})
        self.surfaces = {
            "functional": self.conv1d,
            "channels-first": self.channels_first,
            "padded": self.padded,
            "layer": self.layer,
            "depthwise": self.depthwise,
        }
        if backend != "tensorflow":  # whose tapes lose a saved tensor
            self.surfaces["reloaded"] = self.reloaded
        self.fits = {} if backend == "numpy" else {"layer": self.fit}  # on NumPy keras does not train
        self._framework = framework
        for name in _FROM_BELOW:
            if hasattr(framework, name):
                setattr(self, name, getattr(framework, name))

    def surfaces_on(self, device: str) -> dict[str, Any]:
        """keras.ops.conv once more for each setting of the framework below."""
        below = getattr(self._framework, "surfaces_on", None)
        return dict.fromkeys(below(device) if below else (), self.conv1d)

    @contextmanager
    def settings(self, surface: str, device: str) -> Iterator[None]:
        """Keras's device, to which it moves whatever it gets, and the settings of the framework below.

        The first releases of Keras 3 have no device of their own.
        """
        scope = getattr(self._keras, "device", nullcontext)
        own = scope(f"{devices.kind(device)}:{devices.number(device)}")
        below = getattr(self._framework, "settings", None)
        with own, below(surface, device) if below else nullcontext():
            yield

    def _conv(self, x: Any, w: Any, b: Any, groups: Any, data_format: str, **parameters: Any) -> Any:
        """keras.ops.conv: it has no bias, and the groups are those that the shapes say; it refuses what is beyond."""
        if parameters["padding"] in ("same_lower", "causal", "full"):  # no translation: torch would get valid, unasked
            raise NotImplementedError("keras.ops.conv has the words valid and same")
        beyond = {} if groups == 1 or x.shape[1] == groups * w.shape[1] else {"groups": groups}
        beyond |= {} if b is None else {"bias": b}
        ops, last = self._keras.ops, data_format == "channels_last"
        x, w = ops.transpose(x, (0, 2, 1)) if last else x, ops.transpose(w, (2, 1, 0))
        y = ops.conv(x, w, data_format=data_format, **parameters, **beyond)
        return ops.transpose(y, (0, 2, 1)) if last else y

    def conv1d(self, x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        """Channels last, as is keras's default. It pads by name; other padding goes to keras, and it refuses it."""
        pads = "valid" if padding == (0, 0) else padding
        return self._conv(x, w, b, groups, "channels_last", strides=stride, padding=pads, dilation_rate=dilation)

    def channels_first(self, x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        """The same with data_format="channels_first"."""
        pads = "valid" if padding == (0, 0) else padding
        return self._conv(x, w, b, groups, "channels_first", strides=stride, padding=pads, dilation_rate=dilation)

    def padded(
        self,
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
        """keras.ops.pad, then keras.ops.conv without padding."""
        mode = self._modes.get(padding_mode, padding_mode)
        value = padding_value if padding_mode == "constant" else None
        xp = self._keras.ops.pad(x, ((0, 0), (0, 0), padding), mode, value)
        return self._conv(xp, w, b, groups, "channels_last", strides=stride, padding="valid", dilation_rate=dilation)

    def _layer(self, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: Any, dtype: str) -> Any:
        pads, size = "valid" if padding == (0, 0) else padding, (w.shape[0], w.shape[2])
        return self._keras.layers.Conv1D(
            *size, stride, pads, None, dilation, groups, None, b is not None, "zeros", dtype=dtype
        )

    def _called(self, layer: Any, x: Any, w: Any, b: Any) -> Any:
        """Build the layer for x, and call it with w and b as its weights."""
        x_nwc = self._keras.ops.transpose(x, (0, 2, 1))
        layer.build(tuple(x_nwc.shape))
        y, _ = layer.stateless_call([w] if b is None else [w, b], [], x_nwc)
        return self._keras.ops.transpose(y, (0, 2, 1))

    def layer(self, x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        """keras.layers.Conv1D."""
        keras = self._keras
        layer = self._layer(w, b, stride, padding, dilation, groups, keras.backend.standardize_dtype(x.dtype))
        return self._called(layer, x, keras.ops.transpose(w, (2, 1, 0)), b)

    def fit(self, x: Any, w: Any, target: Any, *, steps: int) -> Any:
        """The kernel of keras.layers.Conv1D after `fit` on so many batches, each the whole of x, by Adam on the MAE."""
        keras, dtype = self._keras, self._keras.backend.standardize_dtype(x.dtype)
        model = keras.Sequential([self._layer(w, None, 1, "valid", 1, 1, dtype)])
        batches = [keras.ops.concatenate([keras.ops.transpose(array, (0, 2, 1))] * steps) for array in (x, target)]
        model.build(tuple(batches[0].shape))
        model.set_weights([keras.ops.convert_to_numpy(keras.ops.transpose(w, (2, 1, 0)))])
        model.compile(keras.optimizers.Adam(0.05), "mean_absolute_error")
        model.fit(*batches, batch_size=len(x), shuffle=False, verbose=0)
        return keras.ops.transpose(keras.ops.convert_to_tensor(model.layers[0].kernel), (2, 1, 0))

    def depthwise(self, x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        """keras.layers.DepthwiseConv1D: a group for each channel, the kernel (K, C, O/C)."""
        if groups != x.shape[1]:
            raise NotImplementedError("DepthwiseConv1D has a group for each channel")
        keras, pads, multiplier = self._keras, "valid" if padding == (0, 0) else padding, w.shape[0] // groups
        layer = keras.layers.DepthwiseConv1D(
            w.shape[2], stride, pads, multiplier, None, dilation, use_bias=b is not None,
            depthwise_initializer="zeros", dtype=keras.backend.standardize_dtype(x.dtype),
        )  # fmt: skip
        w_cmk = keras.ops.squeeze(keras.ops.reshape(w, (groups, multiplier, *w.shape[1:])), 2)
        return self._called(layer, x, keras.ops.transpose(w_cmk, (2, 0, 1)), b)

    def eval_shape(self, f: Callable[..., Any], operands: tuple[Any, ...]) -> tuple[tuple[int, ...], str]:
        """What f gives for keras's symbolic tensors, of which functional models are built; of its own dtypes alone."""
        dtypes = [self._keras.backend.standardize_dtype(operand.dtype) for operand in operands]
        if unknown := sorted(set(dtypes) - set(self._framework.dtypes)):
            raise NotImplementedError(f"{self.name} does not convolve {unknown[0]}")
        shapes = (tuple(operand.shape) for operand in operands)
        y = f(*map(self._keras.KerasTensor, shapes, dtypes))
        return tuple(y.shape), y.dtype

    def reloaded(self, x: Any, w: Any, b: Any, **parameters: Any) -> Any:
        """A model of keras.layers.Conv1D that has loaded what another one saved; NumPy's arrays go in."""
        keras, dtype = self._keras, self._keras.backend.standardize_dtype(x.dtype)
        x_nwc = keras.ops.convert_to_numpy(keras.ops.transpose(x, (0, 2, 1)))
        w_kio = keras.ops.convert_to_numpy(keras.ops.transpose(w, (2, 1, 0)))
        saved, loaded = (
            keras.Sequential([keras.Input(x_nwc.shape[1:], dtype=dtype), self._layer(w, b, **parameters, dtype=dtype)])
            for _ in range(2)
        )
        saved.set_weights([w_kio] if b is None else [w_kio, keras.ops.convert_to_numpy(b)])
        with TemporaryDirectory() as folder:
            saved.save_weights(f"{folder}/conv1d.weights.h5")
            loaded.load_weights(f"{folder}/conv1d.weights.h5")
        return keras.ops.transpose(loaded(keras.ops.convert_to_tensor(x_nwc, dtype)), (0, 2, 1))


adapter = Keras
