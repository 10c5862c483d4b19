"""A backend in another process and another language: frames over its standard input and output (annex Protocol).

An adapter is one line: `adapter = Remote(["node", "my_backend.js"])`. Whatever the other process does to itself, this
one does too: it dies by the same signal, or ends with the same status, so that the suite sees what the backend did.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

PROTOCOL = 1
_BROKEN_PROTOCOL = 76  # the exit status for it in sysexits.h
_LENGTH_BYTES = 4
_LONGEST_HEADER = 1 << 20  # bytes; what is longer is text that was printed, and no length


class Refusal(Exception):  # noqa: N818 - the verdict's own word
    """The backend declined a call with an error of its own."""


@dataclass(eq=False)
class Array:
    """An array as it crosses the boundary: row-major bytes, little-endian. Operands hold what came back of them.

    A result says which device computed it, where the process does.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    device: str = ""


@dataclass(frozen=True, eq=False)
class _Pending:
    """A call of a surface that a transform is about to change: the operands and the arguments, and nothing computed."""

    surface: str
    operands: Mapping[str, Array | None]
    arguments: Mapping[str, Any]


def _plain(value: Any) -> Any:
    """The value in JSON, which has no NaN and no infinities, and one kind of numbers."""
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


class Remote:
    """An adapter whose backend is the process of a command. Raises ImportError, ValueError where it cannot serve."""

    composes = False  # a derivative of a derivative has no message, nor has a map of a map
    threads = False  # one frame is answered after another
    limits: dict[str, str]
    dtypes: tuple[str, ...]
    vjp: Callable[..., Any]
    jvp: Callable[..., Any]
    vmap: Callable[..., Any]

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._pending = False
        self._device = "cpu"
        own, _ = self._ask({"type": "hello", "protocol": PROTOCOL}, {})
        if own.get("type") == "refused":
            raise ImportError(own["message"])
        if own.get("type") != "hello" or own.get("protocol") != PROTOCOL:
            raise ValueError(f"{command[-1]} speaks protocol {own.get('protocol')!r}, not {PROTOCOL}: {own}")
        self.name, self.versions, self.native = own["name"], own["versions"], own["native"]
        self._devices, self._facts = own["devices"], own.get("device_facts", {})
        self.surfaces = {name: self._surface(name) for name in own["surfaces"]}
        self.conv1d = next(iter(self.surfaces.values()))
        self._type = type("Array", (Array,), {"__module__": self.native})
        for optional in ("limits", "dtypes"):
            if optional in own:
                setattr(self, optional, own[optional])
        for transform in own["transforms"]:
            setattr(self, transform, {"vjp": self._vjp, "jvp": self._jvp, "vmap": self._vmap}[transform])

    def devices(self) -> list[str]:
        """The devices that the process names."""
        return list(self._devices)

    def device_facts(self, device: str) -> dict[str, str]:
        """What the process says of a device."""
        return dict(self._facts.get(device, {}))

    def to_native(self, array: np.ndarray[Any, Any], device: str) -> Array:
        """The bytes of an array; the backend makes its own of them when it is called."""
        self._device = device
        return Array(array.dtype.name, array.shape, array.tobytes())

    def to_numpy(self, native: Array) -> np.ndarray[Any, Any]:
        """The array of the bytes."""
        dtype = np.dtype(getattr(ml_dtypes, native.dtype, native.dtype))
        return np.frombuffer(bytearray(native.data), dtype).reshape(native.shape)

    def _surface(self, name: str) -> Callable[..., Any]:
        def call(x: Any, w: Any, b: Any, **arguments: Any) -> Any:
            pending = _Pending(name, {"x": x, "w": w, "b": b}, arguments)
            return pending if self._pending else self._call("conv1d", pending)[0]

        return call

    def _traced(self, f: Callable[..., Any], primals: Sequence[Any]) -> tuple[_Pending, str]:
        """The call that f makes on the primals, and the letters of the operands that they are."""
        if self._pending:
            raise NotImplementedError("the protocol has no transforms of transforms")
        self._pending = True
        try:
            pending: _Pending = f(*primals)
        finally:
            self._pending = False
        if pending.operands["x"] is pending.operands["w"]:
            raise NotImplementedError("the protocol differentiates by operands, and one array is two of them")
        places = {id(operand): name for name, operand in pending.operands.items()}
        return pending, "".join(places[id(primal)] for primal in primals)

    def _vjp(self, f: Callable[..., Any], primals: Sequence[Array], cotangent: Array) -> tuple[Any, ...]:
        pending, wrt = self._traced(f, primals)
        return tuple(self._call("vjp", pending, wrt, {"cotangent": cotangent}))

    def _jvp(self, f: Callable[..., Any], primals: Sequence[Array], tangents: Sequence[Array]) -> Any:
        pending, wrt = self._traced(f, primals)
        directions = {f"{name}_tangent": tangent for name, tangent in zip(wrt, tangents, strict=True)}
        return self._call("jvp", pending, wrt, directions)[0]

    def _vmap(self, f: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
        def mapped(*operands: Any) -> Any:
            axes = (in_axes,) * len(operands) if isinstance(in_axes, int) else in_axes
            pending, wrt = self._traced(f, operands)
            over = {name: axis for name, axis in zip(wrt, axes, strict=True) if axis is not None}
            return self._call("vmap", pending, "".join(over), axes=list(over.values()))[0]

        return mapped

    def _call(
        self, program: str, pending: _Pending, wrt: str = "", more: Mapping[str, Array] | None = None, **fields: Any
    ) -> list[Array]:
        """The results of a program, in the order of its page; operands get what the backend left of them."""
        given = {**pending.operands, **(more or {})}
        arrays = {name: array for name, array in given.items() if array is not None}
        answer, back = self._ask(
            {
                "type": "call",
                "program": program,
                "surface": pending.surface,
                "device": self._device,
                "wrt": wrt,
                "arguments": {name: _plain(value) for name, value in pending.arguments.items()},
                **fields,
            },
            arrays,
        )
        if answer["type"] == "refused":
            raise Refusal(f"{answer['error']}: {answer['message']}")
        for name, array in arrays.items():
            array.data = back[name].data
        results, device = (back[name] for name in answer["results"]), answer.get("device", "")
        return [self._type(result.dtype, result.shape, result.data, device) for result in results]

    def _ask(self, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Send one frame and read one."""
        entries = [
            {"name": name, "dtype": a.dtype, "shape": list(a.shape), "bytes": len(a.data)} for name, a in arrays.items()
        ]
        encoded = json.dumps({**header, "arrays": entries}, allow_nan=False).encode()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
            self._process.stdin.writelines(array.data for array in arrays.values())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._end_likewise()
        return self._frame()

    def _frame(self) -> tuple[dict[str, Any], dict[str, Array]]:
        length = self._read(_LENGTH_BYTES)
        try:
            if int.from_bytes(length, "little") > _LONGEST_HEADER:
                raise ValueError(f"it starts with {length!r}")
            header = json.loads(self._read(int.from_bytes(length, "little")))
            entries = header["arrays"]
            arrays = {e["name"]: Array(e["dtype"], tuple(e["shape"]), self._read(e["bytes"])) for e in entries}
        except (ValueError, KeyError, TypeError) as error:  # not an answer, and so not a refusal either
            print(f"no frame of the protocol: {type(error).__name__}: {error}", file=sys.stderr)
            os._exit(_BROKEN_PROTOCOL)
        return header, arrays

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) < count:
            self._end_likewise()
        return data

    def _end_likewise(self) -> NoReturn:
        """End this process as the other one ended: by its signal, or with its status."""
        status = self._process.wait()
        if status < 0:
            os.kill(os.getpid(), -status)
        os._exit(status)
