"""Witnesses: what shows a mutant's fault. A `Call` is one call as data; a probe is a function of the backend.

`observe(backend, witness)` returns something comparable: shapes, dtypes and bytes, or that the backend refused. A
mutant differs from the correct backend exactly where the two observations differ. What ends the process, or never ends,
is wrapped in `Isolated` and observed in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from conv1d_cts.spec.geometry import Geometry
from tests.mutants.base import Backend
from tests.mutants.plan import Array

REFUSED = "refused"


@dataclass(frozen=True)
class Call:
    """One call on small integers, from which every partial sum is exact.

    `ask` is what to look at: "y"; the operands to differentiate, as in "xwb"; "jvp:xwb"; "vmap:..." by the axis of each
    of x, w, b, as in "vmap:0-2"; or a second derivative, that of the gradient by x in w, in reverse "x/w" or forwards
    "x>w". `put` sets elements, `view` re-lays operands; `shapes`, `dtypes`, `raw` replace shapes, dtypes, parameters.
    """

    n: int = 1
    c_in: int = 1
    c_out: int = 1
    length: int = 8
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: Any = (0, 0)
    mode: str = "zeros"
    fill: float = 0
    bias: bool = False
    dtype: str = "float64"
    ask: str = "y"
    data: Callable[[np.random.Generator, tuple[int, ...]], Array] | None = None
    put: tuple[tuple[str, Any, Any], ...] = ()
    view: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Call:
        """Return the call with other fields."""
        return replace(self, **changes)

    def operands(self) -> dict[str, Any]:
        """Return x, w, b (or None) and the cotangent g."""
        sizes = (self.n, self.c_in, self.c_out, self.length, self.kernel, self.stride, self.dilation, self.groups)
        geometry = Geometry(*sizes, self.padding)
        shapes = {"x": geometry.x_shape, "w": geometry.w_shape, "b": geometry.b_shape, "g": geometry.y_shape}
        rng = np.random.default_rng(7)
        arrays: dict[str, Any] = {}
        for key, shape in {**shapes, **self.shapes}.items():
            dtype = np.dtype(
                bfloat16 if self.dtypes.get(key, self.dtype) == "bfloat16" else self.dtypes.get(key, self.dtype)
            )
            arrays[key] = (self.data or _lattice)(rng, shape).astype(dtype) * (1 if dtype.kind != "c" else 1 + 2j)
            arrays[key] = np.ascontiguousarray(arrays[key].astype(dtype))
        for key, index, value in self.put:
            arrays[key][index] = value
        arrays.update({key: relay(arrays[key]) for key, relay in self.view.items()})
        return arrays if self.bias else {**arrays, "b": None}

    def parameters(self) -> dict[str, Any]:
        """Return the keyword arguments; those of the mode only where it is not "zeros"."""
        names = ("stride", "padding", "dilation", "groups")
        given = {name: getattr(self, name) for name in names}
        if self.mode != "zeros":
            given |= {"padding_mode": self.mode}
        if self.mode == "constant":
            given |= {"padding_value": self.fill}
        return {**given, **self.raw}


Probe = Callable[[Backend], Any]


@dataclass(frozen=True)
class Isolated:
    """A witness that ends the process or never returns: observed from outside."""

    inner: Call | Probe


Witness = Call | Probe | Isolated


def run(backend: Backend, call: Call) -> Any:
    """Return what the call asks for: an array, or a tuple of arrays. Whatever the backend raises, comes out."""
    arrays = call.operands()
    given = call.parameters()
    g = arrays.pop("g")

    def conv(**replaced: Any) -> Any:
        return backend.conv1d(*({**arrays, **replaced}[key] for key in "xwb"), **given)

    what, _, rest = call.ask.partition(":")
    if what == "y":
        return conv()
    if what == "vmap":
        return _vmapped(backend, arrays, given, rest)
    if "/" in what or ">" in what:
        return _second(backend, call.ask, {**arrays, "g": g}, conv)
    keys = rest if what == "jvp" else what
    primals = [arrays[key] for key in keys]

    def f(*operands: Any) -> Any:
        return conv(**dict(zip(keys, operands, strict=True)))

    if what == "jvp":
        return backend.jvp(f, primals, [np.ascontiguousarray(np.flip(p)) for p in primals])
    return backend.vjp(f, primals, g)


def _second(backend: Backend, ask: str, arrays: dict[str, Any], conv: Callable[..., Any]) -> Any:
    """Differentiate the gradient by one operand in another (x, w or g), in reverse or forwards."""
    of, by = ask[0], ask[2]
    keys = sorted({of, by} & set("xw"))

    def gradient(operand: Any) -> Any:
        values = {**arrays, by: operand}
        fixed = {key: values[key] for key in keys if key != of}
        return backend.vjp(lambda p: conv(**{**fixed, of: p}), (values[of],), values["g"])[0]

    if ask[1] == ">":
        return backend.jvp(gradient, (arrays[by],), (np.ascontiguousarray(np.flip(arrays[by])),))
    return backend.vjp(gradient, (arrays[by],), np.ascontiguousarray(np.flip(arrays[of])))[0]


def _vmapped(backend: Backend, arrays: dict[str, Any], given: dict[str, Any], axes: str) -> Any:
    """Map over three copies (times 1, 2 and 3) of the operands that have an axis; "-" has none."""
    chosen = {key: int(axis) for key, axis in zip("xwb", axes, strict=False) if axis != "-"}
    stacked = {key: np.stack([i * arrays[key] for i in (1, 2, 3)], axis=axis) for key, axis in chosen.items()}

    def f(*operands: Any) -> Any:
        values = {**arrays, **dict(zip(chosen, operands, strict=True))}
        return backend.conv1d(values["x"], values["w"], values["b"], **given)

    return backend.vmap(f, tuple(chosen.values()))(*stacked.values())


def observe(backend: Backend, witness: Call | Probe) -> Any:
    """Return what the backend shows, comparable with ==."""
    try:
        shown = run(backend, witness) if isinstance(witness, Call) else witness(backend)
    except Exception:
        return REFUSED
    return fingerprint(shown)


def fingerprint(value: Any) -> Any:
    """Return shape, dtype and bytes of arrays (all NaNs alike), through tuples and lists; other values as they are."""
    if isinstance(value, tuple | list):
        return tuple(fingerprint(part) for part in value)
    if isinstance(value, np.ndarray):
        plain = np.array(value)
        if plain.dtype.kind in "fc":
            plain[np.isnan(plain)] = np.nan
        return plain.shape, str(plain.dtype), plain.tobytes()
    return value


def after(*calls: Call) -> Probe:
    """Make the calls one after another; show the last."""
    return lambda backend: [run(backend, call) for call in calls][-1]


def every(call: Call, times: int) -> Probe:
    """Show all results of the same call."""
    return lambda backend: [fingerprint(run(backend, call)) for _ in range(times)]


def after_refusal(refused: Call, call: Call) -> Probe:
    """Show a call made after one that has to be refused."""

    def probe(backend: Backend) -> Any:
        first = observe(backend, refused)
        return first, run(backend, call)

    return probe


def kept(call: Call, later: Call) -> Probe:
    """Show a result read after a later call."""

    def probe(backend: Backend) -> Any:
        results = run(backend, call)
        run(backend, later)
        return results

    return probe


def touched(call: Call) -> Probe:
    """Show the operands after the call, and which of them a result shares memory with."""

    def probe(backend: Backend) -> Any:
        arrays = call.operands()
        g = arrays.pop("g")

        def f(*operands: Any) -> Any:
            return backend.conv1d(*operands, *([None] if arrays["b"] is None else []), **call.parameters())

        primals = [a for a in arrays.values() if a is not None]
        results = (f(*primals), *backend.vjp(f, primals, g))
        shared = [bool(np.shares_memory(r, a)) for r in results for a in (*primals, g) if r.size]
        return *primals, g, *shared

    return probe


def _lattice(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Integers from -9 to 9 without 0."""
    return rng.integers(1, 10, shape) * rng.choice([-1, 1], shape)
