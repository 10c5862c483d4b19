"""OpenVINO on the CPU: a model of one Convolution or GroupConvolution; with float32 held to, and with open shapes."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import ml_dtypes
import numpy as np
import openvino

try:
    from openvino import opset13 as ops
except ImportError:  # before 2025
    from openvino.runtime import opset13 as ops

name = "openvino"
native = "numpy"  # a compiled model takes and returns NumPy's arrays
versions = {"openvino": openvino.__version__.partition("-")[0]}
dtypes = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
precision_switches = dict.fromkeys(("float16", "float32", "float64"), "INFERENCE_PRECISION_HINT")
_NAMES = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}
_CORE = openvino.Core()


def _is_bfloat16(dtype: Any) -> bool:
    """Whether it is the bfloat16 of ml_dtypes, which OpenVINO computes in but does not know by that name."""
    return bool(dtype == ml_dtypes.bfloat16)


def _pads(padding: Any) -> tuple[str, Any, Any]:
    """The attributes auto_pad, pads_begin and pads_end: a name, or a number for each side."""
    if padding in ("causal", "full"):
        raise NotImplementedError(f"auto_pad has no word for {padding}")
    return (_NAMES.get(padding, padding), 0, 0) if isinstance(padding, str) else ("EXPLICIT", padding[0], padding[1])


@lru_cache(256, typed=True)
def _compiled(
    types: Any, shapes: Any, config: Any, stride: Any, auto_pad: Any, lo: Any, hi: Any, dilation: Any, groups: Any
) -> Any:
    """The compiled model of operands x, w and perhaps b, each with a dtype and a shape, in which -1 is an open extent.

    It serves every call that fits. Convolutions have no bias: one is added as OpenVINO's converters add it.
    """
    parameters = [
        ops.parameter(shape, openvino.Type.bf16 if _is_bfloat16(dtype) else openvino.Type(dtype))
        for dtype, shape in zip(types, shapes, strict=True)
    ]
    node, kernels = ops.convolution, parameters[1]
    if groups != 1:  # the groups are an axis of the kernels
        node, kernels = ops.group_convolution, ops.reshape(kernels, [groups, -1, *shapes[1][1:]], False)
    y = node(parameters[0], kernels, [stride], [lo], [hi], [dilation], auto_pad)
    for bias in parameters[2:]:
        y = ops.add(y, ops.reshape(bias, [1, shapes[1][0], 1], False))
    return _CORE.compile_model(openvino.Model([y], parameters), "CPU", dict(config))


def _given(array: Any) -> Any:
    """An array as a compiled model takes it: bfloat16 as a tensor on its bits, which must lie in order."""
    if _is_bfloat16(array.dtype):
        return openvino.Tensor(np.ascontiguousarray(array).view(np.uint16), array.shape, openvino.Type.bf16)
    return array


def _run(
    x: Any,
    w: Any,
    b: Any,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    is_open: bool = False,
    config: tuple[tuple[str, str], ...] = (),
) -> Any:
    """What the model gives; where it `is_open`, it leaves the batch and the length open."""
    operands = [operand for operand in (x, w, b) if operand is not None]
    x_shape, *others = (operand.shape for operand in operands)
    shapes = (tuple(-1 if axis in (0, 2) else n for axis, n in enumerate(x_shape)) if is_open else x_shape, *others)
    types = tuple(operand.dtype for operand in operands)
    model = _compiled(types, shapes, config, stride, *_pads(padding), dilation, groups)
    y = model.create_infer_request().infer([_given(o) for o in operands])[0]  # a request serves one thread at a time
    return y.view(x.dtype) if _is_bfloat16(x.dtype) else y


_FLOAT32 = (("INFERENCE_PRECISION_HINT", "f32"),)  # by default a processor that has bfloat16 computes in it
conv1d = _run
surfaces = {
    "functional": conv1d,
    "float32": partial(_run, config=_FLOAT32),
    "dynamic": partial(_run, config=_FLOAT32, is_open=True),
}
limits = {
    "padding in ('causal', 'full')": "auto_pad has VALID, SAME_UPPER and SAME_LOWER",
    "padding_mode != 'zeros'": "Convolution pads with zeros",
}
