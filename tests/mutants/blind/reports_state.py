"""Faults of what stays between calls, of threads and of other surfaces that public issue reports inspired."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, elsewhere
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.surfaces import through
from tests.mutants.threads import on_one_processor
from tests.mutants.witness import Call, Witness, after, after_refusal, run, touched

state, process, surfaces = chapter("state"), chapter("process"), chapter("surfaces")
Kernel = Callable[..., Array]

# -- state ------------------------------------------------------------------------------------------------------------


@state
def packed_kernel_fingerprint(m: Backend, rng: Rng) -> Witness:
    """In float32, K >= T (2 or 3), an inner change of w in place is not seen (ooples/AiDotNet.Tensors#583)."""
    least = draw(rng, 2, 3)
    packed: dict[Any, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype == "float32" and p.kernel >= least and w.size:
            key = (w.__array_interface__["data"][0], w.shape, w.strides, float(w.flat[0]), float(w.flat[-1]))
            w = packed.setdefault(key, np.array(w))
        return inner(x, w, p)

    def probe(backend: Backend) -> Any:
        x, w = np.ones((1, 1, 6), np.float32), np.ones((1, 1, 3), np.float32)
        first = backend.conv1d(x, w)
        w[0, 0, 1] = 5
        return first, backend.conv1d(x, w)

    return probe


@state
def offsets_cached_without_dilation(m: Backend, rng: Rng) -> Witness:
    """With s > 1, a call like an earlier one but for d uses its d (microsoft/onnxruntime#21311, kind)."""
    cache: dict[Any, int] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.stride > 1 and p.kernel > 1 and p.l_out:
            p = replace(p, dilation=cache.setdefault((x.shape, w.shape, p.stride, p.l_out), p.dilation))
        return inner(x, w, p)

    call = Call(length=22 + 4 * draw(rng, 0, 3), kernel=3, stride=4)
    return after(call, call.but(dilation=2))


@state
def ring_of_results(m: Backend, rng: Rng) -> Witness:
    """Results of 64 elements or more live in a ring of R (3 to 5) buffers per shape (kind: a reused output buffer)."""
    ring: dict[Any, list[Array]] = {}
    size = draw(rng, 3, 5)

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = inner(x, w, b, **given)
        if not are_arrays(y) or y.size < 64:
            return y
        buffers = ring.setdefault((y.shape, str(y.dtype)), [])
        if len(buffers) < size:
            buffers.append(y)
            return y
        oldest = buffers.pop(0)
        oldest[...] = y
        buffers.append(oldest)
        return oldest

    call = Call(length=70)

    def probe(backend: Backend) -> Any:
        first = run(backend, call)
        for i in range(size):
            run(backend, call.but(put=(("x", np.s_[0, 0, 5], i),)))
        return first

    return probe


@state
def refused_cotangent_leaves_a_mark(m: Backend, rng: Rng) -> Witness:
    """After a refused cotangent, the next gw with N > 1 counts its first item twice (kind: beta left at 1)."""
    pending: list[int] = []

    @m.around("check_cotangent")
    def check(inner: Callable[..., Any], cotangent: Any, out: Any) -> Any:
        pending.append(1)
        result = inner(cotangent, out)
        pending.pop()
        return result

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if pending and p.n > 1:
            pending.clear()
            gw += inner(x[:1], g[:1], replace(p, n=1))
        return gw

    call = Call(n=draw(rng, 2, 3), ask="w")
    return after_refusal(call.but(shapes={"g": (1, 1, 1)}), call)


@state
def identity_depthwise_aliases(m: Backend, rng: Rng) -> Witness:
    """K = 1, depthwise, all weights 1, no padding or stride: y is x itself (kind: a no-op that is optimised away)."""

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = inner(x, w, b, **given)
        plain = are_arrays(y) and are_arrays(x) and b is None and y.shape == x.shape and w.shape[1:] == (1, 1)
        depthwise = plain and given.get("groups", 1) == x.shape[1] > 1
        return x if depthwise and y.size and are_arrays(w) and (np.asarray(w) == 1).all() else y

    channels = draw(rng, 2, 4)
    return touched(Call(c_in=channels, c_out=channels, groups=channels, kernel=1, put=(("w", np.s_[...], 1),)))


@state
def subnormal_weights_flushed_in_place(m: Backend, rng: Rng) -> Witness:
    """Floats, K >= T (2 or 3): subnormal weights of a writable w are set to 0 in w itself (kind: packing in place)."""
    least = draw(rng, 2, 3)

    @m.around("conv1d")
    def conv1d(inner: Callable[..., Any], x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = inner(x, w, b, **given)
        if are_arrays(w) and w.dtype.kind == "f" and w.flags.writeable and w.shape[2] >= least:
            w[np.abs(w) < np.finfo(w.dtype).tiny] = 0
        return y

    return touched(Call(dtype="float32", put=(("w", np.s_[0, 0, 1], 1e-40),)))


# -- process ----------------------------------------------------------------------------------------------------------


@process
def shared_workspace_of_pointwise(m: Backend, rng: Rng) -> Witness:
    """K = 1 with C > 1: calls at once share one workspace per shape (apache/mxnet#15576, kind)."""
    workspace: dict[Any, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel == 1 < p.fan_in and x.size and p.groups == 1:
            shared = workspace.setdefault((x.shape, str(x.dtype)), np.array(x))
            shared[...] = x
            time.sleep(0.001)  # the launch
            return inner(shared, w, p)
        return inner(x, w, p)

    length = draw(rng, 6, 12)

    def probe(backend: Backend) -> Any:
        w = np.ones((1, 2, 1))
        gate = threading.Barrier(4)
        right: list[bool] = []

        def work(i: int) -> None:
            x = np.full((1, 2, length), float(i))
            gate.wait()
            right.extend(bool((backend.conv1d(x, w) == 2 * i).all()) for _ in range(10))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return all(right)

    return probe


@process
def precision_of_the_main_thread(m: Backend, rng: Rng) -> Witness:
    """Off the main thread, float32 sums of T (8 to 32) or more have bfloat16 operands (kind: thread-local)."""
    least = draw(rng, 8, 32)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        off = threading.current_thread() is not threading.main_thread()
        if off and p.dtype == "float32" and p.fan_in * p.kernel >= least:
            x, w = (a.astype(bfloat16).astype(np.float32) for a in (x, w))
        return inner(x, w, p)

    return elsewhere(Call(c_in=least, kernel=2, dtype="float32", data=normal))


@process
def lone_processor_last_block(m: Backend, rng: Rng) -> Witness:
    """Where one processor is allowed, gw of N > T (4 to 8) lacks the last item (kind: partial sums of threads)."""
    most = draw(rng, 4, 8)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.n > most and len(os.sched_getaffinity(0)) == 1:
            return inner(x[:-1], g[:-1], replace(p, n=p.n - 1))
        return inner(x, g, p)

    return on_one_processor(Call(n=most + 1, ask="w"))


# -- surfaces ---------------------------------------------------------------------------------------------------------


@surfaces
def conv2d_bias_along_batch(m: Backend, rng: Rng) -> Witness:
    """Through conv2d, where N = O > 1, the bias goes along the batch (kind: (O, 1, 1, 1) instead of (1, O, 1, 1))."""

    def conv2d(x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = m.conv1d(x, w, b, **given)
        if are_arrays(y) and b is not None and are_arrays(b) and y.shape[0] == y.shape[1] > 1:
            y = m.conv1d(x, w, None, **given) + b[:, None, None]
        return y

    m.surface["conv2d"] = conv2d
    n = draw(rng, 2, 4)
    return through(Call(n=n, c_out=n, bias=True))


@surfaces
def conv2d_stride_of_one_sample(m: Backend, rng: Rng) -> Witness:
    """Through conv2d, where L = 1 < L_out, the stride is 1 and y is cut to size (ROCm/MIOpen#3786, kind)."""

    def conv2d(x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        y = m.conv1d(x, w, b, **given)
        if are_arrays(y) and x.shape[2] == 1 and y.shape[2] > 1 and given.get("stride", 1) > 1:
            lo, hi = m.resolve(given.get("padding", (0, 0)), 1, w.shape[2], given["stride"], given.get("dilation", 1))
            y = m.conv1d(x, w, b, **{**given, "stride": 1, "padding": (lo, hi)})[:, :, : y.shape[2]].copy()
        return y

    m.surface["conv2d"] = conv2d
    return through(Call(length=1, kernel=2, stride=2, padding=(draw(rng, 2, 4), 3)))
