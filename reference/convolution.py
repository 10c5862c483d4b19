"""conv1d forward: validate, pad, contract (chapters OP, SHAPE and PAD)."""

from __future__ import annotations

from typing import Any

from conv1d_cts.reference.contractions import output
from conv1d_cts.reference.pad import pad
from conv1d_cts.reference.validation import Array, plan_call
from conv1d_cts.spec.padding import Padding


def conv1d(
    x: Array,
    w: Array,
    b: Array = None,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> Array:
    """Return y (N, O, L_out) of x (N, C, L), w (O, C/g, K) and b (O,) or None, all of one numeric dtype, and y too.

    padding is (lo, hi) in samples or a name; padding_value fills where padding_mode is "constant". Sums run in the
    dtype of the operands. Padding is materialised: a zero of it times an infinite weight is NaN (VAL-6).
    Raises TypeError and ValueError for arguments outside the domain (chapter ERR). No operand is modified or aliased.
    """
    xp, plan = plan_call(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    return output(xp, pad(xp, x, plan, padding_value), w, plan, b)
