"""Faults of calls, of their state, layouts, transforms and refusals, after public reports on other engines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import elsewhere, finite, last_plan, reread
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Probe, every, run

layouts = chapter("layouts")
state = chapter("state")
transforms = chapter("transforms")
validation = chapter("validation")


def later_half(a: Array) -> Array:
    """Return the values of a as the later half along axis 1 of another array."""
    return np.concatenate([-a, a], axis=1)[:, a.shape[1] :]


def offset(view: Array) -> int:
    """Return how many elements of its base lie before the first of a view."""
    base = view.base if isinstance(view.base, np.ndarray) else view
    return int(view.ctypes.data - base.ctypes.data) // view.itemsize


@layouts
def packed_kernel_keeps_the_offset_of_its_view(m: Backend, rng: Rng) -> Call:
    """Strided pointwise w is copied, and the copy read from the view's offset on (kind: huggingface/candle#3736)."""

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        strided = p.kernel == 1 and not w.flags.c_contiguous
        return x, np.roll(w.ravel(), -offset(w)).reshape(w.shape) if strided else w

    reread(m, change)
    return Call(c_in=draw(rng, 2, 4), c_out=3, kernel=1, view={"w": later_half})


@layouts
def sliced_batch_is_read_as_dense(m: Backend, rng: Rng) -> Call:
    """Items of a slice of channels are read as though they lay side by side (kind: ggml-org/llama.cpp#15956)."""

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        dense = (p.c_in * p.length * x.itemsize, p.length * x.itemsize, x.itemsize)
        if p.n > 1 and x.strides[1:] == dense[1:] and x.strides[0] > dense[0]:
            x = np.lib.stride_tricks.as_strided(x, strides=dense).copy()
        return x, w

    reread(m, change)
    return Call(n=2, c_in=draw(rng, 1, 3), view={"x": later_half})


@state
def reordered_kernel_outlives_its_batch(m: Backend, rng: Rng) -> Probe:
    """A kernel laid out for small N is read so at large N too, or in reverse (kind: openvinotoolkit/openvino#32530)."""
    large = draw(rng, 3, 6)
    blocked: dict[int, bool] = {}

    @m.around("forward")
    def forward(inner: Callable[..., Array], x: Array, w: Array, p: Plan) -> Array:
        if blocked.setdefault(hash((w.shape, w.tobytes())), p.n >= large) != (p.n >= large):
            w = w.swapaxes(0, 1).reshape(w.shape)
        return inner(x, w, p)

    def probe(backend: Backend) -> Array:
        arrays = Call(c_in=2, c_out=3).operands()
        backend.conv1d(np.repeat(arrays["x"], large, axis=0), arrays["w"])
        return backend.conv1d(arrays["x"], arrays["w"])

    return probe


@state
def odd_row_shows_a_texel_of_the_run_before(m: Backend, rng: Rng) -> Probe:
    """Odd L: from a shape's second call on, the zero after x is the last call's x[0] (kind: tensorflow/tfjs#4844)."""
    texels: dict[tuple[Any, ...], Array] = {}

    @m.around("pad")
    def pad(inner: Callable[..., Array], x: Array, fill: Any, p: Plan) -> Array:
        padded = inner(x, fill, p)
        if p.length % 2 and p.hi and p.mode == "zeros":
            key = (*padded.shape, p.lo, p.dtype)
            padded[:, :, p.lo + p.length] = texels.get(key, 0)
            texels[key] = x[:, :, 0].copy()
        return padded

    return every(Call(c_in=2, length=2 * draw(rng, 3, 6) + 1, padding=(1, 1)), 2)


@chapter("process")
def scratchpad_belongs_to_the_thread_that_made_it(m: Backend, rng: Rng) -> Probe:
    """K = 3, s = d = 1: in another thread than its first, a plan loses a channel (kind: uxlfoundation/oneDNN#199)."""
    makers: dict[Plan, threading.Thread] = {}

    def foreign(p: Plan) -> bool:
        here = threading.current_thread()
        return p.kernel == 3 and p.stride == p.dilation == 1 and makers.setdefault(p, here) is not here

    m.edit("forward", foreign, lambda y, p: clear(y, np.s_[:, -1]))
    call = Call(c_in=2, c_out=2, length=draw(rng, 6, 12))

    def probe(backend: Backend) -> Any:
        run(backend, call)
        return elsewhere(call)(backend)

    return probe


@transforms
def mapped_axis_changes_places_with_the_batch(m: Backend, rng: Rng) -> Call:
    """Mapped y with s > 1 is stacked as (N, count, ...) and taken for (count, N, ...) (kind: iree-org/iree#20964)."""
    last = last_plan(m)

    @m.around("vmap")
    def vmap(inner: Callable[..., Any], *args: Any, **named: Any) -> Callable[..., Any]:
        mapped = inner(*args, **named)

        def swapped(*operands: Any) -> Any:
            y = mapped(*operands)
            if isinstance(y, np.ndarray) and last and last[0].stride > 1 and y.shape[1:] == last[0].y_shape:
                y = y.swapaxes(0, 1).reshape(y.shape)
            return y

        return swapped

    return Call(n=2, c_out=2, length=9, stride=draw(rng, 2, 4), ask="vmap:0-")


@transforms
def compiled_same_keeps_the_pads_of_its_first_length(m: Backend, rng: Rng) -> Probe:
    """Compiled, `same` with s > 1 keeps the pads of the first call at other lengths (kind: apple/coremltools#891)."""
    active: list[dict[Any, tuple[int, int]]] = []

    @m.around("compile")
    def compile_(inner: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
        compiled, pads = inner(f), dict[Any, tuple[int, int]]()

        def call(*operands: Any) -> Any:
            active.append(pads)
            try:
                return compiled(*operands)
            finally:
                active.pop()

        return call

    @m.around("resolve")
    def resolve(inner: Callable[..., tuple[int, int]], name: Any, length: int, *sizes: int) -> tuple[int, int]:
        found = inner(name, length, *sizes)
        return active[-1].setdefault(sizes, found) if active and name == "same" and sizes[1] > 1 else found

    stride = draw(rng, 2, 4)

    def probe(backend: Backend) -> Array:
        arrays = Call(length=3 * stride + 1).operands()
        f = backend.compile(lambda x: backend.conv1d(x, arrays["w"], stride=stride, padding="same"))
        f(arrays["x"][:, :, 1:])
        return f(arrays["x"])

    return probe


@validation
def long_dilated_depthwise_is_refused(m: Backend, rng: Rng) -> Call:
    """Depthwise, d > 1, long kernel: refused, L_out checked with d = 1 (kind: ARM-software/ComputeLibrary#1051)."""
    long = draw(rng, 8, 24)

    @m.around("accept")
    def accept(inner: Callable[..., Any], *args: Any) -> Any:
        found = inner(*args)
        if found[3].depthwise and found[3].dilation > 1 and found[3].kernel >= long:
            raise ValueError("mismatching dimensions of the destination")
        return found

    return Call(c_in=2, c_out=2, groups=2, length=2 * long, kernel=long, dilation=2)


@validation
def groups_beyond_the_channels_are_cut(m: Backend, rng: Rng) -> Call:
    """With one channel a group, a multiple of C for g is accepted and taken for C (kind: ROCm/MIOpen#180)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if len(x.shape) == len(w.shape) == 3 and isinstance(args["groups"], int):
            c, groups = x.shape[1], args["groups"]
            if w.shape[1] == 1 <= c < groups and groups % c == w.shape[0] % groups == 0:
                args = {**args, "groups": c}
        return inner(x, w, b, args)

    c = draw(rng, 2, 4)
    return Call(c_in=c, c_out=2 * c, groups=c, raw={"groups": 2 * c})


@chapter("special values")
def long_kernel_spreads_nan_by_fft(m: Backend, rng: Rng) -> Call:
    """Long kernels go by FFT: one NaN or infinity in x makes all y of its item and group NaN (kind: cupy/cupy#8803)."""
    long = draw(rng, 16, 40)

    @m.around("forward")
    def forward(inner: Callable[..., Array], x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel >= long and not finite(x):
            parts = np.isfinite(widen(x)).reshape(p.n, p.groups, p.fan_in, p.padded)
            y.reshape(p.n, p.groups, p.fan_out, p.l_out)[~parts.all(axis=(2, 3))] = np.nan
        return y

    return Call(length=3 * long, kernel=long, put=(("x", (0, 0, 0), np.inf),))
