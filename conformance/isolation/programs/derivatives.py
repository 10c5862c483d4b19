"""The operator itself, its derivatives, and those of sums and chains of calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import chain
from operator import add

from conv1d_cts.conformance.isolation.programs.task import Native, Task


def conv1d(task: Task) -> list[Native]:
    """Y."""
    return [task.apply()]


def vjp(task: Task) -> list[Native]:
    """The gradient of each operand in `wrt`, asked for jointly."""
    return list(task.vjp(task.function(), task.primals(), task.cotangent()))


def jvp(task: Task) -> list[Native]:
    """The tangent of y along the tangents of the operands in `wrt`."""
    return [task.adapter.jvp(task.function(), task.primals(), task.tangents())]


def vjp_of_vjp(task: Task) -> list[Native]:
    """The gradient, in every operand of `wrt` and the cotangent, of <outer, gradient in `slot`>."""
    primals = (*task.primals(), task.cotangent())
    return list(task.vjp(task.gradient(), primals, task.arrays["outer"]))


def vjp_of_vjp_alone(task: Task) -> list[Native]:
    """The same of a gradient that is asked for alone, as who penalises it does."""
    gradient, primals = task.gradients_of(task.slot), (*task.primals(), task.cotangent())
    return list(task.vjp(lambda *args: gradient(*args)[0], primals, task.arrays["outer"]))


def jvp_of_vjp(task: Task) -> list[Native]:
    """The tangent of the gradient in `slot`, along tangents of every operand of `wrt` and of the cotangent."""
    primals = (*task.primals(), task.cotangent())
    tangents = (*task.tangents(), task.arrays["cotangent_tangent"])
    return [task.adapter.jvp(task.gradient(), primals, tangents)]


def vjp_of_sum(task: Task) -> list[Native]:
    """The gradients for each set of operands of the sum of their y: one backward pass through all calls."""
    function, size = task.function(), len(task.wrt)

    def total(*primals: Native) -> Native:
        return reduce(add, (function(*primals[at : at + size]) for at in range(0, len(primals), size)))

    return list(task.vjp(total, tuple(chain.from_iterable(task.sets())), task.cotangent()))


def each(task: Task) -> list[Native]:
    """Y of each call on the same arrays."""
    return [one.apply() for one in task.calls()]


def vjp_of_each(task: Task) -> list[Native]:
    """The gradients of the operands in `wrt`, jointly, of the sum of the y of the calls on them."""
    functions = [one.function() for one in task.calls()]

    def total(*primals: Native) -> Native:
        return reduce(add, (function(*primals) for function in functions))

    return list(task.vjp(total, task.primals(), task.cotangent()))


def vjp_of_chain(task: Task) -> list[Native]:
    """The gradients of x and of each w of a chain of calls, each on the y of the one before."""
    kernels = [task.arrays[f"w{mark}"] for mark in task.marks("w")]

    def chained(x: Native, *kernels: Native) -> Native:
        return reduce(lambda y, w: task.apply(x=y, w=w), kernels, x)

    return list(task.vjp(chained, (task.arrays["x"], *kernels), task.cotangent()))


def accumulated(task: Task) -> list[Native]:
    """The gradients that the operands in `wrt` have gathered after a backward pass for each cotangent.

    What is not in `wrt` is another operand in each pass: `x1` and `cotangent1` are the second's, and so on.
    """

    def function(mark: str) -> Callable[..., Native]:
        constants = {name: task.arrays[f"{name}{mark}"] for name in "xwb" if name not in task.wrt}
        return lambda *primals: task.apply(**constants, **dict(zip(task.wrt, primals, strict=True)))

    passes = [(function(mark), task.arrays[f"cotangent{mark}"]) for mark in task.marks("cotangent")]
    return list(task.accumulate(passes, task.primals()))


def fit(task: Task) -> list[Native]:
    """The kernel of a layer without bias that the framework has trained, from w, to give the target for x."""
    fits = getattr(task.adapter, "fits", {})
    return [fits[task.name](task.arrays["x"], task.arrays["w"], task.arrays["target"], **task.attributes)]
