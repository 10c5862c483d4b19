"""Faults of what a call takes over from the one before it: streams, shared products, packed weights (chapter INV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.numerics import normal
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Probe, Witness, after_refusal, every, fingerprint, run

state, validation, surfaces = chapter("state"), chapter("validation"), chapter("surfaces")
Kernel = Callable[..., Array]
Rule = Callable[..., Any]


@dataclass
class Last:
    """The last plain call of a backend: its plan, padded x, w and y; no plan before the first."""

    plan: Plan | None = None
    x: Array = field(default_factory=lambda: np.zeros(0))
    w: Array = field(default_factory=lambda: np.zeros(0))
    y: Array = field(default_factory=lambda: np.zeros(0))

    def like(self, p: Plan, **changes: Any) -> bool:
        """Whether that call was the plan with these changes."""
        return self.plan is not None and self.plan == replace(p, wanted=frozenset(), **changes)


def following(
    m: Backend,
    answer: Callable[[Last, Array, Array, Plan], Array | None],
    kept: Callable[[Plan], bool] = lambda p: True,
) -> None:
    """Let the last plain call that was kept answer the next one, where it gives anything."""
    last = Last()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.wanted:
            return inner(x, w, p)
        taken = answer(last, x, w, p)
        y = inner(x, w, p) if taken is None else taken
        if kept(p):
            last.plan, last.x, last.w, last.y = p, x.copy(), w.copy(), y.copy()
        return y


def one_by_one(call: Call, change: Callable[[dict[str, Any]], dict[str, Any]], **parameters: Any) -> Probe:
    """Show a call, and then another on operands made of the first one's."""

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        given = call.parameters()
        first = backend.conv1d(arrays["x"], arrays["w"], arrays["b"], **given)
        arrays |= change(arrays)
        return first, backend.conv1d(arrays["x"], arrays["w"], arrays["b"], **given, **parameters)

    return probe


@state
def item_of_the_last_batch(m: Backend, rng: Rng) -> Witness:
    """One item, after more than T (1 to 3) with the same weights, gets the first one's y (kind: cached activations)."""
    most = draw(rng, 1, 3)

    def answer(last: Last, x: Array, w: Array, p: Plan) -> Array | None:
        batched = last.plan is not None and p.n == 1 and last.like(p, n=last.plan.n)
        return last.y[:1].copy() if batched and np.array_equal(last.w, w) else None

    following(m, answer, lambda p: p.n > most)
    return one_by_one(Call(n=most + 1), lambda arrays: {"x": arrays["x"][-1:]})


@state
def item_after_a_wide_batch_squeezed(m: Backend, rng: Rng) -> Witness:
    """One item, after more than T (64 to 90) with the same weights, comes without its batch axis (kind: squeezed)."""
    most = draw(rng, 64, 90)
    last = Last()

    @m.around("conv1d")
    def conv1d(inner: Kernel, x: Any, w: Any, b: Any = None, **parameters: Any) -> Any:
        y = inner(x, w, b, **parameters)
        if not isinstance(y, np.ndarray):
            return y
        alone = len(last.x) > most and len(x) == 1 and x.shape[1:] == last.x.shape[1:] and np.array_equal(w, last.w)
        last.x, last.w = x.copy(), w.copy()
        return y[0] if alone else y

    return one_by_one(Call(n=most + 1), lambda arrays: {"x": arrays["x"][-1:]})


@state
def stream_keeps_first_output(m: Backend, rng: Rng) -> Witness:
    """With L_out > T (1 to 3), x that goes on where the last one did keeps its first y (kind: a streaming cache)."""
    most = draw(rng, 1, 3)

    def answer(last: Last, x: Array, w: Array, p: Plan) -> Array | None:
        later = p.l_out > most and last.like(p, length=p.length + p.stride, l_out=p.l_out + 1)
        if not later or not np.array_equal(last.w, w) or not np.array_equal(last.x[..., p.stride :], x):
            return None
        return np.concatenate([last.y[..., :1], last.y[..., 2:]], axis=2)

    following(m, answer)
    return one_by_one(Call(length=most + 5), lambda arrays: {"x": arrays["x"][..., 1:]})


@state
def strided_y_cut_out_of_the_dense_one(m: Backend, rng: Rng) -> Witness:
    """A strided call on the operands of the last, of stride 1, takes its outputs T (1 to 2) late (kind: one pass)."""
    late = draw(rng, 1, 2)

    def answer(last: Last, x: Array, w: Array, p: Plan) -> Array | None:
        strided = p.stride > 1 and p.mode == "zeros"
        dense = last.plan is not None and strided and last.like(p, stride=1, l_out=last.plan.l_out)
        if not dense or not np.array_equal(last.x, x) or not np.array_equal(last.w, w):
            return None
        chosen = np.minimum(np.arange(p.l_out) * p.stride + late, last.y.shape[2] - 1)
        return last.y[..., chosen].copy()

    following(m, answer)

    def probe(backend: Backend) -> Any:
        return run(backend, Call(length=12)), run(backend, Call(length=12, stride=2))

    return probe


@state
def packed_weights_found_by_last_filter(m: Backend, rng: Rng) -> Witness:
    """With C/g*K > T (4 to 8), packed weights are found again by their last filter: those of a part (kind: hash)."""
    most = draw(rng, 4, 8)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if p.wanted or p.fan_in * p.kernel <= most or not len(w):
            return inner(x, w, p)
        found = last.w.shape[1:] == w.shape[1:] and len(last.w) < len(w) and np.array_equal(last.w[-1], w[-1])
        packed = last.w if found else w
        last.w = w.copy()
        return inner(x, np.resize(packed, w.shape), p)

    last = Last()
    part = Call(c_in=2, c_out=2, kernel=most, length=20)
    return one_by_one(part, lambda arrays: {"w": np.concatenate([arrays["w"] * 2, arrays["w"]])})


@state
def repeated_call_sums_backwards(m: Backend, rng: Rng) -> Witness:
    """The same call made again with K > T (1 to 3) sums the taps backwards (kind: an algorithm chosen late)."""
    least = draw(rng, 1, 3)

    def answer(last: Last, x: Array, w: Array, p: Plan) -> Array | None:
        again = p.kernel > least and last.like(p) and np.array_equal(last.x, x) and np.array_equal(last.w, w)
        if not again or "float" not in p.dtype:
            return None
        y = np.zeros((p.n, p.groups, p.fan_out, p.l_out), widen(x).dtype)
        for matrix, columns in reversed(list(zip(split_w(w, p), taps(x, p), strict=True))):
            y += matrix @ columns
        return y.reshape(p.y_shape).astype(x.dtype)

    following(m, answer)
    return every(Call(c_in=8, kernel=9, length=40, data=normal), 2)


@state
def saved_columns_of_an_inference(m: Backend, rng: Rng) -> Witness:
    """A gw right after a plain call on its x and w, L_out > T (8 to 12), lacks a column (kind: saved tensors)."""
    most, last, saved = draw(rng, 8, 12), Last(), list[bool]()

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        found = last.like(p) and np.array_equal(last.x, x) and np.array_equal(last.w, w)
        saved[:] = [bool(p.wanted) and found]
        last.plan, last.x, last.w = (None if p.wanted else p), x.copy(), w.copy()
        return inner(x, w, p)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        short = saved == [True] and p.l_out > most
        return inner(x, g * (np.arange(p.l_out) < p.l_out - 1).astype(g.dtype) if short else g, p)

    call = Call(length=most + 4)
    return lambda backend: (run(backend, call), run(backend, call.but(ask="xw")))


@validation
def refused_shape_leaves_a_mask(m: Backend, rng: Rng) -> Witness:
    """After a refusal, the next call of that shape of x, with a stride, lacks its T-th last y (1 to 2) (kind: plan)."""
    place, failed, masked = draw(rng, 1, 2), list[Any](), list[bool]()

    @m.around("accept")
    def accept(inner: Rule, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        before, failed[:] = list(failed), []
        try:
            accepted = inner(x, w, b, args)
        except Exception:
            failed.append(tuple(x.shape))
            raise
        masked[:] = [before == [tuple(x.shape)]]
        return accepted

    def shown(p: Plan) -> bool:
        return masked == [True] and p.stride > 1 and p.l_out > place

    m.edit("forward", shown, lambda y, p: y[..., -place].fill(0))
    m.edit("grad_w", shown, lambda gw, p: gw[..., -1].fill(0))
    good = Call(length=12, stride=2)
    return after_refusal(good.but(raw={"groups": 3}), good)


@surfaces
def weights_packed_for_two_dimensions(m: Backend, rng: Rng) -> Witness:
    """A call right after conv2d with its weights, K > T (1 to 2), takes what that packed, turned (kind: one cache)."""
    most, packed = draw(rng, 1, 2), list[Array]()
    high = Backend(m.name)

    @high.around("forward")
    def remember(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        packed[:] = [w.copy()]
        return inner(x, w, p)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        found = bool(packed) and p.kernel > most and np.array_equal(packed[0], w)
        packed.clear()
        return inner(x, w[..., ::-1] if found and not p.wanted else w, p)

    m.surface["conv2d"] = high.conv1d

    def probe(backend: Backend) -> Any:
        arrays = Call(c_in=3, kernel=most + 2).operands()
        door = backend.surfaces.get("conv2d", backend.conv1d)
        return fingerprint(door(arrays["x"], arrays["w"])), backend.conv1d(arrays["x"], arrays["w"])

    return probe
