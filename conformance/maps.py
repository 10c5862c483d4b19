"""Maps of conv1d over further axes (INV-17): the call of a map, and the stack of single calls that it must give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.backend import Call, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import operand_names

Array = np.ndarray[Any, Any]
Index = tuple[int, ...]
_WIDEST = 64  # above every extent of a level, so that each index has data of its own


@dataclass(frozen=True)
class Level:
    """One map: the operands that have its axis, as in "xw", and the extent of that axis."""

    over: str
    extent: int


@dataclass(frozen=True)
class Map:
    """Conv1d on a case, mapped at every level, the outermost first."""

    case: Case
    levels: tuple[Level, ...]

    def want(self) -> Array:
        """What the loop gives: (extents of the levels..., N, O, L_out)."""
        extents = tuple(level.extent for level in self.levels)
        stack = np.empty((*extents, *self.case.geometry.y_shape), operands(self.case).x.dtype)
        want: Array = oracle.raised(stack)
        for index in np.ndindex(extents):
            want[index] = oracle.forward(self.case, self._single(index))
        return want

    def call(self) -> Call:
        """The call of the map, along axes that the case's seed draws, counted from either end."""
        draw, call = Random(self.case.seed), call_of(self.case, operands(self.case))
        arrays, axes = {}, {}
        for name in "xwb":
            if self._depths(name):
                arrays[name], axes[name] = self._laid(name, draw)
        levels = tuple(tuple(of.get(depth) for of in axes.values()) for depth in range(len(self.levels)))
        return replace(call, program="vmap", wrt="".join(axes), axes=levels, arrays={**call.arrays, **arrays})

    def want_gradients(self) -> list[Array]:
        """The gradients of x, w and, with a bias, b, each with the extents of the levels before its own axes."""
        extents = tuple(level.extent for level in self.levels)
        want: list[Array] = []
        for index in np.ndindex(extents):
            found = oracle.gradients(self.case, replace(self._single(index), cotangent=self._cotangent(index)))
            want = want or [np.empty((*extents, *gradient.shape), gradient.dtype) for gradient in found.values()]
            for stack, gradient in zip(want, found.values(), strict=True):
                stack[index] = gradient
        return want

    def call_of_gradients(self, slot: str = "") -> Call:
        """That of a map of the gradients of all operands, or of one, with a cotangent for each index, on axis 0."""
        call = self.call_of_its_gradients()
        return replace(call, program="mapped_vjp", slot=slot, axes=tuple((*level, 0) for level in call.axes))

    def call_of_its_gradients(self) -> Call:
        """The call of the gradients of the map itself in all operands, the cotangent having the shape of its result."""
        names, mapped = operand_names(self.case), self.call()
        own = {name: [level[place] for level in mapped.axes] for place, name in enumerate(mapped.wrt)}
        levels = tuple(tuple(own[n][d] if n in own else None for n in names) for d in range(len(self.levels)))
        extents = tuple(level.extent for level in self.levels)
        cotangents = np.stack([self._cotangent(index) for index in np.ndindex(extents)])
        given = {**mapped.arrays, "cotangent": cotangents.reshape(*extents, *self.case.geometry.y_shape)}
        return replace(mapped, program="vjp_of_vmap", wrt=names, axes=levels, arrays=given)

    def want_its_gradients(self, call: Call) -> list[Array]:
        """Of each operand of that call, the sum of the gradients of the single calls at the places that they read."""
        extents = tuple(level.extent for level in self.levels)
        shapes = [require(call.arrays[name], name).shape for name in call.wrt]
        sums = [np.zeros((*extents, *shape)) for shape in shapes]
        for stacked, whole, axes in zip(self.want_gradients(), sums, zip(*call.axes, strict=True), strict=True):
            for index in np.ndindex(extents):
                place = whole[index]
                for axis, at in zip(axes, index, strict=True):
                    place = place if axis is None else np.moveaxis(place, axis, 0)[at]
                place[...] = stacked[index]
        return [whole.reshape(-1, *shape).sum(0) for whole, shape in zip(sums, shapes, strict=True)]

    def _cotangent(self, index: Index) -> Array:
        """That of the call at an index."""
        offset = sum(place * _WIDEST**depth for depth, place in enumerate(index))
        return operands(replace(self.case, seed=self.case.seed + offset)).cotangent

    def _depths(self, name: str) -> list[int]:
        return [depth for depth, level in enumerate(self.levels) if name in level.over]

    def _single(self, index: Index) -> Operands:
        """The operands of the call at an index: those that are mapped have their own data at each."""
        given = operands(self.case)
        mapped: dict[str, Any] = {name: self._operand(name, index) for name in "xwb" if self._depths(name)}
        return replace(given, **mapped)

    def _operand(self, name: str, index: Index) -> Array:
        offset = sum(index[depth] * _WIDEST**depth for depth in self._depths(name))
        found: Array = getattr(operands(replace(self.case, seed=self.case.seed + offset)), name)
        return found

    def _laid(self, name: str, draw: Random) -> tuple[Array, dict[int, int]]:
        """An operand with an axis for each level over it, and these axes by the depth of their level."""
        depths, plain = self._depths(name), getattr(operands(self.case), name)
        laid = np.empty((*(self.levels[depth].extent for depth in depths), *plain.shape), plain.dtype)
        for own in np.ndindex(laid.shape[: len(depths)]):
            index = dict.fromkeys(range(len(self.levels)), 0) | dict(zip(depths, own, strict=True))
            laid[own] = self._operand(name, tuple(index.values()))
        axes = {}
        for place, depth in reversed(list(enumerate(depths))):
            rank = laid.ndim - place  # of what the levels further out have unpacked
            axes[depth] = draw.randrange(-rank, rank)
            laid = np.moveaxis(laid, place, place + axes[depth] % rank)
        return laid, axes
