"""Kernels carried between frameworks: the same function, its axes in the order that the other one keeps.

Kernels are (output channels O, input channels of a group I, taps K) in some order; biases are (O,) everywhere, and
every framework here computes the cross-correlation, so that no kernel is reversed.
"""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
from numpy.typing import ArrayLike

# As the framework's layer or function keeps them: JAX's is lax's default for NCW operands, Flax's that of nnx.Conv.
KERNEL_AXES = {
    "canonical": "OIK",
    "torch": "OIK",
    "jax": "OIK",
    "paddle": "OIK",
    "onnx": "OIK",
    "onnxruntime": "OIK",
    "keras": "KIO",
    "tensorflow": "KIO",
    "tfjs": "KIO",
    "flax": "KIO",
    "mlx": "OKI",
}


def carry(kernel: ArrayLike, source: str, target: str) -> np.ndarray:
    """Return the kernel of a layer of `source` as one of `target`, in memory of its own and in its dtype.

    Raises LookupError for a framework that is not in `KERNEL_AXES`, ValueError for a kernel that has not three axes.
    """
    array = np.asarray(kernel)
    if array.ndim != 3:
        raise ValueError(f"a kernel of 1-D convolution has three axes, not the shape {array.shape}")
    have, want = _axes(source), _axes(target)
    return np.array(array.transpose([have.index(axis) for axis in want]), order="C")


def _axes(framework: str) -> str:
    if framework not in KERNEL_AXES:
        near = get_close_matches(framework, KERNEL_AXES, n=3, cutoff=0.3) or sorted(KERNEL_AXES)
        raise LookupError(f"no layout of {framework!r} is known; nearest: {', '.join(near)}")
    return KERNEL_AXES[framework]
