"""The operator and its derivatives through functions that are compiled once and called on several sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from conv1d_cts.conformance.isolation.programs.task import Native, Task, counted


def compiled(task: Task) -> list[Native]:
    """Y for each set of operands, of one function compiled once."""
    compiled_function = task.adapter.compile(task.function())
    return [compiled_function(*operands) for operands in task.sets()]


def compiled_again(task: Task) -> list[Native]:
    """The same, and nothing for a later set of operands that the compiled function refuses."""
    compiled_function = task.adapter.compile(task.function())
    first, *later = task.sets()
    results = [compiled_function(*first)]
    for operands in later:
        try:
            results.append(compiled_function(*operands))
        except Exception:  # whatever a backend raises is its refusal, as in the worker
            results.append(None)
    return results


def compiled_each(task: Task) -> list[Native]:
    """Y of each call on the same arrays, of one compiled function that makes all the calls."""
    functions = [one.function() for one in task.calls()]
    compiled_function = task.adapter.compile(lambda *primals: tuple(function(*primals) for function in functions))
    return list(counted(compiled_function(*task.primals()), len(functions), "compile"))


def vjp_of_compiled(task: Task) -> list[Native]:
    """The gradient in w alone, or in the one array that is both, for each set, through one function compiled once."""
    compiled_function, gradients = task.adapter.compile(task.function()), list[Native]()
    for x, w, *further, cotangent in task.sets("cotangent"):

        def of_w(kernel: Native, x: Native = x, further: list[Native] = further) -> Native:
            return compiled_function(x if "w" in task.arrays else kernel, kernel, *further)

        gradients += _trained(task, of_w, (w,), cotangent)
    return gradients


def vjp_through_compiled(task: Task) -> list[Native]:
    """The gradients for each set through one function compiled once.

    Of the first set that in the first operand alone, of the next that in the second, and so on; of later sets all.
    """
    compiled_function, gradients = task.adapter.compile(task.function()), list[Native]()
    for place, (*operands, cotangent) in enumerate(task.sets("cotangent")):
        asked = [place] if place < len(operands) else range(len(operands))

        def of_asked(*primals: Native, operands: list[Native] = operands, asked: Iterable[int] = asked) -> Native:
            given = dict(zip(asked, primals, strict=True))
            return compiled_function(*(given.get(at, operand) for at, operand in enumerate(operands)))

        gradients += _trained(task, of_asked, tuple(operands[at] for at in asked), cotangent)
    return gradients


def _trained(
    task: Task, f: Callable[..., Native], primals: tuple[Native, ...], cotangent: Native
) -> tuple[Native, ...]:
    """The gradients as training asks for them: by a backward pass where the adapter has one, and by vjp else."""
    if hasattr(task.adapter, "accumulate"):
        return task.accumulate([(f, cotangent)], primals)
    return task.vjp(f, primals, cotangent)


def compiled_vjp(task: Task) -> list[Native]:
    """The gradients for each set of operands and cotangents, of one function compiled once."""
    gradients = task.adapter.compile(lambda *args: task.vjp(task.function(), args[:-1], args[-1]))
    found = (counted(gradients(*args), len(args) - 1, "compile") for args in task.sets("cotangent"))
    return list(chain.from_iterable(found))


def compiled_jvp(task: Task) -> list[Native]:
    """The tangent of y for each set of operands, or along them, of one function compiled once."""
    compiled_function, results = task.adapter.compile(task.function()), list[Native]()
    for mark, operands in zip(task.marks("x"), task.sets(), strict=True):
        own = zip(task.wrt, operands, strict=True)
        tangents = tuple(task.arrays.get(f"{name}_tangent{mark}", operand) for name, operand in own)
        results.append(task.adapter.jvp(compiled_function, operands, tangents))
    return results
