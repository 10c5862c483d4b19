"""What a program is given: native arrays by name, and the functions that are made of them.

An operand is named by one letter: x, w, b; where there is no w, x is both. Derivatives are asked for in the operands
that `wrt` lists, the others being closed over; maps go over them, each level of `axes`, outermost first, holding the
axis of each or None. Several sets of operands for one function are numbered: x, w, b, then x1, w1, b1 and so on, and so
are their cotangents. Where several calls are made on the same operands, `others` has the attributes of those after the
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from typing import Any

Native = Any


class Miscounted(Exception):  # noqa: N818 - what the results are
    """A transform of the backend has returned more results, or fewer, than it was asked for."""


def counted(results: Iterable[Native], wanted: int, of: str) -> tuple[Native, ...]:
    """The results `of` a transform. Raises Miscounted where they are not as many as `wanted`."""
    found = tuple(results)
    if len(found) != wanted:
        raise Miscounted(f"{of} returned {len(found)} results for {wanted}")
    return found


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
        """The surface as a function of the operands in `wrt`, in that order, which adapters also compile."""
        return lambda *primals: self.apply(**dict(zip(self.wrt, primals)))  # noqa: B905 - torch 2.1 cannot trace it

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

    def vjp(self, function: Callable[..., Native], primals: Sequence[Native], cotangent: Native) -> tuple[Native, ...]:
        """The gradient in each of the primals. Raises Miscounted."""
        return counted(self.adapter.vjp(function, primals, cotangent), len(primals), "vjp")

    def accumulate(
        self, passes: Sequence[tuple[Callable[..., Native], Native]], primals: Sequence[Native]
    ) -> tuple[Native, ...]:
        """What each of the primals has gathered after the passes. Raises Miscounted."""
        return counted(self.adapter.accumulate(passes, primals), len(primals), "accumulate")

    def mapped(self, function: Callable[..., Native]) -> Callable[..., Native]:
        """The function mapped once for each level of `axes`."""
        for level in reversed(self.axes):
            function = self.adapter.vmap(function, level)
        return function

    def gradient(self) -> Callable[..., Native]:
        """The first derivative in operand `slot`, as a function of the operands in `wrt` and the cotangent."""
        position = self.wrt.index(self.slot)
        return lambda *args: self.vjp(self.function(), args[:-1], args[-1])[position]

    def gradients_of(self, asked: str) -> Callable[..., tuple[Native, ...]]:
        """The first derivatives in some operands, the others constant, as a function of all and the cotangent."""

        def gradients(*args: Native) -> tuple[Native, ...]:
            given = dict(zip(self.wrt, args, strict=False))

            def function(*primals: Native) -> Native:
                return self.apply(**{**given, **dict(zip(asked, primals, strict=True))})

            return self.vjp(function, tuple(given[name] for name in asked), args[-1])

        return gradients
