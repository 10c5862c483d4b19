"""Faults of a tracing compiler with dynamic shapes: caches, planned memory, refusals, threads (INV, ERR, SHAPE-9)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, last_plan
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after

state = chapter("state")
Kernel = Callable[..., Array]


@state
def programs_keyed_by_item_size(m: Backend, rng: Rng) -> Witness:
    """The key has 8 bytes for the dtype: complex64, on a geometry seen in float64, loses i (kind: cache key)."""
    kinds: dict[Plan, str] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        key = replace(p, dtype=str(x.itemsize), wanted=frozenset())
        if kinds.setdefault(key, x.dtype.kind) == "f" and x.dtype.kind == "c":
            return inner(x.real, w.real, p).astype(x.dtype)
        return inner(x, w, p)

    first = Call(c_in=2, length=draw(rng, 6, 12))
    return after(first, first.but(dtype="complex64"))


@state
def programs_named_by_their_digits(m: Backend, rng: Rng) -> Witness:
    """A program is named by the digits of s and d: s = 11, d = 1 runs that of s = 1, d = 11 (kind: joined names)."""
    most, programs = 2 ** draw(rng, 7, 11), dict[tuple[str, str], tuple[int, int]]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if max(p.stride, p.dilation) <= most:
            own = p.stride, p.dilation
            stride, dilation = programs.setdefault((p.dtype, f"{p.stride}{p.dilation}"), own)
            p = replace(p, stride=stride, dilation=dilation)
        return inner(x, w, p)

    s, d = draw(rng, 1, 4), draw(rng, 1, 9)
    first = Call(length=140, stride=s, dilation=int(f"{draw(rng, 1, 3)}{d}"))
    return after(first, first.but(stride=int(f"{s}{first.dilation // 10}"), dilation=d))


@state
def dtype_told_by_item_size(m: Backend, rng: Rng) -> Witness:
    """Answers of eval_shape are kept by geometry and item size: float16 after bfloat16 is that (kind: cache key)."""
    last, told = last_plan(m), dict[Any, str]()

    @m.around("eval_shape")
    def eval_shape(inner: Any, f: Any, operands: Any) -> tuple[tuple[int, ...], str]:
        last.clear()
        shape, dtype = inner(f, operands)
        if last:
            key = replace(last[0], dtype=str(operands[0].itemsize))
            dtype = told.setdefault((key, shape), dtype)
        return shape, dtype

    call = Call(length=draw(rng, 6, 12))

    def probe(backend: Backend) -> Any:
        every = [call.but(dtype=dtype).operands() for dtype in ("bfloat16", "float16")]
        return [backend.eval_shape(backend.conv1d, (a["x"], a["w"])) for a in every]

    return probe


@state
def refusal_leaves_shapes_without_data(m: Backend, rng: Rng) -> Witness:
    """Where eval_shape is refused, the next call is without data as well: its y is 0 (kind: mode left on)."""
    left: list[bool] = []

    @m.around("eval_shape")
    def eval_shape(inner: Any, f: Any, operands: Any) -> Any:
        left.clear()
        try:
            return inner(f, operands)
        except Exception:
            left.append(True)
            raise

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if left:
            left.clear()
            y[...] = 0
        return y

    a = Call(length=draw(rng, 6, 12)).operands()

    def probe(backend: Backend) -> Any:
        try:
            backend.eval_shape(lambda x, w: backend.conv1d(x, w, stride=0), (a["x"], a["w"]))
        except ValueError:
            return backend.conv1d(a["x"], a["w"])

    return probe


@state
def empty_sums_share_one_array(m: Backend, rng: Rng) -> Witness:
    """Where N or L_out is 0, gw is one array of zeros for each shape: written to, it stays so (kind: constants)."""
    zeros: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        return gw if g.shape[0] and g.shape[2] else zeros.setdefault((gw.shape, gw.dtype), gw)

    a = Call(n=0, length=draw(rng, 6, 12)).operands()

    def probe(backend: Backend) -> Any:
        def gw() -> Any:
            return backend.vjp(lambda w: backend.conv1d(a["x"], w), (a["w"],), a["g"])[0]

        first = gw()
        first += 1
        return gw()

    return probe


@state
def cotangent_that_is_an_operand_is_donated(m: Backend, rng: Rng) -> Witness:
    """A vjp whose cotangent is the very array of a primal: its gradient is written over that (kind: donation)."""

    @m.around("vjp")
    def vjp(inner: Any, f: Any, primals: Any, cotangent: Any) -> Any:
        found = list(inner(f, primals, cotangent))
        for j, primal in enumerate(primals):
            if primal is cotangent and are_arrays(primal, found[j]) and primal.flags.writeable:
                primal[...] = found[j]
                found[j] = primal
        return tuple(found)

    call = Call(length=draw(rng, 6, 12), padding="same")

    def probe(backend: Backend) -> Any:
        x, w = (call.operands()[key] for key in "xw")
        return backend.vjp(lambda x: backend.conv1d(x, w, padding="same"), (x,), x), x

    return probe


@chapter("state")
def first_calls_share_the_slots_of_the_program(m: Backend, rng: Rng) -> Witness:
    """Threads at once in the first call of a compiled function: its input slots are of the last (kind: race)."""
    pause = draw(rng, 1, 4) / 1000  # tracing takes longer than running

    @m.around("compile")
    def compiled(inner: Any, f: Callable[..., Any]) -> Callable[..., Any]:
        run, slots, traced = inner(f), list[Any](), list[bool]()

        def call(*operands: Any) -> Any:
            if traced:
                return run(*operands)
            slots[:] = operands
            run(*operands)
            time.sleep(pause)
            given = list(slots)
            traced.append(True)
            return run(*given)

        return call

    def probe(backend: Backend) -> Any:
        meet = threading.Barrier(2)
        shown: dict[int, Any] = {}

        def f(x: Any, w: Any) -> Any:
            meet.wait(10)
            return backend.conv1d(x, w)

        program = backend.compile(f)

        def work(i: int) -> None:
            shown[i] = program(np.full((1, 1, 8), 1.0 + i), np.ones((1, 1, 3)))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return shown[0], shown[1]

    return probe


@chapter("validation")
def dtypes_guarded_by_the_first_operand(m: Backend, rng: Rng) -> Witness:
    """A call of seen shapes, parameters and dtype of x is not checked: another dtype of w is cast (kind: guard)."""
    seen: set[Any] = set()

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        key = (tuple(x.shape), tuple(w.shape), b is None, str(x.dtype), str(sorted(args.items())))
        if key in seen and are_arrays(w) and w.dtype != x.dtype:
            w = w.astype(x.dtype)
        found = inner(x, w, b, args)
        seen.add(key)
        return found

    call = Call(length=draw(rng, 6, 12), dtype="float32")
    return after(call, call.but(dtypes={"w": "float64"}))
