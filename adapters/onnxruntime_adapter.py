"""ONNX Runtime on the CPU: a Conv node with its inputs' shapes known, without them, and with height 1 in 2-D."""

from __future__ import annotations

from typing import Any

import onnxruntime

from conv1d_cts.adapters.onnx_adapter import attributes, model, operands

name = "onnxruntime"
native = "numpy"  # a session takes and returns NumPy's arrays
versions = {"onnxruntime": onnxruntime.__version__}
dtypes = ("float16", "float32")


def _run(given: dict[str, Any], shaped: bool, **node: Any) -> Any:
    """What a session gives for the model that is one Conv node."""
    serialized = model(given, shaped, **node).SerializeToString()
    return onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"]).run(None, given)[0]


def conv1d(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """The model says its inputs' shapes, as an exported one does."""
    return _run(operands(x, w, b), True, **attributes(1, **parameters))


def dynamic(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """The model leaves its inputs' shapes open, so that nothing is checked before it runs."""
    return _run(operands(x, w, b), False, **attributes(1, **parameters))


def conv2d(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """The same on operands of height 1, where ONNX Runtime has other kernels."""
    return _run(operands(x[..., None, :], w[..., None, :], b), True, **attributes(2, **parameters))[..., 0, :]


surfaces = {"functional": conv1d, "dynamic": dynamic, "conv2d": conv2d}
limits = {
    "padding in ('causal', 'full')": "auto_pad has VALID, SAME_UPPER and SAME_LOWER",
    "padding in ('same', 'same_lower') and dilation > 1": "ONNX Runtime refuses a dilated SAME",
    "padding_mode != 'zeros'": "Conv pads with zeros",
}
