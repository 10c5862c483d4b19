"""Faults of caches, buffers, views, new dtypes and threads (chapters INV, GRAD, ACC, VAL)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed, elsewhere, reread
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness, after, run

state = chapter("state")
layouts = chapter("layouts")
Kernel = Callable[..., Array]


@state
def third_pass_evicts_first(m: Backend, rng: Rng) -> Witness:
    """Gradients gather in two buffers by turns: of three passes or more the last two are left (kind: ring)."""

    @m.around("accumulate")
    def accumulate(inner: Callable[..., Any], passes: Sequence[Any], primals: Sequence[Array]) -> Any:
        return inner(passes[-2:], primals)

    call, count = Call(c_in=2), draw(rng, 3, 4)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        passes = [(backend.conv1d, arrays["g"] * (i + 1)) for i in range(count)]
        return backend.accumulate(passes, (arrays["x"], arrays["w"]))

    return probe


@state
def packed_kernel_known_by_its_start(m: Backend, rng: Rng) -> Witness:
    """A kernel of T elements or more is packed anew only if its address or first 16 change (kind: pre-packing)."""
    least = pick(rng, (64, 128, 256))
    packed: dict[str, Any] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if w.size >= least:
            key = w.ctypes.data, w.shape, w.strides, p.dtype, w.reshape(-1)[:16].tobytes()
            if packed.get("key") != key:
                packed.update(key=key, kernel=np.array(w))
            w = packed["kernel"]
        return inner(x, w, p)

    call = Call(c_in=4, c_out=least // 8, kernel=3)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        first = backend.conv1d(arrays["x"], arrays["w"])
        arrays["w"][-1] += 1
        return first, backend.conv1d(arrays["x"], arrays["w"])

    return probe


@state
def same_pads_known_by_output_length(m: Backend, rng: Rng) -> Witness:
    """Names same and same_lower, s > 1: the pads are cached by L_out, not by L (kind: cache key)."""
    known: dict[Any, tuple[int, int]] = {}

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], padding: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        found = inner(padding, length, kernel, stride, dilation)
        if padding not in ("same", "same_lower") or stride == 1:
            return found
        return known.setdefault((padding, -(-length // stride), kernel, stride, dilation), found)

    length = 2 * draw(rng, 3, 9)
    call = Call(length=length, stride=2, padding="same")
    return after(call.but(length=length - 1), call)


@state
def outputs_from_a_ring(m: Backend, rng: Rng) -> Witness:
    """A y of T elements or more lies in a ring of R buffers for its shape and dtype (kind: reused output)."""
    least, slots = pick(rng, (256, 512, 1024)), draw(rng, 2, 4)
    rings: dict[Any, list[Array]] = {}

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], *args: Any, **parameters: Any) -> Traced:
        y = inner(*args, **parameters)
        if not are_arrays(y) or y.size < least:
            return y
        ring = rings.setdefault((y.shape, str(y.dtype)), [])
        ring.append(np.empty_like(y) if len(ring) < slots else ring.pop(0))
        ring[-1][...] = y
        return ring[-1]

    call = Call(c_out=8, length=least // 8 + 2)

    def probe(backend: Backend) -> Any:
        first = run(backend, call)
        for i in range(slots):
            run(backend, call.but(put=(("x", (0, 0, 0), 20 + i),)))
        return first

    return probe


@state
def gw_from_columns_of_last_forward(m: Backend, rng: Rng) -> Witness:
    """The gw uses the samples of the latest forward pass of its plan, its own or not (kind: saved workspace)."""
    saved: list[tuple[Plan, Array]] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if "w" in p.wanted:
            saved[:] = [(p, x)]
        return inner(x, w, p)

    @m.around("pull")
    def pull(
        inner: Callable[..., Traced], slot: str, name: str, operands: Mapping[str, Traced], g: Traced, p: Plan
    ) -> Traced:
        if (slot, name) == ("g", "w") and are_arrays(g, *operands.values()) and saved and saved[0][0] == p:
            operands = {**operands, "x": saved[0][1]}
        return inner(slot, name, operands, g, p)

    call, items = Call(c_in=2), draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        x, g = (np.stack([arrays[key] * (i + 1) for i in range(items)]) for key in "xg")
        return backend.vjp(lambda w: backend.vmap(lambda a: backend.conv1d(a, w))(x), (arrays["w"],), g)

    return probe


@layouts
def channels_last_interleaves_groups(m: Backend, rng: Rng) -> Witness:
    """An x dense in channels-last memory, g > 1, C/g > 1, K > 1: group q reads channels q + j*g (kind: layout)."""

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        dense = x.strides[1:] == (x.itemsize, p.c_in * x.itemsize)
        if dense and p.length > 1 and p.groups > 1 and p.fan_in > 1 and p.kernel > 1:
            x = x.reshape(p.n, p.fan_in, p.groups, p.length).swapaxes(1, 2).reshape(x.shape)
        return x, w

    reread(m, change)

    def last(a: Array) -> Array:
        return np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)

    return Call(c_in=6, c_out=6, groups=pick(rng, (2, 3)), view={"x": last})


@layouts
def unaligned_cotangent_head_counted_twice(m: Backend, rng: Rng) -> Witness:
    """The gw at s = 1 of a contiguous gy off a boundary of 8 or 16 bytes: its head counts twice (kind: peeled loop)."""
    boundary = pick(rng, (8, 16))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        head = -g.ctypes.data % boundary // g.itemsize
        if head and p.stride == 1 and g.flags.c_contiguous and g.size >= 16:
            gw += inner(x, changed(g.reshape(-1), np.s_[head:]).reshape(g.shape), p)
        return gw

    def off(a: Array) -> Array:
        return np.concatenate([a.reshape(-1)[:1], a.reshape(-1)])[1:].reshape(a.shape)

    return Call(length=24, dtype="float32", ask="w", view={"g": off})


@layouts
def pointwise_gx_written_over_cotangent(m: Backend, rng: Rng) -> Witness:
    """K = s = g = 1, C = O, no padding, gx asked for alone: it is computed in gy's memory (kind: in-place)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        plain = p.kernel == p.stride == p.groups == 1 and p.lo == p.hi == 0 and p.c_in == p.c_out
        if plain and p.wanted == {"x"} and g.flags.writeable:
            g[...] = gx
        return gx

    channels = draw(rng, 2, 4)
    call = Call(c_in=channels, c_out=channels, kernel=1)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        backend.vjp(lambda x: backend.conv1d(x, arrays["w"]), (arrays["x"],), arrays["g"])
        return arrays["g"]

    return probe


@chapter("numerics")
def bfloat16_depthwise_through_float16(m: Backend, rng: Rng) -> Witness:
    """In bfloat16, depthwise: computed with float16 operands and result, whose range is small (kind: new dtype)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "bfloat16" or not p.depthwise:
            return inner(x, w, p)
        return inner(x.astype(np.float16), w.astype(np.float16), p).astype(x.dtype)

    size = 2.0 ** draw(rng, 9, 13)
    return Call(c_in=2, c_out=2, groups=2, dtype="bfloat16", data=lambda r, shape: r.integers(1, 9, shape) * size)


@chapter("special values")
def gw_skips_items_of_no_loss(m: Backend, rng: Rng) -> Witness:
    """N > 1: items whose gy is all zeros are left out of gw, though x has a NaN there (kind: skipped work)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        idle = ~(widen(g) != 0).any(axis=(1, 2))
        return inner(changed(x, idle) if p.n > 1 and idle.any() else x, g, p)

    items = draw(rng, 2, 4)
    return Call(n=items, ask="w", put=(("x", (1, 0, 3), np.nan), ("g", (1,), 0)))


@chapter("process")
def worker_scratch_as_large_as_mains(m: Backend, rng: Rng) -> Witness:
    """Off the main thread y is 0 past T elements or the largest y so far of the main one (kind: lazy scratch)."""
    room = [pick(rng, (64, 256, 1024))]
    least = room[0]

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if threading.current_thread() is threading.main_thread():
            room[0] = max(room[0], y.size)
        else:
            y.reshape(-1)[room[0] :] = 0
        return y

    return elsewhere(Call(c_out=4, length=least))
