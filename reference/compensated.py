"""conv1d and its derivatives in float64 or complex128, nearly as if in twice that precision: the judge of float64.

Each product and each sum is carried as a pair, its rounded value and what the rounding lost, both exact (TwoProduct
after Veltkamp and Dekker, TwoSum after Knuth); what was lost is added up beside the values and added to them once, at
the end. This is Dot2 of Ogita, Rump and Oishi, *Accurate sum and dot product* (2005), but that the terms are added in
pairs and not in a row: |result - exact| <= v |exact| + gamma_{2m+6}(v)^2 S for m terms (chapter ACC).

All three contractions are one, `_correlate`: gx is the correlation of the spread cotangent with the reversed kernel, gw
that of x with the cotangent, in which stride and dilation change places. Operands must be finite, below 2^996 in
magnitude, and no product of them that is not 0 may be below 2^-969: there the lost part of a product is no number.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

from array_api_compat import device

from conv1d_cts.reference.gradients import conj
from conv1d_cts.reference.pad import pad, runs
from conv1d_cts.reference.validation import Array, Namespace, Plan, plan_call
from conv1d_cts.spec.padding import Padding

Pair = tuple[Array, Array]  # the value and what it lacks: their sum is exact, or nearly
BLOCK = 2**16  # products formed at once
_SPLITTER = 2.0**27 + 1


def conv1d(
    x: Array,
    w: Array,
    b: Array = None,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> Array:
    """Return what `conv1d_cts.reference.conv1d` does, of float64 or complex128 operands, and raise as it does."""
    xp, plan = plan_call(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    y = _output(xp, pad(xp, x, plan, padding_value), w, plan)
    return operator.add(*y if b is None else _plus(y, b[None, :, None]))


def conv1d_vjp(
    x: Array,
    w: Array,
    b: Array,
    cotangent: Array,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> tuple[Array, Array, Array]:
    """Return what `conv1d_cts.reference.conv1d_vjp` does, of float64 or complex128 operands."""
    xp, plan = plan_call(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    padded = conj(xp, pad(xp, x, plan, padding_value))
    gx = _fold(xp, _input_gradient(xp, conj(xp, w), cotangent, plan), plan)
    gw = _weight_gradient(xp, padded, cotangent, plan)
    gb = None if b is None else _total(xp, xp.reshape(xp.permute_dims(cotangent, (0, 2, 1)), (-1, plan.c_out)))
    return operator.add(*gx), operator.add(*gw), gb


def conv1d_jvp(
    x: Array,
    w: Array,
    b: Array,
    x_tangent: Array,
    w_tangent: Array,
    b_tangent: Array,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> Array:
    """Return what `conv1d_cts.reference.conv1d_jvp` does, of float64 or complex128 operands."""
    xp, plan = plan_call(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    zeros = xp.zeros(plan.y_shape, dtype=x.dtype, device=device(x))
    y: Pair = zeros, zeros
    if x_tangent is not None:
        y = _add(y, _output(xp, pad(xp, x_tangent, plan), w, plan))
    if w_tangent is not None:
        y = _add(y, _output(xp, pad(xp, x, plan, padding_value), w_tangent, plan))
    return operator.add(*y if b_tangent is None else _plus(y, b_tangent[None, :, None]))


def two_sum(a: Array, b: Array) -> Pair:
    """Return s = fl(a + b) and a + b - s, exactly (Knuth), whichever of the two is larger."""
    s = a + b
    part = s - a
    return s, (a - (s - part)) + (b - part)


def split(a: Array) -> Pair:
    """Return two numbers of at most 26 bits whose sum is a (Veltkamp)."""
    c = _SPLITTER * a
    high = c - (c - a)
    return high, a - high


def two_product(a: Array, b: Array) -> Pair:
    """Return p = fl(a b) and a b - p, exactly (Dekker), unless something overflows or underflows."""
    p = a * b
    (a_high, a_low), (b_high, b_low) = split(a), split(b)
    return p, (((a_high * b_high - p) + a_high * b_low) + a_low * b_high) + a_low * b_low


def _add(p: Pair, q: Pair) -> Pair:
    s, lost = two_sum(p[0], q[0])
    return s, lost + (p[1] + q[1])


def _plus(p: Pair, a: Array) -> Pair:
    s, lost = two_sum(p[0], a)
    return s, lost + p[1]


def _sum(xp: Namespace, terms: Pair) -> Pair:
    """Sum over the first axis in pairs of pairs; 0 where it is empty."""
    value, lost = terms
    if value.shape[0] == 0:
        zeros = xp.zeros(value.shape[1:], dtype=value.dtype, device=device(value))
        return zeros, zeros
    while value.shape[0] > 1:
        half = value.shape[0] // 2
        one, other = slice(0, half), slice(half, 2 * half)
        added = _add((value[one, ...], lost[one, ...]), (value[other, ...], lost[other, ...]))
        value, lost = (
            xp.concat([new, old[2 * half :, ...]], axis=0) for new, old in zip(added, (value, lost), strict=True)
        )
    return value[0, ...], lost[0, ...]


def _total(xp: Namespace, a: Array) -> Array:
    """Return the sum of a over the first axis."""
    return operator.add(*_sum(xp, (a, xp.zeros_like(a))))


def _output(xp: Namespace, x: Array, w: Array, plan: Plan) -> Pair:
    """Return y (N, O, L_out) of the padded x, without bias."""

    def contract(x: Array, w: Array) -> Pair:
        return _correlate(xp, x, w, (plan.step, plan.dilation), plan.groups, plan.l_out)

    return _bilinear(xp, contract, x, w)


def _input_gradient(xp: Namespace, w: Array, g: Array, plan: Plan) -> Pair:
    """Return the gradient of the padded x, (N, C, padded): the spread g, with room for every tap, under w reversed."""
    span = plan.dilation * (plan.kernel - 1) + 1
    reach = (plan.l_out - 1) * plan.step + 1 if plan.l_out else 0

    def zeros(*shape: int) -> Array:
        return xp.zeros(shape, dtype=g.dtype, device=device(g))

    gaps = zeros(*g.shape, plan.step - 1)
    spread = xp.reshape(xp.concat([g[..., None], gaps], axis=3), (plan.n, plan.c_out, plan.l_out * plan.step))
    sides = zeros(plan.n, plan.c_out, span - 1), zeros(plan.n, plan.c_out, plan.padded - reach)
    wide = xp.concat([sides[0], spread[:, :, :reach], sides[1]], axis=2)
    fan_in, fan_out = plan.c_in // plan.groups, plan.c_out // plan.groups
    grouped = xp.permute_dims(xp.reshape(w, (plan.groups, fan_out, fan_in, plan.kernel)), (0, 2, 1, 3))
    back = xp.reshape(xp.flip(grouped, axis=3), (plan.c_in, fan_out, plan.kernel))

    def contract(g: Array, w: Array) -> Pair:
        return _correlate(xp, g, w, (1, plan.dilation), plan.groups, plan.padded)

    return _bilinear(xp, contract, wide, back)


def _weight_gradient(xp: Namespace, x: Array, g: Array, plan: Plan) -> Pair:
    """Return the gradient of w (O, C/g, K): channels are the batch here, items the channels, and g is the kernel."""
    fan_in, fan_out = plan.c_in // plan.groups, plan.c_out // plan.groups
    x = xp.permute_dims(xp.reshape(x, (plan.n, plan.groups, fan_in, plan.padded)), (2, 1, 0, 3))
    g = xp.permute_dims(xp.reshape(g, (plan.n, plan.groups, fan_out, plan.l_out)), (1, 2, 0, 3))

    def contract(x: Array, g: Array) -> Pair:
        return _correlate(xp, x, g, (plan.dilation, plan.step), plan.groups, plan.kernel)

    signal = xp.reshape(x, (fan_in, plan.groups * plan.n, plan.padded))
    kernel = xp.reshape(g, (plan.c_out, plan.n, plan.l_out))
    high, low = _bilinear(xp, contract, signal, kernel)
    return xp.permute_dims(high, (1, 0, 2)), xp.permute_dims(low, (1, 0, 2))


def _bilinear(xp: Namespace, f: Callable[[Array, Array], Pair], a: Array, b: Array) -> Pair:
    """Return f(a, b): of complex operands by four real ones."""
    if not xp.isdtype(a.dtype, "complex floating"):
        return f(a, b)
    re_a, im_a, re_b, im_b = xp.real(a), xp.imag(a), xp.real(b), xp.imag(b)
    real = _add(f(re_a, re_b), f(-im_a, im_b))
    imaginary = _add(f(re_a, im_b), f(im_a, re_b))
    value, lost = (xp.astype(re, a.dtype) + 1j * xp.astype(im, a.dtype) for re, im in zip(real, imaginary, strict=True))
    return value, lost


def _correlate(xp: Namespace, x: Array, w: Array, steps: tuple[int, int], groups: int, length: int) -> Pair:
    """Return sum over c, k of w[o, c, k] x[n, c, i s + k d] for i < length, real, (N, O, length); steps is (s, d)."""
    n, c_out = x.shape[0], w.shape[0]
    terms = w.shape[1] * w.shape[2]
    if 0 in (n, c_out, length, terms):
        zeros = xp.zeros((n, c_out, length), dtype=x.dtype, device=device(x))
        return zeros, zeros
    matrix = xp.permute_dims(xp.reshape(w, (1, 1, groups, c_out // groups, terms)), (4, 0, 1, 2, 3))
    rows = []
    for items in _parts(n, terms * c_out):
        parts = []
        for span in _parts(length, terms * c_out * (items.stop - items.start)):
            read = _windows(xp, x[items, :, :], w.shape[2], steps, groups, span)
            parts.append(_sum(xp, two_product(matrix, read)))
        rows.append(tuple(xp.concat(list(column), axis=1) for column in zip(*parts, strict=True)))
    value, lost = (xp.concat(list(column), axis=0) for column in zip(*rows, strict=True))
    shape, order = (n, length, c_out), (0, 2, 1)
    return xp.permute_dims(xp.reshape(value, shape), order), xp.permute_dims(xp.reshape(lost, shape), order)


def _parts(extent: int, size: int) -> Iterator[slice]:
    """Cut an extent, of which each takes so many products, into parts of at most BLOCK products, and at least one."""
    step = max(1, BLOCK // size)
    return (slice(start, min(start + step, extent)) for start in range(0, extent, step))


def _windows(xp: Namespace, x: Array, taps: int, steps: tuple[int, int], groups: int, span: slice) -> Array:
    """Return what the outputs `span` read of x (N, C, .): (C/g taps, N, positions, g, 1)."""
    stride, dilation = steps
    count = span.stop - span.start
    first = xp.arange(span.start, span.stop, device=device(x)) * stride
    index = xp.arange(taps, device=device(x))[:, None] * dilation + first[None, :]
    read = xp.take(x, xp.reshape(index, (-1,)), axis=2)
    read = xp.reshape(read, (x.shape[0], groups, -1, count))
    return xp.permute_dims(read, (2, 0, 3, 1))[..., None]


def _fold(xp: Namespace, g: Pair, plan: Plan) -> Pair:
    """Return the gradient of x (N, C, L) from that of the padded input: the transpose of padding (chapter PAD)."""
    inner = slice(plan.lo, plan.lo + plan.length)
    gx: Pair = g[0][:, :, inner], g[1][:, :, inner]
    sides = runs(plan)
    if sides is None:
        return gx
    for run, part in zip(sides, (slice(0, plan.lo), slice(plan.lo + plan.length, plan.padded)), strict=True):
        if run.count:
            value, lost = g[0][:, :, part], g[1][:, :, part]
            if run.reversed:
                value, lost = xp.flip(value, axis=2), xp.flip(lost, axis=2)
            elif run.stop - run.start != run.count:  # one sample, shown again and again
                last_first = (2, 0, 1)
                value, lost = _sum(xp, (xp.permute_dims(value, last_first), xp.permute_dims(lost, last_first)))
                value, lost = value[..., None], lost[..., None]
            gx = _add(gx, (_placed(xp, value, run.start, plan), _placed(xp, lost, run.start, plan)))
    return gx


def _placed(xp: Namespace, part: Array, start: int, plan: Plan) -> Array:
    """Return (N, C, L) with the part at `start` and zeros elsewhere."""

    def zeros(count: int) -> Array:
        return xp.zeros((plan.n, plan.c_in, count), dtype=part.dtype, device=device(part))

    return xp.concat([zeros(start), part, zeros(plan.length - start - part.shape[2])], axis=2)
