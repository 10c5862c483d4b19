"""What computes on an NVIDIA GPU: the driver, and the libraries of CUDA that this process has loaded, asked themselves.

One answer for every framework, of what is in use: a framework's own package may have been built for other versions.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_DRIVER = Path("/proc/driver/nvidia/version")
_MAPS = Path("/proc/self/maps")


def facts() -> dict[str, str]:
    """Versions of the driver, CUDA and cuDNN; each is left out where this process has nothing that tells it."""
    told = {"driver": driver(_read(_DRIVER))}
    paths = loaded(_read(_MAPS))
    for name, (library, ask) in _LIBRARIES.items():
        if library in paths:
            told[name] = ask(ctypes.CDLL(paths[library]))
    return {name: version for name, version in told.items() if version}


def driver(text: str) -> str:
    """The driver's version in what its kernel module says of itself; empty where it says none."""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)*)\s", text)
    return found.group(1) if found else ""


def loaded(maps: str) -> dict[str, str]:
    """The path of each shared library in the process's map of memory, by its name before `.so`."""
    paths = (line.split(maxsplit=5)[5] for line in maps.splitlines() if ".so" in line and len(line.split()) > 5)
    return {Path(path).name.partition(".so")[0]: path for path in paths}


def cuda_version(number: int) -> str:
    """12.4 of 12040, as CUDA counts."""
    return f"{number // 1000}.{number % 1000 // 10}"


def cudnn_version(number: int) -> str:
    """9.1.0 of 90100, and 8.9.7 of 8907, as cuDNN counted before its version 9."""
    major = 10_000 if number >= 90_000 else 1000
    return f"{number // major}.{number % major // 100}.{number % 100}"


def _cuda(function: str) -> Callable[[ctypes.CDLL], str]:
    def ask(library: ctypes.CDLL) -> str:
        number = ctypes.c_int(0)
        getattr(library, function)(ctypes.byref(number))
        return cuda_version(number.value) if number.value else ""

    return ask


def _cudnn(library: ctypes.CDLL) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return cudnn_version(library.cudnnGetVersion())


_LIBRARIES: dict[str, tuple[str, Callable[[ctypes.CDLL], str]]] = {
    "CUDA of the driver": ("libcuda", _cuda("cuDriverGetVersion")),
    "CUDA": ("libcudart", _cuda("cudaRuntimeGetVersion")),
    "cuDNN": ("libcudnn", _cudnn),
}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
