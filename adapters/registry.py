"""Where adapters are found: entry points of installed distributions, or a file given by its path."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

GROUP = "conv1d_cts.adapters"

# How a user gets what one of our own adapters imports.
PIP_COMMANDS = {
    "torch": "pip install torch",
    "tensorflow": "pip install tensorflow-cpu",
    "jax": "pip install jax",
    "array_api_strict": "pip install array-api-strict",
    "onnx": "pip install onnx",
    "onnxruntime": "pip install onnxruntime onnx",
    "openvino": "pip install openvino",
    "mlx": 'pip install "mlx[cpu]"',
    "cupy": "pip install cupy-cuda12x",
    "paddle": "pip install paddlepaddle",
    "scipy": "pip install scipy",
    "tinygrad": "pip install tinygrad",
    "keras": "pip install keras",
    "flax": "pip install flax",
    "numpy": "pip install numpy",
    "ml_dtypes": "pip install ml_dtypes",
}


class UnknownBackendError(LookupError):
    """No adapter has this name; the message gives the nearest names."""


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter not loaded yet: a module by its import name, or a file by its path; the other of the two is empty."""

    name: str
    module: str = ""
    path: str = ""


def known() -> dict[str, AdapterSource]:
    """Every installed adapter by name; none of them is imported."""
    return {entry.name: AdapterSource(entry.name, module=entry.value) for entry in entry_points(group=GROUP)}


def find(name_or_path: str) -> AdapterSource:
    """The adapter of that name, or in that file; `array-api:MODULE` is what array-api makes of the word after it.

    Raises UnknownBackendError, FileNotFoundError.
    """
    if name_or_path.endswith(".py"):
        path = Path(name_or_path).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"no adapter file {name_or_path}")
        return AdapterSource(path.stem, path=str(path))
    adapters = known()
    name, colon, argument = name_or_path.partition(":")
    if name not in adapters:
        near = get_close_matches(name, adapters, n=3, cutoff=0.3)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(sorted(adapters))}"
        raise UnknownBackendError(f"unknown backend {name_or_path!r}; {hint}; or give the path of an adapter file")
    return AdapterSource(name_or_path, module=f"{adapters[name].module}{colon}{argument}")


def skeleton(backend: str) -> tuple[str, str]:
    """The name of a new adapter's file and its text, with a comment on every part. Raises ValueError for no name."""
    module = re.sub(r"[-.]", "_", backend)
    if not (module.isascii() and module.isidentifier()):
        raise ValueError(f"{backend!r} is no name: letters, digits, -, _ and ., and a letter first")
    text = resources.files("conv1d_cts.adapters").joinpath("skeleton.txt").read_text(encoding="utf-8")
    return f"{module}_adapter.py", text.replace("MODULE", module).replace("NAME", backend)


def load(module: str, path: str) -> Any:
    """Import an adapter; called only inside the backend's own process.

    Returns the module, or the object called `adapter` in it where there is one; of `module:argument`, what `adapter`
    gives for the argument. Whatever the import raises, comes out.
    """
    name, _, argument = module.partition(":")
    loaded = _load_file(path) if path else importlib.import_module(name)
    adapter: Any = getattr(loaded, "adapter", loaded)
    if callable(adapter) != bool(argument):
        raise ValueError(
            f"{name} {'takes no' if argument else 'needs a'} word behind a colon, as array-api:jax.numpy has"
        )
    return adapter(argument) if argument else adapter


def _load_file(path: str) -> ModuleType:
    name = f"conv1d_cts_adapter_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
