"""Automatic differentiation of the mutants' backend: operations on arrays, and on tracers that stand for one.

A transform wraps its primals in tracers of its own level, so that transforms nest. An operation lowers the operands of
the highest level, computes on what they stand for, and wraps the result: a `Var` remembers how to pull a cotangent
back, a `Dual` carries its tangent forward. Written apart from the reference's tape, which the suite trusts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Traced = Any  # an array, or a tracer that stands for one
Map = Callable[[Any], Any]

_depth = itertools.count(1)  # levels only have to differ and to grow inwards
_order = itertools.count()


@dataclass(frozen=True, eq=False, slots=True)
class Tracer:
    """An array under a transform: what it stands for, and the level of that transform."""

    value: Traced
    level: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        """The dtype of the value."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The rank of the value."""
        return len(self.value.shape)

    def __add__(self, other: Traced) -> Traced:
        """Return the sum of two results of one shape."""
        return add(self, other)


@dataclass(frozen=True, eq=False, slots=True)
class Var(Tracer):
    """A value under a vjp: the operands it depends on, each with the map that pulls a cotangent back to it."""

    links: tuple[tuple[Var, Map], ...]
    order: int


@dataclass(frozen=True, eq=False, slots=True)
class Dual(Tracer):
    """A value under a jvp, with its tangent."""

    tangent: Traced


def level(*operands: Traced) -> int:
    """Return the highest level among the operands; 0 where all are arrays."""
    return max((a.level for a in operands if isinstance(a, Tracer)), default=0)


def lower(a: Traced, top: int) -> Traced:
    """Return what a stands for, where it is a tracer of that level."""
    return a.value if isinstance(a, Tracer) and a.level == top else a


def trace(value: Traced, top: int, links: Sequence[tuple[Traced, Map, Map]]) -> Traced:
    """Wrap a result: links are (operand, push of its tangent, pull of a cotangent) for each operand."""
    own = [(a, push, pull) for a, push, pull in links if isinstance(a, Tracer) and a.level == top]
    if isinstance(own[0][0], Var):
        return Var(value, top, tuple((a, pull) for a, _, pull in own), next(_order))
    tangents = [push(a.tangent) for a, push, _ in own]
    return Dual(value, top, tangents[0] if len(tangents) == 1 else add(*tangents))


def affine(whole: Map, linear_part: Map, transpose: Map, a: Traced) -> Traced:
    """Apply an affine map of arrays to a; its derivative is `linear_part`, the transpose of that `transpose`."""
    top = level(a)
    if top == 0:
        return whole(a)
    value = affine(whole, linear_part, transpose, lower(a, top))
    return trace(
        value,
        top,
        [(a, lambda t: linear(linear_part, transpose, t), lambda g: linear(transpose, linear_part, g))],
    )


def linear(fn: Map, transpose: Map, a: Traced) -> Traced:
    """Apply a linear map of arrays to a."""
    return affine(fn, fn, transpose, a)


def add(a: Traced, b: Traced) -> Traced:
    """Return a + b, of one shape."""
    top = level(a, b)
    if top == 0:
        return a + b
    return trace(add(lower(a, top), lower(b, top)), top, [(a, _same, _same), (b, _same, _same)])


def conj(a: Traced) -> Traced:
    """Return the complex conjugate of a; a itself where it is real."""
    return linear(np.conj, np.conj, a) if np.dtype(a.dtype).kind == "c" else a


def zeros_like(a: Traced) -> Any:
    """Return an array of zeros in the shape and dtype of a."""
    return np.zeros(a.shape, a.dtype)


def vjp(f: Callable[..., Traced], primals: Sequence[Traced], cotangent: Callable[[Traced], Traced]) -> tuple[Any, ...]:
    """Return the gradients by each primal; `cotangent` gives that of the result, once the result is known."""
    top = next(_depth)
    inputs = [Var(primal, top, (), next(_order)) for primal in primals]
    out = f(*inputs)
    seed = cotangent(lower(out, top))
    gradients: dict[Var, Traced] = {out: seed} if isinstance(out, Var) and out.level == top else {}
    for var in sorted(_reachable(out, top), key=lambda v: -v.order):
        for operand, pull in var.links:
            part = pull(gradients[var])
            gradients[operand] = add(gradients[operand], part) if operand in gradients else part
    return tuple(gradients[v] if v in gradients else zeros_like(v) for v in inputs)


def jvp(f: Callable[..., Traced], primals: Sequence[Traced], tangents: Sequence[Traced]) -> Traced:
    """Return the derivative of f along the tangents."""
    top = next(_depth)
    out = f(*(Dual(primal, top, tangent) for primal, tangent in zip(primals, tangents, strict=True)))
    return out.tangent if isinstance(out, Dual) and out.level == top else zeros_like(out)


def take(a: Traced, index: int, axis: int) -> Traced:
    """Return a[..., index, ...] along an axis."""

    def embed(g: Any) -> Any:
        whole = np.zeros(a.shape, g.dtype)
        np.moveaxis(whole, axis, 0)[index] = g
        return whole

    return linear(lambda v: np.moveaxis(v, axis, 0)[index], embed, a)


def stack(parts: Sequence[Traced]) -> Traced:
    """Stack the parts along a new first axis."""
    count = len(parts)

    def place(part: Traced, i: int) -> Traced:
        def spread(v: Any) -> Any:
            return np.stack([v if j == i else np.zeros_like(v) for j in range(count)])

        return linear(spread, lambda g: g[i], part)

    if level(*parts) == 0:
        return np.stack(parts)
    total = place(parts[0], 0)
    for i, part in enumerate(parts[1:], 1):
        total = add(total, place(part, i))
    return total


def _same(g: Traced) -> Traced:
    return g


def _reachable(out: Traced, top: int) -> set[Var]:
    found: set[Var] = set()
    todo = [out] if isinstance(out, Var) and out.level == top else []
    while todo:
        var = todo.pop()
        if var not in found:
            found.add(var)
            todo += [operand for operand, _ in var.links]
    return found
