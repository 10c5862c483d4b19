"""The reference itself as a backend: the suite's check of itself, which must come out clean."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conv1d_cts.reference import autodiff
from conv1d_cts.reference.validation import check_dtypes

name = "numpy"
native = "numpy"
versions = {"numpy": np.__version__}
halves = ("float16", "bfloat16")  # no BLAS has them: computed in float32 and rounded once
integers = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
dtypes = (*halves, "float32", "float64", "complex64", "complex128", *integers)
limits: dict[str, str] = {}
vmap = autodiff.vmap


def conv1d(x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
    """Compute autodiff.conv1d, which is the reference but for that it can be differentiated."""
    with np.errstate(all="ignore"):  # non-finite values are operands like others here, nothing to warn of
        if str(x.dtype) not in halves:
            return autodiff.conv1d(x, w, b, **parameters)
        check_dtypes(x, w=w, b=b)
        wide = (None if a is None else autodiff.astype(a, np.float32) for a in (x, w, b))
        return autodiff.astype(autodiff.conv1d(*wide, **parameters), x.dtype)


def vjp(f: Callable[..., Any], primals: Sequence[Any], cotangent: Any) -> tuple[Any, ...]:
    """Pull the cotangent back through f."""
    with np.errstate(all="ignore"):
        return autodiff.vjp(f, primals, cotangent)


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Push the tangents forward through f."""
    with np.errstate(all="ignore"):
        return autodiff.jvp(f, primals, tangents)
