"""Faults of a port to new hardware: packs, mirrors, staging, alignment and streams (chapters INV, ERR)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, last_plan, reread, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness, observe, run

state = chapter("state")
layouts = chapter("layouts")
Kernel = Callable[..., Array]


@state
def bias_packed_with_the_kernel(m: Backend, rng: Rng) -> Witness:
    """W and b are packed together and known by w: the same w with another b has the b before (kind: pre-packing)."""
    packed: dict[str, Any] = {}

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], x: Traced, w: Traced, b: Traced = None, **parameters: Any) -> Traced:
        if are_arrays(w, b):
            key = w.shape, b.shape, str(w.dtype), str(b.dtype), w.tobytes()
            if packed.get("key") != key:
                packed.update(key=key, bias=np.array(b))
            b = packed["bias"]
        return inner(x, w, b, **parameters)

    call = Call(c_out=draw(rng, 2, 5), bias=True)

    def probe(backend: Backend) -> Any:
        run(backend, call)
        return run(backend, call.but(put=(("b", 0, 20),)))

    return probe


@state
def mirror_of_the_cotangent_not_renewed(m: Backend, rng: Rng) -> Witness:
    """The device's copy of gy, T elements or more, is kept while the array is the same one (kind: mirrored memory)."""
    least = pick(rng, (1, 16, 64))
    mirror: list[tuple[Array, Array]] = []

    @m.around("vjp")
    def vjp(inner: Callable[..., Any], f: Callable[..., Any], primals: Any, cotangent: Traced) -> Any:
        if are_arrays(cotangent) and cotangent.size >= least:
            if not mirror or mirror[0][0] is not cotangent:
                mirror[:] = [(cotangent, np.array(cotangent))]
            cotangent = mirror[0][1]
        return inner(f, primals, cotangent)

    call = Call(length=least + 2)

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        backend.vjp(lambda w: backend.conv1d(arrays["x"], w), (arrays["w"],), arrays["g"])
        arrays["g"][...] += 1
        return backend.vjp(lambda w: backend.conv1d(arrays["x"], w), (arrays["w"],), arrays["g"])

    return probe


@state
def capture_left_open_by_a_refusal(m: Backend, rng: Rng) -> Witness:
    """After a vjp whose cotangent was refused, the next call of its plan returns that vjp's y (kind: graph capture)."""
    last = last_plan(m)
    inside = within(m, "vjp")
    open_capture: list[tuple[Plan, Array]] = []

    def plain() -> Plan:
        return replace(last[0], wanted=frozenset())

    @m.around("check_cotangent")
    def check_cotangent(inner: Callable[..., Traced], cotangent: Traced, out: Traced) -> Traced:
        try:
            return inner(cotangent, out)
        except ValueError:
            if inside and last and are_arrays(out):
                open_capture[:] = [(plain(), np.array(out))]
            raise

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Traced], *args: Any, **parameters: Any) -> Traced:
        y = inner(*args, **parameters)
        if are_arrays(y) and open_capture:
            plan, captured = open_capture.pop()
            return captured if plan == plain() else y
        return y

    channels = draw(rng, 1, 3)
    refused = Call(c_in=channels, ask="w", shapes={"g": (1, 1, 5)})

    def probe(backend: Backend) -> Any:
        shown = observe(backend, refused)
        return shown, run(backend, Call(c_in=channels, put=(("x", (0, 0, 0), 20),)))

    return probe


@layouts
def unaligned_bias_starts_again(m: Backend, rng: Rng) -> Witness:
    """A b off a boundary of 16 bytes: after its scalar head the vectors start again at b[0] (kind: alignment)."""

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        head = -b.ctypes.data % 16 // b.itemsize
        if b.flags.c_contiguous and 0 < head < b.size:
            b = np.concatenate([b[:head], b[:-head]])
        return inner(b, p)

    def off(a: Array) -> Array:
        return np.concatenate([a[:1], a])[1:]

    return Call(c_out=draw(rng, 9, 20), bias=True, view={"b": off})


@layouts
def strides_in_whole_elements(m: Backend, rng: Rng) -> Witness:
    """Strides of x go to the device as stride // itemsize: those of a field of packed records are cut (kind: units)."""

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        if x.size and min(x.strides) >= 0 and any(stride % x.itemsize for stride in x.strides):
            x = np.array(as_strided(x, strides=[stride // x.itemsize * x.itemsize for stride in x.strides]))
        return x, w

    reread(m, change)

    def field(a: Array) -> Array:
        records = np.zeros(a.shape, [("value", a.dtype), ("flag", np.uint8)])
        records["value"] = a
        return records["value"]

    return Call(c_in=draw(rng, 1, 3), view={"x": field})


@layouts
def third_chunk_of_a_view_over_the_first(m: Backend, rng: Rng) -> Witness:
    """An x that is not contiguous, over 2T elements: its third chunk is staged over the first (kind: missing wait)."""
    chunk = pick(rng, (128, 256, 512))

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        if not x.flags.c_contiguous and x.size > 2 * chunk:
            flat = x.flatten()
            late = flat[2 * chunk : 3 * chunk].copy()
            flat[: late.size] = late
            x = flat.reshape(x.shape)
        return x, w

    reread(m, change)

    def transposed(a: Array) -> Array:
        return np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)

    return Call(n=2, c_in=8, length=chunk // 8 + draw(rng, 3, 9), view={"x": transposed})


@chapter("process")
def gw_cleared_on_the_main_stream(m: Backend, rng: Rng) -> Witness:
    """Off the main thread gw, of T elements or more, is added to the last of its shape and thread (kind: streams)."""
    least = pick(rng, (1, 8, 32))
    own = threading.local()

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if threading.current_thread() is threading.main_thread() or gw.size < least:
            return gw
        kept = vars(own).setdefault("kept", {})
        key = gw.shape, str(gw.dtype)
        kept[key] = gw + kept[key] if key in kept else gw
        return np.array(kept[key])

    call = Call(c_in=4, c_out=max(least // 8, 1), ask="w")

    def probe(backend: Backend) -> Any:
        shown: list[Any] = []
        thread = threading.Thread(target=lambda: shown.extend(observe(backend, call) for _ in range(2)))
        thread.start()
        thread.join()
        return shown

    return probe
