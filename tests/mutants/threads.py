"""Faults that show only between threads, or where there is one processor (chapter INV)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Probe, Witness, fingerprint, run

mutant = chapter("state")
Kernel = Callable[..., Array]
_TURN = 0.005  # seconds in which another thread gets its turn, as it does while native code computes


def _yield_to_others() -> None:
    """Let other threads run; the main thread of a process, which mostly is alone, does not wait."""
    if threading.current_thread() is not threading.main_thread():
        time.sleep(_TURN)


def at_once(*calls: Call) -> Probe:
    """Show whether several threads, each with a call of its own, get four times over what the main thread gets."""

    def probe(backend: Backend) -> Any:
        ready, right = threading.Barrier(len(calls)), [fingerprint(run(backend, call)) for call in calls]

        def make(call: Call) -> list[Any]:
            ready.wait()
            return [fingerprint(run(backend, call)) for _ in range(4)]

        with ThreadPoolExecutor(len(calls)) as threads:
            return all(found == [want] * 4 for found, want in zip(threads.map(make, calls), right, strict=True))

    return probe


def on_one_processor(call: Call) -> Probe:
    """Show the call of a process that may use one processor."""

    def probe(backend: Backend) -> Any:
        usual = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(usual)})
        try:
            return run(backend, call)
        finally:
            os.sched_setaffinity(0, usual)

    return probe


def _alone(plan: Plan) -> bool:
    return len(os.sched_getaffinity(0)) == 1


@mutant
def workspace_of_the_process(m: Backend, rng: Rng) -> Witness:
    """Of two threads with one shape of x, one reads the x of the other (kind: a static buffer)."""
    workspace: dict[str, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, plan: Plan) -> Array:
        workspace["x"] = x
        _yield_to_others()
        kept = workspace["x"]
        return inner(kept if kept.shape == x.shape and kept.dtype == x.dtype else x, w, plan)

    call = Call(length=draw(rng, 6, 12))
    return at_once(call, call.but(put=(("x", 0, 2),)))


@mutant
def kernel_packed_by_another_thread(m: Backend, rng: Rng) -> Witness:
    """Of two threads with one shape of w, both use the later one (kind: a cache without a lock)."""
    packed: dict[tuple[Any, ...], Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, plan: Plan) -> Array:
        key = (w.shape, w.dtype)
        packed[key] = w
        _yield_to_others()
        return inner(x, packed[key], plan)

    call = Call(kernel=draw(rng, 2, 5), length=12)
    return at_once(call, call.but(put=(("w", 0, 2),)))


@mutant
def last_share_of_one_worker(m: Backend, rng: Rng) -> Witness:
    """On one processor, beyond T (8 to 24) output channels, the last is 0 (kind: workers - 1 shares)."""
    most = draw(rng, 8, 24)
    m.edit("forward", lambda p: _alone(p) and p.c_out > most, lambda y, p: y[:, -1].fill(0))
    return on_one_processor(Call(c_out=most + 1))


@mutant
def gradient_reduced_by_two_workers(m: Backend, rng: Rng) -> Witness:
    """On one processor, beyond T (4 to 12) positions, gw has half its sum (kind: two workers assumed)."""
    most = draw(rng, 4, 12)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, plan: Plan) -> Array:
        if _alone(plan) and plan.n * plan.l_out > most:
            g = g.copy()
            g.reshape(-1)[g.size // 2 :] = 0
        return inner(x, g, plan)

    return on_one_processor(Call(length=most + 4, ask="w"))
