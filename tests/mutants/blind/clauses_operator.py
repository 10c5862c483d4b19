"""Faults against the letter of a clause: the plain operator and of shapes (chapters OP and SHAPE)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

operator_fault = chapter("operator")
shape_fault = chapter("shapes")
Kernel = Callable[..., Array]


def misdivided(most: int) -> list[tuple[int, int]]:
    """Return pairs (divisor, quotient), quotient below 8, where the product with the float32 reciprocal falls short."""
    return [
        (d, q)
        for d in range(2, most)
        for q in range(1, 8)
        if int(np.float32(d * q) * (np.float32(1) / np.float32(d))) < q
    ]


@operator_fault
def gap_compaction_by_taps(m: Backend, rng: Rng) -> Witness:
    """With K < s < span, the last window reads 0 from its offset s on (kind: gaps cut where s > K, not span)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.kernel < p.stride < p.span and p.l_out > 1 and y.size:
            cut = x.copy()
            cut[:, :, p.l_out * p.stride :] = 0
            y[:, :, -1] = inner(cut, w, p)[:, :, -1]
        return y

    stride = draw(rng, 4, 6)
    return Call(length=7 + 2 * stride, stride=stride, dilation=3)


@operator_fault
def group_by_float_reciprocal(m: Backend, rng: Rng) -> Witness:
    """Output o reads group int(o * float32(1 / (O/g))): one too low at o = 41 of 41 a group (kind: float division)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.groups > 1 and y.size:
            o = np.arange(p.c_out)
            q = (o.astype(np.float32) * (np.float32(1) / np.float32(p.fan_out))).astype(int)
            low = q < o // p.fan_out
            if low.any():
                y[:, low] = inner(np.roll(x, p.fan_in, axis=1), w, p)[:, low]
        return y

    cases = misdivided(128)
    per_group, group = cases[draw(rng, 0, len(cases) - 1)]
    return Call(c_in=group + 1, c_out=per_group * (group + 1), groups=group + 1)


@operator_fault
def matvec_keeps_the_accumulator_dtype(m: Backend, rng: Rng) -> Witness:
    """In halves, N = L_out = 1 comes back in float32 (kind: the matrix-vector path lacks the last cast)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        return widen(y) if p.n == p.l_out == 1 else y

    return Call(length=4, kernel=4, c_out=draw(rng, 1, 4), dtype="bfloat16")


@operator_fault
def pointwise_subsamples_before_padding(m: Backend, rng: Rng) -> Witness:
    """K = 1, s > 1, lo no multiple of s: x[::s] is padded by lo // s zeros (kind: 1x1 as a product of x[::s])."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        late = p.lo % p.stride
        if p.kernel == 1 and late and p.mode == "zeros" and p.l_out > 1:
            x = np.concatenate([x[:, :, late:], np.zeros((*x.shape[:2], late), x.dtype)], axis=2)
        return inner(x, w, p)

    stride = draw(rng, 2, 5)
    return Call(length=4 * stride, kernel=1, stride=stride, padding=(stride + 1, 1))


@operator_fault
def lone_output_of_the_last_tile(m: Backend, rng: Rng) -> Witness:
    """S > 1, L_out = 1 modulo a tile of T (24 to 112, by 8): the last output lacks its last tap (kind: tail)."""
    tile = 8 * draw(rng, 3, 14)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.stride > 1 and p.kernel > 1 and p.l_out > tile and p.l_out % tile == 1 and y.size:
            short = replace(p, kernel=p.kernel - 1)
            y[:, :, -1] = inner(x, w[:, :, :-1], short)[:, :, -1]
        return y

    return Call(length=2 * tile + 3, stride=2)


@operator_fault
def complex_single_number_by_vdot(m: Backend, rng: Rng) -> Witness:
    """Complex, y a single number (N = O = L_out = 1): w is conjugated (kind: vdot instead of dot)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        return inner(x, np.conj(w) if w.dtype.kind == "c" and p.n * p.c_out * p.l_out == 1 else w, p)

    return Call(c_in=draw(rng, 1, 3), length=3, dtype="complex64")


@operator_fault
def grid_of_65535_rows(m: Backend, rng: Rng) -> Witness:
    """Where N * O > 65535, the rows (n, o) from 65535 on are 0 (kind: the y extent of a launch grid)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if p.n * p.c_out > 65535:
            y.reshape(p.n * p.c_out, p.l_out)[65535:] = 0
        return y

    items = draw(rng, 200, 400)
    return Call(n=items, c_out=65536 // items + 1, length=1, kernel=1, dtype="float32")


@shape_fault
def length_by_float_reciprocal(m: Backend, rng: Rng) -> Witness:
    """L_out is floor(slack * float32(1 / s)) + 1: one less at s = 41, slack 41 (kind: division by reciprocal)."""

    @m.around("out_length")
    def out_length(inner: Callable[..., int], *sizes: int) -> int:
        length, kernel, stride, dilation, lo, hi = sizes
        slack = length + lo + hi - dilation * (kernel - 1) - 1
        if not 0 <= slack < 2**24 or stride >= 2**24:
            return inner(*sizes)
        quotient = int(np.float32(slack) * (np.float32(1) / np.float32(stride)))
        return min(inner(*sizes), quotient + 1)

    cases = misdivided(128)
    stride, windows = cases[draw(rng, 0, len(cases) - 1)]
    return Call(length=stride * windows + 3, stride=stride)


@shape_fault
def long_kernel_exchanged_with_the_input(m: Backend, rng: Rng) -> Witness:
    """N = C = O = s = d = 1, no padding, K > L: K - L + 1 outputs, operands exchanged (kind: numpy.correlate)."""

    def swapped(p: Plan) -> bool:
        one = p.n == p.c_in == p.c_out == p.stride == p.dilation == 1
        return one and p.lo == p.hi == 0 < p.length < p.kernel and not p.dtype.startswith("complex")

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if not swapped(p):
            return inner(x, w, p)
        return np.correlate(widen(x)[0, 0], widen(w)[0, 0], "valid")[None, None].astype(x.dtype)

    @m.around("spread")
    def spread(inner: Kernel, b: Array, p: Plan) -> Array:
        return np.array(b[None, :, None]) if swapped(p) else inner(b, p)

    return Call(length=3, kernel=draw(rng, 4, 8))


@shape_fault
def shapes_without_data_truncate_groups(m: Backend, rng: Rng) -> Witness:
    """eval_shape takes g that does not divide O, and drops the rest of O (kind: shape inference divides)."""
    state = {"abstract": False}

    @m.around("eval_shape")
    def eval_shape(inner: Callable[..., Any], *args: Any) -> Any:
        state["abstract"] = True
        try:
            return inner(*args)
        finally:
            state["abstract"] = False

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        groups = args["groups"]
        if state["abstract"] and type(groups) is int and groups > 1 and len(w.shape) == 3 and w.shape[0] % groups:
            fitting = w.shape[0] // groups * groups
            w, b = w[:fitting], b if b is None else b[:fitting]
        return inner(x, w, b, args)

    groups = draw(rng, 2, 4)

    def probe(backend: Backend) -> Any:
        x, w = np.ones((2, 2 * groups, 9), np.float32), np.ones((3 * groups + 1, 2, 3), np.float32)
        return backend.eval_shape(lambda u, v: backend.conv1d(u, v, groups=groups), (x, w))

    return probe
