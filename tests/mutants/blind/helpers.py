"""What several modules of this folder share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.witness import Call, Probe, observe

COPYING = ("reflect", "symmetric", "replicate", "circular")  # the modes that show samples again


def are_arrays(*operands: Any) -> bool:
    """Whether all are arrays, no tracers."""
    return all(isinstance(a, np.ndarray) for a in operands)


def finite(a: Array) -> bool:
    """Whether all of an array is finite."""
    return bool(np.isfinite(widen(a)).all())


def last_plan(m: Backend) -> list[Plan]:
    """Return a list of the plan of the last call that was accepted; it is empty before the first."""
    last: list[Plan] = []

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        last[:] = [found[3]]
        return found

    return last


def within(m: Backend, seam: str) -> list[bool]:
    """Return a list that is not empty while a seam runs, such as `vjp`."""
    inside: list[bool] = []

    @m.around(seam)
    def run(inner: Callable[..., Any], *args: Any) -> Any:
        inside.append(True)
        try:
            return inner(*args)
        finally:
            inside.pop()

    return inside


def running(m: Backend, seam: str) -> list[bool]:
    """Return a list that is not empty while a function runs that a seam has made: `vmap` or `compile`."""
    inside: list[bool] = []

    @m.around(seam)
    def make(inner: Callable[..., Any], *args: Any, **named: Any) -> Callable[..., Any]:
        made = inner(*args, **named)

        def run(*operands: Any) -> Any:
            inside.append(True)
            try:
                return made(*operands)
            finally:
                inside.pop()

        return run

    return inside


def shape_only(m: Backend) -> list[bool]:
    """Return a list that is not empty while eval_shape runs."""
    return within(m, "eval_shape")


def reciprocal_floor(slack: int, stride: int) -> int:
    """Return slack // stride, by the reciprocal in float32."""
    return int(np.floor(np.float32(slack) * (np.float32(1) / np.float32(stride))))


def elsewhere(call: Call) -> Probe:
    """Show a call made by another thread than the main one."""

    def probe(backend: Backend) -> Any:
        shown: list[Any] = []
        thread = threading.Thread(target=lambda: shown.append(observe(backend, call)))
        thread.start()
        thread.join()
        return shown[0]

    return probe


def changed(a: Array, index: Any, value: Any = 0) -> Array:
    """Return a copy of a with a[index] = value."""
    copy = np.array(a)
    copy[index] = value
    return copy


def other_source(m: Backend, when: Callable[[Plan], bool], position: int, sample: Callable[[Plan], int]) -> None:
    """Let one padded position, an index into xp, show another sample where the condition holds."""

    @m.around("sources")
    def sources(inner: Callable[[Plan], Array], p: Plan) -> Array:
        shown = np.array(inner(p))
        if when(p):
            shown[position] = sample(p)
        return shown


def reread(m: Backend, change: Callable[[Any, Any, Plan], tuple[Any, Any]]) -> None:
    """Let the arrays x and w, once accepted, be read as others."""

    @m.around("accept")
    def accept(inner: Any, *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        return (*(change(x, w, plan) if are_arrays(x, w) else (x, w)), b, plan)


def at_door(name: str, call: Call) -> Probe:
    """Show a call through a surface, or through conv1d where the backend has no such surface."""

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        surface = backend.surfaces.get(name, backend.conv1d)
        return surface(arrays["x"], arrays["w"], arrays["b"], **call.parameters())

    return probe
