"""A library of somebody else's: no stride, no padding, no groups, no bias."""

import numpy as np

__version__ = "0.7.0"


def correlate(signal, kernels):
    """Signal (C, L) and kernels (O, C, K) give (O, L - K + 1)."""
    if signal.shape[0] != kernels.shape[1] or signal.shape[1] < kernels.shape[2]:
        raise ValueError("signal and kernels do not fit")
    return np.stack([sum(map(np.correlate, signal, kernel)) for kernel in kernels])
