"""Faults of caches, workspaces, threads and doors, after public bug reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import at_door, changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness, after, every, fingerprint

state = chapter("state")
process = chapter("process")
surfaces = chapter("surfaces")
Kernel = Callable[..., Array]


@state
def packed_kernel_known_by_its_ends(m: Backend, rng: Rng) -> Witness:
    """float32, y alone: packed w are known by address, shape, first and last element (pytorch/pytorch#87197, kind)."""
    packed: dict[Any, Array] = {}
    least = draw(rng, 3, 6)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.wanted or w.size < least or not w.flags.c_contiguous:
            return inner(x, w, p)
        if len(packed) > 256:
            packed.clear()
        key = (w.ctypes.data, w.shape, float(w.flat[0]), float(w.flat[-1]))
        return inner(x, packed.setdefault(key, np.array(w)), p)

    def probe(backend: Backend) -> Any:
        arrays = Call(kernel=least, dtype="float32").operands()
        x, w = arrays["x"], arrays["w"]
        first = backend.conv1d(x, w)
        w[:, :, 1] += 5
        return first, backend.conv1d(x, w)

    return probe


@state
def algorithm_kept_by_input_shape(m: Backend, rng: Rng) -> Witness:
    """Where the first call on such an x had K = 1, one tap is used later (microsoft/onnxruntime#21311, kind)."""
    found: dict[Any, bool] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        plain = p.stride == p.groups == 1 and p.lo == p.hi == 0
        if plain and found.setdefault((p.n, p.c_in, p.length, p.dtype), p.kernel == 1):
            w = changed(w, np.s_[:, :, 1:])
        return inner(x, w, p)

    call = Call(n=draw(rng, 1, 3), c_in=2, c_out=2, length=7)
    return after(call.but(kernel=1), call)


@state
def odd_row_keeps_a_texel(m: Backend, rng: Rng) -> Witness:
    """Odd L, hi > 0, zeros: the last sample of the call before follows x (tensorflow/tfjs#4844, kind)."""
    before: list[Array] = []

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        xp = inner(x, fill, p)
        if p.mode == "zeros" and p.length % 2 and p.hi > 0:
            if before and (before[0].shape, before[0].dtype) == (x.shape, x.dtype) and x.size:
                xp[:, :, p.lo + p.length] = before[0][:, :, -1]
            before[:] = [np.array(x)]
        else:
            before.clear()
        return xp

    return every(Call(length=2 * draw(rng, 2, 5) + 1, padding=(1, 1)), 2)


@state
def workspace_keeps_nan(m: Backend, rng: Rng) -> Witness:
    """float32, (C/g)*K no multiple of V, after a call with NaN in x: the last channel is NaN (Tencent/ncnn#6766)."""
    width = pick(rng, (4, 8, 16))
    dirty: list[bool] = []

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.dtype == "float32" and y.size:
            if dirty and p.fan_in * p.kernel % width:
                clear(y, np.s_[:, -1], np.nan)
            dirty[:] = [True] * bool(np.isnan(x).any())
        return y

    call = Call(c_in=2, c_out=2, dtype="float32")
    return after(call.but(put=(("x", np.s_[0, 0, 3], np.nan),)), call)


@state
def kernel_gradient_races(m: Backend, rng: Rng) -> Witness:
    """gw, K = 1, s > 1, padding, N >= T (8 to 32): every other call loses an item (pytorch/pytorch#34344, kind)."""
    least = pick(rng, (8, 16, 32))
    count = [0]

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.kernel == 1 < p.stride and p.lo + p.hi > 0 and p.n >= least:
            count[0] += 1
            if count[0] % 2 == 0:
                g = changed(g, np.s_[count[0] % p.n])
        return inner(x, g, p)

    return every(Call(n=least, length=7, kernel=1, stride=2, padding=(1, 1), ask="w"), 2)


@process
def filter_staged_for_all_threads(m: Backend, rng: Rng) -> Witness:
    """Calls at once from two threads, K <= T (9 to 31): one gets the other's w (arrayfire/arrayfire#3711)."""
    most = pick(rng, (9, 17, 31))
    staged: dict[Any, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel > most or threading.current_thread() is threading.main_thread():
            return inner(x, w, p)
        staged[w.shape, p.dtype] = np.array(w)
        time.sleep(0.004)
        return inner(x, staged[w.shape, p.dtype], p)

    def probe(backend: Backend) -> Any:
        arrays = Call(length=12).operands()
        shown: dict[int, Any] = {}
        gate = threading.Barrier(2)

        def work(factor: int) -> None:
            gate.wait()
            shown[factor] = fingerprint(backend.conv1d(arrays["x"], factor * arrays["w"]))

        threads = [threading.Thread(target=work, args=(factor,)) for factor in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return all(shown[factor] == fingerprint(backend.conv1d(arrays["x"], factor * arrays["w"])) for factor in (1, 2))

    return probe


@surfaces
def depthwise_of_height_one_keeps_last_tap(m: Backend, rng: Rng) -> Witness:
    """conv2d of height 1, depthwise, C mod T = 0: taps are not accumulated (tenstorrent/tt-mlir#9276, kind)."""
    width = pick(rng, (8, 16, 32))
    inside: list[bool] = []

    def conv2d(x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        inside.append(True)
        try:
            return m.conv1d(x, w, b, **parameters)
        finally:
            inside.pop()

    m.surface["conv2d"] = conv2d

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        last = inside and p.depthwise and p.c_out == p.c_in and p.c_in % width == 0
        return inner(x, changed(w, np.s_[:, :, :-1]) if last else w, p)

    return at_door("conv2d", Call(c_in=width, c_out=width, groups=width, padding=(1, 1)))
