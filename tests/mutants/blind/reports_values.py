"""Faults of the operator, of shapes and of padding that public issue reports inspired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import reciprocal_floor, shape_only
from tests.mutants.compiled import without_data
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

operator, shapes, padding = chapter("operator"), chapter("shapes"), chapter("padding")
Kernel = Callable[..., Array]
When = Callable[[Plan], bool]


def weigh(m: Backend, when: When, change: Callable[[Array, Plan], Any]) -> None:
    """Let the forward pass see a changed copy of w where the condition holds."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if w.size and when(p):
            w = np.array(w)
            change(w, p)
        return inner(x, w, p)


# -- operator ---------------------------------------------------------------------------------------------------------


@operator
def channel_pairs_swapped(m: Backend, rng: Rng) -> Witness:
    """With C/g = 2 mod 4 above 4, K > 1, the last 2 channels change places in the last tap (pytorch/pytorch#21597)."""

    def swap(w: Array, p: Plan) -> None:
        w[:, -2:, -1] = w[:, -2:, -1][:, ::-1].copy()

    weigh(m, lambda p: p.fan_in > 4 and p.fan_in % 4 == 2 and p.kernel > 1, swap)
    return Call(c_in=pick(rng, [6, 10, 14]), kernel=2)


@operator
def grid_of_items_and_groups(m: Backend, rng: Rng) -> Witness:
    """Where N*g > 65535, the (item, group) pairs from 65535 on are 0 (ml-explore/mlx#3893)."""

    def cut(y: Array, p: Plan) -> None:
        y.reshape(p.n * p.groups, p.fan_out, p.l_out)[65535:] = 0

    m.edit("forward", lambda p: p.groups > 1 and p.n * p.groups > 65535, cut)
    groups = draw(rng, 24, 40)
    return Call(n=65536 // groups + 2, c_in=groups, c_out=groups, groups=groups, length=1, kernel=1)


@operator
def group_tail_reads_neighbour(m: Backend, rng: Rng) -> Witness:
    """With g > 1 and O/g = 1..3 mod 8 above 8, a group's tail reads the next group (openxla/xla#49123, kind)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        tail = p.fan_out % 8
        if y.size and p.groups > 1 and p.fan_out > 8 and 0 < tail < 4:
            other = inner(np.roll(x, -p.fan_in, axis=1), w, p).reshape(p.n, p.groups, p.fan_out, p.l_out)
            y.reshape(p.n, p.groups, p.fan_out, p.l_out)[:, :-1, -tail:] = other[:, :-1, -tail:]
        return y

    return Call(c_in=4, c_out=2 * (8 + draw(rng, 1, 3)), groups=2)


@operator
def pointwise_stride_from_first_sample(m: Backend, rng: Rng) -> Witness:
    """K = 1, s > 1, lo no multiple of s: the view's steps count from sample 0 of x (tracel-ai/burn#5429, kind)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        off = p.lo % p.stride
        return inner(np.roll(x, -off, axis=2) if p.kernel == 1 < p.stride and off and p.l_out else x, w, p)

    stride = draw(rng, 3, 5)
    return Call(length=4 * stride, kernel=1, stride=stride, padding=(1, 1))


@operator
def int8_last_grouped_channel(m: Backend, rng: Rng) -> Witness:
    """8-bit integers, g = 2, K = 1: the last output channel has its neighbour's weights (openxla/xla#49123)."""
    weigh(
        m,
        lambda p: p.dtype in ("int8", "uint8") and p.groups == 2 and p.kernel == 1 and p.fan_out > 1,
        lambda w, p: clear(w, np.s_[-1], w[-2].copy()),
    )
    return Call(c_in=4, c_out=4, groups=2, kernel=1, length=draw(rng, 3, 9), dtype="int8")


@operator
def bfloat16_exact_window_first_tap(m: Backend, rng: Rng) -> Witness:
    """bfloat16, C/g = 1, K <= T (4 to 6) and L = K: only the first tap counts (pytorch/pytorch#163347)."""
    most = draw(rng, 4, 6)
    weigh(
        m,
        lambda p: p.dtype == "bfloat16" and p.fan_in == 1 < p.kernel <= most and p.padded == p.span,
        lambda w, p: clear(w, np.s_[..., 1:]),
    )
    return Call(length=4, kernel=4, dtype="bfloat16", data=lambda r, s: np.ones(s))


@operator
def packed_weights_wrap(m: Backend, rng: Rng) -> Witness:
    """Where w has more than 2^16 elements and K > 1, those beyond are the first ones (pytorch/pytorch#129207, kind)."""

    def wrap(w: Array, p: Plan) -> None:
        flat = w.reshape(-1)
        flat[65536:] = np.resize(flat[:65536], flat.size - 65536)

    weigh(m, lambda p: p.c_out * p.fan_in * p.kernel > 65536 and p.kernel > 1, wrap)
    return Call(c_in=64, c_out=draw(rng, 130, 140), length=9, kernel=8)


@operator
def split_sum_adds_bias_again(m: Backend, rng: Rng) -> Witness:
    """With C/g*K >= T (200 to 300) and N*L_out <= 4 the bias comes twice, once a split (ROCm/composable_kernel#95)."""
    least = draw(rng, 200, 300)

    def double(b: Array, p: Plan) -> None:
        b += b

    m.edit("spread", lambda p: p.fan_in * p.kernel >= least and p.n * p.l_out <= 4, double)
    return Call(c_in=least, length=5, kernel=3, bias=True)


@operator
def last_phase_of_stride_and_dilation(m: Backend, rng: Rng) -> Witness:
    """Both s, d > 1 with a common factor, K >= T (3 or 4): the last output lacks a tap (mlpack/mlpack#3146, kind)."""
    least = draw(rng, 3, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if y.size and p.l_out > 2 and p.kernel >= least and np.gcd(p.stride, p.dilation) > 1:
            short = np.array(w)
            short[..., -1] = 0
            y[..., -1] = inner(x, short, p)[..., -1]
        return y

    return Call(length=24, kernel=4, stride=2, dilation=2)


# -- shapes -----------------------------------------------------------------------------------------------------------


@shapes
def inferred_length_of_one_sided_pads(m: Backend, rng: Rng) -> Witness:
    """Without data, hi = 0 < lo and s > 1: the length told is that of hi = lo (onnx/onnx#7721, kind)."""
    inside = shape_only(m)

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        *rest, lo, hi = sizes
        return inner(*rest, lo, lo if inside and sizes[2] > 1 and hi == 0 else hi)

    return without_data(Call(length=9, stride=2, padding=(draw(rng, 2, 4), 0)))


@shapes
def inferred_groups_unchecked(m: Backend, rng: Rng) -> Witness:
    """Without data, a g that divides C but not O is accepted (pytorch/pytorch#178797)."""
    inside = shape_only(m)

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        groups = args["groups"]
        if inside and isinstance(groups, int) and groups > 1 and w.shape[0] % groups and b is None:
            x, _, b, plan = inner(x, np.zeros((groups, *w.shape[1:]), w.dtype), b, args)
            return x[:, : w.shape[1]], w, b, replace(plan, c_out=w.shape[0], c_in=w.shape[1], groups=1)
        return inner(x, w, b, args)

    groups = draw(rng, 2, 4)
    return without_data(Call(c_in=groups, c_out=groups, shapes={"w": (groups + 1, 1, 3)}, groups=groups))


@shapes
def depthwise_atrous_stride_loses_one(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s > 1, d > 1, d no divisor of the padded length: one output less (tensorflow/tensorflow#57128)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], *operands: Any) -> Any:
        *rest, p = inner(*operands)
        if p.depthwise and p.stride > 1 and p.dilation > 1 and p.padded % p.dilation and p.l_out > 2:
            p = replace(p, l_out=p.l_out - 1)
        return *rest, p

    return Call(c_in=2, c_out=2, groups=2, length=3 * draw(rng, 6, 9) + 1, stride=2, dilation=3)


@shapes
def length_by_float32_reciprocal(m: Backend, rng: Rng) -> Witness:
    """L_out by 1/s in float32: exact fits at some s, such as 41, lose an output (kind: fast division)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        count = inner(*sizes)
        return min(count, reciprocal_floor(slack, stride) + 1) if 0 < slack < 2**20 and 1 < stride < 2**20 else count

    fits = [(s, q) for s in range(2, 130) for q in range(1, 4) if reciprocal_floor(s * q, s) < q]
    stride, quotient = fits[draw(rng, 0, len(fits) - 1)]
    return Call(length=stride * quotient + 2, kernel=2, stride=stride, padding=(0, 0))


# -- padding ----------------------------------------------------------------------------------------------------------


@padding
def circular_without_right_side(m: Backend, rng: Rng) -> Witness:
    """Mode circular, hi = 0, lo > 1: the left side shows the first samples, x[-0:] (pytorch/pytorch#24504)."""

    def first(shown: Array, p: Plan) -> None:
        shown[: p.lo] = np.arange(p.lo)

    m.edit("sources", lambda p: p.mode == "circular" and p.hi == 0 and 1 < p.lo <= p.length, first)
    return Call(padding=(draw(rng, 2, 4), 0), mode="circular")


@padding
def same_even_kernel_dilated(m: Backend, rng: Rng) -> Witness:
    """Under same, K even, d > 1, s = 1: lo is d*((K-1)//2), not half of d*(K-1) (kind: halved first)."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], name: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        lo, hi = inner(name, length, kernel, stride, dilation)
        if name == "same" and kernel % 2 == 0 and dilation > 1 and stride == 1:
            half = dilation * ((kernel - 1) // 2)
            return half, lo + hi - half
        return lo, hi

    return Call(length=12, kernel=4, dilation=draw(rng, 2, 4), padding="same")


@padding
def fill_through_float32(m: Backend, rng: Rng) -> Witness:
    """Mode constant in float64: a fill of more than 24 bits is rounded to float32 (kind: a C float)."""

    @m.around("pad")
    def padded(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        return inner(x, float(np.float32(fill)) if x.dtype == np.float64 and p.mode == "constant" else fill, p)

    return Call(padding=(draw(rng, 1, 3), 1), mode="constant", fill=0.1)


@padding
def causal_shorter_than_history(m: Backend, rng: Rng) -> Witness:
    """Under causal, with L < d*(K-1) and s = 1: the history is one sample short (kind: a streaming state)."""

    @m.around("resolve")
    def resolve(inner: Callable[..., Any], name: Any, length: int, kernel: int, stride: int, dilation: int) -> Any:
        lo, hi = inner(name, length, kernel, stride, dilation)
        return (lo - 1, hi + 1) if name == "causal" and stride == 1 and 1 < length < lo else (lo, hi)

    return Call(length=draw(rng, 3, 5), kernel=4, dilation=2, padding="causal")
