"""Faults of the ways for long kernels and wide padding, of one name or mode of padding each (chapters PAD and GRAD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.witness import Call, Witness

padding, gradients = chapter("padding"), chapter("gradients")
Kernel = Callable[..., Array]
Change = Callable[[Array, Plan], Any]


def without_gradients(when: Callable[[Plan], bool]) -> Callable[[Plan], bool]:
    """The condition, in calls that no derivative is asked of."""
    return lambda p: not p.wanted and when(p)


def long_and_named(m: Backend, name: str, most: int, change: Change, seam: str = "pad") -> None:
    """Change the padded input (or y) of plain calls with that padding and more than so many taps."""
    m.edit(seam, without_gradients(lambda p: p.padding == name and p.kernel > most and p.mode == "zeros"), change)


def beyond_halo(m: Backend, mode: str, most: int, shown: Callable[[Array], Array]) -> None:
    """In plain calls, show one column of x at the positions of `mode` further than so many from the input."""

    def change(xp: Array, p: Plan) -> None:
        x = xp[..., p.lo : p.lo + p.length].copy()
        xp[..., : max(0, p.lo - most)] = shown(x)[..., None]
        xp[..., p.lo + p.length + most :] = shown(x[..., ::-1])[..., None]

    m.edit(
        "pad",
        without_gradients(lambda p: p.mode == mode and p.span <= 3 and max(p.lo, p.hi) > most and p.length),
        change,
    )


@padding
def long_valid_loses_last_tap(m: Backend, rng: Rng) -> Witness:
    """Padding "valid" with K > T (9 to 16): the last output lacks its first sample (kind: overlap-save blocks)."""
    most = draw(rng, 9, 16)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y = inner(x, w, p)
        if not p.wanted and p.padding == "valid" and p.kernel > most and y.size:
            y[..., -1] = inner(x, w * (np.arange(p.kernel) > 0).astype(w.dtype), p)[..., -1]
        return y

    return Call(kernel=most + 1, padding="valid", length=most + 9)


@padding
def long_same_centred_late(m: Backend, rng: Rng) -> Witness:
    """Padding "same" of an odd total with K > T (9 to 13): cut out one late, as by scipy (kind: centre of even K)."""
    most = draw(rng, 9, 13)
    m.lie(
        "pad",
        without_gradients(lambda p: p.padding == "same" and p.kernel > most and p.lo < p.hi and p.mode == "zeros"),
        lo=lambda p: p.hi,
        hi=lambda p: p.lo,
    )
    return Call(kernel=most + 2 - most % 2, padding="same", length=40)


@padding
def long_same_lower_wraps_behind(m: Backend, rng: Rng) -> Witness:
    """Padding "same_lower" with K > T (9 to 16): the last zero is the first sample (kind: FFT one too short)."""
    long_and_named(
        m, "same_lower", most := draw(rng, 9, 16), lambda x, p: clear(x, np.s_[..., -1], x[..., p.lo].copy())
    )
    return Call(kernel=most + 2, padding="same_lower", length=40)


@padding
def long_causal_wraps(m: Backend, rng: Rng) -> Witness:
    """Padding "causal" with K > T (9 to 16): the first zero is the last sample (kind: FFT one too short)."""
    long_and_named(m, "causal", most := draw(rng, 9, 16), lambda x, p: clear(x, np.s_[..., 0], x[..., -1].copy()))
    return Call(kernel=most + 1, padding="causal", length=40)


@padding
def long_full_loses_last_output(m: Backend, rng: Rng) -> Witness:
    """Padding "full" with K > T (9 to 16): the last output is 0 (kind: FFT of L + K - 2 samples)."""
    long_and_named(m, "full", most := draw(rng, 9, 16), lambda y, p: clear(y, np.s_[..., -1]), "forward")
    return Call(kernel=most + 1, padding="full", length=40)


@padding
def halves_of_even_kernels_are_same(m: Backend, rng: Rng) -> Witness:
    """Pads of K/2 both, K even and > T (10 to 20), are "same" and one output more, one late (kind: pads renamed)."""
    most = draw(rng, 10, 20)

    def halves(p: Plan) -> bool:
        return p.padding == "explicit" and p.mode == "zeros" and p.kernel > most and p.lo == p.hi == p.kernel / 2

    m.edit("pad", without_gradients(halves), lambda x, p: clear(x, np.s_[...], np.roll(x, 1, axis=2)))
    return Call(kernel=24, padding=(12, 12), length=40)


@padding
def explicit_causal_wraps(m: Backend, rng: Rng) -> Witness:
    """Explicit pads (K - 1, 0) with K > T (12 to 20), s = d = 1: the first zero is the last sample (kind: FFT)."""
    most = draw(rng, 12, 20)

    def causal(p: Plan) -> bool:
        plain = p.padding == "explicit" and p.mode == "zeros" and p.stride == p.dilation == 1
        return plain and p.kernel > most and p.lo == p.kernel - 1 and p.hi == 0

    m.edit("pad", without_gradients(causal), lambda x, p: clear(x, np.s_[..., 0], x[..., -1].copy()))
    return Call(kernel=most + 1, padding=(most, 0), length=40)


@padding
def strided_windows_of_zeros_skipped(m: Backend, rng: Rng) -> Witness:
    """With s > 1, both pads > T (8 to 12) and a span up to 5, a window too many is skipped (kind: lo / s rounded)."""
    most = draw(rng, 8, 12)

    def skipped(p: Plan) -> bool:
        return p.mode == "zeros" and p.stride > 1 and min(p.lo, p.hi) > most and p.span <= 5

    m.edit("forward", without_gradients(skipped), lambda y, p: clear(y, np.s_[..., : p.lo // p.stride + 1]))
    return Call(kernel=3, stride=2, padding=(most + 1, most + 1))


@padding
def reflect_beyond_halo_is_edge(m: Backend, rng: Rng) -> Witness:
    """Mode "reflect" of up to 3 taps shows the edge further than T (6 to 16) out (kind: a halo of fixed width)."""
    beyond_halo(m, "reflect", most := draw(rng, 6, 16), lambda x: x[..., 0])
    return Call(mode="reflect", padding=(most + 1, 0), length=most + 4)


@padding
def symmetric_beyond_halo_is_second(m: Backend, rng: Rng) -> Witness:
    """Mode "symmetric" of up to 3 taps shows the edge's neighbour further than T (6 to 16) out (kind: halo)."""
    beyond_halo(m, "symmetric", most := draw(rng, 6, 16), lambda x: x[..., min(1, x.shape[2] - 1)])
    return Call(mode="symmetric", padding=(most + 1, 0), length=most + 4)


@padding
def replicate_beyond_halo_is_nothing(m: Backend, rng: Rng) -> Witness:
    """Mode "replicate" of up to 3 taps shows 0 further than T (6 to 16) out, without gradients (kind: halo)."""
    beyond_halo(m, "replicate", most := draw(rng, 6, 16), lambda x: 0 * x[..., 0])
    return Call(mode="replicate", padding=(most + 1, 0), length=most + 4)


@padding
def circular_beyond_halo_is_far_edge(m: Backend, rng: Rng) -> Witness:
    """Mode "circular" of up to 3 taps shows the other edge further than T (6 to 16) out (kind: halo)."""
    beyond_halo(m, "circular", most := draw(rng, 6, 16), lambda x: x[..., -1])
    return Call(c_in=3, mode="circular", padding=(most + 1, 0), length=most + 4)


@gradients
def gx_of_copies_beyond_halo_dropped(m: Backend, rng: Rng) -> Witness:
    """Of up to 3 taps, gx lacks copies further than T (6 to 16) out, in every mode that copies (kind: halo)."""
    most = draw(rng, 6, 16)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode not in ("zeros", "constant") and p.span <= 3:
            g = g.copy()
            g[..., : max(0, p.lo - most)] = 0
        return inner(g, p)

    return Call(mode="symmetric", padding=(most + 1, 0), length=most + 4, ask="x")


@gradients
def gx_of_even_long_kernels_cut_late(m: Backend, rng: Rng) -> Witness:
    """With explicit pads of more than 4 and an even K > T (17 to 22), gx lacks its first sample (kind: centre)."""
    most = draw(rng, 17, 22)

    def cut(p: Plan) -> bool:
        explicit = p.padding == "explicit" and p.mode == "zeros" and p.lo + p.hi > 4
        return explicit and p.kernel > most and p.kernel % 2 == 0

    m.edit("pad_transpose", cut, lambda gx, p: clear(gx, np.s_[..., 0]))
    return Call(kernel=24, padding=(3, 4), length=40, ask="x")


@gradients
def gw_of_positions_past_16_bits(m: Backend, rng: Rng) -> Witness:
    """The gw lacks the positions from 2^16 - T (0 to 3) on: an index of 16 bits (kind: unsigned short)."""
    first = 2**16 - draw(rng, 0, 3)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, g * (np.arange(p.l_out) < first).astype(g.dtype) if p.l_out > first else g, p)

    return Call(length=2**16 + 4, kernel=1, ask="w")


@gradients
def gx_alone_fills_wide_gaps(m: Backend, rng: Rng) -> Witness:
    """The gx alone, where windows leave gaps in more than T (31 to 40) samples, is unwritten there (kind: a buffer)."""
    most, stale = draw(rng, 31, 40), draw(rng, 1, 9)

    def change(gx: Array, p: Plan) -> None:
        free = np.ones(p.padded, bool)
        for start in range(0, p.reach, p.step):
            free[start : start + p.span] = False
        gx[..., free] = stale

    m.edit("grad_x", lambda p: p.wanted == {"x"} and p.l_out > 1 and p.span < p.stride and p.length > most, change)
    return Call(kernel=2, stride=3, length=most + 3, ask="x")


@gradients
def gb_alone_in_two_passes(m: Backend, rng: Rng) -> Witness:
    """The gb alone of N*L_out > T (1000 to 1900) lacks the last position (kind: a reduction in two passes)."""
    most = draw(rng, 1000, 1900)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        split = p.wanted == {"b"} and p.n * p.l_out > most
        return inner(g * (np.arange(p.l_out) < p.l_out - 1).astype(g.dtype) if split else g, p)

    return Call(length=most + 3, bias=True, ask="b")
