"""False alarms: honest arithmetics that add up in random trees, held against the bounds of chapter ACC.

`python -m tests.false_alarms 10_000_000` tries so many elements of each of y, gx and gw, and prints how many fell
outside the bound, which must be none, and how near the nearest came.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from conv1d_cts.conformance import bounds, judge
from conv1d_cts.conformance.backend import Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.spec.geometry import Geometry
from tests.emulators.arithmetic import Arithmetic
from tests.emulators.emulator import Emulator
from tests.emulators.orders import random_tree
from tests.emulators.rounding import BFLOAT16, BINARY16, BINARY32, BINARY64, Format

_SUMS: dict[str, tuple[Format, ...]] = {
    "float32": (BINARY32, BINARY32, BINARY64), "float16": (BINARY16, BINARY32), "bfloat16": (BFLOAT16, BINARY32),
    "float64": (BINARY64,),
}  # fmt: skip
_MOST_PRODUCTS = 4_000_000  # of one case
_LONGEST = 4096


@dataclass
class Count:
    """What came of one result: elements judged, those outside their bound, the largest error as a share of it."""

    elements: int = 0
    outside: int = 0
    nearest: float = 0.0


def draw(rng: np.random.Generator, wanted: str) -> Case:
    """A case whose result `wanted`, y, x or w (for gx and gw), sums n products, n log-uniform from 1 to 4096."""
    n = int(2 ** rng.uniform(0, math.log2(_LONGEST)))
    elements = max(300, min(_MOST_PRODUCTS // n, 200_000))
    items, channels = int(rng.integers(1, 5)), int(rng.integers(1, 9))
    kernel, stride, dilation = (int(rng.integers(1, most)) for most in (8, 4, 3))
    padding, groups = (int(rng.integers(0, 4)), int(rng.integers(0, 4))), int(rng.integers(1, 3))
    kernel = kernel if wanted == "w" else min(kernel, n)
    if wanted == "w":
        side = max(1, math.isqrt(elements // kernel // groups))
        c_in = c_out = side
        length = max(1, n // items) * stride + dilation * kernel
    else:
        c_in, c_out = (n // kernel, channels) if wanted == "y" else (channels, n // kernel)
        length = max(1, elements // items // channels // groups) * (stride if wanted == "y" else 1) + dilation * kernel
    geometry = Geometry(items, c_in * groups, c_out * groups, length, kernel, stride, dilation, groups, padding)
    recipe = str(rng.choice(["gaussian", "gaussian", "wide", "cancelling"]))
    bias = wanted == "y" and bool(rng.integers(2))
    return Case(geometry, str(rng.choice(list(_SUMS))), bias, recipe=recipe, seed=int(rng.integers(2**31)))


def backend(rng: np.random.Generator, dtype: str) -> tuple[Emulator, float]:
    """An honest one with a tree of its own, and the unit roundoff in which it accumulates."""
    choices = _SUMS[dtype]
    sums = choices[int(rng.integers(len(choices)))]
    fused = bool(rng.integers(2)) and sums is not BINARY64
    arithmetic = Arithmetic(sums=sums, order=random_tree(int(rng.integers(2**31))), fused=fused)
    unit = max(2.0**-sums.bits, bounds.UNIT_ROUNDOFF["float32"] if dtype != "float64" else 0.0)
    return Emulator("honest", arithmetic, (dtype,)), unit


def attempt(rng: np.random.Generator, wanted: str, count: Count) -> None:
    """Judge one result of one honest backend on one case."""
    case = draw(rng, wanted)
    own, unit = backend(rng, case.dtype)
    given = operands(case)
    if wanted == "y":  # the bias is added to a result that was rounded before
        got = own.conv1d(given.x, given.w, given.b, **case.attributes)
        judged = bounds.forward(case, given, bounds.UNIT_ROUNDOFF[case.dtype] if case.bias else unit)
    elif wanted == "x":
        (got,) = own.vjp(lambda x: own.conv1d(x, given.w, **case.attributes), (given.x,), given.cotangent)
        judged = bounds.gradients(case, given, unit)["x"]
    else:
        (got,) = own.vjp(lambda w: own.conv1d(given.x, w, **case.attributes), (given.w,), given.cotangent)
        judged = bounds.gradients(case, given, unit)["w"]
    try:
        found = judge.within(got, judged, wanted)
    except Violation:
        count.outside += int((np.abs(got.astype(np.float64) - judged[0]) > judged[1]).sum())
        count.elements += got.size
        return
    count.elements += found.judged
    count.nearest = max(count.nearest, found.of_bound)


def run(elements: int, seed: int = 0) -> dict[str, Count]:
    """Judge at least so many elements of each of y, gx and gw."""
    rng, counts = np.random.default_rng(seed), {name: Count() for name in "yxw"}
    for name, count in counts.items():
        while count.elements < elements:
            attempt(rng, name, count)
    return counts


def main() -> int:
    """Print a line for each result; 1 where one element fell outside its bound."""
    counts = run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
    for name, count in counts.items():
        print(
            f"{'y' if name == 'y' else 'g' + name:2} {count.elements:,} elements, {count.outside} outside their bound; "
            f"the nearest came to {count.nearest:.3f} of it"
        )
    return int(any(count.outside for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
