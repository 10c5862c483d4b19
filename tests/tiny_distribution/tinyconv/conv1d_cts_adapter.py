"""The adapter that tinyconv ships: it imports nothing of conv1d-cts."""

import numpy as np

import tinyconv

name = "tinyconv"
versions = {"tinyconv": tinyconv.__version__}
native = "numpy"
dtypes = ("float32", "float64")
limits = {
    "bias": "tinyconv adds none",
    "stride > 1 or dilation > 1 or groups > 1": "tinyconv has no such arguments",
    "padding != 'explicit' or lo + hi > 0 or padding_mode != 'zeros'": "tinyconv does not pad",
}


def conv1d(x, w, b, *, stride, padding, dilation, groups):
    """tinyconv.correlate for each item of the batch."""
    if (stride, padding, dilation, groups, b) != (1, (0, 0), 1, 1, None):
        raise NotImplementedError("tinyconv has no arguments at all")
    return np.stack([tinyconv.correlate(signal, w) for signal in x])
