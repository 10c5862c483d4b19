"""Faults of the Python front end: what one call leaves to the next, and paths without checks (chapters INV, ERR)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, elsewhere
from tests.mutants.plan import Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import REFUSED, Call, Witness, after, after_refusal

state = chapter("state")
validation = chapter("validation")


@state
def plans_known_by_their_hash(m: Backend, rng: Rng) -> Witness:
    """Plans are kept by hash(arguments), and hash(-1) is hash(-2): the fill -2 after -1 is -1 (kind: hash as key)."""
    plans: dict[int, Plan] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        return x, w, b, plans.setdefault(hash(plan), plan)

    call = Call(padding=(draw(rng, 0, 2), draw(rng, 1, 2)), mode="constant", fill=-1)
    return after(call, call.but(fill=-2))


@validation
def refused_mode_leaves_the_kernel_split(m: Backend, rng: Rng) -> Witness:
    """With g > 1 w.shape is set to (g, O/g, C/g, K), and stays so if a mode's domain refuses (kind: no finally)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            return inner(x, w, b, args)
        except ValueError:
            g = args["groups"]
            if args["padding_mode"] in COPYING and are_arrays(w) and w.ndim == 3 and w.flags.c_contiguous and g > 1:
                w.shape = (g, w.shape[0] // g, *w.shape[1:])
            raise

    groups, length = draw(rng, 2, 4), draw(rng, 5, 9)

    def probe(backend: Backend) -> Any:
        x, w = np.ones((1, groups, length)), np.ones((2 * groups, 1, 3))
        first = REFUSED
        try:
            first = backend.conv1d(x, w, groups=groups, padding=(0, length), padding_mode="reflect")
        except ValueError:
            return first, str(w.shape)
        return first

    return probe


@state
def refusal_in_a_map_leaves_it_open(m: Backend, rng: Rng) -> Witness:
    """A call refused inside vmap leaves a level open: later maps have their axis second (kind: stack of levels)."""
    levels: list[bool] = []

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Any, in_axes: Any = 0) -> Any:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            try:
                result = mapped(*operands)
            except Exception:
                levels.append(True)
                raise
            return result.swapaxes(0, 1) if levels and are_arrays(result) else result

        return run

    call = Call(n=draw(rng, 1, 4), ask="vmap:0--")
    return after_refusal(call.but(raw={"stride": 0}), call)


@validation
def empty_batch_before_the_checks(m: Backend, rng: Rng) -> Witness:
    """With N = 0 the empty y is returned before dtypes and the bias are looked at (kind: early return)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if are_arrays(x, w) and x.ndim == 3 and not x.shape[0]:
            w, b = w.astype(x.dtype), None
        return inner(x, w, b, args)

    call = Call(n=0, c_out=draw(rng, 2, 4), bias=True, dtype="float32")
    return call.but(shapes={"b": (1,)}) if draw(rng, 0, 1) else call.but(dtypes={"w": "float64"})


@validation
def checks_of_the_first_thread(m: Backend, rng: Rng) -> Witness:
    """The option to check dtypes is the main thread's alone: others cast w to the dtype of x (kind: thread-local)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, *rest: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and are_arrays(x, w):
            w = w.astype(x.dtype)
        return inner(x, w, *rest)

    return elsewhere(Call(dtype="float32", dtypes={"w": ("float64", "float16")[draw(rng, 0, 1)]}))
