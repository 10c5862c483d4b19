"""Faults of validation, continued: cotangents, gradient calls, and what a refusal leaves behind (chapter ERR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.validation import number
from tests.mutants.witness import Call, Witness, after_refusal

mutant = chapter("validation")


@mutant
def cotangent_broadcast(m: Backend, rng: Rng) -> Witness:
    """A cotangent that broadcasts to the shape of y is broadcast (kind: broadcasting)."""

    @m.around("check_cotangent")
    def check(inner: Callable[..., Any], g: Any, out: Any) -> Any:
        return inner(g if isinstance(g, tape.Tracer) else np.array(np.broadcast_to(g, out.shape)), out)

    return Call(c_out=draw(rng, 2, 4), shapes={"g": (1, 1, 6)}, ask="x")


@mutant
def cotangent_cropped(m: Backend, rng: Rng) -> Witness:
    """A cotangent longer than y is cropped (kind: shape unchecked)."""

    @m.around("check_cotangent")
    def check(inner: Callable[..., Any], g: Any, out: Any) -> Any:
        longer = not isinstance(g, tape.Tracer) and len(g.shape) == len(out.shape)
        return inner(g[tuple(map(slice, out.shape))] if longer else g, out)

    return Call(shapes={"g": (1, 1, 6 + draw(rng, 1, 4))}, ask="x")


@mutant
def cotangent_flattened(m: Backend, rng: Rng) -> Witness:
    """A cotangent with as many values as y, in another shape, is reshaped (kind: only sizes compared)."""

    @m.around("check_cotangent")
    def check(inner: Callable[..., Any], g: Any, out: Any) -> Any:
        same = not isinstance(g, tape.Tracer) and g.size == np.prod(out.shape)
        return inner(g.reshape(out.shape) if same else g, out)

    count = draw(rng, 2, 4)
    return Call(n=count, shapes={"g": (1, count, 6)}, ask="x")


@mutant
def gradients_skip_validation(m: Backend, rng: Rng) -> Witness:
    """A stride or dilation below 1 is accepted, as 1, when a gradient is asked for (kind: checked forwards only)."""

    @m.around("accept")
    def accepting(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if any(isinstance(a, tape.Tracer) for a in (x, w, b)):
            args = {**args, **{key: max(1, args[key]) for key in ("stride", "dilation") if number(args[key])}}
        return inner(x, w, b, args)

    return Call(raw={("stride", "dilation")[draw(rng, 0, 1)]: pick(rng, [0, -1])}, ask="x")


def after_failure(m: Backend) -> list[bool]:
    """Return a list that is not empty after a refused call."""
    failed: list[bool] = []

    @m.around("accept")
    def accepting(inner: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return inner(*arguments)
        except Exception:
            failed.append(True)
            raise

    return failed


@mutant
def refusal_leaves_padding_off(m: Backend, rng: Rng) -> Witness:
    """After a refused call, the zeros of lo come at the end for ever (kind: a flag not reset)."""
    failed = after_failure(m)

    @m.around("pad")
    def pad(inner: Callable[..., Any], x: Any, fill: Any, p: Any) -> Any:
        return np.roll(inner(x, fill, p), -p.lo if failed else 0, axis=2)

    return after_refusal(Call(raw={"stride": 0}), Call(padding=(draw(rng, 1, 3), 0)))


@mutant
def refusal_spoils_next_call(m: Backend, rng: Rng) -> Witness:
    """After a refused call, the next call's first output is 0 (kind: a workspace half set up)."""
    failed = after_failure(m)

    @m.around("forward")
    def forward(inner: Callable[..., Any], x: Any, w: Any, p: Any) -> Any:
        y = inner(x, w, p)
        if failed:
            failed.clear()
            y[..., :1] = 0
        return y

    return after_refusal(Call(raw={"groups": 0}), Call(kernel=draw(rng, 1, 3)))


@mutant
def refusal_leaves_low_precision(m: Backend, rng: Rng) -> Witness:
    """After T (1 to 2) refused calls, float32 and float64 are computed in float16 (kind: a mode not restored)."""
    failed = after_failure(m)
    calls = draw(rng, 1, 2)

    @m.around("forward")
    def forward(inner: Callable[..., Any], x: Any, w: Any, p: Any) -> Any:
        low = len(failed) >= calls and p.dtype in ("float32", "float64")
        return inner(x.astype(np.float16), w.astype(np.float16), p).astype(x.dtype) if low else inner(x, w, p)

    bad = Call(raw={"dilation": 0})
    good = Call(put=(("x", np.s_[...], 2049),))

    def probe(backend: Backend) -> Any:
        return [after_refusal(bad, good)(backend) for _ in range(2)]

    return probe
