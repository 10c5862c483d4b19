"""More faults of the kernels, by the same author: gradients and transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.witness import Call, Witness

gradients, transforms = chapter("gradients"), chapter("transforms")
Kernel = Callable[..., Array]

# -- gradients ----------------------------------------------------------------------------------------------------


@gradients
def square_group_untransposed(m: Backend, rng: Rng) -> Witness:
    """C/g = O/g > 1 and groups >= G (3 to 5): in gx the last group's kernel is not transposed (kind: repacking)."""
    least = draw(rng, 3, 5)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.groups >= least and p.fan_in == p.fan_out > 1:
            w = changed(w, np.s_[-p.fan_out :], w[-p.fan_out :].swapaxes(0, 1))
        return inner(w, g, p)

    return Call(c_in=2 * least, c_out=2 * least, groups=least, ask="x")


@gradients
def depthwise_flip_past_block(m: Backend, rng: Rng) -> Witness:
    """Depthwise, s > 1, C > V (4, 8): in gx the channels past the last block of V flip the taps (kind: scalar tail)."""
    lanes = pick(rng, (4, 8))

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.depthwise and p.stride > 1 and p.c_in > lanes:
            tail = p.c_in // lanes * lanes * p.fan_out
            w = changed(w, np.s_[tail:], w[tail:, :, ::-1])
        return inner(w, g, p)

    return Call(c_in=lanes + 1, c_out=lanes + 1, groups=lanes + 1, stride=2, ask="x")


@gradients
def gb_block_remainder(m: Backend, rng: Rng) -> Witness:
    """N*L_out = 1 mod B above B (64, 128, 256): gb lacks the last cotangent of the last item (kind: remainder)."""
    block = pick(rng, (64, 128, 256))

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        count = p.n * p.l_out
        return inner(changed(g, np.s_[-1, :, -1]) if count > block and count % block == 1 else g, p)

    return Call(length=block + 3, bias=True, ask="b")


@gradients
def gx_scatter_overwrites(m: Backend, rng: Rng) -> Witness:
    """K >= T (9 to 16), s > 1: gx is scattered by two halves of the taps, the second overwrites (kind: = for +=)."""
    least = draw(rng, 9, 16)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if p.kernel < least or p.stride == 1 or not p.l_out:
            return inner(w, g, p)
        half = p.kernel // 2
        gx, late = inner(changed(w, np.s_[..., half:]), g, p), inner(changed(w, np.s_[..., :half]), g, p)
        for k in range(half, p.kernel):
            index = np.s_[..., k * p.dilation : k * p.dilation + p.reach : p.step]
            gx[index] = late[index]
        return gx

    return Call(length=40, kernel=least, stride=2, ask="x")


@gradients
def gw_alone_loses_last_item(m: Backend, rng: Rng) -> Witness:
    """A gw asked for without gx and gb, in groups, N >= T (2 to 5): the last item is left out (kind: output mask)."""
    least = draw(rng, 2, 5)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        alone = p.wanted == {"w"} and p.groups > 1 and p.n >= least
        return inner(x, changed(g, -1) if alone else g, p)

    return Call(n=least, c_in=2, c_out=2, groups=2, ask="w")


@gradients
def gx_negative_full_padding(m: Backend, rng: Rng) -> Witness:
    """Zeros, explicit lo >= d*(K-1) + P (1 to 3), s > 1: the negative pad of gx is taken for 0 (kind: clamped pad)."""
    excess = draw(rng, 1, 3)
    m.lie(
        "pad_transpose",
        lambda p: p.mode == "zeros" and p.padding == "explicit" and p.stride > 1 and p.lo >= p.span - 1 + excess,
        lo=lambda p: p.span - 1,
        hi=lambda p: p.hi + p.lo - p.span + 1,
    )
    return Call(stride=2, padding=(2 + excess, 1), ask="x")


# -- transforms ---------------------------------------------------------------------------------------------------


@transforms
def square_stack_of_biases(m: Backend, rng: Rng) -> Witness:
    """A vmap over axis 1 of b and another operand, O maps: b is mapped over axis 0 (kind: axis by extent)."""
    plenty = draw(rng, 2, 3)

    @m.around("slices")
    def slices(inner: Any, operands: Any, axes: Any, i: int) -> Any:
        square = [len(a.shape) == 2 and plenty <= a.shape[0] == a.shape[1] for a in operands]
        several = sum(axis is not None for axis in axes) > 1
        return inner(operands, [0 if sq and several else axis for sq, axis in zip(square, axes, strict=True)], i)

    return Call(c_out=3, bias=True, ask="vmap:0-1")


@transforms
def bias_of_first_map(m: Backend, rng: Rng) -> Witness:
    """A vmap over a later axis of x than 0, and b, O >= T (1 to 4): all maps have the first bias (kind: a rule)."""
    least = draw(rng, 1, 4)

    @m.around("slices")
    def slices(inner: Any, operands: Any, axes: Any, i: int) -> Any:
        parts, last = inner(operands, axes, i), operands[-1]
        if len(last.shape) == 2 and axes[-1] == 0 and axes[0] not in (0, None) and last.shape[1] >= least:
            parts[-1] = tape.take(last, 0, 0)
        return parts

    return Call(c_out=least, bias=True, ask="vmap:1-0")


@transforms
def compiled_guards_first_operand(m: Backend, rng: Rng) -> Witness:
    """Compiled, once traced with N >= T (1 to 4): w and b are cast to x's dtype, not refused (kind: a guard)."""
    least = draw(rng, 1, 4)

    @m.around("compile")
    def compiled(inner: Any, f: Any) -> Any:
        seen = [False]

        def g(*operands: Any) -> Any:
            if seen[0] and are_arrays(*operands):
                operands = tuple(a.astype(operands[0].dtype) for a in operands)
            y = inner(f)(*operands)
            seen[0] |= operands[0].shape[0] >= least
            return y

        return g

    def probe(backend: Backend) -> Any:
        fn, x, w = backend.compile(lambda a, b: backend.conv1d(a, b)), np.ones((least, 1, 5)), np.ones((1, 1, 3))
        return fn(x, w), fn(x, w.astype(np.float32))

    return probe
