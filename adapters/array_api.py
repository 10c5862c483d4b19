"""The reference on any Array API namespace: `conv1d-cts certify array-api:MODULE`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from conv1d_cts.reference import autodiff

_DTYPES = ("float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64", "uint8")


class ArrayApi:
    """An adapter: what is certified is the reference as the arrays of the module named compute it."""

    conv1d = staticmethod(autodiff.conv1d)
    vjp = staticmethod(autodiff.vjp)
    jvp = staticmethod(autodiff.jvp)
    vmap = staticmethod(autodiff.vmap)

    def __init__(self, module: str) -> None:
        self._namespace = importlib.import_module(module)
        self.name = f"array-api-{module.removeprefix('array_api_')}"
        self.versions = {module: self._namespace.__version__, "numpy": np.__version__}
        self.dtypes = tuple(name for name in _DTYPES if hasattr(self._namespace, name))
        self.limits: dict[str, str] = {}

    def to_native(self, array: np.ndarray, device: str) -> Any:
        """The array in the namespace, on its own default device."""
        return self._namespace.asarray(array)

    def to_numpy(self, native: Any) -> np.ndarray:
        """The way back, by DLPack, which refuses what the CPU does not see, and takes no steps by parts of elements."""
        return np.from_dlpack(self._namespace.asarray(native, copy=True))


adapter = ArrayApi
