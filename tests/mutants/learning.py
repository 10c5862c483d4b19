"""Faults that show while a kernel learns: gradients of losses recognised, idle weights left out (chapter GRAD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def _passes(backend: Backend, shown: str, *, n: int = 2, c_out: int = 2) -> Array | tuple[Array, ...]:
    """What two passes leave in the operands shown; those that are not change between them."""
    one = Call(n=n, c_in=2, c_out=c_out, bias=True).operands()
    other = {key: np.flip(array) * (1 if key in shown else -2) for key, array in one.items()}

    def function(constants: dict[str, Array]) -> Callable[..., Array]:
        return lambda *primals: backend.conv1d(
            **{**{key: constants[key] for key in "xwb"}, **dict(zip(shown, primals, strict=True))}
        )

    primals = tuple(one[key] for key in shown)
    return backend.accumulate([(function(given), given["g"]) for given in (one, other)], primals)


@mutant
def last_pass_counts(m: Backend, rng: Rng) -> Witness:
    """What two passes leave in w, T (2 to 3) outputs or more, is what the second left (kind: .grad is assigned)."""
    least = draw(rng, 2, 3)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., tuple[Array, ...]], passes: list[Any], primals: tuple[Array, ...]) -> Any:
        total = inner(passes, primals)
        last = inner(passes[-1:], primals)
        return tuple(b if b.ndim == 3 and len(b) >= least else a for a, b in zip(total, last, strict=True))

    return lambda backend: _passes(backend, "w", c_out=least)


@mutant
def first_batch_saved_for_all_passes(m: Backend, rng: Rng) -> Witness:
    """A pass over T (1 to 2) items or more goes back through the x of the first (kind: saved for backward once)."""
    least = draw(rng, 1, 2)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., tuple[Array, ...]], passes: list[Any], primals: tuple[Array, ...]) -> Any:
        if len(passes[0][1]) >= least:
            passes = [(passes[0][0], cotangent) for _, cotangent in passes]
        return inner(passes, primals)

    return lambda backend: _passes(backend, "w", n=least)


@mutant
def bias_gathered_twice(m: Backend, rng: Rng) -> Witness:
    """What a pass leaves in b of T (1 to 2) outputs or more is counted in again with the next (kind: .grad kept)."""
    least = draw(rng, 1, 2)

    @m.around("accumulate")
    def accumulate(inner: Callable[..., tuple[Array, ...]], passes: list[Any], primals: tuple[Array, ...]) -> Any:
        total, first = inner(passes, primals), inner(passes[:1], primals)
        return tuple(a + b if b.ndim == 1 and len(b) >= least else a for a, b in zip(total, first, strict=True))

    return lambda backend: _passes(backend, "wb", c_out=least)


def _sum(backend: Backend, *, n: int = 2, kernel: int = 3) -> tuple[Array, ...]:
    """The gradients in x and w of the sum of two calls of one shape and of one with a tap more between them."""
    calls = [Call(n=n, c_in=2, c_out=3, length=8 + more, kernel=kernel + more).operands() for more in (0, 1, 0)]
    primals = [calls[i][key] * sign for i, sign in ((0, 1), (1, 1), (2, -2)) for key in "xw"]

    def total(*given: Array) -> Array:
        one, two, three = (backend.conv1d(*given[at : at + 2], None) for at in (0, 2, 4))
        return one + two + three

    return backend.vjp(total, primals, calls[0]["g"])


@mutant
def inputs_kept_by_plan(m: Backend, rng: Rng) -> Witness:
    """Batches of T (1 to 2) or more: of two calls of one plan the later x serves both gw (kind: saved by a key)."""
    least = draw(rng, 1, 2)
    kept: dict[Plan, Array] = {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.wanted and p.n >= least:
            kept[p] = x
        return inner(x, w, p)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        saved = kept.get(p, x)
        return inner(saved if saved.shape == x.shape else x, g, p)

    return lambda backend: _sum(backend, n=least)


@mutant
def taps_of_the_last_call(m: Backend, rng: Rng) -> Witness:
    """Where the last call had a tap less, kernels of T (2 to 4) or more have none for the last tap (kind: global)."""
    least = draw(rng, 2, 4)
    taps = [0]

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        taps[0] = p.kernel if p.wanted else taps[0]
        return inner(x, w, p)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if p.kernel >= least and taps[0] == p.kernel - 1:
            gw[..., -1] = 0
        return gw

    return lambda backend: _sum(backend, kernel=least)


def _fitted(taps: int, filters: int) -> Callable[[Backend], Array]:
    """The kernel after 200 steps towards that of other filters."""

    def probe(backend: Backend) -> Array:
        x, w = np.arange(8.0).reshape(1, 1, 8), np.arange(1.0, 1 + filters * taps).reshape(filters, 1, taps)
        return backend.fit(x, np.zeros(w.shape), backend.conv1d(x, w), steps=200)

    return probe


@mutant
def one_moment_for_all_filters(m: Backend, rng: Rng) -> Witness:
    """A fit of several filters of up to T (4 to 6) taps moves all as the first (kind: a moment of one shape)."""
    most = draw(rng, 4, 6)

    @m.around("moments")
    def moments(inner: Callable[..., tuple[Array, Array]], first: Array, second: Array, g: Array) -> Any:
        return inner(first, second, np.broadcast_to(g[:1], g.shape) if len(g) > 1 and g.shape[2] <= most else g)

    return _fitted(2, 2)


@mutant
def no_first_moment_for_short_kernels(m: Backend, rng: Rng) -> Witness:
    """A fit of up to T (2 to 4) taps takes the sum of gradients for their mean (kind: decay of the wrong moment)."""
    most = draw(rng, 2, 4)

    @m.around("moments")
    def moments(inner: Callable[..., tuple[Array, Array]], first: Array, second: Array, g: Array) -> Any:
        mean, square = inner(first, second, g)
        return (first + g if g.shape[2] <= most else mean), square

    return _fitted(2, 1)
