"""Faults that only so much work as the layers of models have can show: another kernel, or a split (OP-9, GRAD-15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.numerics import keep_bits, normal, through
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

operator, gradients, numerics = chapter("operator"), chapter("gradients"), chapter("numerics")
special, validation = chapter("special values"), chapter("validation")
_HEAVY = Call(n=2, c_in=3, c_out=130, length=500, kernel=4)  # 129,220 outputs


def _outputs(p: Plan) -> int:
    return p.n * p.c_out * p.l_out


@operator
def later_columns_left_unwritten(m: Backend, rng: Rng) -> Witness:
    """Of more than T outputs (80,000 to 125,000) in rows past 256 the later columns are 0 (kind: one block is done)."""
    most = draw(rng, 80_000, 125_000)

    def leave(y: Array, p: Plan) -> None:
        y[..., 256:] = 0

    m.edit("forward", lambda p: _outputs(p) > most, leave)
    return _HEAVY


@operator
def last_channels_twice_in_several_shares(m: Backend, rng: Rng) -> Witness:
    """Of more than T outputs (80,000 to 125,000) the last channel gets the one before (kind: shares that overlap)."""
    most = draw(rng, 80_000, 125_000)

    def copy(y: Array, p: Plan) -> None:
        y[:, -1] = y[:, -2]

    m.edit("forward", lambda p: p.c_out > 16 and _outputs(p) > most, copy)
    return _HEAVY


def _gw_lacks_the_last_item(m: Backend, when: Callable[[Plan], bool]) -> None:
    """Of several items, where the condition holds."""

    @m.around("grad_w")
    def lacking(inner: Callable[..., Array], x: Array, g: Array, p: Plan) -> Array:
        if p.n > 1 and when(p):
            g = np.where(np.arange(p.n)[:, None, None] < p.n - 1, g, 0).astype(g.dtype)
        return inner(x, g, p)


@gradients
def gw_of_heavy_work_lacks_an_item(m: Backend, rng: Rng) -> Witness:
    """Where x has more than T elements (90,000 to 130,000), gw lacks the last item (kind: a reduction in shares)."""
    most = draw(rng, 90_000, 130_000)
    _gw_lacks_the_last_item(m, lambda p: p.n * p.c_in * p.length > most)
    return Call(n=2, c_in=60, c_out=3, length=1200, ask="w")


@gradients
def gw_of_wide_layers_lacks_an_item(m: Backend, rng: Rng) -> Witness:
    """Where O*C/g exceeds T (10,000 to 28,000), gw lacks the last item of several (kind: batches in shares)."""
    most = draw(rng, 10_000, 28_000)
    _gw_lacks_the_last_item(m, lambda p: p.c_out * p.fan_in > most)
    return Call(n=3, c_in=150, c_out=200, length=6, ask="w")


@gradients
def gx_of_heavy_work_lacks_its_end(m: Backend, rng: Rng) -> Witness:
    """Where x has more than T elements (90,000 to 130,000) in several rows, gx ends in a 0 (kind: a tail lost)."""
    most = draw(rng, 90_000, 130_000)

    def cut(gx: Array, p: Plan) -> None:
        gx[..., -1] = 0

    m.edit("grad_x", lambda p: p.c_in > 8 and p.n * p.c_in * p.length > most, cut)
    return Call(n=2, c_in=60, c_out=3, length=1200, ask="x")


@numerics
def heavy_work_in_short_operands(m: Backend, rng: Rng) -> Witness:
    """Float32 operands keep 11 bits from T products on (1 to 2 million) (kind: tensor cores where they pay)."""
    most = draw(rng, 1_000_000, 2_000_000)

    def pays(p: Plan) -> bool:
        return p.dtype == "float32" and _outputs(p) * p.fan_in * p.kernel > most

    through(m, "forward", pays, keep_bits(11))
    return _HEAVY.but(c_in=8, data=normal, dtype="float32")


def _spread(rows: Array, p: Plan) -> None:
    """Make each row that holds a NaN all NaN."""
    if rows.dtype.kind == "f":
        rows[np.isnan(rows).any(axis=-1)] = np.nan


@special
def heavy_rows_share_a_nan(m: Backend, rng: Rng) -> Witness:
    """In more than T outputs (80,000 to 125,000) a row with a NaN is all NaN (kind: a transform where it pays)."""
    most = draw(rng, 80_000, 125_000)
    m.edit("forward", lambda p: p.kernel > 1 and _outputs(p) > most, _spread)
    return _HEAVY.but(put=(("x", np.s_[0, 0, 250], np.nan),))


@special
def heavy_gx_rows_share_a_nan(m: Backend, rng: Rng) -> Witness:
    """Where x has more than T elements (90,000 to 130,000), a row of gx with a NaN is all NaN (kind: a transform)."""
    most = draw(rng, 90_000, 130_000)
    m.edit("grad_x", lambda p: p.c_in > 8 and p.n * p.c_in * p.length > most, _spread)
    return Call(n=2, c_in=60, c_out=3, length=1200, ask="x", put=(("g", np.s_[0, 0, 250], np.nan),))


@validation
def tangent_reshaped(m: Backend, rng: Rng) -> Witness:
    """A tangent with as many elements as its operand is given that shape (kind: only sizes compared)."""

    @m.around("jvp")
    def reshaped(inner: Callable[..., Any], f: Any, primals: Any, tangents: Any) -> Any:
        pairs = zip(primals, tangents, strict=True)
        return inner(f, primals, [t.reshape(p.shape) if t.size == p.size else t for p, t in pairs])

    return _along((8, 2, 1))


@validation
def tangent_broadcast(m: Backend, rng: Rng) -> Witness:
    """A tangent that broadcasts to the shape of its operand is broadcast (kind: broadcasting)."""

    @m.around("jvp")
    def broadcast(inner: Callable[..., Any], f: Any, primals: Any, tangents: Any) -> Any:
        return inner(f, primals, [np.broadcast_to(t, p.shape) for p, t in zip(primals, tangents, strict=True)])

    return _along((1, 2, 1))


@validation
def cotangent_of_a_pass_broadcast(m: Backend, rng: Rng) -> Witness:
    """A backward pass broadcasts its cotangent to the shape of y (kind: broadcasting)."""

    @m.around("accumulate")
    def broadcast(inner: Callable[..., Any], passes: Any, primals: Any) -> Any:
        return inner([(f, np.array(np.broadcast_to(g, f(*primals).shape))) for f, g in passes], primals)

    def probe(backend: Backend) -> Any:
        arrays = Call().operands()
        return backend.accumulate([(backend.conv1d, arrays["g"][..., :1])], (arrays["x"], arrays["w"]))

    return probe


def _along(shape: tuple[int, ...]) -> Witness:
    """A probe: the tangent of y along one of that shape of x (1, 2, 8)."""

    def probe(backend: Backend) -> Any:
        arrays = Call(c_in=2).operands()
        return backend.jvp(lambda x: backend.conv1d(x, arrays["w"]), (arrays["x"],), (np.ones(shape),))

    return probe
