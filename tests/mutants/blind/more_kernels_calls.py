"""More faults of the kernels, by the same author: checks of operands, their layouts, state and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, changed, elsewhere, reread
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan, split_w, taps
from tests.mutants.registry import Rng, chapter, clear, draw, pick
from tests.mutants.witness import Call, Witness, after, after_refusal, every

validation, layouts, state, process = chapter("validation"), chapter("layouts"), chapter("state"), chapter("process")
Kernel = Callable[..., Array]

# -- validation ---------------------------------------------------------------------------------------------------


@validation
def bias_padded_to_lanes(m: Backend, rng: Rng) -> Witness:
    """A bias of O > V rounded up to a multiple of V (4, 8) is accepted, its end ignored (kind: padded to lanes)."""
    lanes = pick(rng, (4, 8))

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        if are_arrays(w, b) and w.ndim == 3 and w.shape[0] > lanes and b.shape == (-(-w.shape[0] // lanes) * lanes,):
            b = b[: w.shape[0]]
        return inner(x, w, b, args)

    return Call(c_out=lanes + 2, bias=True, shapes={"b": (2 * lanes,)})


@validation
def stride_in_32_bits(m: Backend, rng: Rng) -> Witness:
    """A stride beyond 2^32 is cut to 32 bits where C > 1, if anything is left of it (kind: a narrow parameter)."""

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        stride = args["stride"]
        if isinstance(stride, int) and stride > 2**32 and stride % 2**32 and len(x.shape) == 3 and x.shape[1] > 1:
            args = {**args, "stride": stride % 2**32}
        return inner(x, w, b, args)

    return Call(c_in=2, raw={"stride": 2**32 + draw(rng, 1, 3)})


@validation
def named_domain_unchecked(m: Backend, rng: Rng) -> Witness:
    """Reflect or symmetric by name beyond the domain repeat the edge, not refused (kind: only numbers are checked)."""

    @m.around("accept")
    def accept(inner: Any, x: Any, w: Any, b: Any, args: Any) -> Any:
        try:
            return inner(x, w, b, args)
        except ValueError:
            if isinstance(args["padding"], str) and args["padding_mode"] in ("reflect", "symmetric"):
                return inner(x, w, b, {**args, "padding_mode": "replicate"})
            raise

    return Call(length=3, kernel=draw(rng, 5, 9), padding="causal", mode="reflect")


@validation
def unbatched_cotangent(m: Backend, rng: Rng) -> Witness:
    """A cotangent (O, L_out) is accepted for N = 1 where O >= T (1 to 4) (kind: unbatched input)."""
    least = draw(rng, 1, 4)

    @m.around("check_cotangent")
    def check_cotangent(inner: Any, cotangent: Any, out: Any) -> Any:
        shape = tuple(out.shape)
        if len(shape) == 3 and shape[0] == 1 and tuple(cotangent.shape) == shape[1:] and shape[1] >= least:
            cotangent = cotangent[None]
        return inner(cotangent, out)

    return Call(c_out=least, shapes={"g": (least, 6)}, ask="x")


# -- layouts ------------------------------------------------------------------------------------------------------


@layouts
def strided_tap_tail(m: Backend, rng: Rng) -> Witness:
    """A w whose taps are every second element, K > 4, K % 4 >= 2: the tail repeats its first tap (kind: a tail)."""

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        if w.strides[2] == 2 * w.itemsize and p.kernel > 4 and p.kernel % 4 >= 2:
            tail = p.kernel // 4 * 4
            w = changed(w, np.s_[..., tail:], w[..., tail : tail + 1])
        return x, w

    reread(m, change)
    put = (("w", np.s_[..., 4], 1), ("w", np.s_[..., 5], 2))
    return Call(length=12, kernel=draw(rng, 6, 7), put=put, view={"w": lambda a: np.repeat(a, 2, axis=2)[..., ::2]})


@layouts
def unaligned_last_item(m: Backend, rng: Rng) -> Witness:
    """An x at an address that is no multiple of its element, N >= T (2 to 4): the last item is 0 (kind: realigning)."""
    least = draw(rng, 2, 4)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        return changed(x, -1) if not x.flags.aligned and p.n >= least else x, w

    def unaligned(a: Array) -> Array:
        raw = np.zeros(a.nbytes + 1, np.uint8)
        view = raw[1:].view(a.dtype).reshape(a.shape)
        view[...] = a
        return view

    reread(m, change)
    return Call(n=least, view={"x": unaligned})


# -- state --------------------------------------------------------------------------------------------------------


@state
def fill_kept_in_first_dtype(m: Backend, rng: Rng) -> Witness:
    """The fill is cached by value, in the dtype of its first call: float64 gets float16's 0.1 (kind: a cache's key)."""
    fills: dict[Any, Any] = {}

    @m.around("pad")
    def pad(inner: Kernel, x: Array, fill: Any, p: Plan) -> Array:
        if p.mode == "constant" and isinstance(fill, float) and fill == fill:
            fill = fills.setdefault(fill, np.asarray(fill).astype(x.dtype))
        return inner(x, fill, p)

    call = Call(padding=(1, 1), mode="constant", fill=0.1 * draw(rng, 1, 4))
    return after(call.but(dtype="float16"), call)


@state
def tuned_after_some_calls(m: Backend, rng: Rng) -> Witness:
    """From the T-th like call (3 to 8) on, L_out = 3 mod 4: the last output repeats the one before (kind: tuning)."""
    times, counts = draw(rng, 3, 8), {}

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        y, key = inner(x, w, p), (p.n, p.c_in, p.c_out, p.length, p.kernel, p.stride, p.dilation, p.lo, p.hi)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] >= times and p.l_out % 4 == 3:
            y[..., -1] = y[..., -2]
        return y

    return every(Call(length=9), times)


@state
def order_by_turns(m: Backend, rng: Rng) -> Witness:
    """float32, K >= 5: every T-th call (2 to 6) sums the taps from the last to the first (kind: order of a sum)."""
    times, calls = draw(rng, 2, 6), [0]

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.dtype != "float32" or p.kernel < 5:
            return inner(x, w, p)
        calls[0] += 1
        if calls[0] % times:
            return inner(x, w, p)
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), x.dtype)
        for matrix, columns in reversed(list(zip(split_w(w, p), taps(x, p), strict=True))):
            y += matrix @ columns
        return y.reshape(p.y_shape)

    return every(Call(c_in=2, length=60, kernel=9, dtype="float32", data=normal), times)


@state
def refused_cotangent_accumulates(m: Backend, rng: Rng) -> Witness:
    """A refused cotangent of the right O >= T (1 to 4) is in the next gb (kind: added up before the check)."""
    least, left = draw(rng, 1, 4), []

    @m.around("check_cotangent")
    def check_cotangent(inner: Any, cotangent: Any, out: Any) -> Any:
        try:
            return inner(cotangent, out)
        except ValueError:
            if are_arrays(cotangent) and cotangent.ndim == 3 and cotangent.shape[1] == out.shape[1] >= least:
                left[:] = [cotangent.sum(axis=(0, 2))]
            raise

    @m.around("grad_b")
    def grad_b(inner: Kernel, g: Array, p: Plan) -> Array:
        gb = inner(g, p)
        return gb + left.pop().astype(gb.dtype) if left and left[0].shape == gb.shape else gb

    call = Call(c_out=least, bias=True, ask="b")
    return after_refusal(call.but(shapes={"g": (1, least, 5)}), call)


# -- process ------------------------------------------------------------------------------------------------------


@process
def batch_in_other_threads(m: Backend, rng: Rng) -> Witness:
    """Outside the main thread, N >= T (2 to 6): the last item is 0 (kind: a pool without a worker for it)."""
    least, main = draw(rng, 2, 6), threading.main_thread()
    m.edit(
        "forward", lambda p: p.n >= least and threading.current_thread() is not main, lambda y, p: clear(y, np.s_[-1])
    )
    return elsewhere(Call(n=least))
