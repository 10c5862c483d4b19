"""What is right, in arrays: conv1d, its derivatives and its error bounds in Array-API calls only."""

from conv1d_cts.reference.bounds import Units, conv1d_bound, conv1d_vjp_bound, error_bounds
from conv1d_cts.reference.convolution import conv1d
from conv1d_cts.reference.gradients import conv1d_jvp, conv1d_vjp

__all__ = ["Units", "conv1d", "conv1d_bound", "conv1d_jvp", "conv1d_vjp", "conv1d_vjp_bound", "error_bounds"]
