"""How much of the parameter space the cases of a certificate reach: values, pairs and triples of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, combinations, product
from typing import Any

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.ledger import rung
from conv1d_cts.conformance.pool import CLASSES
from conv1d_cts.spec.geometry import Geometry

_EXTENTS = ("n", "c_in", "c_out", "length", "l_out", "kernel", "stride", "dilation", "groups", "lo", "hi")
_COINCIDENCES: tuple[tuple[str, Callable[[Geometry], bool]], ...] = (
    ("l_out == c_out", lambda g: g.l_out == g.c_out),
    ("c_in == length", lambda g: g.c_in == g.length),
    ("c_out == c_in", lambda g: g.c_out == g.c_in),
    ("n == c_out", lambda g: g.n == g.c_out),
    ("square", lambda g: g.n == g.c_in == g.c_out == g.l_out),
)


def extents(cases: Iterable[Case]) -> dict[str, dict[str, int]]:
    """How many cases have each value of each parameter; by the next power of two."""
    facts = [case.facts() for case in cases]
    return {name: _counted(rung(int(str(fact[name]))) for fact in facts) for name in _EXTENTS}


def _counted(values: Iterable[int]) -> dict[str, int]:
    return {str(value): number for value, number in sorted(Counter(values).items())}


def _paddings(g: Geometry) -> Iterable[str]:
    """The kinds of padding that a geometry's is."""
    if isinstance(g.padding, str):
        return [g.padding]
    lo, hi = g.padding
    kinds = {
        "none": lo == hi == 0, "alike": lo == hi > 0, "lo only": lo > hi == 0, "hi only": hi > lo == 0,
        "lo < hi": 0 < lo < hi, "lo > hi": lo > hi > 0, "wide": min(lo, hi) >= g.span,
        "wide lo": lo >= g.span > hi, "wide hi": hi >= g.span > lo,
    }  # fmt: skip
    return [kind for kind, is_so in kinds.items() if is_so]


def _numbers(case: Case) -> dict[str, int]:
    g = case.geometry
    return {
        "kernel": g.kernel, "stride": g.stride, "dilation": g.dilation, "l_out": g.l_out, "n": g.n,
        "c_in_per_group": g.c_in // g.groups, "c_out_per_group": g.c_out // g.groups, "groups": g.groups,
    }  # fmt: skip


def classes(case: Case) -> dict[str, list[Any]]:
    """The classes of the pool that the case is in, by parameter; a number beyond all ranges is in none."""
    g = case.geometry
    left_over = g.length + sum(g.pads) - g.span - (g.l_out - 1) * g.stride
    found: dict[str, list[Any]] = {
        "padding": list(_paddings(g)),
        "padding_mode": [case.padding_mode],
        "coincidence": [name for name, holds in _COINCIDENCES if holds(g)] or ["none"],
        "remainder": [left_over > 0],
        "bias": [case.bias],
        "dtype": [case.dtype],
    }
    for name, value in _numbers(case).items():
        found[name] = [r for r in CLASSES[name] if not isinstance(r, str) and r[0] <= value <= r[1]]
    found["stride"] += ["past the kernel"] if g.stride > g.kernel else []
    found["dilation"] += ["past the input"] if g.dilation >= g.length else []
    return found


def combined(cases: Sequence[Case], size: int) -> dict[str, int]:
    """Of all combinations of classes of `size` parameters, how many occur in some case: {"met", "of"}.

    Some cannot occur, such as a remainder under stride 1; they count among all.
    """
    space = {name: list(dict.fromkeys(values)) for name, values in CLASSES.items()}
    met = set(
        chain.from_iterable(
            product(*([(name, cls) for cls in found[name] if cls in space[name]] for name in names))
            for found in map(classes, cases)
            for names in combinations(sorted(space), size)
        )
    )
    conceivable = sum(
        len(list(product(*(space[name] for name in names)))) for names in combinations(sorted(space), size)
    )
    return {"met": len(met), "of": conceivable}
