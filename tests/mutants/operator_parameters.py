"""Faults of the forward value, continued: stride, dilation, coincident extents, bias (chapter OP)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("operator")
Kernel = Callable[..., Array]


@mutant
def dilation_ignored_with_stride(m: Backend, rng: Rng) -> Witness:
    """With stride and dilation both above 1, the dilation is 1 (tensorflow/tensorflow#31514)."""
    m.lie("forward", lambda p: p.stride > 1 and p.dilation > 1, dilation=1)
    return Call(length=12, stride=2, dilation=draw(rng, 2, 3))


@mutant
def dilation_ignored_with_groups(m: Backend, rng: Rng) -> Witness:
    """With 2 groups or more, not depthwise, the dilation is 1 (pytorch/pytorch#6901: refused there)."""
    m.lie("forward", lambda p: p.groups > 1 and not p.depthwise, dilation=1)
    return Call(c_in=4, c_out=2, groups=2, dilation=draw(rng, 2, 4), length=12)


@mutant
def dilation_clipped(m: Backend, rng: Rng) -> Witness:
    """A dilation above T (3 to 40) is taken for T (kind: a table of gaps of fixed size)."""
    most = draw(rng, 3, 40)
    m.lie("forward", lambda p: p.dilation > most, dilation=most)
    return Call(length=2 * most + 9, dilation=most + 1)


@mutant
def dilation_drifts_in_long_kernels(m: Backend, rng: Rng) -> Witness:
    """With dilation, taps from T (4 to 24) on are read one sample late (kind: index arithmetic)."""
    taps = draw(rng, 4, 24)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dilation == 1 or p.kernel <= taps:
            return inner(x, w, p)
        late = (np.arange(p.kernel) >= taps).astype(w.dtype)
        return inner(x, w * (1 - late), p) + inner(np.roll(x, -1, axis=2), w * late, p)

    return Call(length=80, kernel=taps + 2, dilation=2)


@mutant
def stride_beyond_kernel(m: Backend, rng: Rng) -> Witness:
    """A stride greater than d(K-1)+1 is taken for that span: windows side by side (kind: a loop over tiles)."""
    m.lie("forward", lambda p: p.stride > p.span, stride=lambda p: p.span)
    return Call(length=20, kernel=draw(rng, 2, 3), stride=5)


@mutant
def stride_clipped(m: Backend, rng: Rng) -> Witness:
    """A stride above T (3 to 17) is taken for T (kind: a fixed number of variants)."""
    most = draw(rng, 3, 17)
    m.lie("forward", lambda p: p.stride > most, stride=most)
    return Call(length=4 * most, stride=most + 1)


@mutant
def stride_restarts_at_tile(m: Backend, rng: Rng) -> Witness:
    """With a stride, outputs from T (16 to 300) on start one sample early (kind: tile edge)."""
    tile = draw(rng, 16, 300)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.stride > 1 and p.l_out > tile:
            y[..., tile:] = inner(np.roll(x, 1, axis=2), w, p)[..., tile:]
        return y

    return Call(length=2 * tile + 8, stride=2)


@mutant
def single_output_ignores_dilation(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1, the window is read without its dilation: a dot product (kind: single-output fast path)."""
    m.lie("forward", lambda p: p.l_out == 1, dilation=1)
    dilation = draw(rng, 2, 3)
    return Call(length=2 * dilation + 1, dilation=dilation)


@mutant
def square_pointwise_transposed(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and O = C > 1 in one group, the weight matrix is transposed (kind: square fast path)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        square = p.kernel == 1 and p.c_in == p.c_out and p.groups == 1
        return inner(x, w.swapaxes(0, 1) if square else w, p)

    size = draw(rng, 2, 6)
    return Call(c_in=size, c_out=size, kernel=1)


@mutant
def kernel_layout_when_square(m: Backend, rng: Rng) -> Witness:
    """Where K = C/g > 1, w is read as (O, K, C/g) (kind: layout guessed from the shape)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, w.swapaxes(1, 2) if p.kernel == p.fan_in else w, p)

    size = draw(rng, 2, 4)
    return Call(c_in=size, kernel=size)


@mutant
def input_layout_when_square(m: Backend, rng: Rng) -> Witness:
    """Where L = C > 1, x is read as (N, L, C) if there is no padding (kind: layout guessed from the shape)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x.swapaxes(1, 2) if p.padded == p.c_in else x, w, p)

    size = draw(rng, 3, 8)
    return Call(c_in=size, length=size, kernel=2)


@mutant
def winograd_odd_output(m: Backend, rng: Rng) -> Witness:
    """With K = 3, s = d = 1 and C of 2 to 32 or more, the last output of an odd L_out lacks a tap (kind: Winograd)."""
    least = draw(rng, 2, 32)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel == 3 and p.stride == p.dilation == 1 and p.fan_in >= least and p.l_out % 2:
            y[..., -1:] = inner(x, w * np.array([1, 1, 0], w.dtype), p)[..., -1:]
        return y

    return Call(c_in=least, length=9)


@mutant
def long_input_in_two_halves(m: Backend, rng: Rng) -> Witness:
    """Where L > T (33 to 600) and s = 1, windows over the middle lack their right part (kind: halves)."""
    least = draw(rng, 33, 600)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        half = x.shape[2] // 2
        if p.length > least and p.stride == 1:
            left = x * (np.arange(x.shape[2]) < half).astype(x.dtype)
            first = max(0, half - p.span + 1)
            y[..., first:half] = inner(left, w, p)[..., first:half]
        return y

    return Call(length=least + 1)


@mutant
def complex_weight_conjugated(m: Backend, rng: Rng) -> Witness:
    """Complex weights are conjugated if the kernel has more than 1 tap (FluxML/Flux.jl#1876, kind)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, np.conj(w) if p.dtype.startswith("complex") and p.kernel > 1 else w, p)

    return Call(dtype="complex128")


@mutant
def bias_on_wrong_axis(m: Backend, rng: Rng) -> Witness:
    """Where O = L_out > 1, the bias runs along the length (kind: broadcasting)."""
    m.edit("spread", lambda p: p.c_out == p.l_out, lambda b, p: clear(b, np.s_[...], b.swapaxes(1, 2).copy()))
    return Call(c_out=5, length=7, bias=True)


@mutant
def bias_of_many_channels(m: Backend, rng: Rng) -> Witness:
    """The bias of output channels from T (8 to 128) on is left out (kind: bias staged in a small buffer)."""
    most = draw(rng, 8, 128)
    m.edit("spread", lambda p: p.c_out > most, lambda b, p: clear(b, np.s_[:, most:]))
    return Call(c_out=most + 1, bias=True)


@mutant
def bias_of_the_group(m: Backend, rng: Rng) -> Witness:
    """With groups, every channel of a group gets the bias of its first (kind: bias indexed by group)."""

    def share(b: Array, p: Plan) -> None:
        b[...] = b[:, np.arange(p.c_out) // p.fan_out * p.fan_out].copy()

    m.edit("spread", lambda p: p.groups > 1 and p.fan_out > 1, share)
    return Call(c_in=2, c_out=6, groups=2, bias=True)


@mutant
def bias_once_a_group(m: Backend, rng: Rng) -> Witness:
    """The bias is added g times, if g > 1 and not depthwise (kind: bias added in the loop over groups)."""
    m.edit(
        "spread",
        lambda p: p.groups > 1 and not p.depthwise,
        lambda b, p: clear(b, np.s_[...], b * b.dtype.type(p.groups)),
    )
    return Call(c_in=4, c_out=2, groups=2, bias=True)


@mutant
def bias_lost_depthwise(m: Backend, rng: Rng) -> Witness:
    """Depthwise with stride 1, the bias is left out (tenstorrent/tt-metal#55272, kind)."""
    m.edit("spread", lambda p: p.depthwise and p.stride == 1, lambda b, p: clear(b, np.s_[...]))
    return Call(c_in=3, c_out=3, groups=3, bias=True)


@mutant
def bias_only_in_first_item(m: Backend, rng: Rng) -> Witness:
    """Items from T (1 to 40) on get no bias (kind: bias added to a part of the batch)."""
    items = draw(rng, 1, 40)
    m.edit("spread", lambda p: p.n > items, lambda b, p: clear(b, np.s_[items:]))
    return Call(n=items + 1, bias=True)


@mutant
def bias_twice_in_chunked_channels(m: Backend, rng: Rng) -> Witness:
    """The bias is added once for each chunk of T (16 to 256) input channels (kind: bias in the loop over chunks)."""
    chunk = draw(rng, 16, 256)
    m.edit(
        "spread", lambda p: p.fan_in > chunk, lambda b, p: clear(b, np.s_[...], b * b.dtype.type(-(-p.fan_in // chunk)))
    )
    return Call(c_in=chunk + 1, bias=True)


@mutant
def positions_of_sixteen_bits(m: Backend, rng: Rng) -> Witness:
    """Positions of y from 2^16 on are written modulo 2^16 (kind: index of 16 bits)."""

    def wrap(y: Array, p: Plan) -> None:
        beyond = y[..., 2**16 :].copy()
        y[..., : beyond.shape[2]] = beyond
        y[..., 2**16 :] = 0

    m.edit("forward", lambda p: 2**16 < p.l_out < 2**17, wrap)
    return Call(length=2**16 + draw(rng, 1, 9), kernel=1)


@mutant
def items_beyond_grid(m: Backend, rng: Rng) -> Witness:
    """Items from 65535 on are never computed (kind: a grid's extent of 16 bits, unchecked)."""
    m.edit("forward", lambda p: p.n > 65535, lambda y, p: clear(y, np.s_[65535:]))
    return Call(n=65535 + draw(rng, 1, 3), length=1, kernel=1)
