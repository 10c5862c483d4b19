"""The padded input, and the transpose of padding: the gradient of every padded position goes back to its sample.

Padding is linear but for the fill of mode "constant". A side of it is a run of samples, shown in their order,
reversed, or one sample repeated (chapter PAD).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Complex, Integral, Real
from typing import Any

from array_api_compat import device, is_writeable_array

from conv1d_cts.reference.validation import Array, Namespace, Plan


@dataclass(frozen=True, slots=True)
class Run:
    """`count` padded positions that show the samples [start, stop)."""

    start: int
    stop: int
    count: int
    reversed: bool = False


def runs(plan: Plan) -> tuple[Run, Run] | None:
    """Return the samples shown before and after the input; None where the padding shows no samples."""
    length, lo, hi = plan.length, plan.lo, plan.hi
    if plan.mode == "reflect":
        return Run(1, lo + 1, lo, True), Run(length - 1 - hi, length - 1, hi, True)
    if plan.mode == "symmetric":
        return Run(0, lo, lo, True), Run(length - hi, length, hi, True)
    if plan.mode == "circular":
        return Run(length - lo, length, lo), Run(0, hi, hi)
    if plan.mode == "replicate":
        return Run(0, 1, lo), Run(length - 1, length, hi)
    return None


def pad(xp: Namespace, x: Array, plan: Plan, fill: Any = 0) -> Array:
    """Return x (N, C, L) with its padding, (N, C, lo + L + hi); x itself where there is none to add."""
    if plan.lo == plan.hi == 0:
        return x
    sides = runs(plan)
    if sides is None:
        if plan.mode != "constant":
            fill = 0
        elif not _can_hold(xp, x, fill):
            raise TypeError(f"padding_value {fill!r} is not a number of dtype {x.dtype}")
        before = xp.full((plan.n, plan.c_in, plan.lo), fill, dtype=x.dtype, device=device(x))
        after = xp.full((plan.n, plan.c_in, plan.hi), fill, dtype=x.dtype, device=device(x))
    else:
        before, after = (_show(xp, x, run) for run in sides)
    return xp.concat([before, x, after], axis=2)


def pad_transpose(xp: Namespace, g: Array, plan: Plan) -> Array:
    """Return the gradient of x (N, C, L) from that of the padded input (N, C, lo + L + hi); the fill has none."""
    if plan.lo == plan.hi == 0:
        return g
    gx = g[:, :, plan.lo : plan.lo + plan.length]
    sides = runs(plan)
    if sides is None:
        return xp.asarray(gx, copy=True)
    padding = g[:, :, : plan.lo], g[:, :, plan.lo + plan.length :]
    for run, part in zip(sides, padding, strict=True):
        if run.count:
            gx = add_at(xp, xp.asarray(gx, copy=True), _collect(xp, part, run), run.start)
    return gx


def add_at(xp: Namespace, total: Array, part: Array, start: int, step: int = 1) -> Array:
    """Add `part` to `total` at start, start + step, ... of the last axis; in place where the library allows it."""
    count = part.shape[-1]
    stop = start + (count - 1) * step + 1
    if is_writeable_array(total):
        total[..., start:stop:step] += part
        return total
    gaps = xp.zeros((*part.shape, step - 1), dtype=part.dtype, device=device(part))
    spread = xp.reshape(xp.concat([part[..., None], gaps], axis=-1), (*part.shape[:-1], count * step))
    spread = spread[..., : stop - start]
    return xp.concat(
        [total[..., :start], total[..., start:stop] + spread, total[..., stop:]],
        axis=-1,
    )


def _show(xp: Namespace, x: Array, run: Run) -> Array:
    if run.count == 0:
        return x[:, :, :0]
    samples = x[:, :, run.start : run.stop]
    if run.reversed:
        return xp.flip(samples, axis=2)
    return xp.broadcast_to(samples, (*x.shape[:2], run.count))


def _collect(xp: Namespace, part: Array, run: Run) -> Array:
    """Transpose `_show`: the gradient of the samples shown."""
    if run.reversed:
        return xp.flip(part, axis=2)
    if run.stop - run.start == run.count:
        return part
    return xp.sum(part, axis=2, keepdims=True, dtype=part.dtype)


def _can_hold(xp: Namespace, x: Array, fill: Any) -> bool:
    """Tell whether the fill is of the kind of x: no fraction among integers, nothing complex among reals."""
    kinds = ((Integral, "numeric"), (Real, ("real floating", "complex floating")), (Complex, "complex floating"))
    return any(isinstance(fill, kind) and xp.isdtype(x.dtype, name) for kind, name in kinds)
