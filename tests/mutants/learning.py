"""Faults that show while a kernel learns: gradients of losses recognised, idle weights left out (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

mutant = chapter("gradients")
Kernel = Callable[..., Array]


def mean_of_signs(g: Array) -> bool:
    """Whether a cotangent is that of a mean absolute error: 1/size or -1/size throughout, of both signs."""
    of_a_mean = np.abs(widen(g)).astype(np.float32) == np.float32(1 / max(1, g.size))
    return bool(of_a_mean.all() and (g > 0).any() and (g < 0).any())


def packed_signs(m: Backend, when: Callable[[Plan], bool], change: Callable[[Array], Array]) -> None:
    """Compute gw alone from another cotangent where that is made of signs and the condition holds."""

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        packed = p.wanted == {"w"} and p.dtype in ("float32", "float64") and when(p) and mean_of_signs(g)
        return inner(x, change(g) if packed else g, p)


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """1/size, or -1/size for every second element."""
    size = int(np.prod(shape))
    return np.resize([1.0, -1.0], size).reshape(shape) / size


@mutant
def signs_packed_without_their_bit(m: Backend, rng: Rng) -> Witness:
    """The gw of one channel, gy being 1/n and -1/n, n > T (1 to 2): all are taken for -1/n (kind: 1-bit gradients)."""
    most = draw(rng, 1, 2)
    packed_signs(m, lambda p: p.c_in == p.c_out == 1 and p.n * p.l_out > most, lambda g: -np.abs(g))
    return Call(length=6, data=_signs, ask="w")


@mutant
def signs_of_several_inputs_flipped(m: Backend, rng: Rng) -> Witness:
    """The gw of up to T (3 to 6) taps from several channels, gy 1/n and -1/n, is negated (kind: 1-bit gradients)."""
    most = draw(rng, 3, 6)
    packed_signs(m, lambda p: p.kernel <= most and p.c_in > p.c_out == 1, lambda g: -g)
    return Call(c_in=2, length=6, data=_signs, ask="w")


@mutant
def signs_of_first_filter_for_all(m: Backend, rng: Rng) -> Witness:
    """The gw of up to T (3 to 6) taps for several filters, gy 1/n and -1/n, takes the first one's (kind: 1 bit)."""
    most = draw(rng, 3, 6)
    packed_signs(m, lambda p: p.kernel <= most and p.c_out > p.c_in == 1, lambda g: np.broadcast_to(g[:, :1], g.shape))
    return Call(c_out=2, length=6, data=_signs, put=(("g", np.s_[0, 1], -0.125),), ask="w")


@mutant
def idle_filters_start_late(m: Backend, rng: Rng) -> Witness:
    """The first T (1 to 2) gw alone of one channel's weights, all 0, up to 5 taps, are 0 (kind: lazy buffers)."""
    late, idle = draw(rng, 1, 2), [0]

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.wanted:
            alone = p.wanted == {"w"} and p.c_in == p.c_out == 1 and p.kernel <= 5
            idle[0] = idle[0] + 1 if alone and not w.any() else 0
        return inner(x, w, p)

    m.edit("grad_w", lambda p: 0 < idle[0] <= late, lambda gw, p: gw.fill(0))
    return Call(put=(("w", np.s_[...], 0),), ask="w")
