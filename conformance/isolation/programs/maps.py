"""Maps of the operator and of its derivatives, and the derivatives and compilation of maps."""

from __future__ import annotations

from conv1d_cts.conformance.isolation.programs.task import Native, Task, counted


def vmap(task: Task) -> list[Native]:
    """Y with a new first axis for each level of `axes`: mapped over those axes of the operands in `wrt`."""
    return [task.mapped(task.function())(*task.primals())]


def mapped_vjp(task: Task) -> list[Native]:
    """The gradients of the operands in `wrt`, mapped as y is by `vmap`; each level's axes end with the cotangent's.

    Where there is a `slot`, the gradient of that one alone.
    """
    asked = task.slot or task.wrt
    mapped = task.mapped(task.gradients_of(asked))
    return list(counted(mapped(*task.primals(), task.cotangent()), len(asked), "vmap"))


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
    return list(task.vjp(task.mapped(task.function()), task.primals(), task.cotangent()))
