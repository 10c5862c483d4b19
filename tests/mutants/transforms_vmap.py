"""Faults of vmap (chapter INV)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
Rule = Callable[..., Any]
Operands = tuple[Any, Any, Any]


def under_vmap(m: Backend, fault: Callable[[Operands, Operands, dict[str, Any]], Operands]) -> None:
    """Change the operands of calls under vmap: fault gets those of the first call, of this one, and the parameters."""
    active: list[list[Operands]] = []

    @m.around("vmap")
    def vmap(inner: Rule, f: Rule, in_axes: Any = 0) -> Rule:
        def mapped(*operands: Traced) -> Any:
            active.append([])
            try:
                return inner(f, in_axes)(*operands)
            finally:
                active.pop()

        return mapped

    @m.around("conv1d")
    def conv1d(inner: Rule, x: Traced, w: Traced, b: Traced = None, **parameters: Any) -> Traced:
        if active:
            active[-1].append((x, w, b))
            x, w, b = fault(active[-1][0], (x, w, b), parameters)
        return inner(x, w, b, **parameters)


@mutant
def vmap_always_first_axis(m: Backend, rng: Rng) -> Witness:
    """An in_axes of 1 or more is taken for 0 where both axes have one extent (jax-ml/jax#705, kind)."""

    @m.around("slices")
    def slices(inner: Rule, operands: Sequence[Traced], axes: Sequence[int | None], i: int) -> list[Traced]:
        first = [
            0 if axis is not None and a.shape[0] == a.shape[axis] else axis
            for a, axis in zip(operands, axes, strict=True)
        ]
        return inner(operands, first, i)

    return Call(n=3, c_in=draw(rng, 1, 3), ask="vmap:1")


@mutant
def vmap_over_w_uses_first_kernel(m: Backend, rng: Rng) -> Witness:
    """Mapped over w alone with N > T (1 to 4), every call uses the first kernel (pytorch/functorch#10, kind)."""
    most = draw(rng, 1, 4)

    def fault(first: Operands, now: Operands, parameters: dict[str, Any]) -> Operands:
        x, w, b = now
        return x, first[1] if x is first[0] and x.shape[0] > most else w, b

    under_vmap(m, fault)
    return Call(n=most + 1, ask="vmap:-0")


@mutant
def vmap_both_with_groups(m: Backend, rng: Rng) -> Witness:
    """Mapped over x and w with groups, every call uses the first kernel (jax-ml/jax#858, kind)."""

    def fault(first: Operands, now: Operands, parameters: dict[str, Any]) -> Operands:
        x, w, b = now
        return x, first[1] if x is not first[0] and parameters.get("groups", 1) > 1 else w, b

    under_vmap(m, fault)
    return Call(c_in=4, c_out=4, groups=draw(rng, 1, 2) * 2, ask="vmap:00")


@mutant
def vmap_bias_without_weight(m: Backend, rng: Rng) -> Witness:
    """Mapped over w but not over b, calls after the first lack the bias (pytorch/functorch#338, kind)."""

    def fault(first: Operands, now: Operands, parameters: dict[str, Any]) -> Operands:
        x, w, b = now
        lost = b is not None and b is first[2] and w is not first[1]
        return x, w, None if lost else b

    under_vmap(m, fault)
    return Call(c_out=draw(rng, 1, 3), bias=True, ask="vmap:-0")


@mutant
def vmap_stops_early(m: Backend, rng: Rng) -> Witness:
    """Mapped calls after the second repeat the second's slices (kind: a loop over a pair)."""

    @m.around("slices")
    def slices(inner: Rule, operands: Sequence[Traced], axes: Sequence[int | None], i: int) -> list[Traced]:
        return inner(operands, axes, min(i, 1))

    return Call(kernel=draw(rng, 1, 4), ask="vmap:0")


@mutant
def vmap_batch_reversed(m: Backend, rng: Rng) -> Witness:
    """An x mapped over axis 2 has its batch reversed (kind: axis bookkeeping)."""

    @m.around("slices")
    def slices(inner: Rule, operands: Sequence[Traced], axes: Sequence[int | None], i: int) -> list[Traced]:
        flip = [axis == 2 and len(a.shape) == 4 for a, axis in zip(operands, axes, strict=True)]
        parts = inner(operands, axes, i)
        return [
            tape.linear(lambda v: v[::-1], lambda v: v[::-1], part) if turned else part
            for part, turned in zip(parts, flip, strict=True)
        ]

    return Call(n=draw(rng, 2, 4), ask="vmap:2")
