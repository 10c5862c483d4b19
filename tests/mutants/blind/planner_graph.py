"""Faults of graphs and plans: capture, replay, hoisting, recomputation, reuse (gradients, transforms, state)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import shape_only
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after

gradients = chapter("gradients")
transforms = chapter("transforms")
special = chapter("special values")
validation = chapter("validation")
state = chapter("state")
Kernel = Callable[..., Array]


def whole(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    """Return arrays of integers from 1 to 9, in float64."""
    numbers = np.random.default_rng(seed)
    return [numbers.integers(1, 10, shape).astype(np.float64) for shape in shapes]


@transforms
def replay_copies_only_another_array(m: Backend, rng: Rng) -> Witness:
    """A compiled call copies an operand above T numbers in only if it is another array than last (kind: replay)."""
    least = draw(rng, 6, 16)

    @m.around("compile")
    def compile(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        program = inner(f)
        slots: dict[int, tuple[Array, Array]] = {}

        def replay(*operands: Any) -> Any:
            given = list(operands)
            for i, a in enumerate(operands):
                if not isinstance(a, np.ndarray) or a.size <= least:
                    continue
                if i not in slots or slots[i][0] is not a:
                    slots[i] = a, a.copy()
                given[i] = slots[i][1]
            return program(*given)

        return replay

    def probe(backend: Backend) -> Any:
        x, w = whole(1, (1, 1, 20), (1, 1, 3))
        program = backend.compile(lambda a, k: backend.conv1d(a, k))
        program(x, w)
        x[..., 4] += 1
        return program(x, w)

    return probe


@state
def programs_share_one_pool(m: Backend, rng: Rng) -> Witness:
    """A compiled result of T bytes or more is overwritten by another program's of its size (kind: shared pool)."""
    least = draw(rng, 24, 48)
    pool: dict[Any, tuple[object, Array]] = {}

    @m.around("compile")
    def compile(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        program, me = inner(f), object()

        def placed(result: Any) -> Any:
            if isinstance(result, tuple):
                return tuple(placed(part) for part in result)
            if not isinstance(result, np.ndarray) or result.nbytes < least:
                return result
            key = result.nbytes, str(result.dtype)
            if key not in pool or pool[key][0] is me:
                pool[key] = me, result.reshape(-1).copy()
            else:
                pool[key] = me, pool[key][1]
                pool[key][1][:] = result.reshape(-1)
            return pool[key][1].reshape(result.shape)

        return lambda *operands: placed(program(*operands))

    def probe(backend: Backend) -> Any:
        x, w, v = whole(2, (1, 1, 20), (1, 1, 3), (1, 1, 3))
        first, second = (backend.compile(lambda a, k, d=d: backend.conv1d(a, k, padding=d)) for d in ((1, 1), "same"))
        y = first(x, w)
        second(x, v)
        return y

    return probe


@transforms
def replays_in_parts_keep_the_last_gw(m: Backend, rng: Rng) -> Witness:
    """Compiled, gw of a multiple of the first N (T or more) has only the last part's, T 1 or 2 (kind: overwrite)."""
    least = draw(rng, 1, 2)
    running: list[dict[Any, int]] = []
    marked: dict[int, tuple[Plan, int]] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        plan = found[3]
        if running:
            key = replace(plan, n=0, fill=0, wanted=frozenset())
            marked[id(plan)] = plan, running[-1].setdefault(key, plan.n)
            for old in list(marked)[:-256]:
                del marked[old]
        return found

    @m.around("compile")
    def compile(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        program = inner(f)
        batches: dict[Any, int] = {}

        def replay(*operands: Any) -> Any:
            running.append(batches)
            try:
                return program(*operands)
            finally:
                running.pop()

        return replay

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        plan, n = marked.get(id(p), (None, 0))
        if plan is p and least <= n < p.n and p.n % n == 0:
            return inner(x[-n:], g[-n:], replace(p, n=n))
        return inner(x, g, p)

    def probe(backend: Backend) -> Any:
        x, w, g = whole(3, (4, 1, 9), (1, 1, 3), (4, 1, 7))
        program = backend.compile(lambda a, k: backend.conv1d(a, k))
        program(x[:2], w)
        return backend.vjp(lambda k: program(x, k), (w,), g)

    return probe


@transforms
def invariant_hoisted_out_of_both_maps(m: Backend, rng: Rng) -> Witness:
    """A kernel of T taps or more that the inner map alone does not map is the first outer item's (kind: hoisting)."""
    least = draw(rng, 2, 3)
    depth = [0]
    seen: dict[Any, list[Array]] = {}
    hoisted: dict[Any, Array] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if depth[0] >= 2 and isinstance(w, np.ndarray) and plan.kernel >= least:
            key = replace(plan, fill=0, wanted=frozenset())
            if key in hoisted:
                w = hoisted[key]
            else:
                seen.setdefault(key, []).append(w)
        return x, w, b, plan

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            depth[0] += 1
            try:
                return mapped(*operands)
            finally:
                depth[0] -= 1
                if depth[0] == 1:
                    same = {k: ws for k, ws in seen.items() if len(ws) > 1 and all(w is ws[0] for w in ws)}
                    hoisted.update({k: ws[0] for k, ws in same.items()})
                if depth[0] == 0:
                    hoisted.clear()
                seen.clear()

        return run

    def probe(backend: Backend) -> Any:
        x, w = whole(4, (2, 3, 1, 1, 8), (2, 1, 1, 3))
        rows = backend.vmap(lambda a, k: backend.vmap(lambda row: backend.conv1d(row, k), 0)(a), (0, 0))
        return rows(x, w)

    return probe


@transforms
def mapped_backward_replays_its_first_segment(m: Backend, rng: Rng) -> Witness:
    """Backward of a map of more than T items (2 or 3) gives the first T their cotangents reversed (kind: segments)."""
    segment = draw(rng, 2, 3)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            out = mapped(*operands)
            if isinstance(out, tape.Var) and out.shape[0] > segment:
                order = [*[*range(segment)][::-1], *range(segment, out.shape[0])]
                return tape.linear(np.array, lambda g: g[order], out)
            return out

        return run

    def probe(backend: Backend) -> Any:
        x, w, g = whole(5, (4, 1, 1, 8), (1, 1, 3), (4, 1, 1, 6))
        return backend.vjp(lambda xs: backend.vmap(lambda a: backend.conv1d(a, w), 0)(xs), (x,), g)

    return probe


@gradients
def deep_passes_recompute_without_the_mode(m: Backend, rng: Rng) -> Witness:
    """Gw of all but the last T calls (1 or 2) of a pass pads the saved x anew, with zeros (kind: recomputation)."""
    recent = draw(rng, 1, 2)
    depth = [0]
    recorded: list[Plan] = []

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], *args: Any) -> Any:
        depth[0] += 1
        try:
            return inner(*args)
        finally:
            depth[0] -= 1
            if depth[0] == 0:
                recorded.clear()

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        if depth[0] and "w" in found[3].wanted:
            recorded.append(found[3])
        return found

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        if slot == "g" and name == "w" and isinstance(operands["x"], np.ndarray):
            early = recorded[: max(len(recorded) - recent, 0)]
            if p.mode != "zeros" and any(plan is p for plan in early):
                again = np.zeros_like(operands["x"])
                own = slice(p.lo, p.lo + p.length)
                again[..., own] = operands["x"][..., own]
                operands = {**operands, "x": again}
        return inner(slot, name, operands, g, p)

    def probe(backend: Backend) -> Any:
        w, g, *rows = whole(6, (1, 1, 3), (1, 1, 8), (1, 1, 8), (1, 1, 8), (1, 1, 8))

        def total(k: Any) -> Any:
            first, second, third = (backend.conv1d(x, k, padding="same", padding_mode="reflect") for x in rows)
            return first + second + third

        return backend.vjp(total, (w,), g)

    return probe


@special
def rows_saved_by_their_positives_lose_nan(m: Backend, rng: Rng) -> Witness:
    """Gw reads rows of T or more samples, none of them negative, as saved by x > 0: no NaN (kind: compression)."""
    least = draw(rng, 2, 4)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.length >= least and x.dtype.kind != "c":
            values = widen(x)
            mixed = (values < 0).any(axis=-1, keepdims=True)
            x = np.where(mixed | (values > 0), x, np.zeros((), x.dtype))
        return inner(x, g, p)

    return Call(data=lambda numbers, shape: numbers.integers(1, 10, shape), put=(("x", (0, 0, 4), np.nan),), ask="w")


@state
def plan_of_a_shape_query_pads_zeros(m: Backend, rng: Rng) -> Witness:
    """A plan (lo + hi >= T) made by eval_shape has 0 for the constant, and later calls use it (kind: plan reuse)."""
    least = draw(rng, 1, 2)
    asking = shape_only(m)
    made: set[Plan] = set()

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if plan.mode == "constant" and plan.lo + plan.hi >= least:
            key = replace(plan, fill=0, wanted=frozenset())
            if asking:
                made.add(key)
            elif key in made:
                plan = replace(plan, fill=0)
        return x, w, b, plan

    def probe(backend: Backend) -> Any:
        x, w = whole(7, (1, 1, 8), (1, 1, 3))

        def f(a: Any, k: Any) -> Any:
            return backend.conv1d(a, k, padding=(2, 1), padding_mode="constant", padding_value=5)

        return backend.eval_shape(f, (x, w)), f(x, w)

    return probe


@validation
def plan_found_before_the_mode_is_checked(m: Backend, rng: Rng) -> Witness:
    """One of the last T plans that pads nothing is found under any mode, unknown ones too (kind: canonical key)."""
    most = draw(rng, 4, 8)
    plans: list[str] = []

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        shapes = [(getattr(a, "shape", None), str(getattr(a, "dtype", None))) for a in (x, w, b)]
        key = repr((shapes, [args[k] for k in ("stride", "dilation", "groups", "padding")]))
        if key in plans:
            args = {**args, "padding_mode": "zeros"}
        found = inner(x, w, b, args)
        if found[3].lo + found[3].hi == 0:
            plans[:] = [*plans, key][-most:]
        return found

    return after(Call(), Call(raw={"padding_mode": "mirror"}))


@state
def second_fit_keeps_the_moments(m: Backend, rng: Rng) -> Witness:
    """A fit of more than T weights starts with the moments that the last one of its shape left (kind: arena)."""
    least = draw(rng, 1, 3)
    kept: dict[Any, tuple[Array, Array]] = {}

    @m.around("moments")
    def moments(inner: Callable[..., Any], first: Array, second: Array, g: Array) -> Any:
        if g.size > least:
            if g.shape in kept and not first.any() and not second.any():
                first, second = kept[g.shape]
            kept[g.shape] = inner(first, second, g)
            return kept[g.shape]
        return inner(first, second, g)

    def probe(backend: Backend) -> Any:
        x, z, w, target = whole(8, (1, 1, 8), (1, 1, 8), (1, 1, 4), (1, 1, 5))
        return [backend.fit(a, w, target, steps=3) for a in (x, -z)]

    return probe
