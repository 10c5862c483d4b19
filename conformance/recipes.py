"""Data recipes: the arrays of a case, rebuilt from its integers.

lattice    integers so small that every partial sum is exact in the dtype: any honest arithmetic gives the same bits
whole      counts: positive integers of one magnitude, which is at most what the dtype adds up exactly
gaussian   standard normal values
wide       standard normal values times powers of two over the exponent range that a product survives
uneven     numbers of one binary exponent; items or samples of x, filters of w, or channels or samples of gy are powers
           of two apart
cancelling products that come in pairs of opposite sign, so that the sum is far smaller than its terms
zeros      nothing else, in every operand
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.arrange import SHARING, arrange
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.spec.geometry import Geometry

Array = np.ndarray[Any, Any]

# Bits of the significand, the implicit one included; integers are exact to their width.
SIGNIFICAND_BITS = {
    "float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "complex64": 24, "complex128": 53,
    "int8": 7, "uint8": 8, "int16": 15, "int32": 31, "int64": 63,
}  # fmt: skip
_REMEMBERED = 512  # cases whose arrays are kept: as many as a pool has, since one check after another goes through it
LARGEST_FILL = 3  # the padding value of a lattice case, its sign apart; a multiple of 1/2
PERIOD = 97  # elements after which a large array repeats itself, so that a script can print it: no size of a tile
_LARGE = 2**15  # elements
_LARGEST_LATTICE_VALUE = 100  # 7 bits: an operand that bfloat16 holds exactly


class Later(Mapping[str, Array]):
    """Arrays by name, made when the first of them is looked at: few checks ask for directions of derivatives."""

    def __init__(self, make: Callable[[], dict[str, Array]]) -> None:
        self._make = make

    @cached_property
    def _arrays(self) -> dict[str, Array]:
        return self._make()

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@dataclass(frozen=True)
class Operands:
    """The arrays of a case: x (N,C,L), w (O,C/g,K), b (O,) or None, a cotangent (N,O,L_out), a direction for each."""

    x: Array
    w: Array
    b: Array | None
    cotangent: Array
    tangents: Mapping[str, Array] = field(default_factory=dict)


def _times_shown(g: Geometry, mode: str) -> int:
    """At most so many positions of the padded input show one sample."""
    lo, hi = g.pads
    if mode == "replicate":
        return 1 + (max(lo, hi) if g.length > 1 else lo + hi)
    return 1 if mode in ("zeros", "constant") else 1 + (lo > 0) + (hi > 0)


def most_products(g: Geometry, mode: str = "zeros") -> int:
    """The most products that any of y, gx, gw, gb sums for one element."""
    forward = (g.c_in // g.groups) * g.kernel
    backward = (g.c_out // g.groups) * g.kernel * max(1, min(_times_shown(g, mode), g.l_out))
    return max(forward, backward, g.n * g.l_out, 1) + 1


def lattice_fits(geometry: Geometry, dtype: str, mode: str = "zeros") -> bool:
    """Whether non-zero integers exist for which every partial sum is exact in the dtype, a fill of halves included."""
    return _lattice_budget(geometry, dtype, mode) >= 1


def _lattice_budget(geometry: Geometry, dtype: str, mode: str) -> float:
    """The largest a^2 for which 2 n a^2 <= 2^p, p the bits of the significand (ACC, lattice theorem).

    Products with a fill are at most LARGEST_FILL a^2, and with halves in the fill the sums are counted in halves.
    """
    fill = 2 * LARGEST_FILL if mode == "constant" else 1
    products = 2 * most_products(geometry, mode) * fill * (2 if dtype.startswith("complex") else 1)
    return float(2 ** SIGNIFICAND_BITS[dtype]) / products


def _largest(case: Case) -> int:
    """The a up to which the integers of a lattice case go."""
    budget = _lattice_budget(case.geometry, case.dtype, case.padding_mode)
    return max(1, min(_LARGEST_LATTICE_VALUE, math.isqrt(int(budget))))


def exact_in_sums(case: Case, calls: int) -> bool:
    """Whether the gradients of so many calls on lattice data add up exactly too: of each n a^2 is within its budget."""
    budget = _lattice_budget(case.geometry, case.dtype, case.padding_mode)
    return bool(calls * _largest(case) ** 2 <= 2 * budget)


def _lattice(rng: np.random.Generator, case: Case) -> Callable[[tuple[int, ...]], Array]:
    """Draws integers of absolute value 1 ... a, so that no tap goes unseen."""
    largest = _largest(case)
    return lambda shape: rng.integers(1, largest + 1, shape) * rng.choice(np.array([-1, 1]), shape)


def _whole(rng: np.random.Generator, case: Case) -> Callable[[tuple[int, ...]], Array]:
    """Draws counts of any magnitude: the sums may exceed what kernels for small integers hold."""
    largest = math.isqrt(int(_lattice_budget(case.geometry, case.dtype, case.padding_mode)))
    most = max(largest >> int(rng.integers(max(largest.bit_length() - 6, 1))), 1)
    return lambda shape: rng.integers((most + 1) // 2, most, shape, endpoint=True)


def _gaussian(rng: np.random.Generator, case: Case) -> Callable[[tuple[int, ...]], Array]:
    return lambda shape: rng.standard_normal(shape)


_WIDE_EXPONENTS = {"float16": 5, "bfloat16": 50, "float32": 50, "complex64": 50}


def _of_one_exponent(rng: np.random.Generator, case: Case) -> Callable[[tuple[int, ...]], Array]:
    return lambda shape: rng.uniform(1, 2 - 2**-7, shape) * rng.choice(np.array([-1, 1]), shape)


_UNEVEN_EXPONENTS = {  # of which twice the highest power is in range
    "float16": (-3, 14), "bfloat16": (-100, 50), "float32": (-100, 50), "complex64": (-100, 50),
}  # fmt: skip


def _wide(rng: np.random.Generator, case: Case) -> Callable[[tuple[int, ...]], Array]:
    reach = _WIDE_EXPONENTS.get(case.dtype, 400)
    return lambda shape: rng.standard_normal(shape) * np.exp2(rng.integers(-reach, reach // 2, shape))


def _zeros(rng: np.random.Generator, case: Case) -> Callable[[tuple[int, ...]], Array]:
    return np.zeros


_DRAWS = {
    "lattice": _lattice,
    "whole": _whole,
    "gaussian": _gaussian,
    "wide": _wide,
    "uneven": _of_one_exponent,
    "cancelling": _gaussian,
    "zeros": _zeros,
}


_ALIKE = ((0, 1, 2), (2,), (0, 2), (0,), (1,))  # axes of y that a loss sums over, so that its cotangent repeats there


def _repeat(cotangent: Array, axes: tuple[int, ...]) -> None:
    """Make a cotangent (N,O,L_out) alike along some axes, as that of a sum over them."""
    cotangent[...] = cotangent[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(3))]


def _cancel(x: Array, w: Array) -> None:
    """Make neighbouring channels' products opposite up to the last bits: x[c+1] = x[c], w[c+1] = -w[c] (1 + 2^-8)."""
    pairs = w.shape[1] // 2 * 2
    w[:, 1:pairs:2] = -w[:, 0:pairs:2] * (1 + 2**-8)
    channels = x.shape[1] // 2 * 2
    x[:, 1:channels:2] = x[:, 0:channels:2]


_SET_APART = (("x", 0), ("w", 0), ("cotangent", 1), ("x", 2), ("cotangent", 2))


def _set_apart(rng: np.random.Generator, case: Case, arrays: dict[str, Array]) -> None:
    """Multiply each item or sample of x, filter of w, or channel or sample of gy, by the seed, by a power of two."""
    name, axis = _SET_APART[case.seed % len(_SET_APART)]
    lowest, highest = _UNEVEN_EXPONENTS.get(case.dtype, (-800, 400))
    exponents = rng.permutation(np.linspace(lowest, highest, arrays[name].shape[axis]).round())
    scale = np.exp2(exponents).reshape([-1 if i == axis else 1 for i in range(3)])
    arrays[name][...] = (arrays[name] * scale).astype(arrays[name].dtype)


@lru_cache(_REMEMBERED)
def operands(case: Case) -> Operands:
    """The arrays of a case, not to be written to. Equal cases give equal bytes."""
    g = case.geometry
    rng = np.random.default_rng([case.seed, g.n, g.c_in, g.length, g.kernel])
    draw = _DRAWS[case.recipe](rng, case)
    dtype = dtype_of(case.dtype)

    def make(shape: tuple[int, ...]) -> Array:
        drawn = (PERIOD,) if math.prod(shape) > _LARGE else shape
        values = draw(drawn)
        if dtype.kind == "c":
            values = values + 1j * draw(drawn)
        if dtype.kind == "u":
            values = abs(values)
        values = values.astype(dtype)
        return values if values.shape == shape else np.resize(values, shape)

    def draw_all() -> dict[str, Array]:
        return {"x": make(g.x_shape), "w": make(g.w_shape), "b": make(g.b_shape), "cotangent": make(g.y_shape)}

    def finish(arrays: dict[str, Array]) -> dict[str, Array]:
        for array in arrays.values():
            if case.layout in SHARING:
                array[...] = arrange(array, case.layout)
            array.flags.writeable = False
        return arrays

    arrays = draw_all()
    if case.recipe == "cancelling":
        _cancel(arrays["x"], arrays["w"])
    if case.recipe == "uneven":
        _set_apart(rng, case, arrays)
    if case.layout == "repeated":
        _repeat(arrays["cotangent"], _ALIKE[case.seed % len(_ALIKE)])
    x, w, b, cotangent = finish(arrays).values()
    return Operands(x, w, b if case.bias else None, cotangent, Later(lambda: finish(draw_all())))


def structured(w: Array) -> Iterator[Array]:
    """Weights (O,C/g,K) of the kinds that filters have, and that who knows them computes by another way."""
    mirrored, signs = np.flip(w, -1), np.resize((1, -1), w.shape[-1])
    first = np.arange(w.shape[-1]) < w.shape[-1] / 2
    yield np.broadcast_to(w[..., :1], w.shape).copy()
    yield np.where(first, w, mirrored)
    yield np.where(first, w, -mirrored)
    yield (np.abs(w) * signs).astype(w.dtype)
    for tap in {0, w.shape[-1] // 2, w.shape[-1] - 1}:
        yield np.where(np.arange(w.shape[-1]) == tap, w, 0).astype(w.dtype)
    yield np.broadcast_to(w[:1], w.shape).copy()  # all filters alike
    yield np.broadcast_to(w[:, :1], w.shape).copy()  # all channels alike


def in_parts(given: Operands) -> Iterator[Operands]:
    """Complex operands that are real or imaginary, or nearly: who looks at one part alone takes them for real, or 0."""
    imaginary: dict[str, Any] = {}
    real: dict[str, Any] = {}
    for name in ("x", "w", "cotangent"):
        array = getattr(given, name)
        imaginary[name], real[name] = (1j * array.imag).astype(array.dtype), array.real.astype(array.dtype)
    x, w = given.x, given.w
    for name in imaginary:
        yield replace(given, **{name: imaginary[name]})
        yield replace(given, **{name: real[name]})
    yield replace(given, **imaginary)
    signs = np.resize((1, -1), w.size).reshape(w.shape) * (np.arange(w.size).reshape(w.shape) < w.size // 2 * 2)
    yield replace(given, w=(w.real + 1j * signs).astype(w.dtype))  # whose imaginary parts add up to 0
    one_tap = w.copy()
    one_tap[..., -1] = imaginary["w"][..., -1]
    yield replace(given, w=one_tap)
    one_sample = real["x"].copy()
    one_sample[..., -1] = x[..., -1]
    yield replace(given, x=one_sample)


def along_themselves(given: Operands) -> Operands:
    """The operands, each being its own tangent too."""
    arrays = {"x": given.x, "w": given.w, "b": given.b}
    return replace(given, tangents={name: array for name, array in arrays.items() if array is not None})
