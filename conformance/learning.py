"""Learning a kernel by Adam on the mean absolute error (chapter EX); y and its gradient come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_RATE, _DECAY, _DECAY_OF_SQUARES, _FLOOR = 0.05, 0.9, 0.999, 1e-7


def trajectory(
    forward: Callable[[Array], Array], gradient: Callable[[Array, Array], Array], w: Array, target: Array
) -> Iterator[tuple[Array, float]]:
    """The weights and their error, mean(abs(y - target)), after 0, 1, 2, ... steps of Adam from `w`; all in float64.

    `forward(w)` gives y in the shape of `target`; `gradient(w, c)` gives gw in the shape of `w` at the cotangent c.
    Kingma and Ba (2015), algorithm 1.
    """
    m = v = np.zeros_like(w)
    for t in count(1):
        e = forward(w) - target
        yield w, float(np.abs(e).mean())
        with np.errstate(all="ignore"):  # a wrong backend may give anything, which the caller judges
            g = gradient(w, np.sign(e) / e.size)
            m = _DECAY * m + (1 - _DECAY) * g
            v = _DECAY_OF_SQUARES * v + (1 - _DECAY_OF_SQUARES) * g * g
            w = w - _RATE * (m / (1 - _DECAY**t)) / (np.sqrt(v / (1 - _DECAY_OF_SQUARES**t)) + _FLOOR)


def gamma(n: int, unit_roundoff: float) -> float:
    """gamma_n(u) = n u / (1 - n u), for n u < 1."""
    return n * unit_roundoff / (1 - n * unit_roundoff)


def allowance(t: int, unit_roundoff: float) -> float:
    """A_t of EX-12: how far rounding can take a weight in t steps in which every residual keeps its sign."""
    eta = gamma(7, unit_roundoff) + gamma(5 * t + 8, 2.0**-53)
    return 2 * _RATE * t * eta / (1 - eta)
