"""NumPy's and SciPy's correlate and convolve: one channel in, without bias; each signal under each kernel by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from scipy import signal

name = "scipy"
native = "numpy"  # which both take and return
versions = {"scipy": scipy.__version__, "numpy": np.__version__}
dtypes = ("float16", "float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64", "uint8")


def _each(correlate: Callable[..., Any]) -> Callable[..., Any]:
    """The surface that hands every row of x with every row of w to `correlate`, and its word for the padding."""

    def run(x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        if (stride, dilation, groups, b) != (1, 1, 1, None) or x.shape[1:2] != (1,) or w.shape[1:2] != (1,):
            raise NotImplementedError("one channel, and no stride, dilation, groups or bias")
        mode = "valid" if padding == (0, 0) else padding
        return np.stack([np.stack([correlate(row, taps, mode) for taps in w[:, 0]]) for row in x[:, 0]])

    return run


conv1d = _each(np.correlate)
surfaces = {
    "functional": conv1d,
    "convolve": _each(lambda row, taps, mode: np.convolve(row, taps[::-1], mode)),
    "scipy-correlate": _each(lambda row, taps, mode: signal.correlate(row, taps, mode, method="direct")),
    "scipy-convolve": _each(lambda row, taps, mode: signal.convolve(row, taps[::-1], mode, method="direct")),
}
limits = {
    "c_in != 1 or groups != 1": "one channel",
    "bias": "no bias",
    "stride != 1": "no stride",
    "dilation != 1": "no dilation",
    "padding == 'explicit' and lo + hi > 0": "padding by name",
    "padding in ('same', 'same_lower', 'causal')": "the names valid and full; what they call same is not the spec's",
    "padding_mode != 'zeros'": "padding is zeros",
}
