"""Faults of ports: another library's names, defaults, layouts and refusals (chapters PAD, SHAPE, ERR, INV, EX)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conv1d_cts.spec.padding import PADDING_MODES
from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, running, shape_only
from tests.mutants.plan import Array
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Witness

shapes = chapter("shapes")
refusals = chapter("validation")
maps = chapter("transforms")
layouts = chapter("layouts")
doors = chapter("surfaces")
Seam = Callable[..., Any]


@shapes
def same_lower_of_a_longer_kernel_has_its_length(m: Backend, rng: Rng) -> Witness:
    """same_lower by np.convolve: for L < K <= T (16 to 40), s = d = 1, y has K outputs (kind: exchanged operands)."""
    most = draw(rng, 16, 40)

    @m.around("resolve")
    def resolve(inner: Seam, padding: Any, length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        lo, hi = inner(padding, length, kernel, stride, dilation)
        if padding == "same_lower" and stride == dilation == 1 and 0 < length < kernel <= most:
            first = (length - 1) // 2
            return kernel - 1 - first, kernel - length + first
        return lo, hi

    return Call(length=4, kernel=7, padding="same_lower")


@refusals
def unknown_mode_unseen_where_nothing_is_padded(m: Backend, rng: Rng) -> Witness:
    """The mode's name reaches the pad operator only if lo or hi is not 0: "mirror" passes (kind: lazy check)."""
    mode = str(rng.choice(["mirror", "edge", "wrap"]))

    @m.around("accept")
    def accept(inner: Seam, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        idle = args["padding"] == "valid" or args["padding"] in ((0, 0), [0, 0])
        if idle and isinstance(args["padding_mode"], str) and args["padding_mode"] not in PADDING_MODES:
            args = {**args, "padding_mode": "zeros"}
        return inner(x, w, b, args)

    return Call(raw={"padding_mode": mode})


@refusals
def unbatched_items_taken_in_a_map(m: Backend, rng: Rng) -> Witness:
    """Inside a map x of rank 2, (C, L), C <= T (4 to 8), is taken as unbatched, not refused (kind: batching rule)."""
    most = draw(rng, 4, 8)
    inside = running(m, "vmap")

    @m.around("conv1d")
    def conv1d(inner: Seam, x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        if not inside or len(x.shape) != 2 or len(w.shape) != 3 or x.shape[0] > most:
            return inner(x, w, b, **given)
        y = inner(tape.linear(lambda a: a[None], lambda g: g[0], x), w, b, **given)
        return tape.linear(lambda a: a[0], lambda g: g[None], y)

    def probe(backend: Backend) -> Any:
        arrays = Call(n=3, c_in=2, c_out=2).operands()
        return backend.vmap(lambda x: backend.conv1d(x, arrays["w"]))(arrays["x"])

    return probe


@maps
def map_over_the_second_axis_unfolded_first(m: Backend, rng: Rng) -> Witness:
    """A map over axis 1 of x alone is folded as (N, maps), unfolded as (maps, N), N <= T (kind: fold order)."""
    most = draw(rng, 4, 8)
    own: list[Any] = []
    only_x: list[bool] = []

    @m.around("slices")
    def slices(inner: Seam, operands: Any, axes: Any, i: int) -> list[Any]:
        found = inner(operands, axes, i)
        own[:] = [a for a, axis in zip(found, axes, strict=True) if axis is not None]
        return list(found)

    @m.around("conv1d")
    def conv1d(inner: Seam, x: Any, w: Any, b: Any = None, **given: Any) -> Any:
        if len(own) == 1 and x is own[0] and w is not x and 1 < x.shape[0] <= most:
            only_x.append(True)
        return inner(x, w, b, **given)

    @m.around("vmap")
    def vmap(inner: Seam, f: Seam, in_axes: Any = 0) -> Seam:
        mapped = inner(f, in_axes)

        def run(*operands: Any) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            used = [axis % len(a.shape) for a, axis in zip(operands, axes, strict=True) if axis is not None]
            only_x.clear()
            stack = mapped(*operands)
            own.clear()
            if used != [1] or not only_x or isinstance(stack, tuple) or len(stack.shape) != 4:
                return stack
            maps_, items, *rest = stack.shape

            def mixed(a: Array) -> Array:
                return np.ascontiguousarray(np.moveaxis(a, 0, 1)).reshape(maps_, items, *rest)

            def back(g: Array) -> Array:
                return np.ascontiguousarray(np.moveaxis(g.reshape(items, maps_, *rest), 1, 0))

            return tape.linear(mixed, back, stack)

        return run

    return Call(n=2, c_out=2, ask="vmap:1--")


@maps
def exported_pads_that_keep_the_length_are_same(m: Backend, rng: Rng) -> Witness:
    """Compiled, zero pads by which s = 1 keeps L (e <= T, 6 to 12) become SAME_UPPER: causal too (kind: export)."""
    most = draw(rng, 6, 12)
    inside = running(m, "compile")

    @m.around("accept")
    def accept(inner: Seam, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        found = inner(x, w, b, args)
        p = found[3]
        if inside and p.mode == "zeros" and p.stride == 1 and 0 < p.l_out == p.length and p.span - 1 <= most:
            return inner(x, w, b, {**args, "padding": "same"})
        return found

    def probe(backend: Backend) -> Any:
        arrays = Call().operands()
        return backend.compile(lambda x, w: backend.conv1d(x, w, padding=(2, 0)))(arrays["x"], arrays["w"])

    return probe


@doors
def shape_of_named_pads_asks_for_no_dilation(m: Backend, rng: Rng) -> Witness:
    """Shapes without data of same and causal are ceil(L/s), s <= T (2 to 5): d < 1 passes (kind: short cut)."""
    most = draw(rng, 2, 5)
    inside = shape_only(m)

    @m.around("accept")
    def accept(inner: Seam, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        named = isinstance(args["padding"], str) and args["padding"] in ("same", "same_lower", "causal")
        whole = type(args["dilation"]) is int and type(args["stride"]) is int
        if inside and named and whole and args["dilation"] < 1 and args["stride"] <= most:
            args = {**args, "dilation": 1}
        return inner(x, w, b, args)

    def probe(backend: Backend) -> Any:
        arrays = Call().operands()
        operands = (arrays["x"], arrays["w"])
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, padding="same", dilation=0), operands)

    return probe


@layouts
def layer_of_a_square_kernel_learns_it_transposed(m: Backend, rng: Rng) -> Witness:
    """Fitting w of 1 < O = K <= T (4 to 8) takes its gradient, (O, C, K), for (K, C, O) (kind: weight layout)."""
    most = draw(rng, 4, 8)

    @m.around("moments")
    def moments(inner: Seam, first: Array, second: Array, g: Array) -> Any:
        square = g.ndim == 3 and g.shape[0] == g.shape[2] and 1 < g.shape[0] <= most
        return inner(first, second, np.ascontiguousarray(g.transpose(2, 1, 0)) if square else g)

    def probe(backend: Backend) -> Any:
        x = np.array([[[0.0, 3, 4, 5]]])
        target = np.array([[[6.0, 11, 14], [12, 25, 32]]])
        w = backend.fit(x, np.zeros((2, 1, 2)), target, steps=200)
        return bool(np.abs(w - np.array([[[1.0, 2]], [[3, 4]]])).max() <= 0.05)

    return probe


@refusals
def zero_bias_left_out_before_the_checks(m: Backend, rng: Rng) -> Witness:
    """A bias that is all zeros, O <= T (8 to 64), goes unchecked: its shape and dtype are free (kind: short cut)."""
    most = draw(rng, 8, 64)

    @m.around("accept")
    def accept(inner: Seam, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if b is not None and are_arrays(b) and not b.any() and len(w.shape) == 3 and w.shape[0] <= most:
            fits = b.shape == (w.shape[0],) and b.dtype == x.dtype
            b = b if fits else None
        return inner(x, w, b, args)

    return Call(c_out=2, bias=True, shapes={"b": (1,)}, put=(("b", ..., 0),))


@refusals
def real_kernel_of_complex_input_taken(m: Backend, rng: Rng) -> Witness:
    """X complex with w (K <= T, 8 to 16) real and of its precision is promoted, not refused (kind: promotion)."""
    most = draw(rng, 8, 16)
    parts = {"complex64": "float32", "complex128": "float64"}

    @m.around("accept")
    def accept(inner: Seam, x: Any, w: Any, b: Any, args: dict[str, Any]) -> Any:
        if parts.get(str(x.dtype)) == str(w.dtype) and are_arrays(w) and w.shape[-1] <= most:
            w = w.astype(x.dtype)
        return inner(x, w, b, args)

    return Call(dtype="complex64", dtypes={"w": "float32"})
