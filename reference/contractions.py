"""The trilinear form t(x, w, g) = <g, conv1d(x, w)> with one slot left out: the output, or the gradient of an operand.

Here x is the padded input (N, C, Lp), w (O, C/g, K) and g (N, O, L_out); nothing is conjugated. Each contraction is one
pass over the taps, a tap being a slice, by matrix products. A product is formed only where the formula has one, so
that a non-finite value reaches exactly what reads it (chapter VAL).

There is no im2col. Where there are few channels, the slices of several taps are stacked to make one product worth its
call; the stack belongs to one block of the output and stays in cache, so the memory of a call stays that of its arrays.
"""

from __future__ import annotations

import operator
from functools import reduce

from array_api_compat import device, is_writeable_array

from conv1d_cts.reference.pad import add_at
from conv1d_cts.reference.validation import Array, Namespace, Plan

BLOCK = 2**17  # elements of a block of the output, 1 MiB of float64: a second-level cache
DEPTH = 64  # rows that make a matrix product worth its call; beyond it the gain was not measurable (reference/bench.py)

Block = tuple[slice, int, int]  # batch items, first and last output position + 1
Slice = tuple[Array, int]  # the row and the offset at which a tap reads output position 0


def output(xp: Namespace, x: Array, w: Array, plan: Plan, b: Array = None) -> Array:
    """Return y (N, O, L_out), with b (O,) added where it is given."""
    if 0 in plan.y_shape:
        return xp.zeros(plan.y_shape, dtype=x.dtype, device=device(x))
    slices = _slices(xp, x, plan)
    matrix = _by_group(xp, xp.permute_dims(w, (0, 2, 1)), plan)
    bias = None if b is None else xp.reshape(b, (plan.groups, -1, 1))
    together = _together(plan)
    blocks = _blocks(plan, together)
    if len(blocks) > 1:
        y = xp.empty((plan.n, plan.groups, plan.c_out // plan.groups, plan.l_out), dtype=x.dtype, device=device(x))
        if is_writeable_array(y):
            for block in blocks:
                items, start, stop = block
                y[items, :, :, start:stop] = _sum_taps(xp, matrix, slices, bias, together, block)
            return xp.reshape(y, plan.y_shape)
    return xp.reshape(_sum_taps(xp, matrix, slices, bias, together, (slice(None), 0, plan.l_out)), plan.y_shape)


def input_gradient(xp: Namespace, w: Array, g: Array, plan: Plan) -> Array:
    """Return the gradient of the padded x, (N, C, Lp); samples that no tap reads have exactly 0 (GRAD-4)."""
    groups, fan_in, fan_out = plan.groups, plan.c_in // plan.groups, plan.c_out // plan.groups
    gx = xp.zeros((plan.n, groups, fan_in, plan.padded), dtype=g.dtype, device=device(g))
    if 0 not in plan.y_shape:
        g = xp.reshape(g, (plan.n, groups, fan_out, plan.l_out))
        matrices = xp.permute_dims(xp.reshape(w, (groups, fan_out, fan_in, plan.kernel)), (3, 0, 2, 1))
        matrices = _packed(xp, matrices)
        for k in range(plan.kernel):
            gx = add_at(xp, gx, matrices[k, ...] @ g, k * plan.dilation, plan.step)
    return xp.reshape(gx, (plan.n, plan.c_in, plan.padded))


def weight_gradient(xp: Namespace, x: Array, g: Array, plan: Plan) -> Array:
    """Return the gradient of w, (O, C/g, K)."""
    if 0 in plan.y_shape or 0 in plan.w_shape:
        return xp.zeros(plan.w_shape, dtype=g.dtype, device=device(g))
    g = xp.reshape(g, (plan.n, plan.groups, plan.c_out // plan.groups, plan.l_out))
    items = max(1, BLOCK // (plan.c_out * plan.c_in // plan.groups))
    parts = [slice(n, min(n + items, plan.n)) for n in range(0, plan.n, items)]
    taps = []
    for rows, offset in _slices(xp, x, plan):
        columns = xp.permute_dims(rows[:, :, :, offset : offset + plan.l_out], (0, 1, 3, 2))
        products = (g[part, ...] @ columns[part, ...] for part in parts)
        taps.append(reduce(operator.add, (xp.sum(product, axis=0, dtype=g.dtype) for product in products)))
    return xp.reshape(xp.stack(taps, axis=-1), plan.w_shape)


def _packed(xp: Namespace, a: Array) -> Array:
    """Make the last axis contiguous in memory, as BLAS wants it: through one axis, which copies where it must."""
    return xp.reshape(xp.reshape(a, (-1,)), a.shape)


def _by_group(xp: Namespace, a: Array, plan: Plan) -> Array:
    """Turn (O, K, C/g) into the matrices (g, O/g, K C/g), one a group."""
    return xp.reshape(a, (plan.groups, plan.c_out // plan.groups, plan.kernel * (plan.c_in // plan.groups)))


def _slices(xp: Namespace, x: Array, plan: Plan) -> list[Slice]:
    """Return for each tap the row (N, g, C/g, .) where its inputs lie side by side, and the offset of the first.

    With a stride s the padded input falls into s phases; only those that a tap reads are made.
    """
    x = xp.reshape(x, (plan.n, plan.groups, plan.c_in // plan.groups, plan.padded))
    if plan.step == 1:
        return [(x, k * plan.dilation) for k in range(plan.kernel)]
    where = [divmod(k * plan.dilation, plan.step) for k in range(plan.kernel)]
    phases = {}
    for _, phase in where:
        if phase not in phases:
            phases[phase] = _packed(xp, x[:, :, :, phase :: plan.step])
    return [(phases[phase], offset) for offset, phase in where]


def _together(plan: Plan) -> int:
    """Return the taps in one product: as many as make DEPTH rows, where stacking costs less than adding outputs."""
    fan_in, fan_out = plan.c_in // plan.groups, plan.c_out // plan.groups
    return min(plan.kernel, DEPTH // fan_in) if 0 < fan_in <= min(fan_out, DEPTH) else 1


def _blocks(plan: Plan, together: int) -> list[Block]:
    channels = max(plan.c_out, plan.c_in * together)
    if plan.n * channels * plan.l_out <= BLOCK:
        return [(slice(None), 0, plan.l_out)]
    columns = min(plan.l_out, max(256, BLOCK // channels))
    items = max(1, BLOCK // (channels * columns))
    return [
        (slice(n, min(n + items, plan.n)), start, min(start + columns, plan.l_out))
        for n in range(0, plan.n, items)
        for start in range(0, plan.l_out, columns)
    ]


def _sum_taps(xp: Namespace, matrix: Array, slices: list[Slice], bias: Array, together: int, block: Block) -> Array:
    """Compute one block of the output, (items, g, O/g, positions): the sum over the taps, and the bias."""
    items, start, stop = block
    depth = matrix.shape[2] // len(slices)
    total = None
    for k in range(0, len(slices), together):
        taps = [rows[items, :, :, start + offset : stop + offset] for rows, offset in slices[k : k + together]]
        stack = xp.concat(taps, axis=2) if len(taps) > 1 else taps[0]
        part = matrix[:, :, k * depth : (k + len(taps)) * depth] @ stack
        if total is None:
            total = part
        else:
            total += part
    if bias is not None:
        total += bias
    return total
