"""ONNX's ReferenceEvaluator on a model that is one Conv node of opset 17, in one dimension and in two of height 1."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

name = "onnx"
native = "numpy"  # a model takes and returns NumPy's arrays
versions = {"onnx": onnx.__version__}
_NAMES = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}


def model(operands: dict[str, Any], shaped: bool = True, **attributes: Any) -> onnx.ModelProto:
    """A Conv node on inputs of the operands' types, and of their shapes where `shaped`."""
    inputs = [
        helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape if shaped else None)
        for key, a in operands.items()
    ]
    output = helper.make_tensor_value_info("y", inputs[0].type.tensor_type.elem_type, None)
    graph = helper.make_graph([helper.make_node("Conv", list(operands), ["y"], **attributes)], name, inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def attributes(rank: int, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> dict[str, Any]:
    """Those of the node: a name as auto_pad, numbers as pads; in two dimensions the first has height 1."""
    if padding in ("causal", "full"):
        raise NotImplementedError(f"auto_pad has no word for {padding}")
    ones, zeros = [1] * (rank - 1), [0] * (rank - 1)
    if isinstance(padding, str):
        pads: dict[str, Any] = {"auto_pad": _NAMES.get(padding, padding)}
    else:
        pads = {"pads": [*zeros, padding[0], *zeros, padding[1]]}
    return {"strides": [*ones, stride], "dilations": [*ones, dilation], "group": groups, **pads}


def operands(x: Any, w: Any, b: Any) -> dict[str, Any]:
    """The node's inputs by name; without a bias there are two."""
    return {"x": x, "w": w} if b is None else {"x": x, "w": w, "b": b}


def conv1d(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """The model run by the ReferenceEvaluator."""
    given = operands(x, w, b)
    return ReferenceEvaluator(model(given, **attributes(1, **parameters))).run(None, given)[0]


def conv2d(x: Any, w: Any, b: Any, **parameters: Any) -> Any:
    """The same on operands of height 1."""
    given = operands(x[..., None, :], w[..., None, :], b)
    return ReferenceEvaluator(model(given, **attributes(2, **parameters))).run(None, given)[0][..., 0, :]


surfaces = {"functional": conv1d, "conv2d": conv2d}
limits = {
    "padding in ('causal', 'full')": "auto_pad has VALID, SAME_UPPER and SAME_LOWER",
    "padding_mode != 'zeros'": "Conv pads with zeros",
}
