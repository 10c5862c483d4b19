"""The probes of integer dtypes: exact modulo 2^k, saturating, or through floating point of so many bits (OP-11)."""

from __future__ import annotations

import numpy as np

from conv1d_cts.conformance.arithmetic.facts import Fact, Facts
from conv1d_cts.conformance.arithmetic.sums import Array, Request, Sums

_BITS = (8, 11, 24, 53)


def _values(dtype: str) -> list[int]:
    """Odd integers around what each floating format holds, the largest, and what overflows when squared."""
    info = np.iinfo(dtype)
    odd = [2**bits + 1 for bits in _BITS if 2**bits + 1 < info.max]
    return [1, 3, *odd, int(info.max), int(info.max) // 2 + 1, int(info.min) + 1 if info.min else 7]


def fingerprint_integers(sums: Sums) -> Facts:
    """The facts of integer sums. Raises Refused, Died."""
    dtype, values = sums.case.dtype, _values(sums.case.dtype)
    column = np.zeros((len(values), sums.n), np.int64)
    column[:, sums.n // 2] = values
    requests = [Request(column, column.T.copy())]
    if sums.n > 1:  # sums that pass the largest number
        both = np.zeros((1, sums.n), np.int64)
        both[0, :2] = values[-3]
        requests.append(Request(both, np.ones((sums.n, 1), np.int64)))
    got = np.concatenate([r.ravel() for r in sums.solve(requests)])
    wide = np.array([v * w for v in values for w in values] + ([2 * values[-3]] if sums.n > 1 else []), object)
    return Facts(sums.quantity, sums.n, {"integers": _way(dtype, wide, got)})


def _way(dtype: str, exact: Array, got: Array) -> Fact:
    info = np.iinfo(dtype)
    span = 2**info.bits
    wrapped = [(int(v) - int(info.min)) % span + int(info.min) for v in exact]
    wrong = [i for i, (g, w) in enumerate(zip(got, wrapped, strict=True)) if int(g) != w]
    if not wrong:
        return Fact("integers", f"exactly modulo 2^{info.bits}", f"{exact[-1]} came back as {got[-1]}")
    i = wrong[0]
    evidence = f"{exact[i]} came back as {got[i]}, not {wrapped[i]}"
    if all(int(g) == min(max(int(v), int(info.min)), int(info.max)) for v, g in zip(exact, got, strict=True)):
        return Fact("integers", "saturating", evidence)
    if all(int(got[j]) == wrapped[j] for j, v in enumerate(exact) if abs(int(v)) <= 2 ** _BITS[0]):
        lost = min(abs(int(exact[j])) for j in wrong)
        return Fact("integers", f"exactly below {lost}, through floating point beyond", evidence)
    return Fact("integers", "wrong", evidence)
