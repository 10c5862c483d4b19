"""Faults of a memory planner: pools, arenas, aliases, kept copies (operator, gradients, numerics, state)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness, after

operator = chapter("operator")
gradients = chapter("gradients")
numerics = chapter("numerics")
layouts = chapter("layouts")
state = chapter("state")
Kernel = Callable[..., Array]


@state
def pooled_sums_cleared_by_the_former_dtype(m: Backend, rng: Rng) -> Witness:
    """Sums in a pooled slot that a narrower dtype left are cleared by its item size (kind: cleared in part)."""
    least = draw(rng, 4, 6)  # log2 of the bytes of the smallest slot
    pool: dict[int, tuple[bytes, int]] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        slot = max(least, max(y.nbytes - 1, 0).bit_length())
        former, item = pool.get(slot, (b"", y.itemsize))
        if item < y.itemsize:
            start = -(-y.size * item // y.itemsize)
            whole = len(former) // y.itemsize * y.itemsize
            stale = np.frombuffer(former[start * y.itemsize : max(whole, start * y.itemsize)], y.dtype)
            left = y.reshape(-1)[start:]
            count = min(len(left), len(stale))
            left[:count] += stale[:count]
        pool[slot] = y.tobytes(), y.itemsize
        return y

    return after(Call(length=18, dtype="float32"), Call(length=10))


@gradients
def gx_laid_over_the_padded_input(m: Backend, rng: Rng) -> Witness:
    """Jointly, gx takes the memory of the padded x before gw read it, where C > T*O, T 1 or 2 (kind: live range)."""
    times = draw(rng, 1, 2)
    written: list[tuple[Array, Array]] = []

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        out = inner(w, g, p)
        written[:] = [(g, out)]
        return out

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        owned = p.lo + p.hi > 0 and {"x", "w"} <= p.wanted and p.c_in > times * p.c_out
        if owned and written and written[0][0] is g and written[0][1].shape == x.shape:
            x = written[0][1]
        return inner(x, g, p)

    return Call(c_in=3, c_out=1, padding=(1, 1), ask="xw")


@numerics
def halves_narrowed_in_place_by_two_workers(m: Backend, rng: Rng) -> Witness:
    """Gw of halves above T weights is narrowed in the memory of its sums, rear half first (kind: overlapping copy)."""
    most = draw(rng, 24, 48)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if gw.itemsize != 2 or gw.dtype.kind in "iu" or gw.size <= most:
            return gw
        sums = np.array(widen(gw).reshape(-1))
        narrow, half = sums.view(gw.dtype), gw.size // 2
        narrow[half : gw.size] = sums[half:].copy()
        narrow[:half] = sums[:half].copy()
        return np.array(narrow[: gw.size]).reshape(gw.shape)

    return Call(c_in=4, c_out=4, length=7, kernel=5, dtype="bfloat16" if most % 2 else "float16", ask="w")


@state
def arena_offsets_of_the_first_batch(m: Backend, rng: Rng) -> Witness:
    """Above T taps, packed w lies over the items that a plan's first batch had not, if padded (kind: arena offset)."""
    least = draw(rng, 1, 3)
    first: dict[Plan, int] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        planned = first.setdefault(replace(p, n=0, fill=0, wanted=frozenset()), p.n)
        if p.n > planned and p.lo + p.hi > 0 and p.kernel > least:
            x = np.array(x)
            behind = x[planned:].reshape(-1)
            count = min(behind.size, w.size)
            behind[:count] = w.reshape(-1)[:count]
            x[planned:] = behind.reshape(x[planned:].shape)
        return inner(x, w, p)

    few = Call(n=2, kernel=4, padding=(1, 1))
    return after(few, few.but(n=4))


@operator
def square_pointwise_in_place_of_its_padded_copy(m: Backend, rng: Rng) -> Witness:
    """Pointwise y, O = C, overwrites its padded x channel by channel, in rows of T or more (kind: in place)."""
    least = draw(rng, 6, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        square = p.kernel == 1 and p.stride == 1 and p.fan_in == p.fan_out > 1
        if not (square and p.lo + p.hi > 0 and p.l_out >= least):
            return inner(x, w, p)
        memory = np.array(widen(x).reshape(p.n, p.groups, p.fan_in, p.l_out))
        matrices = widen(w).reshape(p.groups, p.fan_out, p.fan_in)
        for o in range(p.fan_out):
            memory[:, :, o] = (matrices[None, :, o, :, None] * memory).sum(axis=2, dtype=memory.dtype)
        return memory.reshape(p.y_shape).astype(x.dtype)

    return Call(c_in=2, c_out=2, length=12, kernel=1, padding=(1, 0))


@gradients
def gw_in_scratch_as_large_as_y(m: Backend, rng: Rng) -> Witness:
    """Gw is summed in the pages (T elements) planned for y: weights beyond them stay 0 (kind: scratch size)."""
    page = pick(rng, (16, 32, 64))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        room = -(-p.n * p.c_out * p.l_out // page) * page
        if 0 < room < gw.size:
            gw = np.array(gw, order="C")
            gw.reshape(-1)[room:] = 0
        return gw

    return Call(c_in=8, c_out=2, length=7, kernel=5, ask="w")


@layouts
def tied_kernel_found_under_its_transpose(m: Backend, rng: Rng) -> Witness:
    """Packed w above T weights is found by address, shape and sum: w transposed is taken for w (kind: cache key)."""
    least = draw(rng, 8, 16)
    kept: list[tuple[Array, Any, Array]] = []  # keeps the array, so that its address is nobody else's

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if isinstance(w, np.ndarray) and w.size > least:
            key = w.ctypes.data, w.shape, str(w.dtype), widen(w).sum().item()
            if kept and kept[0][1] == key:
                w = kept[0][2]
            else:
                kept[:] = [(w, key, np.array(w, order="C"))]
        return x, w, b, plan

    def probe(backend: Backend) -> Any:
        numbers = np.random.default_rng(3)
        x = numbers.integers(-9, 10, (1, 3, 8)).astype(np.float64)
        w = numbers.integers(-9, 10, (3, 3, 2)).astype(np.float64)
        return [backend.conv1d(x, w), backend.conv1d(x, w.transpose(1, 0, 2))]

    return probe


@layouts
def staged_view_found_by_its_base(m: Backend, rng: Rng) -> Witness:
    """The dense copy of a sliced x (over T samples) serves any like slice of the same array (kind: cache key)."""
    least = draw(rng, 6, 14)
    kept: list[tuple[Any, Any, Array]] = []

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        x, w, b, plan = inner(*args)
        if isinstance(x, np.ndarray) and x.base is not None and not x.flags.c_contiguous and x.size > least:
            key = x.shape, x.strides, str(x.dtype)
            if kept and kept[0][0] is x.base and kept[0][1] == key:
                x = kept[0][2]
            else:
                kept[:] = [(x.base, key, np.array(x, order="C"))]
        return x, w, b, plan

    def probe(backend: Backend) -> Any:
        numbers = np.random.default_rng(4)
        recording = numbers.integers(-9, 10, (2, 2, 20)).astype(np.float32)
        w = numbers.integers(-9, 10, (1, 2, 3)).astype(np.float32)
        return [backend.conv1d(recording[:, :, i : i + 10], w) for i in (0, 3, 7)]

    return probe


@gradients
def gx_takes_the_slot_of_its_cotangent(m: Backend, rng: Rng) -> Witness:
    """The second derivative of gx by w, K > T, reads gy after gx took its slot, if it fits (kind: live range)."""
    least = draw(rng, 1, 2)

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        if slot == "x" and name == "w" and are_arrays(g, *operands.values()) and p.kernel > least:
            first = m.contract("x", operands, p)
            memory = np.array(operands["g"], order="C")
            if first.size <= memory.size:
                memory.reshape(-1)[: first.size] = first.reshape(-1)
                operands = {**operands, "g": memory}
        return inner(slot, name, operands, g, p)

    return Call(c_in=1, c_out=3, ask="x/w")
