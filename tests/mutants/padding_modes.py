"""Faults of padding modes: constant, reflect, symmetric, replicate, circular, and their domains (chapter PAD)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("padding")
Kernel = Callable[..., Array]
Edit = Callable[[Array, Plan], Any]


def before(p: Plan) -> slice:
    """Return the padded positions before the input."""
    return slice(0, p.lo)


def behind(p: Plan) -> slice:
    """Return the padded positions after the input."""
    return slice(p.lo + p.length, None)


def borrow(m: Backend, when: Callable[[Plan], bool], mode: str, where: Callable[[Plan], slice]) -> None:
    """Let positions show what they would in another mode, where the condition holds."""

    @m.around("sources")
    def sources(inner: Kernel, p: Plan) -> Array:
        shown = inner(p)
        if when(p):
            other = np.clip(inner(replace(p, mode=mode)), -1 if mode == "zeros" else 0, p.length - 1)
            shown[where(p)] = other[where(p)]
        return shown


@mutant
def constant_only_before(m: Backend, rng: Rng) -> Witness:
    """In mode constant, the padding at the end is 0 (kind: one side)."""
    m.edit("pad", lambda p: p.mode == "constant", lambda x, p: clear(x, np.s_[:, :, behind(p)]))
    return Call(mode="constant", fill=draw(rng, 1, 5), padding=(1, 1))


@mutant
def constant_lost_with_stride(m: Backend, rng: Rng) -> Witness:
    """In mode constant with a stride, the padding is 0 (kind: a path that knows zeros only)."""
    m.edit("pad", lambda p: p.mode == "constant" and p.stride > 1, lambda x, p: clear(x, np.s_[:, :, before(p)]))
    return Call(mode="constant", fill=draw(rng, 1, 5), padding=(2, 1), stride=2)


@mutant
def constant_truncated_to_integer(m: Backend, rng: Rng) -> Witness:
    """In mode constant, the value is truncated to an integer (kind: an integer attribute)."""

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        return inner(x, int(fill) if p.mode == "constant" and isinstance(fill, float) else fill, p)

    return Call(mode="constant", fill=draw(rng, 1, 5) + 0.5, padding=(1, 1))


@mutant
def constant_missing_in_the_corner(m: Backend, rng: Rng) -> Witness:
    """In mode constant with lo > T (1 to 9), the very first position is 0 (kind: corner)."""
    least = draw(rng, 1, 9)
    m.edit("pad", lambda p: p.mode == "constant" and p.lo > least, lambda x, p: clear(x, np.s_[:, :, 0]))
    return Call(mode="constant", fill=3, padding=(least + 1, 0))


@mutant
def reflect_repeats_edge(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" of more than 1 sample repeats the edge, as "symmetric" does (kind: two names confused)."""
    borrow(m, lambda p: p.mode == "reflect" and p.lo > 1, "symmetric", before)
    return Call(mode="reflect", padding=(draw(rng, 2, 5), 1))


@mutant
def symmetric_skips_edge_behind(m: Backend, rng: Rng) -> Witness:
    """Mode "symmetric" leaves out the edge at the end, as "reflect" does (kind: two names confused)."""
    borrow(m, lambda p: p.mode == "symmetric" and p.length > p.hi, "reflect", behind)
    return Call(mode="symmetric", padding=(1, draw(rng, 1, 4)))


@mutant
def symmetric_is_replicate_for_one(m: Backend, rng: Rng) -> Witness:
    """Mode "symmetric" of more than T (1 to 3) samples repeats the first one (kind: two names confused)."""
    least = draw(rng, 1, 3)
    borrow(m, lambda p: p.mode == "symmetric" and p.lo > least, "replicate", before)
    return Call(mode="symmetric", padding=(least + 2, 0), length=12)


@mutant
def reflect_drifts_behind(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" with hi > T (2 to 17) shows one sample too early at the far end (kind: off by one)."""
    least = draw(rng, 2, 17)

    @m.around("sources")
    def sources(inner: Kernel, p: Plan) -> Array:
        shown = inner(p)
        if p.mode == "reflect" and p.hi > least:
            shown[-1] = min(shown[-1] + 1, p.length - 1)
        return shown

    return Call(mode="reflect", padding=(0, least + 1), length=least + 4)


@mutant
def reflect_with_stride_symmetric(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" with dilation repeats the edge at the end (pytorch/pytorch#136242, kind)."""
    borrow(m, lambda p: p.mode == "reflect" and p.dilation > 1, "symmetric", behind)
    return Call(mode="reflect", padding=(1, draw(rng, 1, 4)), dilation=2, length=9)


@mutant
def reflect_widest_refused(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" of L-1 samples, the most there are, is refused (kind: < instead of <=)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], *operands: Any) -> Any:
        plan = inner(*operands)[3]
        if plan.mode == "reflect" and max(plan.lo, plan.hi) == plan.length - 1 > 0:
            raise ValueError("too wide")
        return inner(*operands)

    length = draw(rng, 3, 9)
    return Call(mode="reflect", length=length, padding=(length - 1, 0))


@mutant
def replicate_second_sample(m: Backend, rng: Rng) -> Witness:
    """Mode "replicate" with a stride repeats the sample before the last (kind: off by one)."""
    borrow(m, lambda p: p.mode == "replicate" and p.stride > 1 and p.length > p.hi, "reflect", behind)
    return Call(mode="replicate", padding=(0, draw(rng, 2, 4)), stride=2, length=9)


@mutant
def replicate_fades_to_zero(m: Backend, rng: Rng) -> Witness:
    """Mode "replicate" beyond T (2 to 16) samples shows 0 (kind: a halo of fixed width)."""
    width = draw(rng, 2, 16)
    borrow(m, lambda p: p.mode == "replicate" and p.lo > width, "zeros", lambda p: slice(0, p.lo - width))
    return Call(mode="replicate", padding=(width + 1, 0))


@mutant
def circular_shifted_when_uneven(m: Backend, rng: Rng) -> Witness:
    """Mode "circular" with lo != hi shows the sample beside the right one before the input (pytorch/pytorch#24504)."""

    @m.around("sources")
    def sources(inner: Kernel, p: Plan) -> Array:
        shown = inner(p)
        if p.mode == "circular" and p.lo != p.hi:
            shown[before(p)] = (shown[before(p)] - 1) % p.length
        return shown

    return Call(mode="circular", padding=(draw(rng, 1, 4), 0))


@mutant
def circular_halved(m: Backend, rng: Rng) -> Witness:
    """Mode "circular" pads (p+1)//2 before and p//2 after: y is shorter (pytorch/pytorch#20981)."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if args["padding_mode"] == "circular" and not isinstance(args["padding"], str):
            lo, hi = args["padding"]
            args = {**args, "padding": ((lo + 1) // 2, hi // 2)}
        return inner(x, w, b, args)

    return Call(mode="circular", padding=(draw(rng, 2, 4), 2))


@mutant
def circular_sides_swapped(m: Backend, rng: Rng) -> Witness:
    """Mode "circular" swaps lo and hi (pytorch/pytorch#37844)."""

    @m.around("sources")
    def sources(inner: Kernel, p: Plan) -> Array:
        return inner(replace(p, lo=p.hi, hi=p.lo) if p.mode == "circular" else p)

    return Call(mode="circular", padding=(draw(rng, 2, 4), 1))


@mutant
def circular_replicates_with_groups(m: Backend, rng: Rng) -> Witness:
    """Mode "circular" with groups repeats the edges (pytorch/pytorch#29712, kind)."""
    borrow(m, lambda p: p.mode == "circular" and p.groups > 1, "replicate", lambda p: slice(None))
    return Call(mode="circular", c_in=2, c_out=2, groups=2, padding=(draw(rng, 2, 4), 2))


@mutant
def mode_ignored_with_same(m: Backend, rng: Rng) -> Witness:
    """With padding "same" the mode is ignored: zeros (kind: a name that implies zeros)."""
    borrow(m, lambda p: p.padding == "same", "zeros", lambda p: slice(None))
    return Call(mode="replicate", kernel=draw(rng, 2, 5), padding="same")


@mutant
def mode_ignored_when_pointwise(m: Backend, rng: Rng) -> Witness:
    """With K = 1 the mode is ignored: zeros (kind: pointwise fast path)."""
    borrow(m, lambda p: p.kernel == 1, "zeros", lambda p: slice(None))
    return Call(mode="circular", kernel=1, padding=(draw(rng, 1, 4), 1))


@mutant
def mode_of_first_item_only(m: Backend, rng: Rng) -> Witness:
    """In a mode that copies samples, items after the first show the first item's samples (kind: halo of one item)."""

    def share(x: Array, p: Plan) -> None:
        for side in (before(p), behind(p)):
            x[1:, :, side] = x[:1, :, side]

    m.edit("pad", lambda p: p.mode in ("reflect", "circular") and p.n > 1, share)
    return Call(mode="reflect", n=2, padding=(draw(rng, 1, 4), 1))


def widen_domain(m: Backend, mode: str, stand_in: str) -> None:
    """Accept padding beyond the domain of a mode, computed as another mode would."""

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        try:
            return inner(x, w, b, args)
        except ValueError:
            if args["padding_mode"] != mode:
                raise
            return inner(x, w, b, {**args, "padding_mode": stand_in})


@mutant
def reflect_beyond_domain(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" of L samples or more is accepted, with the edge repeated (pytorch/pytorch#2563)."""
    widen_domain(m, "reflect", "replicate")
    length = draw(rng, 2, 9)
    return Call(mode="reflect", length=length, padding=(length, 1))


@mutant
def symmetric_beyond_domain(m: Backend, rng: Rng) -> Witness:
    """Mode "symmetric" of more than L samples is accepted, zeros beyond (pytorch/pytorch#2563, kind)."""
    widen_domain(m, "symmetric", "zeros")
    length = draw(rng, 3, 9)
    return Call(mode="symmetric", length=length, padding=(length + 1, 1))


@mutant
def circular_beyond_domain(m: Backend, rng: Rng) -> Witness:
    """Mode "circular" of more than L samples is accepted, the edge repeated (kind: unchecked domain)."""
    widen_domain(m, "circular", "replicate")
    length = draw(rng, 3, 9)
    return Call(mode="circular", length=length, padding=(1, length + 1))


@mutant
def replicate_of_nothing(m: Backend, rng: Rng) -> Witness:
    """Mode "replicate" of an empty input is accepted: zeros (kind: unchecked domain)."""
    widen_domain(m, "replicate", "zeros")
    return Call(mode="replicate", length=0, padding=(draw(rng, 2, 4), 1))
