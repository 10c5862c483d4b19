"""Faults of gradients, forward mode, second derivatives and vmap where two conditions meet (chapters GRAD and INV)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.numerics import keep_bits, normal, through
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.tape import Traced
from tests.mutants.transforms import rule, rule_lies
from tests.mutants.transforms_vmap import Operands, under_vmap
from tests.mutants.witness import Call, Witness, every

gradients, transforms = chapter("gradients"), chapter("transforms")
Kernel = Callable[..., Array]
Rule = Callable[..., Any]


@gradients
def gx_of_samples_shown_twice(m: Backend, rng: Rng) -> Witness:
    """Samples that "reflect" or "symmetric" shows in both ends of T (1 to 2) or more lack one (kind: = for +=)."""
    least = draw(rng, 1, 2)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode in ("reflect", "symmetric") and min(p.lo, p.hi) >= least:
            shown = m.sources(p)
            twice = np.isin(shown[: p.lo], shown[p.lo + p.length :])
            g = g.copy()
            g[:, :, : p.lo][:, :, twice] = 0
        return inner(g, p)

    return Call(mode="symmetric", length=4, padding=(4, 4), ask="x")


@gradients
def gx_of_one_replicated_sample(m: Backend, rng: Rng) -> Witness:
    """Under "replicate" with L = 1, gx lacks what one end gave (flagos-ai/FlagGems#3532, kind)."""
    front = draw(rng, 0, 1)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == "replicate" and p.length == 1 and min(p.lo, p.hi) > 0:
            g = g.copy()
            g[:, :, : p.lo] *= g.dtype.type(1 - front)
            g[:, :, p.lo + 1 :] *= g.dtype.type(front)
        return inner(g, p)

    return Call(mode="replicate", length=1, padding=(2, 2), ask="x")


@gradients
def gx_remainder_in_front(m: Backend, rng: Rng) -> Witness:
    """With dilation and a stride above T (1 to 2), gx has its remainder first, not last (pytorch/xla#2333, kind)."""
    most = draw(rng, 1, 2)

    def shift(gx: Array, p: Plan) -> None:
        gx[...] = np.roll(gx, p.remainder, axis=2)

    m.edit("grad_x", lambda p: p.stride > most and p.dilation > 1 and p.l_out > 1, shift)
    return Call(length=5 + 2 * (most + 1) - 1, dilation=2, stride=most + 1, ask="x")


@gradients
def gw_between_one_chunk_and_two(m: Backend, rng: Rng) -> Witness:
    """Where M < N < 2M, M from 5 to 24, gw lacks the items from M on (ROCm/rocm-libraries#11188, kind)."""
    most = draw(rng, 5, 24)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x[:most], g[:most], replace(p, n=most)) if most < p.n < 2 * most else inner(x, g, p)

    return Call(n=most + 1, ask="w")


@gradients
def gw_chunks_of_groups_overwrite(m: Backend, rng: Rng) -> Witness:
    """With groups, gw is that of the last chunk of P (2 to 6) items alone (kind: beta = 0 for each chunk)."""
    share = draw(rng, 2, 6)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        first = (p.n - 1) // share * share if p.groups > 1 and p.n > share else 0
        return inner(x[first:], g[first:], replace(p, n=p.n - first))

    return Call(n=share + 1, c_in=2, c_out=2, groups=2, ask="w")


@gradients
def gw_of_depth_multiplier(m: Backend, rng: Rng) -> Witness:
    """Depthwise with more than T (1 to 2) filters a channel, gw of the last lacks a position (kind: fused loops)."""
    most = draw(rng, 1, 2)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        if p.depthwise and p.fan_out > most and p.l_out > 1:
            g = g.copy()
            g[:, p.fan_out - 1 :: p.fan_out, -1] = 0
        return inner(x, g, p)

    return Call(c_in=2, c_out=2 * most + 2, groups=2, ask="w")


@gradients
def gw_block_of_channel_pairs(m: Backend, rng: Rng) -> Witness:
    """Where O/g and C/g are above T (8 to 24), both odd, the corner of gw is 0 in later taps (kind: tile corner)."""
    most = draw(rng, 8, 24)
    m.edit(
        "grad_w",
        lambda p: min(p.fan_out, p.fan_in) > most and p.fan_out % 2 == p.fan_in % 2 == 1,
        lambda gw, p: clear(gw, np.s_[-1, -1, 1:]),
    )
    odd = most + 1 + most % 2
    return Call(c_in=odd, c_out=odd, kernel=2, ask="w")


@gradients
def gw_of_a_single_dilated_window(m: Backend, rng: Rng) -> Witness:
    """Where L_out = 1 and K > T (1 to 3), gw is that of dilation 1 (kind: gw as an outer product)."""
    most = draw(rng, 1, 3)
    m.lie("grad_w", lambda p: p.l_out == 1 and p.kernel > most, dilation=1)
    return Call(length=2 * most + 1, kernel=most + 1, dilation=2, ask="w")


@gradients
def gw_pads_same_at_the_other_side(m: Backend, rng: Rng) -> Witness:
    """Under "same" with a stride and an odd total, gw sees the extra zero in front (kind: pads resolved twice)."""
    least = draw(rng, 2, 3)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        moved = p.padding == "same" and p.stride >= least and p.hi > p.lo
        return inner(np.roll(x, 1, axis=2) if moved else x, g, p)

    return Call(length=3 * least, kernel=least + 1, stride=least, padding="same", ask="w")


@gradients
def gx_causal_with_remainder(m: Backend, rng: Rng) -> Witness:
    """Under "causal" with a remainder above T (0 to 1), gx is cropped that much late (kind: cropped from the end)."""
    most = draw(rng, 0, 1)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        late = p.padding == "causal" and p.stride > 1 and p.remainder > most and p.mode == "zeros"
        return inner(np.roll(g, -p.remainder, axis=2) if late else g, p)

    return Call(length=12, stride=most + 3, padding="causal", ask="x")


@gradients
def gw_race_between_items(m: Backend, rng: Rng) -> Witness:
    """Where N > S (1 to 3), one gw in T (8 to 40) lacks the last item (kind: a race of partial sums)."""
    most, period = draw(rng, 1, 3), draw(rng, 8, 40)
    count = Counter({"calls": draw(rng, 0, period - 1)})

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        count["calls"] += p.n > most
        lost = p.n > most and count["calls"] % period == 0
        return inner(x[:-1], g[:-1], replace(p, n=p.n - 1)) if lost else inner(x, g, p)

    return every(Call(n=most + 1, ask="w"), period)


@gradients
def gx_of_single_rounded_when_strided(m: Backend, rng: Rng) -> Witness:
    """With a stride and V (2, 4, 8) dividing O/g, gx of float32 keeps 11 bits of its operands (kind: TF32)."""
    lanes = pick(rng, [2, 4, 8])
    through(
        m,
        "grad_x",
        lambda p: p.dtype == "float32" and p.stride > 1 and p.fan_out % lanes == 0 < p.fan_out,
        keep_bits(11),
    )
    return Call(c_out=lanes, stride=2, dtype="float32", data=normal, ask="x")


@gradients
def complex_gw_of_groups_not_conjugated(m: Backend, rng: Rng) -> Witness:
    """Complex gw with groups and N > T (0 to 1) is the transpose, all else the adjoint (FluxML/Flux.jl#1876, kind)."""
    most = draw(rng, 0, 1)

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        plain = (slot, name) == ("g", "w") and p.groups > 1 and p.n > most and p.dtype.startswith("complex")
        return inner(slot, name, {k: tape.conj(a) for k, a in operands.items()} if plain else operands, g, p)

    return Call(n=most + 1, c_in=2, c_out=2, groups=2, dtype="complex128", ask="w")


@gradients
def complex_gb_conjugated(m: Backend, rng: Rng) -> Witness:
    """The gb of complex operands is conjugated where K > T (1 to 3) (kind: one conjugation too many)."""
    most = draw(rng, 1, 3)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        gb = inner(g, p)
        return np.conj(gb) if p.kernel > most and gb.dtype.kind == "c" else gb

    return Call(kernel=most + 1, bias=True, dtype="complex64", ask="b")


@transforms
def jvp_of_weights_in_dilated_groups(m: Backend, rng: Rng) -> Witness:
    """With groups and dilation, a jvp lacks the part of w where K > T (1 to 3) (kind: missing term)."""
    most = draw(rng, 1, 3)
    rule(m, "push", "g", "w", lambda p: p.groups > 1 and p.dilation > 1 and p.kernel > most)
    return Call(c_in=2, c_out=2, groups=2, kernel=most + 1, dilation=2, length=12, ask="jvp:xw")


@transforms
def second_gx_by_w_in_dilated_groups(m: Backend, rng: Rng) -> Witness:
    """With groups and dilation, the reverse derivative of gx by w is that of dilation 1 (kind: arguments dropped)."""
    least = draw(rng, 2, 3)
    rule_lies(m, "pull", "x", "w", lambda p: p.groups >= 2 and p.dilation >= least, lambda p: replace(p, dilation=1))
    return Call(c_in=2, c_out=2, groups=2, dilation=least, length=12, ask="x/w")


@transforms
def second_gw_by_x_with_remainder(m: Backend, rng: Rng) -> Witness:
    """With a stride, hi > 0 and a remainder, the reverse derivative of gw by x is doubled (kind: added twice)."""
    least = draw(rng, 1, 2)
    rule(m, "pull", "w", "x", lambda p: p.hi >= least and p.stride > 1 and p.remainder > 0, 2)
    return Call(length=9 - least, stride=2, padding=(0, least + 1), ask="w/x")


@transforms
def jvp_of_bias_alone_reversed(m: Backend, rng: Rng) -> Witness:
    """A jvp in b alone with O > T (1 to 4) has the channels in reverse (kind: a path for one tangent)."""
    most = draw(rng, 1, 4)

    @m.around("biased")
    def biased(inner: Rule, y: Traced, b: Traced, p: Plan) -> Traced:
        out = inner(y, b, p)
        alone = isinstance(b, tape.Dual) and p.wanted == {"b"} and p.c_out > most and isinstance(out, tape.Dual)
        if not alone:
            return out
        return tape.Dual(out.value, out.level, tape.linear(lambda v: v[:, ::-1], lambda v: v[:, ::-1], out.tangent))

    return Call(c_out=most + 1, bias=True, ask="jvp:b")


@transforms
def vmap_over_bias_alone(m: Backend, rng: Rng) -> Witness:
    """Mapped over b alone with O > T (1 to 3), every call uses the first bias (kind: hoisted out of the loop)."""
    most = draw(rng, 1, 3)

    def fault(first: Operands, now: Operands, parameters: dict[str, Any]) -> Operands:
        x, w, b = now
        alone = b is not None and x is first[0] and w is first[1] and w.shape[0] > most
        return x, w, first[2] if alone else b

    under_vmap(m, fault)
    return Call(c_out=most + 1, bias=True, ask="vmap:--0")


@transforms
def vmap_of_both_with_stride(m: Backend, rng: Rng) -> Witness:
    """Mapped over x and w with a stride above T (1 to 2), calls after the first lack the bias (kind: as groups)."""
    most = draw(rng, 1, 2)

    def fault(first: Operands, now: Operands, parameters: dict[str, Any]) -> Operands:
        x, w, b = now
        lost = x is not first[0] and w is not first[1] and parameters.get("stride", 1) > most
        return x, w, None if lost else b

    under_vmap(m, fault)
    return Call(stride=most + 1, length=9, bias=True, ask="vmap:00")


@gradients
def complex_second_gw_not_conjugated(m: Backend, rng: Rng) -> Witness:
    """In complex dtypes the gradient of <u, gx> in w has u where conj(u) is due, K >= T (2 to 3) (kind: conjugate)."""
    least = draw(rng, 2, 3)

    @m.around("pull")
    def pull(inner: Rule, slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        twice = slot == "x" and name == "w" and p.kernel >= least and np.dtype(p.dtype).kind == "c"
        return inner(slot, name, operands, tape.conj(g) if twice else g, p)

    return Call(c_in=2, kernel=least, dtype="complex128", ask="x/w")
