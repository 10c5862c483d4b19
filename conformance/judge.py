"""Judging arrays: equal shapes, equal values, equal bits, or an error below its proven bound. No tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from conv1d_cts.conformance.backend import Answer, Flaw, Violation

Array = np.ndarray[Any, Any]


def _index(where: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(where)[0]) if where.ndim else ()


def same_shape(got: Array, shape: tuple[int, ...], name: str) -> None:
    """Raise Violation unless `got` has the shape."""
    if got.shape != shape:
        flaw = Flaw("shape", got, shape)
        raise Violation(f"{name} has shape {got.shape}, not {shape}", shape, got.shape, flaw)


def same_dtype(got: Array, dtype: str, name: str) -> None:
    """Raise Violation unless `got` has the dtype."""
    if got.dtype.name != dtype:
        raise Violation(f"{name} is {got.dtype.name}, not {dtype}", dtype, got.dtype.name, Flaw("dtype", got, dtype))


def _same_kind(got: Array, want: Array, name: str) -> None:
    """Raise Violation unless `got` has the shape of `want`, and is complex only where that is."""
    same_shape(got, want.shape, name)
    if got.dtype.kind == "c" and want.dtype.kind != "c":
        raise Violation(f"{name} is {got.dtype.name}, where real numbers are due", "real numbers", got.dtype.name)


def unmodified(modified: tuple[str, ...], program: str) -> None:
    """Raise Violation where the call has modified operands, by their names."""
    if modified:
        message = f"{program} modified {', '.join(modified)}"
        raise Violation(message, "operands unchanged", modified, Flaw("changed", want=modified))


def own_memory(answer: Answer, program: str) -> None:
    """Raise Violation where a result shares memory with an operand, as far as that can be seen."""
    if answer.aliases:
        message = f"a result of {program} shares memory with {', '.join(answer.aliases)}"
        raise Violation(message, "memory of its own", answer.aliases, Flaw("shared", want=answer.aliases))


def _differing(got: Array, want: Array) -> Array:
    """Where two arrays of one shape differ in value; NaN equals NaN, -0 equals 0."""
    with np.errstate(invalid="ignore"):
        differs: Array = ~((got == want) | ((got != got) & (want != want)))
    return differs


def equal(got: Array, want: Array, name: str, among: Array | None = None) -> None:
    """Raise Violation unless `got` has the shape and exactly the values of `want`, whatever the dtypes.

    `want` is what is right by the definition; only the elements for which `among` is true are judged.
    """
    _same_kind(got, want, name)
    wide = got.astype(np.result_type(want.dtype, np.float64) if got.dtype.kind not in "iu" else np.int64)
    differs = _differing(wide, want) & (True if among is None else among)
    if differs.any():
        at = _index(differs)
        raise Violation(
            f"{name}{list(at)} is {got[at]}, not {want[at]}; {int(differs.sum())} of {want.size} elements differ",
            _short(want), _short(got), Flaw("value", got, want[at].item(), at),
        )  # fmt: skip


def agree(one: Array, other: Array, name: str) -> None:
    """Raise Violation unless two answers of a backend have equal values; which of them is wrong is not known."""
    try:
        equal(one, other.astype(np.float64), name)
    except Violation as violation:
        violation.flaw = None
        raise


def same_bits(got: Array, want: Array, what: str) -> None:
    """Raise Violation unless both arrays have one shape, one dtype and the same bytes."""
    same_shape(got, want.shape, what)
    if got.dtype != want.dtype:
        raise Violation(f"{what}: dtype {got.dtype}, not {want.dtype}", want.dtype, got.dtype)
    if got.tobytes() != want.tobytes():
        bits = np.dtype(f"u{got.dtype.itemsize}") if got.dtype.itemsize <= 8 else np.dtype("u8")
        differs = np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(want).view(bits)
        count, first = int(differs.sum()), int(differs.argmax()) * got.size // differs.size
        at = np.unravel_index(first, got.shape)
        flaw = Flaw("bits", got, want, tuple(int(index) for index in at))
        raise Violation(f"{what}: the bits of {count} of {got.size} elements differ", _short(want), _short(got), flaw)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How near a result came to its bounds.

    `of_bound` is the largest error as a share of its bound, in [0, 1], `ulps` that error in units in the last place of
    the exact value, `at` its element. `power` is the smallest error, as a share of the exact value, that could not have
    gone unseen: in the element where that is smallest; infinite where there is none. `judged` counts the elements that
    had a bound.
    """

    of_bound: float
    ulps: float
    at: str
    power: float
    judged: int


# Of an example by which this backend, here, cannot show anything: void, and no part of the measurements.
UNSEEN = Accuracy(0.0, 0.0, "", np.inf, 0)


def worst(found: Sequence[Accuracy]) -> Accuracy:
    """Of several results the accuracy of the worst, and the power of all."""
    power, judged = min(a.power for a in found), sum(a.judged for a in found)
    return replace(max(found, key=lambda a: a.of_bound), power=power, judged=judged)


def within(got: Array, judged: tuple[Array, Array], name: str) -> Accuracy:
    """How near `got` came to the bounds; `judged` is what is right and the bound of each element. Raises Violation.

    Elements whose bound is infinite prove nothing and are left out. A complex error is that of its worse part.
    """
    want, bound = judged
    _same_kind(got, want, name)
    with np.errstate(all="ignore"):
        wide, known = got.astype(want.dtype), np.isfinite(bound)
        error = _size(wide - want)
        above = known & ~(error <= bound)
        if above.any():
            at = _index(above)
            raise Violation(
                f"{name}{list(at)} is {wide[at]!s}, off by {error[at]:.3g} from {want[at]!s}; "
                f"its bound is {bound[at]:.3g}", f"{want[at]!s} within {bound[at]:.3g}", wide[at],
                Flaw("value", got, want[at].item(), at, float(bound[at])),
            )  # fmt: skip
        shares = np.where(known, np.where(bound > 0, error / bound, 0.0), -1.0)
        seen = np.where(known & (want != 0), (bound + error) / np.abs(want), np.inf)
    if not known.any():
        return Accuracy(0.0, 0.0, name, np.inf, 0)
    at = _index(shares == shares.max())
    ulps = float(error[at]) / _ulp(float(_size(want[at])), got.dtype)
    return Accuracy(float(shares[at]), ulps, f"{name}{list(at)}", float(seen.min()), int(known.sum()))


def _size(a: Array) -> Array:
    """Absolute values; of complex numbers the larger of those of the parts."""
    return np.maximum(np.abs(a.real), np.abs(a.imag)) if a.dtype.kind == "c" else np.abs(a)


def _ulp(value: float, dtype: np.dtype[Any]) -> float:
    """The distance between neighbours in the dtype around a value."""
    info = ml_dtypes.finfo(np.float64 if dtype.kind in "iub" else dtype)  # a wrong dtype is another clause's finding
    exponent = int(np.frexp(value)[1]) - 1 if value else info.minexp
    return float(2.0 ** (max(exponent, info.minexp) - info.nmant))


def _short(array: Array, limit: int = 24) -> str:
    """The values on one line; a large array shows its first ones."""
    flat = array.ravel()
    shown = np.array2string(flat[:limit], separator=", ", max_line_width=10**6, threshold=limit + 1)
    return shown + (f" ... of shape {array.shape}" if array.size > limit else f" of shape {array.shape}")
