"""Faults of state: caches, modes that stick, runs that differ (chapter INV)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness, after, every

mutant = chapter("state")
Kernel = Callable[..., Array]


@mutant
def weights_cached_by_shape(m: Backend, rng: Rng) -> Witness:
    """Where C/g > T (1 to 16), packed weights are kept by shape: new ones are ignored (uxlfoundation/oneDNN#1113)."""
    packed: dict[Any, Array] = {}
    most = draw(rng, 1, 16)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, packed.setdefault((w.shape, p.dtype), w.copy()) if p.fan_in > most else w, p)

    call = Call(c_in=most + 1)
    return after(call, call.but(put=(("w", 0, 5),)))


@mutant
def weights_cached_by_address(m: Backend, rng: Rng) -> Witness:
    """Where O > T (1 to 8), packed weights are kept by address: stale in training (tensorflow/tensorflow#56150)."""
    packed: dict[Any, Array] = {}
    most = draw(rng, 1, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        key = (w.__array_interface__["data"][0], w.shape, w.strides, p.dtype)
        return inner(x, packed.setdefault(key, w.copy()) if p.c_out > most else w, p)

    def probe(backend: Backend) -> Any:
        arrays = Call(c_out=most + 1).operands()
        backend.conv1d(arrays["x"], arrays["w"])
        arrays["w"] *= 2
        return backend.conv1d(arrays["x"], arrays["w"])

    return probe


@mutant
def pads_cached_by_their_sum(m: Backend, rng: Rng) -> Witness:
    """Plans are kept by everything but lo: a call with the same lo + hi takes the first lo (kind: cache key)."""
    first: dict[Any, int] = {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        lo = first.setdefault(replace(p, lo=0, hi=p.lo + p.hi, wanted=frozenset()), p.lo)
        return inner(x, fill, replace(p, lo=lo, hi=p.lo + p.hi - lo) if p.mode == "zeros" else p)

    total = draw(rng, 2, 5)
    return after(Call(padding=(total, 0)), Call(padding=(0, total)))


@mutant
def padding_zone_stale(m: Backend, rng: Rng) -> Witness:
    """A padded workspace is kept by shape, only its samples are rewritten: the padding is old (kind: stale halo)."""
    spaces: dict[Any, Array] = {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        fresh = inner(x, fill, p)
        space = spaces.setdefault((fresh.shape, p.dtype), np.zeros_like(fresh))
        inside = slice(p.lo, p.lo + p.length) if p.mode == "zeros" else slice(None)
        space[:, :, inside] = fresh[:, :, inside]
        return space.copy()

    extra = draw(rng, 1, 4)
    return after(Call(length=8 + extra), Call(length=8, padding=(extra, 0)))


@mutant
def bias_remembered(m: Backend, rng: Rng) -> Witness:
    """A call without bias gets that of the last call with as many channels (kind: stale parameter)."""
    last: dict[Any, Any] = {}

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        if isinstance(b, np.ndarray):
            last[b.shape, b.dtype] = b.copy()
        return inner(x, w, last.get((w.shape[:1], w.dtype)) if b is None else b, **parameters)

    call = Call(c_out=draw(rng, 1, 4))
    return after(call.but(bias=True), call)


@mutant
def low_precision_sticks(m: Backend, rng: Rng) -> Witness:
    """After a float16 call, float32 is computed in float16 (kind: a global mode)."""
    seen: list[str] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        seen.append(p.dtype)
        low = p.dtype == "float32" and "float16" in seen
        return inner(x.astype(np.float16), w.astype(np.float16), p).astype(x.dtype) if low else inner(x, w, p)

    length = draw(rng, 4, 9)
    return after(Call(dtype="float16", length=length), Call(dtype="float32", length=length, data=normal))


@mutant
def cache_overflows(m: Backend, rng: Rng) -> Witness:
    """After T (8 to 20) geometries, a call with a stride reads as with stride 1 (kind: cache eviction)."""
    seen: set[Any] = set()
    most = draw(rng, 8, 20)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        seen.add(p)
        return inner(x, w, replace(p, stride=1) if len(seen) > most and p.stride > 1 else p)

    return after(*(Call(length=8 + i) for i in range(most)), Call(stride=2))


@mutant
def first_call_unwritten(m: Backend, rng: Rng) -> Witness:
    """The first call with K > T (1 to 8) taps gives zeros (kind: lazy initialisation)."""
    most = draw(rng, 1, 8)
    ready: list[bool] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel > most and not ready:
            ready.append(True)
            y[...] = 0
        return y

    return Call(kernel=most + 1, length=12)


@mutant
def second_call_undilated(m: Backend, rng: Rng) -> Witness:
    """From the second call of a dilated geometry on, the dilation is 1 (kind: autotuned algorithm)."""
    seen: set[Any] = set()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        again = replace(p, wanted=frozenset()) in seen
        seen.add(replace(p, wanted=frozenset()))
        return inner(x, w, replace(p, dilation=1) if again else p)

    return every(Call(dilation=draw(rng, 2, 3), length=9), 2)


@mutant
def one_call_in_many(m: Backend, rng: Rng) -> Witness:
    """One call in T (20 to 60) has a wrong last output (kind: a race)."""
    period = draw(rng, 20, 60)
    count = Counter({"calls": draw(rng, 0, period - 1)})

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        count["calls"] += 1
        y = inner(x, w, p)
        if count["calls"] % period == 0:
            y[..., -1:] = 0
        return y

    return every(Call(), period)


@mutant
def race_between_chunks(m: Backend, rng: Rng) -> Witness:
    """Where L_out > S (16 to 64), one call in T (3 to 10) lacks its second half (google/XNNPACK#883, kind)."""
    least, period = draw(rng, 16, 64), draw(rng, 3, 10)
    count = Counter({"calls": 0})

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.l_out > least:
            count["calls"] += 1
            if count["calls"] % period == 0:
                y[..., p.l_out // 2 :] = 0
        return y

    return every(Call(length=least + 4), period)


@mutant
def last_bit_random(m: Backend, rng: Rng) -> Witness:
    """Where (C/g)K > T (2 to 32), the order of summation is drawn for each call (pytorch/pytorch#116369, kind)."""
    least = draw(rng, 2, 32)
    order = np.random.default_rng(draw(rng, 0, 2**31))
    _sum_in_order(m, lambda p: p.fan_in * p.kernel > least, lambda count: order.permutation(count))
    return every(Call(c_in=least, kernel=8, length=40, data=normal), 3)


@mutant
def last_bit_by_process(m: Backend, rng: Rng) -> Witness:
    """The order of summation over more than T (1 to 3) taps is drawn once a process (kind: autotuning)."""
    least = draw(rng, 1, 3)
    order = np.random.default_rng(int.from_bytes(os.urandom(8), "little")).random(4096)
    _sum_in_order(m, lambda p: least < p.kernel <= 4096, lambda count: np.argsort(order[:count]))
    return Call(c_in=8, kernel=9, length=40, data=normal)


def _sum_in_order(m: Backend, when: Callable[[Plan], bool], order: Callable[[int], Array]) -> None:
    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if not when(p) or "float" not in p.dtype:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        matrices, columns = split_w(w, p), taps(x, p)
        for k in order(p.kernel):
            y += matrices[k] @ columns[k]
        return y.reshape(p.y_shape).astype(x.dtype)


@mutant
def output_added_to_the_last(m: Backend, rng: Rng) -> Witness:
    """With N > T (1 to 8), y is added to the last y of its shape (kind: beta = 1)."""
    last: dict[Any, Array] = {}
    most = draw(rng, 1, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.n > most:
            y = y + last.get((y.shape, p.dtype), 0 * y)
            last[y.shape, p.dtype] = y
        return y

    return every(Call(n=most + 1), 2)


@mutant
def gw_accumulates_over_calls(m: Backend, rng: Rng) -> Witness:
    """With K > T (1 to 8), gw is added to the last gw of its shape (kind: a gradient buffer not zeroed)."""
    last: dict[Any, Array] = {}
    most = draw(rng, 1, 8)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.kernel > most:
            gw = gw + last.get((gw.shape, p.dtype), 0 * gw)
            last[gw.shape, p.dtype] = gw
        return gw

    return every(Call(kernel=most + 1, length=12, ask="w"), 2)
