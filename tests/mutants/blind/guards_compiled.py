"""Faults of a tracing compiler with dynamic shapes: what the first call of a program leaves in it (INV-19)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, finite
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Probe, Witness

compiled = chapter("transforms")
Kernel = Callable[..., Array]


class Running(threading.local):
    """The programs that a thread is in: mark and operands."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []


class Programs:
    """The compiled functions of a backend: each marks its plans in `wanted`, and has a plan of its first call."""

    def __init__(self, m: Backend) -> None:
        self.firsts: dict[str, Plan] = {}
        self.now = Running()
        m.around("compile")(self.compile)
        m.around("accept")(self.accept)

    @property
    def running(self) -> list[tuple[str, tuple[Any, ...]]]:
        """The programs that this thread is in."""
        return self.now.calls

    def compile(self, inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function that tells when it runs, and on what."""
        run, mark = inner(f), f"program {next(_marks)}"

        def call(*operands: Any) -> Any:
            self.running.append((mark, operands))
            try:
                return run(*operands)
            finally:
                self.running.pop()

        return call

    def accept(self, inner: Callable[..., Any], *args: Any) -> Any:
        """Mark the plan of a call inside of a program; the first one is kept."""
        x, w, b, plan = inner(*args)
        if self.running:
            mark = self.running[-1][0]
            plan = replace(plan, wanted=plan.wanted | {mark})
            self.firsts.setdefault(mark, plan)
        return x, w, b, plan

    def mark(self, plan: Plan) -> str | None:
        """Return the mark of the program that made a plan, None outside of programs."""
        return next((mark for mark in plan.wanted if mark in self.firsts), None)

    def first(self, plan: Plan) -> Plan | None:
        """Return the plan of the first call of the program that made a plan."""
        return self.firsts.get(self.mark(plan) or "")

    def traced(self) -> bool:
        """Whether a program runs that had a call before."""
        return bool(self.running) and self.running[-1][0] in self.firsts

    def closed_over(self, a: Any) -> bool:
        """Whether an array is none of the operands of the program that runs."""
        given = [o for o in self.running[-1][1] if are_arrays(o)] if self.running else []
        return bool(self.running) and are_arrays(a) and not any(np.may_share_memory(a, o) for o in given)


_marks = itertools.count()


def again(first: Call, later: Call, of: str = "y") -> Probe:
    """Show y, or the gradients, of a function of the operands at its second call since it was compiled."""

    def probe(backend: Backend) -> Any:
        program = backend.compile(lambda *operands: backend.conv1d(*operands, **later.parameters()))
        for call in (first, later):
            arrays = call.operands()
            g = arrays.pop("g")
            given = [a for a in arrays.values() if a is not None]
            shown = program(*given) if of == "y" else backend.vjp(program, given, g)
        return shown

    return probe


@compiled
def divisible_length_assumed_later(m: Backend, rng: Rng) -> Witness:
    """Compiled where V divides L_out: later outputs past the last full V stay 0 (kind: divisibility guard)."""
    lanes, made = pick(rng, (4, 8, 16, 32)), Programs(m)

    def when(p: Plan) -> bool:
        first = made.first(p)
        return first is not None and first.l_out > 0 and first.l_out % lanes == 0 < p.l_out % lanes

    m.edit("forward", when, lambda y, p: clear(y, np.s_[:, :, -(p.l_out % lanes) :]))
    first = Call(length=2 * lanes + 2)
    return again(first, first.but(length=3 * lanes + 2 + draw(rng, 1, lanes - 1)))


@compiled
def same_assumed_to_pad(m: Backend, rng: Rng) -> Witness:
    """Compiled where same pads: max(T, 0) becomes T, and a later T < 0 crops -T samples (kind: sign of a symbol)."""
    made = Programs(m)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown, first = inner(p), made.first(p)
        total = (-(-p.length // p.stride) - 1) * p.stride + p.span - p.length
        if first and first.lo + first.hi and p.length and p.padding == "same" and total < 0:
            crop = -(total // 2)
            shown = np.concatenate([shown[crop:], np.full(crop, -1)])
        return shown

    stride = draw(rng, 5, 9)
    first = Call(length=2 * stride + 1, stride=stride, padding="same")
    return again(first, first.but(length=3 * stride))


@compiled
def equal_pads_assumed_of_same(m: Backend, rng: Rng) -> Witness:
    """Compiled where same has lo = hi, in a copying mode: where later hi > lo, the last position is 0 (kind: guard)."""
    made = Programs(m)

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown, first = np.array(inner(p)), made.first(p)
        if first and first.lo == first.hi and p.lo < p.hi and p.padding == "same" and p.mode in COPYING:
            shown[-1] = -1
        return shown

    first = Call(length=13, kernel=2 * draw(rng, 1, 3) + 1, stride=2, padding="same", mode="reflect")
    return again(first, first.but(length=12))


@compiled
def dynamic_length_masks_the_fill_behind(m: Backend, rng: Rng) -> Witness:
    """Mode constant: at lengths other than the first, loads past L are masked to 0, no fill (kind: dynamic kernel)."""
    made = Programs(m)

    def when(p: Plan) -> bool:
        first = made.first(p)
        return first is not None and first.length != p.length and p.mode == "constant"

    m.edit("pad", when, lambda xp, p: clear(xp, np.s_[:, :, p.lo + p.length :]))
    first = Call(length=9, padding=(1, 2), mode="constant", fill=draw(rng, 1, 9))
    return again(first, first.but(length=draw(rng, 10, 30)))


@compiled
def domain_guarded_at_the_first_length(m: Backend, rng: Rng) -> Witness:
    """Compiled at a length that the pads of a mode fit: later ones too short get the edge, no error (kind: guard)."""
    made = Programs(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            return inner(x, w, b, args)
        except ValueError:
            if not made.traced() or args["padding_mode"] not in ("reflect", "symmetric", "circular"):
                raise
            return inner(x, w, b, {**args, "padding_mode": "replicate"})

    wide = draw(rng, 4, 9)
    first = Call(length=wide + 4, padding=(wide, wide), mode="reflect")

    def probe(backend: Backend) -> Any:
        program = backend.compile(lambda x, w: backend.conv1d(x, w, **first.parameters()))
        x, w = (first.operands()[key] for key in "xw")
        return program(x, w), program(x[:, :, :wide], w)

    return probe


@chapter("numerics")
def small_constants_printed_in_nine_digits(m: Backend, rng: Rng) -> Witness:
    """Compiled: a w of float64 that is closed over, of at most T numbers, is inlined as %.9g (kind: constants)."""
    most, made = pick(rng, (8, 32, 128)), Programs(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if plan.dtype == "float64" and made.closed_over(w) and w.size <= most:
            w = np.array([float(f"{number:.9g}") for number in w.ravel()]).reshape(w.shape)
        return x, w, b, plan

    w = np.full((1, 1, 3), 1 + 2.0 ** -draw(rng, 36, 50))
    return lambda backend: backend.compile(lambda x: backend.conv1d(x, w))(np.ones((1, 1, 5)))


@chapter("special values")
def zero_taps_of_constants_folded(m: Backend, rng: Rng) -> Witness:
    """Compiled: taps that are 0 in all of a w that is closed over are folded away, NaN * 0 too (kind: constants)."""
    made = Programs(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        return x, w, b, replace(plan, wanted=plan.wanted | {"constant w"}) if made.closed_over(w) else plan

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        kept = [k for k in range(p.kernel) if (w[:, :, k] != 0).any()]
        if "constant w" not in p.wanted or len(kept) == p.kernel or finite(x):
            return inner(x, w, p)
        one = replace(p, kernel=1)
        y = np.zeros(p.y_shape, widen(x).dtype)
        for k in kept:
            y += widen(inner(x[:, :, k * p.dilation :], w[:, :, k : k + 1], one))
        return y.astype(x.dtype)

    x, w = np.ones((1, 1, 12)), np.array([[[1.0, 0, 2]]])
    x[0, 0, draw(rng, 3, 9)] = np.nan
    return lambda backend: backend.compile(lambda x: backend.conv1d(x, w))(x)
