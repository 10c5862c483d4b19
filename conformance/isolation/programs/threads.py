"""Calls that threads make at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Barrier

from conv1d_cts.conformance.isolation.programs.task import Native, Task

ROUNDS = 8  # calls that each of the threads of `at_once` makes


def at_once(task: Task) -> list[Native]:
    """Y for each set of operands, `ROUNDS` times over: a thread calls on each set while the others call on theirs."""
    function = task.function()
    return _by_threads(task, lambda *operands: [function(*operands)], task.sets())


def compiled_at_once(task: Task) -> list[Native]:
    """The same of one function compiled once, whose first calls the threads make."""
    function = task.adapter.compile(task.function())
    return _by_threads(task, lambda *operands: [function(*operands)], task.sets())


def vjp_at_once(task: Task) -> list[Native]:
    """The gradients for each set of operands and cotangents, likewise."""
    function = task.function()
    return _by_threads(task, lambda *args: task.vjp(function, args[:-1], args[-1]), task.sets("cotangent"))


def _by_threads(task: Task, function: Callable[..., Sequence[Native]], sets: list[tuple[Native, ...]]) -> list[Native]:
    """The results of a function for each set; each thread reads its own, so that what is lazy is computed there."""
    if not getattr(task.adapter, "threads", True):
        raise NotImplementedError("the adapter takes one call after another")
    ready, read = Barrier(len(sets)), getattr(task.adapter, "to_numpy", lambda native: native)

    def call(arguments: tuple[Native, ...]) -> list[Native]:
        ready.wait()
        results = [result for _ in range(ROUNDS) for result in function(*arguments)]
        for result in results:
            read(result)
        return results

    with ThreadPoolExecutor(len(sets)) as threads:
        return list(chain.from_iterable(threads.map(call, sets)))
