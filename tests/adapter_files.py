"""Adapter files for the tests: a correct numpy backend, and the same with something happening inside a call."""

from __future__ import annotations

from pathlib import Path

CORRECT = """\
import numpy as np
from conv1d_cts.adapters import numpy_adapter as correct

name = "{name}"
versions = {{"numpy": np.__version__}}
limits = {{}}
dtypes = correct.dtypes
vjp, jvp, vmap = correct.vjp, correct.jvp, correct.vmap
calls = 0


def conv1d(x, w, b, **parameters):
    global calls
    calls += 1
    length = x.shape[-1] if x.shape else 0
    {fault}
    return correct.conv1d(x, w, b, **parameters)
"""


def adapter_file(folder: Path, fault: str = "pass", name: str = "scratch") -> Path:
    """An adapter file that runs the statement `fault` in each call; x, w, b, parameters, length, calls are in reach."""
    path = folder / f"{name}.py"
    path.write_text(CORRECT.format(name=name, fault=fault), encoding="utf-8")
    return path
