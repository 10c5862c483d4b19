"""Padding in integers: what a name resolves to, and which sample a padded position shows (chapter PAD).

Nothing here knows an array: a name becomes (lo, hi) and a mode becomes an index map before any array exists.
"""

from __future__ import annotations

from collections.abc import Callable

Padding = tuple[int, int] | str


def _same_total(length: int, kernel: int, stride: int, dilation: int) -> int:
    """Zeros that make L_out = ceil(L / s): max((ceil(L/s) - 1) s + d (K-1) + 1 - L, 0) (PAD-5)."""
    return max((-(-length // stride) - 1) * stride + dilation * (kernel - 1) + 1 - length, 0)


def _same(length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = _same_total(length, kernel, stride, dilation)
    return total // 2, total - total // 2


def _same_lower(length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = _same_total(length, kernel, stride, dilation)
    return total - total // 2, total // 2


_RESOLVERS: dict[str, Callable[[int, int, int, int], tuple[int, int]]] = {
    "valid": lambda length, kernel, stride, dilation: (0, 0),
    "same": _same,
    "same_lower": _same_lower,
    "causal": lambda length, kernel, stride, dilation: (dilation * (kernel - 1), 0),
    "full": lambda length, kernel, stride, dilation: (dilation * (kernel - 1), dilation * (kernel - 1)),
}

PADDING_NAMES = tuple(_RESOLVERS)


def resolve(padding: Padding, *, length: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """(lo, hi), the samples added before and after the input, for explicit or named padding.

    Raises ValueError for an unknown name and for negative padding (ERR-6, ERR-11).
    """
    if isinstance(padding, str):
        if padding not in _RESOLVERS:
            raise ValueError(f"unknown padding {padding!r}: one of {', '.join(PADDING_NAMES)}, or (lo, hi)")
        return _RESOLVERS[padding](length, kernel, stride, dilation)
    lo, hi = padding
    if lo < 0 or hi < 0:
        raise ValueError(f"padding must not be negative, got {padding!r}")
    return lo, hi


# A mode maps a position before the first sample (p < 0) or after the last (p >= length) to a sample's index.
_SOURCES: dict[str, Callable[[int, int], int | None]] = {
    "zeros": lambda p, length: None,
    "constant": lambda p, length: None,
    "reflect": lambda p, length: -p if p < 0 else 2 * length - 2 - p,
    "symmetric": lambda p, length: -p - 1 if p < 0 else 2 * length - 1 - p,
    "replicate": lambda p, length: 0 if p < 0 else length - 1,
    "circular": lambda p, length: p % length,
}

PADDING_MODES = tuple(_SOURCES)


def widest(mode: str, length: int) -> int | None:
    """The most samples that `mode` can add on one side of an input of `length`; None where there is no limit.

    Raises ValueError for an unknown mode (ERR-11).
    """
    limits: dict[str, int | None] = {
        "zeros": None,
        "constant": None,
        "reflect": max(length - 1, 0),
        "symmetric": length,
        "replicate": None if length > 0 else 0,
        "circular": length,
    }
    if mode not in limits:
        raise ValueError(f"unknown padding mode {mode!r}: one of {', '.join(PADDING_MODES)}")
    return limits[mode]


def check_domain(mode: str, lo: int, hi: int, length: int) -> None:
    """Raise ValueError where `mode` is not defined for this padding (PAD-14)."""
    limit = widest(mode, length)
    if limit is not None and max(lo, hi) > limit:
        raise ValueError(f"{mode} padding of an input of length {length} is at most {limit} a side, got {(lo, hi)!r}")


def source_index(mode: str, position: int, length: int) -> int | None:
    """The sample shown at `position` (0 the first sample, -1 the padding before it); None where the fill value is."""
    if 0 <= position < length:
        return position
    return _SOURCES[mode](position, length)
