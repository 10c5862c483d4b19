"""What a backend is asked to compute: conv1d itself, and what the suite composes from the adapter's own transforms.

Each program takes a `Task` on native arrays and returns the list of its native results. An operand is named by one
letter: x, w, b; where there is no w, x is both. Derivatives are asked for in the operands that `wrt` lists, the others
being closed over; maps go over them, each level of `axes`, outermost first, holding the axis of each or None. Several
sets of operands for one function are numbered: x, w, b, then x1, w1, b1 and so on, and so are their cotangents.
Where several calls are made on the same operands, `others` has the attributes of those after the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, count, takewhile
from operator import add
from threading import Barrier
from typing import Any

Native = Any
ROUNDS = 8  # calls that each of the threads of `at_once` makes


@dataclass(frozen=True)
class Task:
    """One program's material: the adapter, the surface and its name, attributes, and native arrays by name."""

    adapter: Any
    name: str
    surface: Callable[..., Native]
    attributes: Mapping[str, Any]
    arrays: Mapping[str, Native]
    wrt: str
    slot: str
    axes: tuple[tuple[int | None, ...], ...]
    others: tuple[Mapping[str, Any], ...] = ()

    def calls(self) -> list[Task]:
        """The task itself, and one on the same arrays for each of the other attributes."""
        return [self, *(replace(self, attributes=attributes) for attributes in self.others)]

    def apply(self, **replaced: Native) -> Native:
        """The surface on x, w, b, some of them replaced."""
        given = {**self.arrays, **replaced}
        return self.surface(given["x"], given.get("w", given["x"]), given["b"], **self.attributes)

    def function(self) -> Callable[..., Native]:
        """The surface as a function of the operands in `wrt`, in that order."""
        return lambda *primals: self.apply(**dict(zip(self.wrt, primals, strict=True)))

    def primals(self) -> tuple[Native, ...]:
        """The operands in `wrt`."""
        return tuple(self.arrays[name] for name in self.wrt)

    def marks(self, name: str) -> list[str]:
        """What the name ends with in each set of arrays: nothing, 1, 2, ..."""
        return ["", *map(str, takewhile(lambda number: f"{name}{number}" in self.arrays, count(1)))]

    def sets(self, *further: str) -> list[tuple[Native, ...]]:
        """The operands in `wrt`, and the arrays named besides, for each set; the first one's where a set has none."""
        operands = [name if name in self.arrays else "x" for name in self.wrt]
        return [
            tuple(self.arrays.get(f"{name}{mark}", self.arrays[name]) for name in (*operands, *further))
            for mark in self.marks("x")
        ]

    def tangents(self) -> tuple[Native, ...]:
        """A direction for each operand in `wrt`: the operand itself where none is given."""
        return tuple(self.arrays.get(f"{name}_tangent", self.arrays[name]) for name in self.wrt)

    def cotangent(self) -> Native:
        """That of y: x itself where none is given."""
        return self.arrays.get("cotangent", self.arrays["x"])

    def mapped(self, function: Callable[..., Native]) -> Callable[..., Native]:
        """The function mapped once for each level of `axes`."""
        for level in reversed(self.axes):
            function = self.adapter.vmap(function, level)
        return function

    def gradient(self) -> Callable[..., Native]:
        """The first derivative in operand `slot`, as a function of the operands in `wrt` and the cotangent."""
        position = self.wrt.index(self.slot)
        return lambda *args: self.adapter.vjp(self.function(), args[:-1], args[-1])[position]

    def gradients_of(self, asked: str) -> Callable[..., tuple[Native, ...]]:
        """The first derivatives in some operands, the others constant, as a function of all and the cotangent."""

        def gradients(*args: Native) -> tuple[Native, ...]:
            given = dict(zip(self.wrt, args, strict=False))

            def function(*primals: Native) -> Native:
                return self.apply(**{**given, **dict(zip(asked, primals, strict=True))})

            return tuple(self.adapter.vjp(function, tuple(given[name] for name in asked), args[-1]))

        return gradients


def conv1d(task: Task) -> list[Native]:
    """Y."""
    return [task.apply()]


def vjp(task: Task) -> list[Native]:
    """The gradient of each operand in `wrt`, asked for jointly."""
    return list(task.adapter.vjp(task.function(), task.primals(), task.cotangent()))


def jvp(task: Task) -> list[Native]:
    """The tangent of y along the tangents of the operands in `wrt`."""
    return [task.adapter.jvp(task.function(), task.primals(), task.tangents())]


def vjp_of_vjp(task: Task) -> list[Native]:
    """The gradient, in every operand of `wrt` and the cotangent, of <outer, gradient in `slot`>."""
    primals = (*task.primals(), task.cotangent())
    return list(task.adapter.vjp(task.gradient(), primals, task.arrays["outer"]))


def vjp_of_vjp_alone(task: Task) -> list[Native]:
    """The same of a gradient that is asked for alone, as who penalises it does."""
    gradient, primals = task.gradients_of(task.slot), (*task.primals(), task.cotangent())
    return list(task.adapter.vjp(lambda *args: gradient(*args)[0], primals, task.arrays["outer"]))


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

    return list(task.adapter.vjp(total, tuple(chain.from_iterable(task.sets())), task.cotangent()))


def each(task: Task) -> list[Native]:
    """Y of each call on the same arrays."""
    return [one.apply() for one in task.calls()]


def compiled_each(task: Task) -> list[Native]:
    """The same of one compiled function that makes all the calls."""
    functions = [one.function() for one in task.calls()]
    compiled_function = task.adapter.compile(lambda *primals: tuple(function(*primals) for function in functions))
    return list(compiled_function(*task.primals()))


def vjp_of_each(task: Task) -> list[Native]:
    """The gradients of the operands in `wrt`, jointly, of the sum of the y of the calls on them."""
    functions = [one.function() for one in task.calls()]

    def total(*primals: Native) -> Native:
        return reduce(add, (function(*primals) for function in functions))

    return list(task.adapter.vjp(total, task.primals(), task.cotangent()))


def vjp_of_chain(task: Task) -> list[Native]:
    """The gradients of x and of each w of a chain of calls, each on the y of the one before."""
    kernels = [task.arrays[f"w{mark}"] for mark in task.marks("w")]

    def chained(x: Native, *kernels: Native) -> Native:
        return reduce(lambda y, w: task.apply(x=y, w=w), kernels, x)

    return list(task.adapter.vjp(chained, (task.arrays["x"], *kernels), task.cotangent()))


def accumulated(task: Task) -> list[Native]:
    """The gradients that the operands in `wrt` have gathered after a backward pass for each cotangent.

    What is not in `wrt` is another operand in each pass: `x1` and `cotangent1` are the second's, and so on.
    """

    def function(mark: str) -> Callable[..., Native]:
        constants = {name: task.arrays[f"{name}{mark}"] for name in "xwb" if name not in task.wrt}
        return lambda *primals: task.apply(**constants, **dict(zip(task.wrt, primals, strict=True)))

    passes = [(function(mark), task.arrays[f"cotangent{mark}"]) for mark in task.marks("cotangent")]
    return list(task.adapter.accumulate(passes, task.primals()))


def fit(task: Task) -> list[Native]:
    """The kernel of a layer without bias that the framework has trained, from w, to give the target for x."""
    fits = getattr(task.adapter, "fits", {})
    return [fits[task.name](task.arrays["x"], task.arrays["w"], task.arrays["target"], **task.attributes)]


def vmap(task: Task) -> list[Native]:
    """Y with a new first axis for each level of `axes`: mapped over those axes of the operands in `wrt`."""
    return [task.mapped(task.function())(*task.primals())]


def mapped_vjp(task: Task) -> list[Native]:
    """The gradients of the operands in `wrt`, mapped as y is by `vmap`; each level's axes end with the cotangent's.

    Where there is a `slot`, the gradient of that one alone.
    """
    gradients = task.gradients_of(task.slot or task.wrt)
    return list(task.mapped(gradients)(*task.primals(), task.cotangent()))


def vmap_of_jvp(task: Task) -> list[Native]:
    """The tangent of y along those of the operands in `wrt`, mapped; each level has the axes of both."""
    size = len(task.wrt)
    tangent = task.mapped(lambda *args: task.adapter.jvp(task.function(), args[:size], args[size:]))
    return [tangent(*task.primals(), *task.tangents())]


def jvp_of_vmap(task: Task) -> list[Native]:
    """The tangent of what `vmap` gives, the axes of tangents being those of their operands."""
    return [task.adapter.jvp(task.mapped(task.function()), task.primals(), task.tangents())]


def compiled_vmap(task: Task) -> list[Native]:
    """What `vmap` gives, of a map that is compiled."""
    return [task.adapter.compile(task.mapped(task.function()))(*task.primals())]


def vmap_of_compiled(task: Task) -> list[Native]:
    """The same of a map of a compiled function."""
    return [task.mapped(task.adapter.compile(task.function()))(*task.primals())]


def vjp_of_vmap(task: Task) -> list[Native]:
    """The gradients of the operands in `wrt` of what `vmap` gives, the axes of those that are not mapped being None."""
    return list(task.adapter.vjp(task.mapped(task.function()), task.primals(), task.cotangent()))


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


def vjp_of_compiled(task: Task) -> list[Native]:
    """The gradient in w alone, or in the one array that is both, for each set, through one function compiled once."""
    compiled_function, gradients = task.adapter.compile(task.function()), list[Native]()
    for x, w, *further, cotangent in task.sets("cotangent"):

        def of_w(kernel: Native, x: Native = x, further: list[Native] = further) -> Native:
            return compiled_function(x if "w" in task.arrays else kernel, kernel, *further)

        gradients += _trained(task.adapter, of_w, (w,), cotangent)
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

        gradients += _trained(task.adapter, of_asked, tuple(operands[at] for at in asked), cotangent)
    return gradients


def _trained(adapter: Any, f: Callable[..., Native], primals: tuple[Native, ...], cotangent: Native) -> list[Native]:
    """The gradients as training asks for them: by a backward pass where the adapter has one, and by vjp else."""
    if hasattr(adapter, "accumulate"):
        return list(adapter.accumulate([(f, cotangent)], primals))
    return list(adapter.vjp(f, primals, cotangent))


def compiled_vjp(task: Task) -> list[Native]:
    """The gradients for each set of operands and cotangents, of one function compiled once."""
    gradients = task.adapter.compile(lambda *args: task.adapter.vjp(task.function(), args[:-1], args[-1]))
    return [gradient for args in task.sets("cotangent") for gradient in gradients(*args)]


def compiled_jvp(task: Task) -> list[Native]:
    """The tangent of y for each set of operands, or along them, of one function compiled once."""
    compiled_function, results = task.adapter.compile(task.function()), list[Native]()
    for mark, operands in zip(task.marks("x"), task.sets(), strict=True):
        own = zip(task.wrt, operands, strict=True)
        tangents = tuple(task.arrays.get(f"{name}_tangent{mark}", operand) for name, operand in own)
        results.append(task.adapter.jvp(compiled_function, operands, tangents))
    return results


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
    return _by_threads(task, lambda *args: task.adapter.vjp(function, args[:-1], args[-1]), task.sets("cotangent"))


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


PROGRAMS: dict[str, Callable[[Task], list[Native]]] = {
    "conv1d": conv1d,
    "vjp": vjp,
    "jvp": jvp,
    "vjp_of_vjp": vjp_of_vjp,
    "vjp_of_vjp_alone": vjp_of_vjp_alone,
    "jvp_of_vjp": jvp_of_vjp,
    "vjp_of_sum": vjp_of_sum,
    "vjp_of_chain": vjp_of_chain,
    "each": each,
    "compiled_each": compiled_each,
    "vjp_of_each": vjp_of_each,
    "accumulated": accumulated,
    "fit": fit,
    "vmap": vmap,
    "mapped_vjp": mapped_vjp,
    "vmap_of_jvp": vmap_of_jvp,
    "jvp_of_vmap": jvp_of_vmap,
    "compiled_vmap": compiled_vmap,
    "vmap_of_compiled": vmap_of_compiled,
    "vjp_of_vmap": vjp_of_vmap,
    "compiled": compiled,
    "compiled_again": compiled_again,
    "vjp_of_compiled": vjp_of_compiled,
    "compiled_vjp": compiled_vjp,
    "vjp_through_compiled": vjp_through_compiled,
    "compiled_jvp": compiled_jvp,
    "written_to": written_to,
    "compiled_written_to": compiled_written_to,
    "written_to_vjp": written_to_vjp,
    "written_over": written_over,
    "at_once": at_once,
    "vjp_at_once": vjp_at_once,
    "compiled_at_once": compiled_at_once,
}
