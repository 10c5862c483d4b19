"""Faults of second derivatives, tangents, maps and compiled functions that need padding, groups or a dtype as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed, reread, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("transforms")
gradients = chapter("gradients")
Accepted = tuple[Any, Any, Any, Plan]


def around_map(m: Backend, change: Callable[[Array, list[Accepted]], Array]) -> None:
    """Let the stack of y of a map be another: `change` gets it and the calls' operands and plans."""
    calls: list[Accepted] = []
    inside: list[bool] = []

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        if inside:
            calls.append(found)
        return found

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], f: Callable[..., Any], *rest: Any, **named: Any) -> Callable[..., Any]:
        mapped = inner(f, *rest, **named)

        def folded(*operands: Any) -> Any:
            calls.clear()
            inside.append(True)
            try:
                y = mapped(*operands)
            finally:
                inside.pop()
            plain = isinstance(y, np.ndarray) and y.ndim == 4 and len(y) == len(calls) > 1
            return change(y, list(calls)) if plain and all(are_arrays(*call[:2]) for call in calls) else y

        return folded


def compiled_functions(m: Backend) -> list[dict[str, Any]]:
    """Return a stack of the compiled functions that run: each is a dict of what it keeps from call to call."""
    stack: list[dict[str, Any]] = []

    @m.around("compile")
    def compiled(inner: Callable[..., Any], f: Callable[..., Any], *rest: Any, **named: Any) -> Callable[..., Any]:
        whole, memory = inner(f, *rest, **named), dict[str, Any]()

        def call(*operands: Any) -> Any:
            stack.append(memory)
            try:
                return whole(*operands)
            finally:
                stack.pop()

        return call

    return stack


def integers(*shape: int, seed: int = 3) -> Array:
    """Return small integers without 0 in float64."""
    return np.random.default_rng([seed, *shape]).integers(1, 9, shape).astype(np.float64)


@gradients
def dilated_second_derivative_sees_the_fill(m: Backend, rng: Rng) -> Witness:
    """Constant with a value, d > 1: second derivatives pad their direction with it, not 0 (kind: affine as linear)."""
    inside = within(m, "vjp")

    @m.around("pad_tangent")
    def pad_tangent(inner: Callable[..., Array], x: Array, p: Plan) -> Array:
        return m.pad(x, p.fill, p) if inside and p.mode == "constant" and p.dilation > 1 else inner(x, p)

    ask = ("x/w", "x/g", "w>x")[draw(rng, 0, 2)]
    return Call(length=9, dilation=2, padding=(2, 1), mode="constant", fill=draw(rng, 1, 5), ask=ask)


@gradients
def joint_tangent_of_w_without_the_fill(m: Backend, rng: Rng) -> Witness:
    """Jvp along x and w together, constant with a value: F(x, dw) has x padded with 0 (kind: xp shared with dx)."""

    @m.around("push")
    def push(inner: Callable[..., Any], slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        joint = p.wanted >= {"x", "w"} and slot == "g" and name == "w" and p.mode == "constant"
        if joint and are_arrays(operands["x"]):
            bare = changed(operands["x"], np.s_[:, :, : p.lo])
            operands = {**operands, "x": changed(bare, np.s_[:, :, p.lo + p.length :])}
        return inner(slot, name, operands, tangent, p)

    return Call(padding=(draw(rng, 1, 3), 1), mode="constant", fill=draw(rng, 1, 5), ask="jvp:xw")


@mutant
def map_of_grouped_kernels_with_uneven_pads_interleaved(m: Backend, rng: Rng) -> Witness:
    """A map over w alone, groups, lo != hi: outputs are (group, map), read as (map, group) (kind: fold)."""

    def change(y: Array, calls: list[Accepted]) -> Array:
        p = calls[0][3]
        alone = all(x is calls[0][0] and b is calls[0][2] for x, _, b, _ in calls)
        if not alone or p.groups == 1 or p.lo == p.hi or calls[0][1] is calls[1][1]:
            return y
        split = y.reshape(len(y), p.n, p.groups, p.fan_out, p.l_out).transpose(1, 2, 0, 3, 4)
        return np.ascontiguousarray(split.reshape(p.n, len(y), p.c_out, p.l_out).swapaxes(0, 1))

    around_map(m, change)
    return Call(c_in=2, c_out=4, groups=2, padding=(draw(rng, 2, 3), 1), ask="vmap:-0")


@mutant
def mapped_bias_dealt_out_by_item(m: Backend, rng: Rng) -> Witness:
    """A map over x and b, w shared, N > 1: item n of call i has the bias (i*N + n) mod M (kind: folded)."""

    def change(y: Array, calls: list[Accepted]) -> Array:
        n, biases = calls[0][3].n, [b for _, _, b, _ in calls]
        shared = all(w is calls[0][1] for _, w, _, _ in calls) and calls[0][0] is not calls[1][0]
        if n == 1 or not shared or not are_arrays(*biases) or biases[0] is biases[1]:
            return y
        y = np.array(y)
        for i in range(len(y)):
            for item in range(n):
                y[i, item] += (biases[(i * n + item) % len(y)] - biases[i])[:, None]
        return y

    around_map(m, change)
    return Call(n=draw(rng, 2, 3), c_out=2, bias=True, ask=f"vmap:{draw(rng, 0, 2)}-0")


@mutant
def compiled_groups_keep_the_layout_of_w(m: Backend, rng: Rng) -> Witness:
    """Compiled, groups: a permuted w after a contiguous one of its shape is read flat (kind: guard on shapes alone)."""
    stack = compiled_functions(m)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        if stack and p.groups > 1:
            first = stack[-1].setdefault(f"{x.shape}{w.shape}", w.flags.c_contiguous)
            dense = w.transpose(np.argsort([-s for s in w.strides], kind="stable"))
            if first and dense.flags.c_contiguous:
                w = dense.reshape(w.shape)
        return x, w

    reread(m, change)
    kernel = draw(rng, 3, 5)

    def probe(backend: Backend) -> Any:
        f = backend.compile(lambda x, w: backend.conv1d(x, w, groups=2))
        x, w = integers(1, 4, 9), integers(2, 2, kernel)
        return f(x, w), f(x, np.ascontiguousarray(w.transpose(2, 1, 0)).transpose(2, 1, 0))

    return probe


@mutant
def compiled_strided_kernel_gradient_of_the_first_batch(m: Backend, rng: Rng) -> Witness:
    """Compiled, s > 1: gw of a larger batch than the first call's sums as many items as that (kind: N baked in)."""
    stack = compiled_functions(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, p = inner(*args)
        if stack:
            first = stack[-1].setdefault("n", p.n)
            p = replace(p, wanted=p.wanted | {f"n{first}"})
        return x, w, b, p

    @m.around("grad_w")
    def grad_w(inner: Callable[..., Array], x: Array, g: Array, p: Plan) -> Array:
        first = min((int(mark[1:]) for mark in p.wanted if mark[0] == "n"), default=p.n)
        if 0 < first < p.n and p.stride > 1:
            return inner(x[:first], g[:first], replace(p, n=first))
        return inner(x, g, p)

    stride = draw(rng, 2, 3)

    def probe(backend: Backend) -> Any:
        def f(x: Any, w: Any, g: Any) -> Any:
            return backend.vjp(lambda k: backend.conv1d(x, k, stride=stride), (w,), g)[0]

        run, w = backend.compile(f), integers(2, 2, 3)
        batches = [(integers(n, 2, 2 * stride + 3), w, integers(n, 2, 3)) for n in (1, 3)]
        return [run(*batch) for batch in batches][-1]

    return probe


@mutant
def compiled_named_plans_shared_by_strides(m: Backend, rng: Rng) -> Witness:
    """Compiled, a padding name: plans are kept by all but the stride, so the first stride counts (kind: cache key)."""
    stack = compiled_functions(m)
    plans: dict[Any, Plan] = {}

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, p = inner(*args)
        if stack and p.padding in ("same", "same_lower", "causal", "full"):
            p = plans.setdefault(replace(p, stride=1, lo=0, hi=0, l_out=0), p)
        return x, w, b, p

    name = ("same", "same_lower", "causal", "full")[draw(rng, 0, 3)]

    def probe(backend: Backend) -> Any:
        def at(stride: int) -> Callable[..., Any]:
            return backend.compile(lambda x, w: backend.conv1d(x, w, stride=stride, padding=name))

        x, w = integers(1, 1, 9), integers(1, 1, 4)
        return at(1)(x, w), at(2)(x, w)

    return probe
