"""Faults of hand-written double backward passes, u being the cotangent of a gradient (chapters GRAD, INV)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import COPYING, are_arrays, changed, within
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Probe, Witness

gradients = chapter("gradients")
Rule = Callable[..., Traced]


def _by_x(call: Call, relay: Callable[[Array], Array]) -> Probe:
    """Show the derivative of <u, gw> by x, and u after it, for u = w laid out anew."""

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        u = relay(np.array(arrays["w"]))

        def gw(x: Traced) -> Traced:
            return backend.vjp(lambda w: backend.conv1d(x, w, **call.parameters()), (arrays["w"],), arrays["g"])[0]

        return *backend.vjp(gw, (arrays["x"],), u), u

    return probe


@gradients
def tangent_of_gx_cropped_under_one_sided_modes(m: Backend, rng: Rng) -> Witness:
    """Copying modes on one side alone: the tangent of gx is cropped, its images not folded (kind: jvp of vjp)."""
    inside = within(m, "jvp")

    @m.around("pad_transpose")
    def pad_transpose(inner: Callable[..., Array], g: Array, p: Plan) -> Array:
        if inside and p.mode in COPYING and (p.lo == 0) != (p.hi == 0):
            return np.array(g[..., p.lo : p.lo + p.length])
        return inner(g, p)

    return Call(padding=(0, 2) if draw(rng, 0, 1) else "causal", mode=COPYING[draw(rng, 0, 3)], ask="x>w")


@gradients
def hessian_of_one_array_by_symmetry(m: Backend, rng: Rng) -> Witness:
    """One array as x and w: of its second derivatives gx by w counts twice, gw by x not (kind: assumed symmetry)."""
    twice: list[Plan] = []

    @m.around("accept")
    def accept(inner: Callable[..., Any], x: Traced, w: Traced, *rest: Any) -> Any:
        found = inner(x, w, *rest)
        twice[:] = [found[3]] if x is w else []
        return found

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        part = inner(slot, name, operands, g, p)
        if not twice or twice[0] is not p or (slot, name) not in (("x", "w"), ("w", "x")):
            return part
        return tape.add(part, part) if slot == "x" else tape.zeros_like(part)

    call = Call(n=2, c_in=2, c_out=2, length=4, kernel=4, padding=(draw(rng, 0, 2), 1))

    def probe(backend: Backend) -> Any:
        arrays = call.operands()

        def gradient(a: Traced) -> Traced:
            return backend.vjp(lambda v: backend.conv1d(v, v, **call.parameters()), (a,), arrays["g"])[0]

        return backend.vjp(gradient, (arrays["x"],), arrays["w"])

    return probe


@gradients
def derivative_of_gb_is_an_expanded_view(m: Backend, rng: Rng) -> Witness:
    """The derivative of <u, gb> by gy is u expanded over batch and positions, without a copy (kind: expanded view)."""
    inside = within(m, "vjp")

    @m.around("biased")
    def biased(inner: Rule, y: Traced, b: Traced, p: Plan) -> Traced:
        def expand(a: Array) -> Array:
            return np.broadcast_to(a[None, :, None], p.y_shape) if inside else m.spread(a, p)

        return tape.add(y, tape.affine(lambda a: m.spread(a, p), expand, lambda g: m.grad_b(g, p), b))

    call = Call(n=draw(rng, 1, 3), c_out=2, bias=True)

    def probe(backend: Backend) -> Any:
        x, w, b, g = (call.operands()[key] for key in "xwbg")
        u = np.array(b)

        def gb(cotangent: Traced) -> Traced:
            return backend.vjp(lambda bias: backend.conv1d(x, w, bias), (b,), cotangent)[0]

        (ggy,) = backend.vjp(gb, (g,), u)
        return ggy, bool(np.shares_memory(ggy, u))

    return probe


@gradients
def cotangent_of_gw_read_in_memory_order(m: Backend, rng: Rng) -> Witness:
    """The derivatives of <u, gw> read a permuted u as if its axes lay in order (kind: unchecked layout)."""

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if slot == "w" and are_arrays(g):
            g = g.ravel("K").reshape(g.shape)
        return inner(slot, name, operands, g, p)

    channels = draw(rng, 2, 4)
    return _by_x(Call(c_in=channels, c_out=2), lambda u: np.ascontiguousarray(u.transpose(2, 1, 0)).transpose(2, 1, 0))


@gradients
def cotangent_of_gw_flipped_in_place(m: Backend, rng: Rng) -> Witness:
    """The derivative of <u, gw> by x flips the taps of u in place, and leaves them so (kind: operand as scratch)."""

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        part = inner(slot, name, operands, g, p)
        if (slot, name) == ("w", "x") and are_arrays(g) and g.flags.writeable:
            g[...] = np.array(g[..., ::-1])
        return part

    return _by_x(Call(c_in=2, kernel=draw(rng, 2, 5)), np.array)


@gradients
def second_gx_by_w_loses_the_last_tile(m: Backend, rng: Rng) -> Witness:
    """L_out > T: the derivative of <u, gx> by w sums full tiles of T positions alone (kind: tile remainder)."""
    tile = pick(rng, (256, 512, 1024))

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Traced, p: Plan) -> Traced:
        if (slot, name) == ("x", "w") and p.l_out > tile and are_arrays(operands["g"]):
            full = p.l_out // tile * tile
            operands = {**operands, "g": changed(operands["g"], np.s_[..., full:])}
        return inner(slot, name, operands, g, p)

    return Call(length=tile + draw(rng, 3, tile), ask="x/w")
