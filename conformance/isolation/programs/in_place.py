"""Calls between which operands, or results, are written to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from conv1d_cts.conformance.isolation.programs.derivatives import conv1d, vjp
from conv1d_cts.conformance.isolation.programs.task import Native, Task


def written_to(task: Task) -> list[Native]:
    """Y for each set of operands, all of them in the arrays of the first, which get the others' values in place."""
    return [task.apply() for _ in _written(task.primals(), task.sets())]


def compiled_written_to(task: Task) -> list[Native]:
    """The same of one function compiled once."""
    compiled_function, primals = task.adapter.compile(task.function()), task.primals()
    return [compiled_function(*primals) for _ in _written(primals, task.sets())]


def written_to_vjp(task: Task) -> list[Native]:
    """The gradients for each set of operands, constants too, and cotangents, likewise in the arrays of the first."""
    everything = replace(task, wrt="".join(name for name in "xwb" if task.arrays[name] is not None))
    sets = _written((*everything.primals(), task.cotangent()), everything.sets("cotangent"))
    return [gradient for _ in sets for gradient in vjp(task)]


def _written(arrays: tuple[Native, ...], sets: list[tuple[Native, ...]]) -> Iterator[None]:
    """Write each set of values into the arrays in turn."""
    for values in sets:
        for array, new in zip(arrays, values, strict=True):
            array[...] = new
        yield


def written_over(task: Task) -> list[Native]:
    """Y, or the gradients of the operands in `wrt`, of a second call, what came of the first being written over."""
    compute = vjp if task.wrt else conv1d
    for result in compute(task):
        result[...] = 1
    return compute(task)
