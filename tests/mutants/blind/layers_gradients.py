"""Faults above the kernels: the rules of differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, clear, draw
from tests.mutants.tape import Dual, Tracer, Var
from tests.mutants.witness import Call, Witness

gradients, numerics, special = chapter("gradients"), chapter("numerics"), chapter("special values")
Kernel = Callable[..., Any]
HALVES = ("float16", "bfloat16")


@gradients
def gb_of_first_items_with_x_frozen(m: Backend, rng: Rng) -> Witness:
    """With w and b asked for and x not, and N > T (2 to 4), gb sums the first T items (kind: chunked reduction)."""
    most = draw(rng, 2, 4)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        return inner(g[:most] if p.wanted == {"w", "b"} else g, p)

    return Call(n=most + 1, bias=True, put=(("g", (most, 0, 0), 50),), ask="wb")


@gradients
def gx_alone_mixes_groups_when_dilated(m: Backend, rng: Rng) -> Witness:
    """The gx asked for alone, with groups and d >= T (2, 3), reads the next group's kernels (kind: mask path)."""
    least = draw(rng, 2, 3)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        wrong = p.wanted == {"x"} and p.groups > 1 and p.dilation >= least
        return inner(np.roll(w, p.fan_out, axis=0) if wrong else w, g, p)

    return Call(c_in=4, c_out=4, groups=2, length=14, dilation=least, ask="x")


@gradients
def bias_tangent_on_first_positions(m: Backend, rng: Rng) -> Witness:
    """The jvp along b alone is 0 beyond position T (6 to 20) (kind: a tangent kept at the length of a tile)."""
    most = draw(rng, 6, 20)

    @m.around("jvp")
    def jvp(inner: Kernel, f: Kernel, primals: Any, tangents: Any) -> Any:
        out = inner(f, primals, tangents)
        if len(primals) == 1 and len(primals[0].shape) == 1 and isinstance(out, np.ndarray) and out.ndim == 3:
            out[:, :, most:] = 0
        return out

    return Call(length=most + 5, bias=True, ask="jvp:b")


@gradients
def second_gw_by_g_zero_for_one_output(m: Backend, rng: Rng) -> Witness:
    """With L_out = 1 and N >= T (2, 3), the vjp of gw by the cotangent is 0 (kind: symbolic zero for a scalar)."""
    least = draw(rng, 2, 3)

    @m.around("pull")
    def pull(inner: Kernel, slot: str, name: str, operands: Any, g: Any, p: Plan) -> Any:
        out = inner(slot, name, operands, g, p)
        if slot == "w" and name == "g" and p.l_out == 1 and p.n >= least:
            return tape.linear(np.zeros_like, np.zeros_like, out)
        return out

    return Call(n=least, length=3, ask="w/g")


@gradients
def second_gw_by_x_loses_images(m: Backend, rng: Rng) -> Witness:
    """The jvp of gw by x pads the tangent with 0 on the left in symmetric, replicate, lo >= T (2, 3) (kind: mode)."""
    least = draw(rng, 2, 3)

    @m.around("push")
    def push(inner: Kernel, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        if slot == "w" and name == "x" and p.mode in ("symmetric", "replicate") and p.lo >= least:

            def mask(t: Array) -> Array:
                return np.where(np.arange(t.shape[2]) < p.lo, t.dtype.type(0), t)

            tangent = tape.linear(mask, mask, tangent)
        return inner(slot, name, operands, tangent, p)

    return Call(padding=(least, 1), mode="symmetric", ask="w>x")


@gradients
def gb_has_no_second_rule(m: Backend, rng: Rng) -> Witness:
    """The derivative of gb by the cotangent is 0 where N >= T (2, 3), in reverse and forwards (kind: detached sum)."""
    least = draw(rng, 2, 3)

    @m.around("vjp")
    def vjp(inner: Kernel, f: Kernel, primals: Any, cotangent: Any) -> Any:
        grads = inner(f, primals, cotangent)
        if not isinstance(cotangent, Tracer) or cotangent.shape[0] < least:
            return grads
        detached = (tape.affine(np.copy, np.zeros_like, _wide(cotangent, a), a) for a in grads)
        return tuple(d if len(a.shape) == 1 else a for a, d in zip(grads, detached, strict=True))

    def probe(backend: Backend) -> Any:
        arrays = Call(n=least, c_out=2, bias=True).operands()
        x, w, b, g = (arrays[key] for key in "xwbg")

        def gb(cotangent: Any) -> Any:
            return backend.vjp(lambda p: backend.conv1d(x, w, p), (b,), cotangent)[0]

        return backend.vjp(gb, (g,), np.flip(b).copy())[0], backend.jvp(gb, (g,), (np.flip(g).copy(),))

    return probe


def _wide(cotangent: Any, a: Any) -> Kernel:
    return lambda u: np.zeros(a.shape, u.dtype)


@gradients
def one_array_twice_loses_kernel_path(m: Backend, rng: Rng) -> Witness:
    """Where one array is x and w, C >= T (2, 3) and there is padding, its vjp is gx alone (kind: += overwritten)."""
    least = draw(rng, 2, 3)

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        if x is w and isinstance(w, Var) and w.shape[1] >= least and given.get("padding", (0, 0)) != (0, 0):
            w = w.value
        return inner(x, w, b, **given)

    def probe(backend: Backend) -> Any:
        arrays = Call(n=2, c_in=least, c_out=2, length=3, padding=(1, 2)).operands()
        return backend.vjp(lambda p: backend.conv1d(p, p, padding=(1, 2)), (arrays["x"],), arrays["g"])

    return probe


@gradients
def gw_of_empty_batch_stale(m: Backend, rng: Rng) -> Witness:
    """With N = 0, K >= T (2, 3) and x not differentiated, gw is memory that nobody wrote (kind: empty shard)."""
    least, stale = draw(rng, 2, 3), draw(rng, 1, 900)
    m.edit(
        "grad_w",
        lambda p: p.n == 0 and "x" not in p.wanted and p.kernel >= least,
        lambda gw, p: clear(gw, np.s_[...], stale % 100),
    )
    return Call(n=0, kernel=least, ask="w")


@gradients
def gb_zero_without_input_channels(m: Backend, rng: Rng) -> Witness:
    """With C = 0, gb asked for without gx is 0 where N >= T (1, 2) (kind: early return before the sum)."""
    least = draw(rng, 1, 2)
    m.edit(
        "grad_b",
        lambda p: p.c_in == 0 and "x" not in p.wanted and p.n >= least,
        lambda gb, p: clear(gb, np.s_[...]),
    )
    return Call(n=least, c_in=0, c_out=2, bias=True, ask="b")


@gradients
def depthwise_gw_loses_unit_axis(m: Backend, rng: Rng) -> Witness:
    """Depthwise gw asked for alone, with K >= T (3, 5), has the shape (O, K) (kind: squeezed channel axis)."""
    least = draw(rng, 3, 5)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        return gw[:, 0].copy() if p.depthwise and p.wanted == {"w"} and p.kernel >= least else gw

    return Call(c_in=2, c_out=2, groups=2, kernel=least, ask="w")


@gradients
def gb_alone_is_wide_for_halves(m: Backend, rng: Rng) -> Witness:
    """The gb of halves asked for alone, with N*L_out >= T (4 to 6), is float32 (kind: no cast at the end)."""
    least = draw(rng, 4, 6)

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        gb = inner(g, p)
        wide = p.dtype in HALVES and p.wanted == {"b"} and p.n * p.l_out >= least
        return gb.astype(np.float32) if wide else gb

    return Call(dtype="bfloat16", bias=True, ask="b")


@gradients
def same_gradient_crops_like_same_lower(m: Backend, rng: Rng) -> Witness:
    """Under `same` with an odd T, s >= 2, d >= D (2, 3), gx is cropped as if the odd zero were before (kind: side)."""
    least = draw(rng, 2, 3)
    m.lie(
        "pad_transpose",
        lambda p: p.padding == "same" and p.hi == p.lo + 1 and p.stride >= 2 and p.dilation >= least,
        lo=lambda p: p.hi,
        hi=lambda p: p.lo,
    )
    return Call(length=10, stride=2, dilation=least, padding="same", ask="x")


@gradients
def full_turn_loses_outermost_gradient(m: Backend, rng: Rng) -> Witness:
    """In circular with lo = L and s >= T (1, 2), gx misses what the outermost position received (kind: < for <=)."""
    least = draw(rng, 1, 2)

    @m.around("pad_transpose")
    def pad_transpose(inner: Kernel, g: Array, p: Plan) -> Array:
        if p.mode == "circular" and p.lo == p.length > 0 and p.stride >= least:
            g = g.copy()
            g[:, :, 0] = 0
        return inner(g, p)

    return Call(length=5, padding=(5, 1), mode="circular", stride=least, ask="x")


@special
def zero_cotangent_skips_kernel(m: Backend, rng: Rng) -> Witness:
    """A cotangent of T (4 to 16) or more zeros gives gx = 0 though w holds an infinity (kind: symbolic zero)."""
    least = draw(rng, 4, 16)

    @m.around("grad_x")
    def grad_x(inner: Kernel, w: Array, g: Array, p: Plan) -> Array:
        if g.size >= least and not g.any():
            return np.zeros((p.n, p.c_in, p.padded), g.dtype)
        return inner(w, g, p)

    return Call(length=least + 2, put=(("w", (0, 0, 1), np.inf), ("g", ..., 0)), ask="x")


@numerics
def loss_scale_overflows(m: Backend, rng: Rng) -> Witness:
    """In float16 the cotangent is scaled by 2^k (k 5 to 7) for gw, then back: large ones are inf (kind: loss scale)."""
    scale = np.float16(2 ** draw(rng, 5, 7))

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        return inner(x, g * scale / scale if p.dtype == "float16" else g, p)

    return Call(length=3, dtype="float16", put=(("g", ..., 2560), ("x", ..., 3)), ask="w")


@gradients
def fill_unseen_by_gw_alone(m: Backend, rng: Rng) -> Witness:
    """In mode constant with d >= T (2, 3), gw asked for alone sees zeros instead of the fill (kind: mask path)."""
    least = draw(rng, 2, 3)

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        return inner(x, 0 if p.wanted == {"w"} and p.dilation >= least else fill, p)

    return Call(length=12, dilation=least, padding=(2, 1), mode="constant", fill=3, ask="w")


@gradients
def second_gx_by_g_misplaced_under_same_lower(m: Backend, rng: Rng) -> Witness:
    """Under same_lower with an odd T, N >= M (1, 2), the jvp of gx by the cotangent is a sample late (kind: side)."""
    least = draw(rng, 1, 2)

    @m.around("push")
    def push(inner: Kernel, slot: str, name: str, operands: Any, tangent: Any, p: Plan) -> Any:
        out = inner(slot, name, operands, tangent, p)
        if slot == "x" and name == "g" and p.padding == "same_lower" and p.lo == p.hi + 1 and p.n >= least:
            return tape.linear(lambda v: np.roll(v, 1, axis=2), lambda v: np.roll(v, -1, axis=2), out)
        return out

    return Call(n=least, kernel=2, padding="same_lower", ask="x>g")


@gradients
def joint_tangent_of_gw_loses_cotangent(m: Backend, rng: Rng) -> Witness:
    """The jvp of gw along x and the cotangent at once, g >= T (2, 3), is that along x alone (kind: a partial rule)."""
    least = draw(rng, 2, 3)

    @m.around("contract")
    def contract(inner: Kernel, slot: str, operands: Any, p: Plan) -> Any:
        if slot == "w" and p.groups >= least:
            x, g = operands["x"], operands["g"]
            if isinstance(x, Dual) and isinstance(g, Dual) and x.level == g.level:
                operands = {**operands, "g": g.value}
        return inner(slot, operands, p)

    def probe(backend: Backend) -> Any:
        arrays = Call(c_in=least, c_out=least, groups=least).operands()
        x, w, g = (arrays[key] for key in "xwg")

        def gw(x: Any, g: Any) -> Any:
            return backend.vjp(lambda p: backend.conv1d(x, p, groups=least), (w,), g)[0]

        return backend.jvp(gw, (x, g), (np.flip(x).copy(), np.flip(g).copy()))

    return probe
