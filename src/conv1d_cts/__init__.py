"""conv1d-cts: a specification and conformance test suite for the 1-D convolution of neural networks."""

__version__ = "0.1.0"
