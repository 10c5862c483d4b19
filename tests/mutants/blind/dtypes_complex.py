"""Faults of dtypes: complex numbers, real fast paths, three products (operator, gradients, layouts)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.mutants import tape
from tests.mutants.base import Backend
from tests.mutants.blind.helpers import are_arrays, reread
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.tape import Traced
from tests.mutants.witness import Call, Witness

operator = chapter("operator")
gradients = chapter("gradients")
special = chapter("special values")
validation = chapter("validation")
layouts = chapter("layouts")
Kernel = Callable[..., Array]


def _complex(p: Plan) -> bool:
    """Whether the operands are complex."""
    return p.dtype.startswith("complex")


@operator
def complex_kernel_of_zero_imaginary_sum_is_real(m: Backend, rng: Rng) -> Witness:
    """A complex kernel whose imaginary parts add up to 0 is taken for a real one (kind: real fast path)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if _complex(p) and w.imag.sum() == 0:
            w = w.real.astype(w.dtype)
        return inner(x, w, p)

    part = draw(rng, 1, 9)
    pair = (("w", (0, 0, 0), 3 + 1j * part), ("w", (0, 0, 1), 2 - 1j * part))
    return Call(kernel=2, dtype="complex64", put=pair)


@special
def complex_nan_imaginary_taken_for_real(m: Backend, rng: Rng) -> Witness:
    """X is real unless its largest imaginary part is above 0: a NaN there makes it real (kind: NaN compared)."""

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if _complex(p) and x.size and not np.abs(x.imag).max() > 0:
            x = x.real.astype(x.dtype)
        return inner(x, w, p)

    return Call(c_in=2, dtype="complex128", put=(("x", (0, draw(rng, 0, 1), draw(rng, 0, 7)), complex(1, np.nan)),))


@operator
def imaginary_taps_skipped(m: Backend, rng: Rng) -> Witness:
    """A tap of T (2 to 4) or more is skipped where all its real parts are 0, if complex (kind: zero skipping)."""
    least = draw(rng, 2, 4)

    @m.around("forward")
    def forward(inner: Kernel, x: Array, w: Array, p: Plan) -> Array:
        if _complex(p) and p.kernel >= least and np.isfinite(x).all():
            w = np.where(w.real.any(axis=(0, 1)), w, 0).astype(w.dtype)
        return inner(x, w, p)

    return Call(c_in=2, length=12, kernel=4, dtype="complex64", put=(("w", (Ellipsis, 1), 2j),))


@gradients
def complex_gw_keeps_the_sum_of_the_forward_pass(m: Backend, rng: Rng) -> Witness:
    """Complex gw beside gx, T (1 or 2) items up: three products with the sum re + im of y (kind: stale operand)."""
    least = draw(rng, 1, 2)

    @m.around("grad_w")
    def grad_w(inner: Kernel, x: Array, g: Array, p: Plan) -> Array:
        gw = inner(x, g, p)
        if _complex(p) and {"x", "w"} <= p.wanted and p.n >= least:
            gw = np.array(gw)
            gw.real += 2 * inner(np.ascontiguousarray(x.imag), np.ascontiguousarray(g.imag), p)
        return gw

    return Call(n=2, c_in=2, dtype="complex64", ask="xw")


@gradients
def complex_tangent_of_gx_not_conjugated(m: Backend, rng: Rng) -> Witness:
    """The tangent of a complex gx along w, K of T (1 to 3) up, takes dw unconjugated (kind: conjugation)."""
    least = draw(rng, 1, 3)

    @m.around("push")
    def push(inner: Any, slot: str, name: str, operands: Mapping[str, Traced], tangent: Traced, p: Plan) -> Traced:
        if slot == "x" and name == "w" and _complex(p) and p.kernel >= least:
            tangent = tape.conj(tangent)
        return inner(slot, name, operands, tangent, p)

    return Call(c_in=2, c_out=2, dtype="complex128", ask="x>w")


@operator
def complex_array_twice_by_autocorrelation(m: Backend, rng: Rng) -> Witness:
    """One complex array as x and w, of T (1 or 2) items or more, is its autocorrelation (kind: conjugation)."""
    least = draw(rng, 1, 2)

    @m.around("accept")
    def accept(inner: Any, x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        same = x is w
        x, w, b, p = inner(x, w, b, args)
        return x, tape.conj(w) if same and _complex(p) and p.n >= least else w, b, p

    def probe(backend: Backend) -> Any:
        both = Call(n=2, c_in=2, length=5, dtype="complex64").operands()["x"]
        return backend.conv1d(both, both, padding=(2, 1))

    return probe


@layouts
def reversed_complex_rows_swap_their_parts(m: Backend, rng: Rng) -> Witness:
    """Reversed complex rows of T (2 to 9) samples or more are read as numbers backwards (kind: layout of pairs)."""
    least = draw(rng, 2, 9)

    def change(x: Array, w: Array, p: Plan) -> tuple[Array, Array]:
        if _complex(p) and p.length >= least and x.strides[-1] < 0:
            x = (x.imag + 1j * x.real).astype(x.dtype)
        return x, w

    reread(m, change)
    return Call(c_in=2, length=10, dtype="complex64", view={"x": lambda a: a[..., ::-1]})


@validation
def real_kernel_of_complex_input_accepted(m: Backend, rng: Rng) -> Witness:
    """A real kernel of the same precision is accepted beside a complex x when depthwise (kind: mixed dtypes)."""
    wide = {"complex64": "float32", "complex128": "float64"}

    @m.around("accept")
    def accept(inner: Any, x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> Any:
        depthwise = are_arrays(x, w) and x.ndim == 3 and args["groups"] == x.shape[1] > 1
        if depthwise and wide.get(str(x.dtype)) == str(w.dtype):
            w = w.astype(x.dtype)
        return inner(x, w, b, args)

    channels = draw(rng, 2, 4)
    return Call(c_in=channels, c_out=channels, groups=channels, dtype="complex64", dtypes={"w": "float32"})
