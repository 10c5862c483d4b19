"""Faults of the gradient of the input: padding, remainder, stride, dilation, groups, modes (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


@mutant
def gx_ignores_dilation_when_strided(m: Backend, rng: Rng) -> Witness:
    """With stride and dilation, gx is that of dilation 1 (jax-ml/jax#567, kind)."""
    m.lie("grad_x", lambda p: p.stride > 1 and p.dilation > 1, dilation=1)
    return Call(length=12, stride=2, dilation=draw(rng, 2, 3), ask="x")


@mutant
def gx_of_wide_padding(m: Backend, rng: Rng) -> Witness:
    """Where lo > d(K-1), gx comes out shifted by what is beyond (ml-explore/mlx#833: refused there)."""

    def shift(gx: Array, p: Plan) -> None:
        gx[...] = np.roll(gx, p.lo - p.span + 1, axis=2)

    m.edit("grad_x", lambda p: p.lo > p.span - 1 and p.mode == "zeros", shift)
    return Call(kernel=2, padding=(draw(rng, 2, 5), 0), ask="x")


@mutant
def gx_of_wide_padding_behind(m: Backend, rng: Rng) -> Witness:
    """Where hi > d(K-1), the last sample's gx is 0 (OpenPPL/ppl.nn#461, kind)."""
    m.edit(
        "pad_transpose",
        lambda p: p.hi > p.span - 1 and p.mode == "zeros",
        lambda gx, p: clear(gx, np.s_[:, :, -1]),
    )
    return Call(kernel=2, padding=(0, draw(rng, 2, 5)), ask="x")


@mutant
def gx_stale_in_remainder(m: Backend, rng: Rng) -> Witness:
    """Samples after the last window have the gx of the sample before them (f-dangel/backpack#30, kind)."""

    def smear(gx: Array, p: Plan) -> None:
        gx[..., p.padded - p.remainder :] = gx[..., [p.padded - p.remainder - 1]]

    m.edit("grad_x", lambda p: p.remainder > 0, smear)
    return Call(length=2 * draw(rng, 3, 6), stride=2, ask="x")


@mutant
def gx_without_remainder(m: Backend, rng: Rng) -> Witness:
    """With a remainder, gx is shorter than x by it (PKUFlyingPig/CMU10-714#6)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        gx = inner(g, p)
        return gx[:, :, : p.length - p.remainder] if p.lo == p.hi == 0 and p.remainder else gx

    return Call(length=2 * draw(rng, 3, 6), stride=2, ask="x")


@mutant
def gx_correlates(m: Backend, rng: Rng) -> Witness:
    """With kernels longer than T (2 to 8) taps and stride 1, gx is made with the kernel not reversed (kind: flip)."""
    taps = draw(rng, 2, 8)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w[..., ::-1] if p.kernel > taps and p.stride == 1 else w, g, p)

    return Call(length=12, kernel=taps + 1, ask="x")


@mutant
def gx_drops_far_taps(m: Backend, rng: Rng) -> Witness:
    """In gx, taps beyond T (16 to 64) are ignored (kind: unrolled taps)."""
    taps = draw(rng, 16, 64)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(w * (np.arange(p.kernel) < taps).astype(w.dtype), g, p)

    return Call(length=80, kernel=taps + 1, ask="x")


@mutant
def gx_swaps_uneven_padding(m: Backend, rng: Rng) -> Witness:
    """Where explicit lo != hi, gx is cropped at hi instead of lo (KonduitAI/deeplearning4j#90)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        swapped = p.mode == "zeros" and p.padding == "explicit"
        return inner(g, replace(p, lo=p.hi, hi=p.lo) if swapped else p)

    return Call(padding=(draw(rng, 2, 4), 1), ask="x")


@mutant
def gx_crops_same_at_the_wrong_side(m: Backend, rng: Rng) -> Witness:
    """Under "same" with an odd total, gx is shifted by one sample (kind: the extra zero's side, backwards)."""
    m.edit(
        "pad_transpose",
        lambda p: p.padding == "same" and p.lo != p.hi,
        lambda gx, p: clear(gx, np.s_[...], np.roll(gx, 1, axis=2)),
    )
    return Call(kernel=2 * draw(rng, 1, 3), padding="same", ask="x")


@mutant
def gx_groups_share_weights(m: Backend, rng: Rng) -> Witness:
    """With 2 to T (2 to 8) groups, gx uses the first group's weights (ROCm/rocm-libraries#10627, kind)."""
    most = draw(rng, 2, 8)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        return inner(np.tile(w[: p.fan_out], (p.groups, 1, 1)) if p.groups <= most else w, g, p)

    return Call(c_in=4, c_out=4, groups=2, ask="x")


@mutant
def gx_depthwise_strided(m: Backend, rng: Rng) -> Witness:
    """Depthwise with stride 2 and a multiple of V (3 or 8) channels, gx misses an output (pytorch/pytorch#50042)."""
    lanes = pick(rng, [3, 8])

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        short = p.depthwise and p.stride == 2 and p.c_in % lanes == 0
        return inner(w, g * (np.arange(p.l_out) < p.l_out - short).astype(g.dtype), p)

    return Call(c_in=lanes, c_out=lanes, groups=lanes, stride=2, ask="x")


@mutant
def gx_short_input_many_channels(m: Backend, rng: Rng) -> Witness:
    """With a stride, C > 16 and L < T (9 to 17), gx misses the first tap (fujitsu/oneDNN#43)."""
    most = draw(rng, 9, 17)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        short = p.stride > 1 and p.c_in > 16 and p.length < most and p.kernel > 1
        return inner(w * (np.arange(p.kernel) >= short).astype(w.dtype), g, p)

    return Call(c_in=17, stride=2, length=most - 1, ask="x")


@mutant
def gx_fills_gaps(m: Backend, rng: Rng) -> Witness:
    """Samples between windows (stride above the span) have the gx of the sample before (kind: zero insertion)."""

    def smear(gx: Array, p: Plan) -> None:
        gx[..., p.span : p.reach : p.stride] = gx[..., p.span - 1 : p.reach - 1 : p.stride]

    m.edit("grad_x", lambda p: p.step > p.span, smear)
    return Call(length=14, kernel=draw(rng, 1, 3), stride=5, ask="x")


@mutant
def gx_long_input_unwritten(m: Backend, rng: Rng) -> Witness:
    """Where L > T (64 to 600), gx from L mod T on is 0 (pytorch/pytorch#196949)."""
    grid = draw(rng, 64, 600)
    m.edit(
        "grad_x", lambda p: p.length > grid and p.length % grid, lambda gx, p: clear(gx, np.s_[..., p.length % grid :])
    )
    return Call(length=grid + 9, ask="x")


@mutant
def gx_pointwise_first_channel_only(m: Backend, rng: Rng) -> Witness:
    """With K = 1 and one item, gx of all channels but a group's first is 0 (soumith/cudnn.torch#28)."""
    m.edit(
        "grad_x",
        lambda p: p.kernel == 1 and p.n == 1 and p.groups == 1,
        lambda gx, p: clear(gx, np.s_[:, 1:]),
    )
    return Call(c_in=draw(rng, 2, 4), kernel=1, ask="x")


@mutant
def gx_of_large_batches(m: Backend, rng: Rng) -> Witness:
    """The gx of items from T (8 to 100) on is 0 (kind: a grid over the batch)."""
    most = draw(rng, 8, 100)
    m.edit("grad_x", lambda p: p.n > most, lambda gx, p: clear(gx, np.s_[most:]))
    return Call(n=most + 1, ask="x")


@mutant
def gx_channel_block(m: Backend, rng: Rng) -> Witness:
    """In gx, output channels past the last whole block of B (4 to 64) are left out (kind: channel block)."""
    block = draw(rng, 4, 64)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        kept = p.c_out // block * block if p.c_out > block and p.groups == 1 else p.c_out
        return inner(w, g * (np.arange(p.c_out) < kept).astype(g.dtype)[:, None], p)

    return Call(c_out=block + 1, ask="x")


def forget_images(m: Backend, mode: str, where: Callable[[Plan], slice], when: Callable[[Plan], bool]) -> None:
    """Let padded positions give nothing back to the samples they show."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == mode and when(p):
            g = g.copy()
            g[:, :, where(p)] = 0
        return inner(g, p)


@mutant
def gx_reflect_not_folded(m: Backend, rng: Rng) -> Witness:
    """Under "reflect" wider than T (0 to 3), gx lacks what the positions before gave (pytorch/pytorch#100793)."""
    least = draw(rng, 0, 3)
    forget_images(m, "reflect", lambda p: slice(0, p.lo), lambda p: p.lo > least)
    return Call(mode="reflect", padding=(least + 1, 0), ask="x")


@mutant
def gx_symmetric_folds_one_side(m: Backend, rng: Rng) -> Witness:
    """Under "symmetric" with a stride, gx lacks what the positions behind gave (kind: one side folded)."""
    forget_images(m, "symmetric", lambda p: slice(p.lo + p.length, None), lambda p: p.stride > 1)
    return Call(mode="symmetric", padding=(1, draw(rng, 2, 4)), stride=2, length=9, ask="x")


@mutant
def gx_replicate_takes_one(m: Backend, rng: Rng) -> Witness:
    """Under "replicate", the first sample gets the gx of the nearest padded position only (kind: = instead of +=)."""
    forget_images(m, "replicate", lambda p: slice(0, max(0, p.lo - 1)), lambda p: True)
    return Call(mode="replicate", padding=(draw(rng, 2, 4), 0), ask="x")


@mutant
def gx_circular_folds_wrong_end(m: Backend, rng: Rng) -> Witness:
    """Under "circular" with lo != hi, padded positions give to the wrong end (pytorch/pytorch#37844, kind)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g[:, :, ::-1], p)[:, :, ::-1] if p.mode == "circular" and p.lo != p.hi else inner(g, p)

    return Call(mode="circular", padding=(draw(rng, 2, 4), 1), ask="x")


@mutant
def gx_has_padded_length(m: Backend, rng: Rng) -> Witness:
    """In mode constant, gx has the length of the padded input (kind: pad without its transpose)."""

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        return g if p.mode == "constant" else inner(g, p)

    return Call(mode="constant", fill=draw(rng, 1, 4), padding=(1, 1), ask="x")


@mutant
def gx_complex_not_conjugated(m: Backend, rng: Rng) -> Witness:
    """Complex gx uses w and gw uses conj(x): two conventions at once (FluxML/Flux.jl#1876)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        plain = (
            {**operands, "w": np.conj(operands["w"])} if (slot, name) == ("g", "x") and _array(operands) else operands
        )
        return inner(slot, name, plain, g, p)

    return Call(dtype="complex128", kernel=draw(rng, 1, 4), ask="x")


@mutant
def gx_complex_convention_by_stride(m: Backend, rng: Rng) -> Witness:
    """Complex gx is the adjoint with stride 1 and the transpose with a stride (kind: two paths, two conventions)."""

    @m.around("pull")
    def pull(inner: Callable[..., Any], slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        transposed = p.stride > 1 and p.dtype.startswith("complex") and _array(operands)
        return inner(slot, name, {key: np.conj(a) for key, a in operands.items()} if transposed else operands, g, p)

    return Call(dtype="complex128", stride=draw(rng, 2, 3), ask="xw")


def _array(operands: dict[str, Any]) -> bool:
    """Return whether no operand is a tracer: first order."""
    return all(isinstance(a, np.ndarray) for a in operands.values())
