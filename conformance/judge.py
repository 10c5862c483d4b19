"""Judging arrays: equal shapes, equal values, equal bits, or an error below its proven bound. No tolerances."""

from __future__ import annotations

from typing import Any

import numpy as np

from conv1d_cts.conformance.backend import Violation

Array = np.ndarray[Any, Any]


def _index(where: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(where)[0]) if where.ndim else ()


def same_shape(got: Array, shape: tuple[int, ...], name: str) -> None:
    """Raise Violation unless `got` has the shape."""
    if got.shape != shape:
        raise Violation(f"{name} has shape {got.shape}, not {shape}", shape, got.shape)


def _differing(got: Array, want: Array) -> Array:
    """Where two arrays of one shape differ in value; NaN equals NaN, -0 equals 0."""
    with np.errstate(invalid="ignore"):
        differs: Array = ~((got == want) | ((got != got) & (want != want)))
    return differs


def equal(got: Array, want: Array, name: str) -> None:
    """Raise Violation unless `got` has the shape and exactly the values of `want`, whatever the dtypes."""
    same_shape(got, want.shape, name)
    wide = got.astype(np.result_type(want.dtype, np.float64) if got.dtype.kind not in "iu" else np.int64)
    differs = _differing(wide, want)
    if differs.any():
        at = _index(differs)
        raise Violation(
            f"{name}{list(at)} is {got[at]}, not {want[at]}; {int(differs.sum())} of {want.size} elements differ",
            _short(want), _short(got),
        )  # fmt: skip


def same_bits(got: Array, want: Array, what: str) -> None:
    """Raise Violation unless both arrays have one shape, one dtype and the same bytes."""
    same_shape(got, want.shape, what)
    if got.dtype != want.dtype:
        raise Violation(f"{what}: dtype {got.dtype}, not {want.dtype}", want.dtype, got.dtype)
    if got.tobytes() != want.tobytes():
        bits = np.dtype(f"u{got.dtype.itemsize}") if got.dtype.itemsize <= 8 else np.dtype("u8")
        differs = np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(want).view(bits)
        count = int(differs.sum())
        raise Violation(f"{what}: the bits of {count} of {got.size} elements differ", _short(want), _short(got))


def within(got: Array, want: Array, bound: Array, name: str) -> float:
    """The largest |got - want| as a share of its bound, in [0, 1]. Raises Violation above 1.

    Elements whose bound is infinite prove nothing and are left out.
    """
    same_shape(got, want.shape, name)
    wide = got.astype(want.dtype)
    judged = np.isfinite(bound)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(wide - want)
        above = judged & ~(error <= bound)
    if above.any():
        at = _index(above)
        raise Violation(
            f"{name}{list(at)} is {wide[at]!s}, off by {error[at]:.3g} from {want[at]!s}; its bound is {bound[at]:.3g}",
            f"{want[at]!s} within {bound[at]:.3g}", wide[at],
        )  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(judged & (bound > 0), error / bound, 0.0)
    return float(shares.max(initial=0.0))


def _short(array: Array, limit: int = 24) -> str:
    """The values on one line; a large array shows its first ones."""
    flat = array.ravel()
    shown = np.array2string(flat[:limit], separator=", ", max_line_width=10**6, threshold=limit + 1)
    return shown + (f" ... of shape {array.shape}" if array.size > limit else f" of shape {array.shape}")
