"""Malformed calls: one valid call with one rule broken, for every rule of chapter ERR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, wraps
from itertools import permutations, product
from math import inf, nan
from typing import Any

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance.backend import Call
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.pool import evenly
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, widest

# Valid calls to break: a plain one, and one with groups, stride, dilation and padding, the extents all different; and
# two without a bias, whose channels may be misread, as O is a multiple of C.
BASES = (
    Case(Geometry(2, 4, 6, 9, 3)),
    Case(Geometry(3, 4, 6, 11, 2, stride=2, dilation=3, groups=2, padding=(1, 1)), seed=1),
    Case(Geometry(2, 4, 12, 9, 3), bias=False, seed=8),
    Case(Geometry(2, 8, 16, 9, 3, groups=4), bias=False, seed=9),
)
# Valid calls in which a parameter may be looked at elsewhere, or not at all.
ELSEWHERE = (
    Case(Geometry(2, 4, 6, 9, 3, padding="same"), bias=False, seed=12),
    Case(Geometry(2, 4, 4, 9, 1, groups=4), bias=False, seed=13),
    Case(Geometry(2, 4, 6, 9, 1, padding="same"), bias=False, seed=15),
    Case(Geometry(2, 4, 6, 9, 1, padding="causal"), bias=False, seed=16),
    Case(Geometry(2, 4, 6, 5, 5), bias=False, seed=20),
)
# Valid calls in which there is nothing to compute, so that what is malformed may go unnoticed.
EMPTY = (Case(Geometry(0, 4, 6, 9, 3), bias=False, seed=14),)
EMPTY_WITH_BIAS = (Case(Geometry(0, 4, 6, 9, 3), seed=21),)
NOTHING = (*EMPTY_WITH_BIAS, Case(Geometry(2, 4, 6, 2, 3), seed=24))  # no item, no window
# Valid calls in which an axis that is missing, or one too many, has the extent 1: putting it right would go unnoticed.
MENDABLE = (
    Case(Geometry(1, 1, 1, 9, 3), seed=2),
    Case(Geometry(1, 4, 4, 9, 3, groups=4), seed=3),
)
# Valid calls for which a backend may take a shorter way, past what looks at the operands.
SHORTER = (
    Case(Geometry(2, 4, 4, 9, 3, groups=4), seed=4),
    Case(Geometry(2, 2, 6, 9, 3, groups=2), seed=5),
    Case(Geometry(2, 4, 6, 9, 1), seed=6),
    Case(Geometry(2, 4, 6, 5, 5), seed=7),
    Case(Geometry(2, 4, 12, 9, 3), seed=8),
)
# Valid calls of one tap, which are products of matrices, where channels and dtypes may follow other rules.
SINGLE_TAPS = (Case(Geometry(2, 4, 6, 9, 1), bias=False, seed=25),)
_OF_HALVES = tuple(replace(BASES[0], dtype=dtype) for dtype in ("float16", "bfloat16"))
# Valid calls so large that a backend may take another way: many taps, blocks of channels, many samples.
LARGER = (
    Case(Geometry(2, 3, 4, 60, 25), seed=17),
    Case(Geometry(2, 16, 8, 21, 3), seed=18),
    Case(Geometry(2, 8, 8, 70, 3, groups=8), seed=19),
)


@dataclass(frozen=True)
class Malformed:
    """A valid case with some attributes, shapes or dtypes replaced. `rule` names what is broken."""

    rule: str
    base: Case
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    dtypes: Mapping[str, str] = field(default_factory=dict, hash=False)
    program: str = "conv1d"
    wrt: str = ""

    def facts(self) -> dict[str, Fact]:
        """Those of the valid case, and the rule."""
        return {**self.base.facts(), "rule": self.rule, "function": self.program, "wrt": self.wrt}

    def describe(self) -> dict[str, Any]:
        """The valid case, and what is broken."""
        broken = {**self.attributes, **self.shapes, **self.dtypes}
        return {**self.base.describe(), "rule": self.rule, "broken": {k: repr(v) for k, v in broken.items()}}

    @property
    def valid(self) -> Malformed:
        """The call that it was made from, in which nothing is broken."""
        return replace(self, rule="", attributes={}, shapes={}, dtypes={})

    def without_bias(self) -> Malformed | None:
        """The same rule broken in a call without a bias; None where it is the bias's, or there is none already."""
        if not self.base.bias or "b" in {*self.shapes, *self.dtypes, *self.wrt}:
            return None
        return replace(self, base=replace(self.base, bias=False))

    def call(self) -> Call:
        """The call as it is sent."""
        given = operands(self.base)
        arrays: dict[str, np.ndarray[Any, Any] | None] = {"x": given.x, "w": given.w, "b": given.b}
        if "vjp" in self.program or self.program == "accumulated":
            arrays["cotangent"] = given.cotangent
        if self.program == "jvp":
            arrays |= {f"{name}_tangent": given.tangents[name] for name in self.wrt}
        if self.program == "vjp_of_vjp":
            arrays["outer"] = given.tangents[self.wrt[0]]
        for name, shape in self.shapes.items():
            arrays[name] = np.ones(shape, dtype_of(self.base.dtype))
        for name, dtype in self.dtypes.items():
            array, other = arrays[name], dtype_of(dtype)
            arrays[name] = None if array is None else (array if other.kind == "c" else array.real).astype(other)
        slot = self.wrt[0] if self.program == "vjp_of_vjp" else ""
        return Call(self.program, arrays, {**self.base.attributes, **self.attributes}, self.wrt, slot)


def _every_way(call: Malformed) -> Iterator[Malformed]:
    """The call and its gradients, jointly and alone: a backend may look at its arguments in one of them only."""
    yield call
    for wrt in ("xw", "x", "w", *("b" if call.base.bias else ())):
        yield replace(call, program="vjp", wrt=wrt)


def of_each_rule(calls: Iterable[Malformed], most: int) -> Iterator[Malformed]:
    """At most so many of the calls that break each rule, in other valid calls and programs by turns."""
    of_rule: dict[str, list[Malformed]] = {}
    for call in calls:
        of_rule.setdefault(call.rule, []).append(call)
    for turn, broken in enumerate(of_rule.values()):
        yield from evenly(broken, most, turn)


def _kept(calls: Callable[[], Iterator[Malformed]]) -> Callable[[], tuple[Malformed, ...]]:
    """The calls, which many checks go through, made when they are first asked for."""
    return wraps(calls)(cache(lambda: tuple(calls())))


def _with(name: str, values: Mapping[str, Any]) -> Iterator[Malformed]:
    for base in BASES + ELSEWHERE + EMPTY:
        for rule, value in values.items():
            yield from _every_way(Malformed(f"{name} {rule}", base, {name: value}))


def _shaped(name: str, values: Mapping[str, Any], bases: Iterable[Case] = BASES) -> Iterator[Malformed]:
    for base in bases:
        valid, rules = getattr(base.geometry, f"{name}_shape"), dict[tuple[int, ...], str]()
        for rule, shape_of in values.items():
            rules.setdefault(shape_of(base.geometry), rule)  # a shape that breaks two rules is named by the first
        for shape, rule in rules.items():
            if shape != valid:
                yield from _every_way(Malformed(f"{name} {rule}", base, shapes={name: shape}))


@_kept
def rank() -> Iterator[Malformed]:
    """X and w of every other rank up to 4 (ERR-1)."""
    yield from _shaped(
        "x",
        {
            "rank 0": lambda g: (),
            "rank 1": lambda g: (g.length,),
            "rank 2": lambda g: (g.c_in, g.length),
            "rank 4": lambda g: (*g.x_shape, 1),
        },
        BASES + MENDABLE,
    )
    yield from _shaped(
        "w",
        {
            "rank 0": lambda g: (),
            "rank 1": lambda g: (g.kernel,),
            "rank 2": lambda g: g.w_shape[1:],
            "rank 2, (O, K)": lambda g: (g.c_out, g.kernel),
            "rank 4": lambda g: (*g.w_shape, 1),
        },
        BASES + EMPTY + MENDABLE,
    )


@_kept
def channels() -> Iterator[Malformed]:
    """Channels of x and w that do not fit (ERR-2)."""
    yield from _shaped(
        "x",
        {
            "one channel more": lambda g: (g.n, g.c_in + 1, g.length),
            "one channel less": lambda g: (g.n, g.c_in - 1, g.length),
            "twice the channels": lambda g: (g.n, 2 * g.c_in, g.length),
            "one channel": lambda g: (g.n, 1, g.length),
            "channels last": lambda g: (g.n, g.length, g.c_in),
        },
        BASES + EMPTY + LARGER + SINGLE_TAPS,
    )
    yield from _shaped(
        "w",
        {
            "one channel more": lambda g: (g.c_out, g.w_shape[1] + 1, g.kernel),
            "one channel": lambda g: (g.c_out, 1, g.kernel),
            "channels last": lambda g: (g.c_out, g.kernel, g.w_shape[1]),
        },
        BASES + EMPTY + LARGER + SINGLE_TAPS,
    )


@_kept
def groups() -> Iterator[Malformed]:
    """Groups that are not at least 1, or do not divide C or O (ERR-3)."""
    values = {"0": 0, "-1": -1, "-2": -2, "beyond C": 32, "not dividing": 3}
    yield from _with("groups", values | {"2^31": 2**31, "2^32 + 1": 2**32 + 1, "2^62": 2**62, "2^64 + 1": 2**64 + 1})
    # The channels of w fit, and the one count that is not divided by g is O, then C.
    for bias in (True, False):
        of_o, of_c = Case(Geometry(2, 4, 6, 9, 3), bias=bias), Case(Geometry(2, 5, 6, 9, 3), bias=bias)
        yield from _every_way(Malformed("groups not dividing O", of_o, {"groups": 4}, {"w": (6, 1, 3)}))
        yield from _every_way(Malformed("groups not dividing C", of_c, {"groups": 2}, {"w": (6, 2, 3)}))


# The last two are 1 where 32 or 64 bits hold no more of them.
_NOT_POSITIVE = {
    "0": 0, "-1": -1, "-2": -2, "-2^31": -(2**31), "-2^62": -(2**62), "1 - 2^32": 1 - 2**32, "1 - 2^64": 1 - 2**64,
}  # fmt: skip


@_kept
def stride() -> Iterator[Malformed]:
    """Strides below 1 (ERR-4)."""
    yield from _with("stride", _NOT_POSITIVE)


@_kept
def dilation() -> Iterator[Malformed]:
    """Dilations below 1, also where the kernel has one tap (ERR-5)."""
    yield from _with("dilation", _NOT_POSITIVE)
    for value in (0, -1):
        yield from _every_way(
            Malformed(f"dilation {value} of one tap", Case(Geometry(2, 4, 6, 9, 1)), {"dilation": value})
        )


@_kept
def padding() -> Iterator[Malformed]:
    """Padding below 0 on either side (ERR-6)."""
    yield from _with(
        "padding",
        {
            "lo -1": (-1, 0),
            "hi -1": (0, -1),
            "both -1": (-1, -1),
            "lo -1, hi 2": (-1, 2),
            "lo 2, hi -1": (2, -1),
            "lo -2^31": (-(2**31), 0),
            "hi -2^31": (0, -(2**31)),
            "both -2^31": (-(2**31),) * 2,
            "both -2^62": (-(2**62),) * 2,
            "both 1 - 2^32": (1 - 2**32,) * 2,
            "both 1 - 2^64": (1 - 2**64,) * 2,
        },
    )
    padded = Case(Geometry(2, 4, 6, 9, 3, padding=(1, 2)), bias=False, seed=23)
    for mode, (rule, sides) in product(PADDING_MODES[1:], (("lo -1", (-1, 2)), ("hi -1", (1, -1)))):
        yield from _every_way(Malformed(f"padding {rule}", replace(padded, padding_mode=mode), {"padding": sides}))


def _with_bias(bases: Iterable[Case]) -> tuple[Case, ...]:
    return tuple(base for base in bases if base.bias)


@_kept
def bias() -> Iterator[Malformed]:
    """Biases of another shape than (O,) (ERR-9)."""
    yield from _shaped(
        "b",
        {
            "length 1": lambda g: (1,),
            "length O-1": lambda g: (g.c_out - 1,),
            "length O+1": lambda g: (g.c_out + 1,),
            "length 2O": lambda g: (2 * g.c_out,),
            "length 0": lambda g: (0,),
            "length of whole vectors": lambda g: (g.c_out + -g.c_out % 8,),
            "length L_out": lambda g: (g.l_out,),
            "rank 0": lambda g: (),
            "rank 2, (1, O)": lambda g: (1, g.c_out),
            "rank 2, (O, 1)": lambda g: (g.c_out, 1),
            "rank 2, (N, O)": lambda g: (g.n, g.c_out),
            "rank 3, the shape of y": lambda g: g.y_shape,
        },
        _with_bias(BASES) + SHORTER + LARGER + NOTHING + _OF_HALVES,
    )
    yield from _shaped("b", {"rank 0": lambda g: (), "rank 2, (1, O)": lambda g: (1, g.c_out)}, MENDABLE)


@_kept
def mixed_dtypes() -> Iterator[Malformed]:
    """One operand of another dtype than the others, wider, narrower and of another kind (ERR-10)."""
    for base, own in product(BASES + NOTHING + SINGLE_TAPS, ("float32", "float16", "bfloat16", "float64")):
        for name, dtype in product("xwb" if base.bias else "xw", ("float64", "float32", "float16", "int32")):
            if dtype != own:
                case = replace(base, dtype=own)
                yield from _every_way(Malformed(f"{name} {dtype}", case, dtypes={name: dtype}))


@_kept
def mixed_integers() -> Iterator[Malformed]:
    """Integers of two widths, and of one width with a sign and without; they have no gradients (ERR-10)."""
    for own, other in permutations(("int8", "uint8", "int32", "int64"), 2):
        yield Malformed(f"w {other}", Case(Geometry(2, 1, 2, 9, 5), own, bias=False), dtypes={"w": other})
        yield Malformed(f"b {other}", Case(Geometry(2, 1, 2, 9, 5), own), dtypes={"b": other})


@_kept
def mixed_complex() -> Iterator[Malformed]:
    """Real and complex numbers of one precision, or complex ones of two (ERR-10)."""
    bases = (BASES[2], BASES[3], Case(Geometry(2, 4, 4, 9, 3, groups=4), bias=False, seed=22))
    for base, (own, real, wider) in product(
        bases, (("complex64", "float32", "complex128"), ("complex128", "float64", "complex64"))
    ):
        for name, other in product("xw", (real, wider)):
            yield Malformed(f"{name} {other}", replace(base, dtype=own), dtypes={name: other})
        yield Malformed(f"b {real}", replace(base, dtype=own, bias=True), dtypes={"b": real})


@_kept
def names() -> Iterator[Malformed]:
    """Padding names and modes that do not exist (ERR-11)."""
    yield from _with(
        "padding", {"unknown": "sane", "empty": "", "a number": "1", "beginning": "val", "longer": "same_more"}
    )
    yield from _with("padding_mode", {"unknown": "mirrored", "longer": "reflected", "empty": ""})


@_kept
def empty_kernel() -> Iterator[Malformed]:
    """No tap at all (ERR-8)."""
    yield from _shaped("w", {"no tap": lambda g: (g.c_out, g.w_shape[1], 0)}, BASES + EMPTY)


@_kept
def cotangent() -> Iterator[Malformed]:
    """Cotangents of another shape than y, whichever gradient is asked for (ERR-12)."""
    other: dict[str, Callable[[Geometry], tuple[int, ...]]] = {
        "one sample more": lambda g: (g.n, g.c_out, g.l_out + 1),
        "one sample less": lambda g: (g.n, g.c_out, g.l_out - 1),
        "one channel more": lambda g: (g.n, g.c_out + 1, g.l_out),
        "one item less": lambda g: (g.n - 1, g.c_out, g.l_out),
        "one sample": lambda g: (g.n, g.c_out, 1),
        "one item": lambda g: (1, g.c_out, g.l_out),
        "axes swapped": lambda g: (g.n, g.l_out, g.c_out),
    }
    lacking: dict[str, Callable[[Geometry], tuple[int, ...]]] = {
        "rank 2": lambda g: (g.c_out, g.l_out),
        "rank 0": lambda g: (),
    }
    for bases, shapes_of in ((BASES + LARGER + NOTHING, other), (BASES + MENDABLE + NOTHING, lacking)):
        for base, (rule, shape_of) in product(bases, shapes_of.items()):
            shape = shape_of(base.geometry)
            if min(shape, default=0) < 0 or shape == base.geometry.y_shape:
                continue
            wrong = {"cotangent": shape}
            for wrt in ("xw", "x", "w", *("b" if base.bias else ())):
                yield Malformed(f"cotangent {rule}", base, shapes=wrong, program="vjp", wrt=wrt)
            if base is BASES[0]:
                for program in ("vjp_of_vjp", "accumulated"):
                    yield Malformed(f"cotangent {rule}", base, shapes=wrong, program=program, wrt="xw")


@_kept
def tangent() -> Iterator[Malformed]:
    """Tangents of another shape than their operand, along that alone and along all (ERR-12)."""
    for base, name in product(BASES, "xwb"):
        if name == "b" and not base.bias:
            continue
        shape = getattr(base.geometry, f"{name}_shape")
        other: dict[str, tuple[int, ...]] = {
            "one element more": (*shape[:-1], shape[-1] + 1),
            "one element less": (*shape[:-1], shape[-1] - 1),
            "one element": (*shape[:-1], 1),
            "one of the first axis": (1, *shape[1:]),
            "axes swapped": shape[::-1],
            "an axis more": (1, *shape),
            "an axis less": shape[1:],
            "rank 0": (),
        }
        for (rule, wrong), wrt in product(other.items(), (name, "xwb" if base.bias else "xw")):
            if wrong != shape:
                yield Malformed(
                    f"tangent of {name}, {rule}", base, shapes={f"{name}_tangent": wrong}, program="jvp", wrt=wrt
                )


@_kept
def integers_by_other_names() -> Iterator[Malformed]:
    """Parameters that equal an integer and are none: refused, or taken for it (ERR-13)."""
    base = Case(Geometry(2, 4, 6, 15, 3, stride=2, dilation=3, groups=2, padding=(2, 1)), seed=10)
    for name, value in (("stride", 2.0), ("dilation", 3.0), ("groups", 2.0), ("padding", (2.0, 1.0))):
        yield Malformed(f"{name} {value}", base, {name: value})
    for name in ("stride", "dilation", "groups"):
        for true in (True, np.True_):
            yield Malformed(f"{name} {true!r}", Case(Geometry(2, 4, 6, 15, 3), seed=11), {name: true})
    for kind in (np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64):
        for name in ("stride", "dilation", "groups", "padding"):
            yield from _every_way(_in_type(kind, base, name))


@_kept
def integers_of_few_bits() -> Iterator[Malformed]:
    """Parameters in types of NumPy's that hold them, and not the span or the positions that they lead to (ERR-13)."""
    for kind, value in ((np.int8, 50), (np.uint8, 100), (np.int16, 12000)):
        for padding in ((0, 0), "same", "causal", "full"):
            dilated = Case(Geometry(1, 1, 2, 6 * value, 4, stride=value, dilation=value, padding=padding), seed=22)
            for name in ("stride", "dilation"):
                yield from _every_way(_in_type(kind, dilated, name))
        wide = Case(Geometry(1, 1, 2, 7, 3, stride=value // 3, padding=(2 * value, 2 * value)), seed=23)
        yield from _every_way(_in_type(kind, wide, "padding"))


def _in_type(kind: type[np.integer[Any]], base: Case, name: str) -> Malformed:
    """A valid call one of whose parameters is of a type of NumPy's."""
    value = getattr(base.geometry, name)
    typed = tuple(map(kind, value)) if name == "padding" else kind(value)
    return Malformed(f"{name} {np.dtype(kind).name}", base, {name: typed})


# Nearly integers: for who rounds, who compares with a tolerance, and who has 24 bits.
_NEARLY = {"1.001": 1.001, "1 - 2^-10": 1 - 2**-10, "2 - 2^-40": 2 - 2**-40}


@_kept
def no_integers() -> Iterator[Malformed]:
    """Parameters that equal no integer (ERR-13)."""
    for name in ("stride", "dilation", "groups"):
        yield from _with(
            name,
            {
                "1.5": 1.5, **_NEARLY, "NaN": nan, "infinity": inf, "text": "2", "None": None,
                "float32 1.5": np.float32(1.5), "a pair": (1, 2),
            },
        )  # fmt: skip
    pairs = {"1.5": (1.5, 1.5), "lo 1.5": (1.5, 0), "hi 1.5": (0, 1.5), "NaN": (nan, nan), "infinity": (inf, inf)}
    pairs |= {rule: (value, value) for rule, value in _NEARLY.items()}
    yield from _with("padding", {**pairs, "text": ("1", "1"), "None": (None, None)})


@_kept
def beyond_domain() -> Iterator[Malformed]:
    """More padding than a mode is defined for, by one sample, on either side, by a name, and of no sample (PAD-14)."""
    for mode in ("reflect", "symmetric", "circular"):
        for length in (1, 5):
            base = Case(Geometry(2, 2, 4, length, 1, padding=(0, 0)), padding_mode=mode)
            beyond = (widest(mode, length) or 0) + 1
            for pads in ((beyond, 0), (0, beyond), (beyond, beyond), (3 * length + 1, 0)):
                for stride, groups in ((1, 1), (3, 2)):
                    strided = base.with_geometry(stride=stride, groups=groups)
                    yield from _every_way(Malformed(f"{mode}, {pads} of {length}", strided, {"padding": pads}))
        beyond = (widest(mode, 5) or 0) + 1
        for name, taps in (("causal", beyond), ("full", beyond), ("same", 2 * beyond), ("same_lower", 2 * beyond)):
            base = Case(Geometry(2, 2, 3, 5, taps + 1, padding=(4, 4)), padding_mode=mode)
            yield from _every_way(Malformed(f"{mode}, {name}, {taps + 1} taps on 5", base, {"padding": name}))
        padded = Case(Geometry(2, 2, 4, 9, 3, padding=(4, 4), groups=2), padding_mode=mode)
        short = {"x": (2, 2, (4 if mode == "reflect" else 3))}
        yield from _every_way(Malformed(f"{mode}, (4, 4) of fewer samples", padded, shapes=short))
    for mode in ("reflect", "symmetric", "circular", "replicate"):
        nothing = Case(Geometry(2, 2, 3, 0, 1), padding_mode=mode)
        yield from _every_way(Malformed(f"{mode} of nothing", nothing, {"padding": (1, 1)}))
