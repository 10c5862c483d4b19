"""Adapter files with devices that are none: a correct numpy backend whose arrays say where they are, and one fault."""

from __future__ import annotations

from pathlib import Path

FAKE = """\
import numpy as np
from conv1d_cts.adapters import numpy_adapter as correct

name = "fake"
versions = {"numpy": np.__version__}
limits = {}
dtypes = ("float32", "float64")
calls, lost, late = 0, "", ""


class Array(np.ndarray):
    place = "cpu"

    def __array_finalize__(self, other):
        self.place = getattr(other, "place", "cpu")


Array.__module__ = "numpy"


class OutOfMemoryError(RuntimeError):
    pass


def alive():
    if lost:
        raise RuntimeError(f"CUDA error: {lost}")


def settled():
    global late
    alive()
    if late:
        message, late = late, ""
        raise RuntimeError(f"CUDA error: {message}")


def lose(message):
    global lost
    lost = message
    alive()


def fail_later(message):
    global late
    late = message


def devices():
    return ["cpu", "cuda:0", "cuda:1"]


def device_facts(device):
    return {"GPU": f"Fake {device[-1]}", "driver": "1.2.3"} if device != "cpu" else {}


def placed(array, place):
    native = np.array(array).view(Array)
    native.place = place
    return native


def to_native(array, device):
    alive()
    return placed(array, device)


def to_numpy(native):
    return np.array(native)


def device_of(native):
    return native.place


def shares_memory(one, other):
    return np.may_share_memory(one, other)


def synchronize(device):
    settled()


def conv1d(x, w, b, **parameters):
    global calls
    calls += 1
    length, at = x.shape[-1], x.place
    settled()
    FAULT
    plain = [None if a is None else np.asarray(a) for a in (x, w, b)]
    return placed(correct.conv1d(*plain, **parameters), at)

"""


def fake_device(folder: Path, fault: str = "pass", name: str = "fake", more: str = "") -> Path:
    """An adapter file that runs the statement `fault` in each call; x, w, b, parameters, length, at are in its reach.

    `more` is added to the end of the file.
    """
    path = folder / f"{name}.py"
    path.write_text(FAKE.replace("FAULT", fault) + more, encoding="utf-8")
    return path
