"""What the adapter uses of CuPy's documented interface, on NumPy: arrays that know which of two GPUs they are on."""

from __future__ import annotations

from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
from numpy import complex64, complex128, float32, float64, int8, int16, int32, int64, uint8  # noqa: F401 - its dtypes

__version__ = "99.0"
_current = [0]


class Device:
    """cupy.cuda.Device: a context manager."""

    def __init__(self, number: int) -> None:
        self.id = number

    def __enter__(self) -> Device:
        _current.append(self.id)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        _current.pop()

    def synchronize(self) -> None:
        """Nothing is late."""


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """An array on the device that was current when it was made."""

    def __array_finalize__(self, other: Any) -> None:
        self._device = Device(_current[-1])

    @property
    def device(self) -> Device:
        """Where its memory is."""
        return self._device


def asarray(array: np.ndarray[Any, Any]) -> ndarray:
    """A copy on the current device."""
    return np.array(array).view(ndarray)


def asnumpy(array: ndarray) -> np.ndarray[Any, Any]:
    """A copy on the host."""
    return np.array(array)


may_share_memory = np.may_share_memory
_properties = {"name": b"Fake GPU", "major": 9, "minor": 0}
runtime = SimpleNamespace(
    getDeviceCount=lambda: 2, getDeviceProperties=lambda number: _properties, runtimeGetVersion=lambda: 12040
)
cuda = SimpleNamespace(Device=Device, runtime=runtime)
