"""The pool: the cases that every check draws from, aimed at the edges where real faults sit.

Four parts, all seeded. *Pairs*: covering arrays, in which every two classes of two parameters meet. *Ladders*: every
small value of every extent, and each extent in turn at and around the powers of two up to 2048. *Models*: the shapes of
their layers, some kinds in every dtype. *Free*: what Hypothesis draws. The pool is shared by all checks, since a
compiler such as XLA pays for each new geometry.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice, zip_longest
from typing import Any, TypeVar

from allpairspy import AllPairs

from conv1d_cts.conformance import models
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import lattice_fits
from conv1d_cts.conformance.strategies import drawn_cases
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES, PADDING_NAMES, widest

T = TypeVar("T")
FLOATS = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Profile:
    """How far a certification goes.

    Covering arrays drawn, small ladders, powers of two and cases from Hypothesis make the pool. `sample` is the number
    of its cases given to checks that need other geometries than the pool's, or several for each case. Each surface but
    the first gets `further` cases of the pool, every kind of layer and of padding alike, and `further_sample` for those
    checks; where not `every_surface` is certified, those that the user names are. Where there is a `spread`, each check
    gets so many cases, and so many of its own, and checks take turns, so that each case is tried by some of those that
    it is for. On the surfaces but the first a check gets a `further_spread` of the cases and `further_own` of its own,
    or `further_costly` of both where each takes it seconds; there surfaces take turns as well as checks.
    """

    name: str
    arrays: int
    small_ladders: int
    powers: tuple[int, ...]
    free: int
    sample: int
    further: int
    further_sample: int
    every_surface: bool = True
    spread: int | None = None
    further_spread: int | None = None
    further_own: int | None = None
    further_costly: int | None = None


PROFILES = {
    "quick": Profile(
        "quick", 1, 1, (5, 7, 9), 10, 12, 60, 6, every_surface=False, spread=24, further_spread=24, further_own=8
    ),
    "standard": Profile(
        "standard", 1, 3, (5, 6, 7, 8, 9, 10, 11), 60, 48, 60, 8, further_spread=12, further_own=4, further_costly=2
    ),
    "thorough": Profile("thorough", 4, 10, (5, 6, 7, 8, 9, 10, 11), 600, 500, 600, 200),
}

# Classes of each parameter of a case. A range stands for its integers, both ends included.
CLASSES: dict[str, tuple[Any, ...]] = {
    "padding": (
        "none",
        "alike",
        "lo only",
        "hi only",
        "lo < hi",
        "lo > hi",
        "wide",
        "wide lo",
        "wide hi",
        *PADDING_NAMES,
    ),
    "padding_mode": PADDING_MODES,
    "coincidence": ("none", "l_out == c_out", "c_in == length", "c_out == c_in", "n == c_out", "square"),
    "kernel": ((1, 1), (2, 2), (3, 3), (4, 5), (6, 9)),
    "stride": ((1, 1), (2, 2), (3, 5), "past the kernel"),
    "dilation": ((1, 1), (2, 2), (3, 5), "past the input"),
    "l_out": ((1, 1), (2, 2), (3, 8), (9, 24)),
    "n": ((1, 1), (2, 4), (5, 9)),
    "c_in_per_group": ((1, 1), (2, 3), (4, 9)),
    "c_out_per_group": ((1, 1), (2, 3), (4, 9)),
    "groups": ((1, 1), (2, 2), (3, 5)),
    "remainder": (False, True),
    "bias": (True, True, False),
    "dtype": FLOATS,
}


def _integer(rng: random.Random, wanted: Any) -> int:
    return rng.randint(*wanted)


def _explicit(rng: random.Random, kind: str, span: int) -> tuple[int, int]:
    """(lo, hi) of the kind asked for; wide is a side as long as the window, or longer."""
    small, large = sorted(rng.sample(range(1, max(span, 2) + 2), 2))
    wide, narrow = span + rng.randint(0, 2), rng.randint(0, max(span - 2, 0))
    return {
        "none": (0, 0),
        "alike": (small, small),
        "lo only": (small, 0),
        "hi only": (0, small),
        "lo < hi": (small, large),
        "lo > hi": (large, small),
        "wide": (wide, span + rng.randint(0, 2)),
        "wide lo": (wide, narrow),
        "wide hi": (narrow, wide),
    }[kind]


def length_for(
    l_out: int, remainder: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int] | str
) -> int:
    """A length, at least 1, that gives `l_out` windows and `remainder` samples after the last, where there is one."""
    span = dilation * (kernel - 1) + 1
    reach = (l_out - 1) * stride + remainder
    if isinstance(padding, str):
        added = {"valid": 0, "same": span - 1, "same_lower": span - 1, "causal": span - 1, "full": 2 * (span - 1)}[
            padding
        ]
    else:
        added = sum(padding)
    return max(1, reach + span - added)


def _into_domain(mode: str, padding: tuple[int, int], length: int) -> tuple[int, int]:
    limit = widest(mode, length)
    return padding if limit is None else (min(padding[0], limit), min(padding[1], limit))


def _coincide(g: Geometry, kind: str) -> Geometry:
    """The geometry with extents made equal, where the parameters allow it."""
    if kind == "l_out == c_out" and g.l_out:
        return replace(g, c_out=g.l_out, groups=g.groups if g.l_out % g.groups == 0 else 1)
    if kind == "c_in == length":
        return replace(g, c_in=g.length, groups=g.groups if g.length % g.groups == 0 else 1)
    if kind == "c_out == c_in":
        return replace(g, c_out=g.c_in)
    if kind == "n == c_out":
        return replace(g, n=g.c_out)
    if kind == "square" and g.l_out:
        return replace(g, n=g.l_out, c_in=g.l_out, c_out=g.l_out, groups=1)
    return g


def make(rng: random.Random, row: dict[str, Any]) -> Case:
    """A case with the classes of a row, as far as they can live together."""
    kernel = _integer(rng, row["kernel"])
    stride = kernel + rng.randint(1, 3) if row["stride"] == "past the kernel" else _integer(rng, row["stride"])
    far = row["dilation"] == "past the input"
    dilation = rng.randint(6, 12) if far else _integer(rng, row["dilation"])
    span = dilation * (kernel - 1) + 1
    named = row["padding"] in PADDING_NAMES
    padding = row["padding"] if named else _explicit(rng, row["padding"], span)
    remainder = rng.randint(1, stride - 1) if row["remainder"] and stride > 1 else 0
    l_out = _integer(rng, row["l_out"])
    length = length_for(l_out, remainder, kernel, stride, dilation, padding)
    mode = row["padding_mode"]
    pads = Geometry(1, 1, 1, length, kernel, stride, dilation, 1, padding).pads
    if not named:
        padding = _into_domain(mode, padding, length)
    elif (limit := widest(mode, length)) is not None and max(pads) > limit:
        length = max(pads) + 1
    groups = _integer(rng, row["groups"])
    geometry = Geometry(
        _integer(rng, row["n"]),
        groups * _integer(rng, row["c_in_per_group"]),
        groups * _integer(rng, row["c_out_per_group"]),
        length, kernel, stride, dilation, groups, padding,
    )  # fmt: skip
    return _case(rng, _coincide(geometry, row["coincidence"]), row["dtype"], row["bias"], mode)


def _case(rng: random.Random, geometry: Geometry, dtype: str, bias: bool, mode: str = "zeros") -> Case:
    """A case whose dtype holds a lattice for the geometry, and whose mode is defined for its padding."""
    fits = dtype if lattice_fits(geometry, dtype, mode) else "float32"
    limit = widest(mode, geometry.length)
    if limit is not None and max(geometry.pads) > limit:
        mode = "zeros"
    value = rng.choice((-3, -2.5, -1.5, 1.5, 2, 2.5)) if mode == "constant" else 0
    return Case(geometry, fits, bias, mode, value, seed=rng.randrange(2**31))


def pairs(rng: random.Random, dtypes: tuple[str, ...], modes: tuple[str, ...]) -> Iterator[Case]:
    """Cases in which every two classes of two parameters meet, as far as they can."""
    classes = {name: list(values) for name, values in {**CLASSES, "dtype": dtypes, "padding_mode": modes}.items()}
    for values in classes.values():
        rng.shuffle(values)
    for row in AllPairs(list(classes.values())):
        yield make(rng, dict(zip(classes, row, strict=True)))


EXTENTS = (
    "n",
    "c_in_per_group",
    "c_out_per_group",
    "groups",
    "length",
    "l_out",
    "kernel",
    "stride",
    "dilation",
    "lo",
    "hi",
)
_SMALL = 17


def _extents(rng: random.Random, dtype: str, sizes: dict[str, int]) -> Case:
    """A case with these sizes; `length` and `l_out` exclude each other, the one that is there is met exactly."""
    kernel, stride, dilation = sizes.get("kernel", 3), sizes.get("stride", 1), sizes.get("dilation", 1)
    padding = sizes.get("lo", 0), sizes.get("hi", 0)
    span = dilation * (kernel - 1) + 1
    if "length" in sizes:
        length = sizes["length"]
        padding = padding[0] + max(0, span - length - sum(padding)), padding[1]
    else:
        length = length_for(sizes.get("l_out", 4), rng.randrange(stride), kernel, stride, dilation, padding)
    groups = sizes.get("groups", 1)
    geometry = Geometry(
        sizes.get("n", 2), groups * sizes.get("c_in_per_group", 2), groups * sizes.get("c_out_per_group", 2),
        length, kernel, stride, dilation, groups, padding,
    )  # fmt: skip
    return _case(rng, geometry, dtype, rng.random() < 0.75)


def small_ladder(rng: random.Random, dtypes: tuple[str, ...]) -> Iterator[Case]:
    """Every value up to 17 of every extent once, in as many cases: a different permutation for each extent."""
    columns = {
        name: rng.sample(range(1, _SMALL + 1), _SMALL) for name in ("kernel", "c_in_per_group", "c_out_per_group", "n")
    }
    columns["size"] = rng.sample(range(1, _SMALL + 1), _SMALL)
    columns["groups"] = [rng.choice((1, 1, 1, 2, 3)) for _ in range(_SMALL)]
    columns["stride"] = [rng.choice((1, 1, 2, 3)) for _ in range(_SMALL)]
    columns["dilation"] = [rng.choice((1, 1, 2, 3)) for _ in range(_SMALL)]
    columns["lo"], columns["hi"] = ([rng.choice((0, 0, 1, 2)) for _ in range(_SMALL)] for _ in range(2))
    for values in zip(*columns.values(), strict=True):
        sizes = dict(zip(columns, values, strict=True))
        sizes[rng.choice(("length", "l_out"))] = sizes.pop("size")
        yield _extents(rng, rng.choice(dtypes), sizes)


def at_size(rng: random.Random, name: str, size: int, dtypes: tuple[str, ...]) -> Case:
    """One extent at a size, the others small."""
    others = {
        "n": rng.randint(1, 3), "c_in_per_group": rng.randint(1, 4), "c_out_per_group": rng.randint(1, 4),
        "kernel": rng.randint(1, 4), "stride": rng.choice((1, 1, 2, 3)), "dilation": rng.choice((1, 1, 2)),
        "groups": rng.choice((1, 1, 2, 3)), "lo": rng.choice((0, 0, 1, 2)), "hi": rng.choice((0, 0, 1, 2)),
    }  # fmt: skip
    if rng.random() < 0.5:  # nothing but the one extent is out of the ordinary
        others |= {"stride": 1, "dilation": 1, "groups": 1}
    if name not in ("length", "l_out"):
        others["l_out"] = rng.randint(2, 9)
    if name == "groups":
        others |= {"c_in_per_group": rng.randint(1, 2), "c_out_per_group": rng.randint(1, 2)}
    if name == "dilation":
        others["kernel"] = rng.randint(2, 3)
    return _extents(rng, rng.choice(dtypes[:2]), {**others, name: size})


def powers_of_two(rng: random.Random, exponents: Iterable[int], dtypes: tuple[str, ...]) -> Iterator[Case]:
    """Each extent in turn at a power of two, one past it, and now and then one before it; the others small."""
    for exponent in exponents:
        for name in EXTENTS:
            size = 2**exponent
            for value in (size, size + 1, *([size - 1] if rng.random() < 1 / 3 else [])):
                yield at_size(rng, name, value, dtypes)


@cache
def layers(seed: int, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    """The kinds of layers that models have, each in every dtype."""
    rng = random.Random(seed)
    return tuple(_case(rng, g, dtype, rng.random() < 0.5) for dtype in dtypes for g in models.layers(rng))


@cache
def pool(profile: Profile, seed: int, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    """Every case of a profile, without repetition; equal arguments give equal pools."""
    rng = random.Random(seed)
    cases: list[Case] = []
    for _ in range(profile.arrays):
        cases += pairs(rng, dtypes, PADDING_MODES)
        cases += pairs(rng, dtypes, PADDING_MODES[:1])
    for _ in range(profile.small_ladders):
        cases += small_ladder(rng, dtypes)
    cases += (_case(rng, geometry, rng.choice(dtypes), rng.random() < 0.75) for geometry in models.common(rng))
    cases += powers_of_two(rng, profile.powers, dtypes)
    cases += drawn_cases(profile.free, seed, dtypes)
    cases += layers(seed, dtypes)
    return tuple(dict.fromkeys(cases))


def evenly(items: Sequence[T], count: int, turn: int = 0) -> Sequence[T]:
    """At most `count` of the items, spread over all of them; each turn takes others, until all have been taken."""
    if len(items) <= count:
        return items
    return [items[(i * len(items) + turn % len(items)) // count] for i in range(count)]


def every_padding(cases: Sequence[Case], count: int) -> Sequence[Case]:
    """At most `count` of the cases, in their order: each mode and each name of padding in turn, as far as they go."""
    kinds: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.seed):  # seeds are random, and so is this order
        padding = case.geometry.padding
        kinds.setdefault((case.padding_mode, padding if isinstance(padding, str) else "explicit"), []).append(case)
    in_turn = chain.from_iterable(zip_longest(*kinds.values()))
    chosen = set(islice(filter(None, in_turn), count))
    return [case for case in cases if case in chosen]
