"""CuPy: the reference on its arrays, on any of its GPUs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import cupy
import numpy as np

from conv1d_cts.adapters import cuda, devices
from conv1d_cts.adapters.array_api import ArrayApi


class Cupy(ArrayApi):
    """The adapter of any Array API namespace, and what CuPy alone has: devices of its own, and calls on one of them."""

    precision_switches: dict[str, str] = {"float32": "CUPY_TF32"}  # noqa: RUF012 - a constant, as in modules

    def devices(self) -> list[str]:
        """CuPy has no CPU."""
        return [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]

    def around(self, surface: str, device: str) -> AbstractContextManager[Any]:
        """The device that arrays are made on and kernels run on."""
        current: AbstractContextManager[Any] = _device(device)
        return current

    def to_native(self, array: np.ndarray, device: str) -> Any:
        """A copy on the device; CuPy keeps the order of its axes, and no gaps between elements."""
        with _device(device):
            return cupy.asarray(array)

    def to_numpy(self, native: Any) -> np.ndarray:
        """The way back, as soon as everything before it is done."""
        return np.asarray(cupy.asnumpy(native))

    def device_of(self, native: Any) -> str:
        """The device that holds the memory."""
        return f"cuda:{native.device.id}"

    def shares_memory(self, one: Any, other: Any) -> bool:
        """Whether two arrays may overlap."""
        return bool(cupy.may_share_memory(one, other))

    def synchronize(self, device: str) -> None:
        """Wait for every stream of the device."""
        _device(device).synchronize()

    def device_facts(self, device: str) -> dict[str, str]:
        """The GPU, its driver and CUDA."""
        own = cupy.cuda.runtime.getDeviceProperties(int(devices.number(device)))
        version = cuda.cuda_version(cupy.cuda.runtime.runtimeGetVersion())
        return {
            "GPU": own["name"].decode(), "compute capability": f"{own['major']}.{own['minor']}",
            **cuda.facts(), "CUDA": version,
        }  # fmt: skip


def _device(name: str) -> Any:
    return cupy.cuda.Device(int(devices.number(name)))


adapter = Cupy("cupy")
