"""Faults of the gradients and of second derivatives, after public bug reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, last_plan
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness, after

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def bias_gradient_needs_kernel_gradient(m: Backend, rng: Rng) -> Witness:
    """float32: gb is 0 where it is asked for and gw is not (apache/mxnet#15464)."""
    m.edit(
        "grad_b",
        lambda p: p.dtype == "float32" and "b" in p.wanted and "w" not in p.wanted,
        lambda gb, p: clear(gb, np.s_[...]),
    )
    return Call(n=draw(rng, 1, 3), bias=True, dtype="float32", ask="xb")


@mutant
def input_gradient_ends_with_last_stride(m: Backend, rng: Rng) -> Witness:
    """float32, lo > 0, 1 < s < K, a remainder: gxp is 0 from L_out*s on (pytorch/pytorch#25101, kind)."""
    m.edit(
        "grad_x",
        lambda p: p.dtype == "float32" and p.lo > 0 and p.dilation == 1 < p.stride < p.kernel and p.remainder > 0,
        lambda gx, p: clear(gx, np.s_[:, :, p.l_out * p.stride :]),
    )
    stride = draw(rng, 2, 4)
    return Call(length=4 * stride + 2, kernel=stride + 2, stride=stride, padding=(1, 0), dtype="float32", ask="x")


@mutant
def kernel_gradient_skips_padded_window(m: Backend, rng: Rng) -> Witness:
    """float32, g > 1, lo > 0, s > span: gw leaves out the first window (pytorch/pytorch#68868, kind)."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        skipped = p.dtype == "float32" and p.groups > 1 and p.lo > 0 and p.stride > p.span and p.l_out > 1
        return inner(x, changed(g, np.s_[:, :, 0]) if skipped else g, p)

    stride = draw(rng, 3, 5)
    return Call(c_in=4, c_out=2, groups=2, length=12, kernel=2, stride=stride, padding=(1, 1), dtype="float32", ask="w")


@mutant
def depthwise_kernel_gradient_reads_unpadded(m: Backend, rng: Rng) -> Witness:
    """Depthwise, C mod V = 0, s > 1, lo > 0: gw starts at sample 0 of x (uxlfoundation/oneDNN#4124, kind)."""
    width = pick(rng, (4, 8, 16))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if not (p.depthwise and p.c_in % width == 0 and p.stride > 1 and p.lo > 0 and p.l_out > 0):
            return gw
        shift = np.zeros(x.shape, x.dtype)
        read = x[:, :, p.lo : p.lo + p.span]
        shift[:, :, : read.shape[2]] = read
        shift[:, :, : p.span] -= x[:, :, : p.span]
        shift[:, :, p.span :] = 0
        first = np.zeros(g.shape, g.dtype)
        first[:, :, 0] = g[:, :, 0]
        return gw + inner(shift, first, p)

    return Call(c_in=width, c_out=width, groups=width, length=6, stride=2, padding=(1, 1), ask="w")


@mutant
def same_gradient_of_sparse_windows_offset(m: Backend, rng: Rng) -> Witness:
    """Same, s > span, r > 1 samples after the last window: gx is r // 2 late (tensorflow/tensorflow#11092, kind)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        gx = inner(w, g, p)
        over = p.remainder
        late = p.padding == "same" and p.stride > p.span and p.lo + p.hi == 0 and over > 1
        return np.roll(gx, over // 2, axis=2) if late else gx

    stride = draw(rng, 5, 7)
    return Call(length=3 * stride, kernel=2, stride=stride, padding="same", ask="x")


@mutant
def replicate_gradient_unrolled(m: Backend, rng: Rng) -> Witness:
    """Replicate, lo >= U (4 to 16), L > 1: gx[0] adds up U padded positions only (flagos-ai/FlagGems#3532, kind)."""
    unrolled = pick(rng, (4, 8, 16))

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        cut = p.mode == "replicate" and p.lo >= unrolled and p.length > 1
        return inner(changed(g, np.s_[:, :, unrolled : p.lo + 1]) if cut else g, p)

    return Call(length=5, padding=(unrolled, 1), mode="replicate", ask="x")


@mutant
def input_gradient_of_large_batch_refused(m: Backend, rng: Rng) -> Witness:
    """N >= 65536: there is no algorithm for gx, though y is computed (tensorflow/tensorflow#13869)."""

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.n >= 65536:
            raise RuntimeError("No algorithm worked!")
        return inner(w, g, p)

    return Call(n=65536 + draw(rng, 0, 3), length=2, kernel=2, dtype="float32", ask="x")


@mutant
def empty_batch_keeps_last_kernel_gradient(m: Backend, rng: Rng) -> Witness:
    """N = 0: gw is not cleared, and holds the last gw of its shape and dtype (FluxML/NNlib.jl#763, kind)."""
    kept: dict[Any, Array] = {}

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        key = (gw.shape, p.dtype)
        if p.n == 0:
            return np.array(kept.get(key, gw))
        kept[key] = np.array(gw)
        return gw

    call = Call(n=2, c_out=draw(rng, 1, 3), ask="w")
    return after(call, call.but(n=0))


@mutant
def forward_over_reverse_loses_cotangent(m: Backend, rng: Rng) -> Witness:
    """G = C > 1, O > C, no bias: gw's tangent lacks the cotangent's part (pytorch/pytorch#75219, kind)."""

    @m.around("push")
    def push(inner: Any, slot: str, name: str, operands: Any, tangent: Any, plan: Plan) -> Any:
        if slot == "w" and name == "g" and plan.depthwise and plan.fan_out > 1 and not plan.bias:
            tangent = tape.zeros_like(tangent)
        return inner(slot, name, operands, tangent, plan)

    channels = draw(rng, 2, 4)
    return Call(c_in=channels, c_out=2 * channels, groups=channels, ask="w>g")


@mutant
def derivative_of_single_output_gradient_refused(m: Backend, rng: Rng) -> Witness:
    """L_out = 1 < s with a remainder: gx cannot be differentiated in reverse once more (jax-ml/jax#563, kind)."""

    @m.around("pull")
    def pull(inner: Any, slot: str, name: str, operands: Any, g: Any, plan: Plan) -> Any:
        if slot == "x" and plan.l_out == 1 < plan.stride and plan.remainder > 0:
            raise ValueError("shapes of the transpose do not match")
        return inner(slot, name, operands, g, plan)

    kernel = draw(rng, 2, 4)
    return Call(length=kernel + 2, kernel=kernel, stride=4, ask="x/w")


@mutant
def pointwise_input_gradient_overwritten(m: Backend, rng: Rng) -> Witness:
    """K = 1, passes over x alone: what accumulates in x is the last pass's gradient (FluxML/NNlib.jl#538)."""
    last = last_plan(m)

    @m.around("accumulate")
    def accumulate(inner: Any, passes: Any, primals: Any) -> Any:
        total = inner(passes, primals)
        if len(passes) > 1 and last and last[0].kernel == 1 and last[0].wanted == {"x"} and len(primals) == 1:
            f, cotangent = passes[-1]
            return m.vjp(f, primals, cotangent)
        return total

    first, second = (draw(rng, 1, 4) for _ in "ab")

    def probe(backend: Backend) -> Any:
        arrays = Call(kernel=1, c_out=2).operands()

        def f(x: Any) -> Any:
            return backend.conv1d(x, arrays["w"])

        return backend.accumulate([(f, first * arrays["g"]), (f, second * arrays["g"])], (arrays["x"],))

    return probe
