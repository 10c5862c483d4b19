"""The plan of a call, integers alone, and how the kernels of the mutants' backend cut their operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a call but its data. `padding` is the name or "explicit", `wanted` the operands being differentiated."""

    n: int
    c_in: int
    c_out: int
    length: int
    kernel: int
    stride: int
    dilation: int
    groups: int
    lo: int
    hi: int
    l_out: int
    padding: str
    mode: str
    fill: Any
    dtype: str
    bias: bool
    wanted: frozenset[str]

    @property
    def fan_in(self) -> int:
        """C/g."""
        return self.c_in // self.groups

    @property
    def fan_out(self) -> int:
        """O/g."""
        return self.c_out // self.groups

    @property
    def span(self) -> int:
        """Samples from the first tap to the last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        """Samples of the padded input."""
        return self.lo + self.length + self.hi

    @property
    def remainder(self) -> int:
        """Padded samples after the last window."""
        return self.padded - (self.l_out - 1) * self.stride - self.span if self.l_out else 0

    @property
    def depthwise(self) -> bool:
        """Whether each input channel is a group of its own, of several."""
        return self.groups == self.c_in > 1

    @property
    def step(self) -> int:
        """The stride that is taken: one output takes none, and a stride may be immense."""
        return self.stride if self.l_out > 1 else 1

    @property
    def reach(self) -> int:
        """Samples from where the first window starts to where the last one does, both included; 0 without a window."""
        return (self.l_out - 1) * self.step + 1 if self.l_out else 0

    @property
    def y_shape(self) -> tuple[int, int, int]:
        """(N, O, L_out)."""
        return self.n, self.c_out, self.l_out


def widen(a: Array) -> Array:
    """Return halves as float32, anything else as it is."""
    return a.astype(np.float32) if str(a.dtype) in ("float16", "bfloat16") else a


def split_w(w: Array, plan: Plan) -> Array:
    """Return the taps of w as matrices, (K, g, O/g, C/g)."""
    split = widen(w).reshape(plan.groups, plan.fan_out, plan.fan_in, plan.kernel)
    return np.ascontiguousarray(split.transpose(3, 0, 1, 2))


def taps(x: Array, plan: Plan) -> list[Array]:
    """Return for each tap what it reads of the padded x, (N, g, C/g, L_out); zeros beyond the end."""
    reach = plan.reach
    short = max(0, reach + plan.span - 1 - x.shape[2]) if plan.l_out else 0
    x = np.concatenate([widen(x), np.zeros((*x.shape[:2], short), widen(x).dtype)], axis=2)
    x = x.reshape(plan.n, plan.groups, plan.fan_in, x.shape[2])
    starts = (k * plan.dilation for k in range(plan.kernel))
    return [np.ascontiguousarray(x[..., start : start + reach : plan.step]) for start in starts]
