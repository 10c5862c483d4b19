"""PyTorch: F.conv1d, batched and not, F.pad before it, nn.Conv1d, F.conv2d of height 1; gradients by torch.func."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from io import BytesIO
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that every torch user knows

from conv1d_cts.adapters import cuda
from conv1d_cts.adapters.conditions import TRANSFORMED

if not hasattr(torch, "compiler"):
    raise ImportError(f"torch {torch.__version__} is older than 2.1, the first release that this adapter can ask")

name = native = "torch"
versions = {"torch": torch.__version__}
dtypes = (
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64", "uint8",
)  # fmt: skip
precision_switches = {"float32": "torch.backends.cudnn.allow_tf32"}


def conv1d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """F.conv1d: one padding for both sides, or a name; two sides go to torch as they are, and it refuses them."""
    alike = not isinstance(padding, str) and padding[0] == padding[1]
    return F.conv1d(x, w, b, stride, padding[0] if alike else padding, dilation, groups)


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
    """F.pad, then F.conv1d without padding."""
    mode = "constant" if padding_mode == "zeros" else padding_mode
    value = padding_value if padding_mode == "constant" else None
    return F.conv1d(F.pad(x, padding, mode, value), w, b, stride, 0, dilation, groups)


def conv2d(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """F.conv2d on operands of height 1."""
    if not isinstance(padding, str):
        padding = (0, padding[0]) if padding[0] == padding[1] else (0, *padding)
    y = F.conv2d(x.unsqueeze(-2), w.unsqueeze(-2), b, (1, stride), padding, (1, dilation), groups)
    return y.squeeze(-2)


def unbatched(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """F.conv1d on one sample (C, L) after another."""
    if x.ndim == 3 and len(x) > 1 and x.dtype in (torch.float16, torch.bfloat16):
        raise NotImplementedError("gradients of several calls would be added up in half precision")
    rows = x.unbind() if x.ndim == 3 else (x,)
    own = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return torch.stack([conv1d(row, w, b, **own) for row in rows])


class _Conv1d(torch.nn.Conv1d):  # type: ignore[misc]  # torch is not seen by the type checker
    def reset_parameters(self) -> None:
        """Draw none: the layer gets its parameters."""


def _layer(w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: str) -> torch.nn.Module:
    """nn.Conv1d for parameters like these, without any of its own."""
    if not isinstance(padding, str) and padding[0] != padding[1]:
        raise NotImplementedError("nn.Conv1d has one number for both sides")
    pads, sizes = padding if isinstance(padding, str) else padding[0], (w.shape[1] * groups, w.shape[0], w.shape[2])
    return _Conv1d(*sizes, stride, pads, dilation, groups, b is not None, padding_mode, device="meta")


def _parameters(w: Any, b: Any) -> dict[str, Any]:
    return {"weight": w} if b is None else {"weight": w, "bias": b}


def layer(
    x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: str = "zeros"
) -> Any:
    """nn.Conv1d with these parameters in place of its own."""
    module = _layer(w, b, stride, padding, dilation, groups, padding_mode)
    return torch.func.functional_call(module, _parameters(w, b), (x,))


def reloaded(
    x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: str = "zeros"
) -> Any:
    """nn.Conv1d on x, both saved and loaded again: torch.save, torch.load and load_state_dict."""
    module, file = _layer(w, b, stride, padding, dilation, groups, padding_mode), BytesIO()
    torch.save((x, _parameters(w, b)), file)
    file.seek(0)
    x, parameters = torch.load(file)
    module.load_state_dict(parameters, assign=True)
    return module(x)


surfaces = {
    "functional": conv1d,
    "padded": padded,
    "layer": layer,
    "conv2d": conv2d,
    "unbatched": unbatched,
    "reloaded": reloaded,
}
_CUDNN: dict[str, dict[str, bool]] = {  # its settings, on surfaces that CUDA devices have beside those
    "tf32-off": {"allow_tf32": False},
    "benchmark": {"benchmark": True},
    "deterministic": {"deterministic": True},
}
limits = {
    "surface != 'padded' and padding == 'explicit' and lo != hi": "torch pads both sides alike",
    "function == 'conv2d' and padding == 'explicit' and lo != hi": "F.conv2d pads both sides alike",
    "surface != 'padded' and padding in ('same_lower', 'causal', 'full')": "torch has the names valid and same",
    "surface != 'padded' and padding == 'same' and stride > 1": "torch refuses a strided 'same'",
    "surface == 'padded' and padding != 'explicit'": "F.pad takes numbers",
    "surface not in ('padded', 'layer', 'reloaded') and padding_mode != 'zeros'": "convolutions pad with zeros",
    "surface == 'unbatched' and n == 0": "samples of which there are none",
    "surface == 'unbatched' and n > 1 and dtype in ('float16', 'bfloat16')": (
        "gradients of several calls would be added up in half precision"
    ),
    "surface in ('layer', 'reloaded') and padding_mode == 'constant'": "nn.Conv1d has no such mode",
    "surface == 'reloaded' and dtype in ('int8', 'int16', 'int32', 'int64', 'uint8')": "parameters can have gradients",
    "padding_mode == 'symmetric'": "F.pad has no mode that repeats the edge",
    "surface == 'layer' and function in ('compiled', 'compiled_vjp')": "a layer is made before anything is compiled",
    "dtype in ('int8', 'int16', 'int32', 'uint8') and dilation > 1": "torch dilates integers of 64 bits only",
}
limits |= {f"surface == 'reloaded' and function in {TRANSFORMED}": "what a transform traces cannot be saved"}


def devices() -> list[str]:
    """Name the processor, and each CUDA device that torch sees."""
    return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def surfaces_on(device: str) -> dict[str, Callable[..., Any]]:
    """F.conv1d once more: on the CPU without oneDNN, on CUDA for each setting of cuDNN that matters."""
    return dict.fromkeys(_CUDNN if device.startswith("cuda") else ["mkldnn-off"], conv1d)


@contextmanager
def _without_onednn() -> Iterator[None]:
    """What torch.backends.mkldnn.flags does, without its warning of settings that are not touched here."""
    before, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def settings(surface: str, device: str) -> AbstractContextManager[Any]:
    """The settings of a surface, also while gradients are computed; those of the process come back after it."""
    within: AbstractContextManager[Any] = nullcontext()
    if surface == "mkldnn-off":
        within = _without_onednn()
    elif surface in _CUDNN:
        within = torch.backends.cudnn.flags(enabled=True, **_CUDNN[surface])
    return within


def to_native(array: np.ndarray, device: str) -> Any:
    """Keep the array's strides, where torch has such strides: not negative, and whole elements."""
    bits = array.view(np.int16) if array.dtype == ml_dtypes.bfloat16 else array
    if any(step < 0 or step % bits.itemsize for step in bits.strides):
        bits = bits.copy()
    tensor = torch.from_numpy(bits)
    tensor = tensor.view(torch.bfloat16) if bits.dtype != array.dtype else tensor
    if device == "cpu":
        return tensor
    extent = tensor.untyped_storage().nbytes() // tensor.itemsize  # `to` alone would close gaps and copy what is shared
    return tensor.as_strided((extent,), (1,)).to(device).as_strided(tensor.shape, tensor.stride())


def to_numpy(tensor: Any) -> np.ndarray:
    """Return the array of a tensor, bfloat16 as that of ml_dtypes."""
    host = tensor.detach().resolve_conj().resolve_neg().cpu()
    if host.dtype == torch.bfloat16:
        return np.asarray(host.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return np.asarray(host.numpy())


def device_of(tensor: Any) -> str:
    """The device of a tensor by the name that `devices` gives it."""
    return str(tensor.device)


def shares_memory(one: Any, other: Any) -> bool:
    """Whether two tensors are views of one allocation."""
    return bool(one.numel() and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr())


def synchronize(device: str) -> None:
    """Wait for every kernel on the device."""
    torch.cuda.synchronize(device)


def device_facts(device: str) -> dict[str, str]:
    """The GPU, its driver, and the CUDA and cuDNN that torch was built with and computes by."""
    if not device.startswith("cuda"):
        return {}
    major, minor = torch.cuda.get_device_capability(device)
    own = {"GPU": torch.cuda.get_device_name(device), "compute capability": f"{major}.{minor}"}
    cudnn = torch.backends.cudnn.version()
    return {**own, **cuda.facts(), "CUDA": torch.version.cuda, "cuDNN": cuda.cudnn_version(cudnn) if cudnn else "none"}


def vjp(f: Callable[..., Any], primals: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
    """torch.func.vjp."""
    gradients: tuple[Any, ...] = torch.func.vjp(f, *primals)[1](cotangent)
    return gradients


def accumulate(passes: Sequence[tuple[Callable[..., Any], Any]], primals: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `.backward()` leaves in `.grad`."""
    leaves = [primal.detach().requires_grad_() for primal in primals]
    for f, cotangent in passes:
        f(*leaves).backward(cotangent)
    if any(leaf.grad is None for leaf in leaves):
        raise TypeError("no gradient came to an operand")
    return tuple(leaf.grad for leaf in leaves)


def fit(x: Any, w: Any, target: Any, *, steps: int) -> Any:
    """The kernel of nn.Conv1d after so many steps of torch.optim.Adam on torch.nn.L1Loss."""
    sizes, loss = (w.shape[1], w.shape[0], w.shape[2]), torch.nn.L1Loss()
    module = torch.nn.Conv1d(*sizes, bias=False, device=w.device, dtype=w.dtype)
    module.load_state_dict({"weight": w})
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05, eps=1e-7)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(x), target).backward()
        optimizer.step()
    return module.weight


fits = {"layer": fit}


def jvp(f: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """torch.func.jvp."""
    return torch.func.jvp(f, primals, tangents)[1]


def vmap(f: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """torch.func.vmap."""
    mapped: Callable[..., Any] = torch.func.vmap(f, in_dims=in_axes)
    return mapped


# Where torch has the argument, it gives up after so many programs of one function, and not after eight.
_PATIENCE = {"recompile_limit": 64} if "recompile_limit" in signature(torch.compile).parameters else {}


def compile(f: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile of the whole graph, with a fresh start: what has been compiled often would go on in eager."""
    torch.compiler.reset()
    compiled: Callable[..., Any] = torch.compile(f, fullgraph=True, **_PATIENCE)
    return compiled


def eval_shape(f: Callable[..., Any], operands: tuple[Any, ...]) -> tuple[tuple[int, ...], str]:
    """The call on the meta device."""
    y = f(*(operand.to("meta") for operand in operands))
    return tuple(y.shape), str(y.dtype).removeprefix("torch.")
