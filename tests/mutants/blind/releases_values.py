"""Faults of fast paths that a release might add: the operator, shapes and padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import changed, last_plan, reciprocal_floor, shape_only
from tests.mutants.compiled import Spec, evaluating, without_data
from tests.mutants.plan import Array, Plan, taps, widen
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

operator, shapes, padding = chapter("operator"), chapter("shapes"), chapter("padding")
Kernel = Callable[..., Array]
Rule = Callable[..., Any]

# -- operator ---------------------------------------------------------------------------------------------------------


@operator
def ninth_tap_undilated(m: Backend, rng: Rng) -> Witness:
    """K = 8j + 1 > 8 and d >= 2: the tail tap is read one sample early (kind: unrolled by eight)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.kernel > 8 and p.kernel % 8 == 1 and p.dilation > 1 and x.size:
            early = np.concatenate([x[:, :, :1], x[:, :, :-1]], axis=2)
            rest, tail = inner(x, changed(w, np.s_[..., -1]), p), inner(early, changed(w, np.s_[..., :-1]), p)
            return (rest + tail).astype(x.dtype)
        return inner(x, w, p)

    return Call(length=60, kernel=8 * draw(rng, 1, 2) + 1, dilation=2)


@operator
def odd_channel_first_tile_only(m: Backend, rng: Rng) -> Witness:
    """C = 1 mod B (8, 16) above B, g = 1: the odd channel reaches the first 8 outputs only (kind: remainder loop)."""
    block = pick(rng, [8, 16])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        odd = p.fan_in > block and p.fan_in % block == 1 and p.groups == 1 and p.c_out > 8
        return inner(x, changed(w, np.s_[8:, -1]) if odd else w, p)

    return Call(c_in=block + 1, c_out=10)


@operator
def grid_axis_of_items_times_groups(m: Backend, rng: Rng) -> Witness:
    """N*g above T (512, 1024): the blocks beyond use the weights of group 0 (kind: one grid axis for both)."""
    most = pick(rng, [512, 1024])

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.groups > 1 and p.n * p.groups > most:
            first = inner(x, np.tile(w[: p.fan_out], (p.groups, 1, 1)), p)
            shape = (p.n * p.groups, p.fan_out, p.l_out)
            y.reshape(shape)[most:] = first.reshape(shape)[most:]
        return y

    return Call(n=most // 128 + 1, c_in=128, c_out=128, groups=128, length=4)


@operator
def thread_chunks_cross_groups(m: Backend, rng: Rng) -> Witness:
    """Groups, N*O*L_out*K >= T: of outputs in 4 chunks, each keeps its first group (kind: a thread's chunk)."""
    work = 1 << draw(rng, 9, 12)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        chunk = -(-p.c_out // 4)
        if p.groups > 1 and p.fan_out > 1 and p.n * p.c_out * p.l_out * p.kernel >= work:
            columns = taps(x, p)
            for o in range(p.c_out):
                q = (o // chunk) * chunk // p.fan_out
                if q != o // p.fan_out:
                    parts = [widen(w)[o, :, k] @ columns[k][:, q] for k in range(p.kernel)]
                    y[:, o] = np.sum(parts, axis=0).astype(y.dtype)
        return y

    return Call(n=4, c_in=6, c_out=18, groups=6, length=80)


@operator
def complex_depthwise_dot(m: Backend, rng: Rng) -> Witness:
    """complex64, depthwise, K >= T (2 to 4): the weights are conjugated (kind: vdot for dotu)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, np.conj(w) if p.dtype == "complex64" and p.depthwise and p.kernel >= least else w, p)

    return Call(c_in=2, c_out=2, groups=2, kernel=4, dtype="complex64")


# -- shapes -----------------------------------------------------------------------------------------------------------


@shapes
def length_by_rounded_quotient(m: Backend, rng: Rng) -> Witness:
    """With s > 1, L_out comes of slack * (1/s) in float32, one less for s = 41 and others (kind: fast division)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        if 0 <= slack < 2**20 and 1 < stride < 2**20:
            return reciprocal_floor(slack, stride) + 1
        return inner(*sizes)

    stride = pick(rng, [41, 47, 55, 61])
    return Call(length=2 * stride + 3, stride=stride)


@shapes
def meta_skips_domain(m: Backend, rng: Rng) -> Witness:
    """eval_shape takes padding beyond the domain of a copying mode, which the call refuses (kind: meta kernel)."""
    inside = shape_only(m)

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            return inner(x, w, b, args)
        except ValueError:
            if inside and args["padding_mode"] in ("reflect", "symmetric", "circular"):
                return inner(x, w, b, {**args, "padding_mode": "zeros"})
            raise

    return without_data(Call(length=4, padding=(draw(rng, 5, 8), 0), mode="reflect"))


@shapes
def meta_dtype_of_halves(m: Backend, rng: Rng) -> Witness:
    """eval_shape tells float32 for halves with C/g*K >= T (32 to 64) (kind: the accumulator's dtype leaks)."""
    least, last = draw(rng, 32, 64), last_plan(m)

    def leak(spec: Spec, operands: Any) -> Spec:
        long = last and last[0].dtype in ("float16", "bfloat16") and last[0].fan_in * last[0].kernel >= least
        return spec[0], "float32" if long else spec[1]

    evaluating(m, leak)
    return without_data(Call(c_in=16, kernel=4, dtype="float16"))


# -- padding ----------------------------------------------------------------------------------------------------------


@padding
def same_extra_side_flips(m: Backend, rng: Rng) -> Witness:
    """`same`, odd total, d > 1 and s > 1 that does not divide L: the extra zero stands before (kind: rounding)."""

    @m.around("resolve")
    def resolve(inner: Rule, name: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        lo, hi = inner(name, length, kernel, stride, dilation)
        return (hi, lo) if name == "same" and stride > 1 < dilation and length % stride else (lo, hi)

    return Call(length=8, stride=3, dilation=draw(rng, 2, 4), padding="same")


@padding
def replicate_chunk(m: Backend, rng: Rng) -> Witness:
    """`replicate` with lo above T (16, 32): what is farther from the input is 0 (kind: one vector of edges)."""
    most = pick(rng, [16, 32])
    m.edit(
        "sources",
        lambda p: p.mode == "replicate" and p.lo > most,
        lambda shown, p: clear(shown, np.s_[: p.lo - most], -1),
    )
    return Call(padding=(most + 2, 1), mode="replicate")


@padding
def strided_fill_through_float32(m: Backend, rng: Rng) -> Witness:
    """float64 with s > 1: the fill of `constant` passes through float32 (kind: a kernel argument of type float)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        narrow = p.mode == "constant" and p.stride > 1 and p.dtype == "float64"
        return inner(x, float(np.float32(fill)) if narrow else fill, p)

    return Call(padding=(2, 1), stride=2, mode="constant", fill=draw(rng, 1, 4) / 10 + 1)
