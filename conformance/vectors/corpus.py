"""The corpus: cases that the checks of the certification choose, with their operands, what is right, and the bounds.

Equal seeds give equal bytes. Which clauses a vector tries is asked of the checks themselves.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import conv1d_cts
from conv1d_cts.conformance import bounds, catalog, oracle
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.pool import FLOATS, evenly, pairs, powers_of_two, small_ladder
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.conformance.test_errors import is_refused
from conv1d_cts.conformance.values import forward_is_exact, gradient_is_exact
from conv1d_cts.conformance.vectors.numbers import to_json
from conv1d_cts.spec.padding import PADDING_MODES

SCHEMA = 1
FILE = "vectors.json"
_GRADIENTS = tuple(map(gradient_is_exact, ("x", "w", "b", "xwb")))
_A_CHECK = 14  # cases that each check chooses
_ARRAYS = 8  # covering arrays that cases are drawn from
_NUMBERS = 700  # of all arrays of a case together
_LARGEST_INTEGER = 2**53  # beyond, not every reader of JSON has it exactly


def _cases(seed: int) -> tuple[Case, ...]:
    """What the checks choose from: the pool of a certification without what Hypothesis draws, and small."""
    rng = random.Random(seed)
    drawn = [
        *(case for _ in range(_ARRAYS) for case in pairs(rng, FLOATS, PADDING_MODES)),
        *small_ladder(rng, FLOATS), *powers_of_two(rng, (5, 6, 7), FLOATS),
    ]  # fmt: skip
    return tuple(case for case in dict.fromkeys(drawn) if _fits(case))


def _fits(case: Case) -> bool:
    """Whether the case is small, and real: complex numbers have no place in the corpus."""
    given = operands(case)
    return not case.dtype.startswith("complex") and given.x.size + given.w.size + given.cotangent.size <= _NUMBERS


def _part(check: Check) -> str:
    """What a check judges that a vector can hold: y, the gradients, or nothing."""
    if check.body is forward_is_exact or (check.clause == "ACC-1" and not check.extra):
        return "y"
    if check.body in _GRADIENTS or (check.clause == "ACC-2" and check.extra.get("function") == "vjp"):
        return "gradients"
    return ""


def _clauses_of(case: Case) -> dict[str, list[str]]:
    """The clauses that a case tries, by what they judge."""
    found: dict[str, list[str]] = {}
    for _, check in catalog.checks():
        part, exact = _part(check), check.clause not in ("ACC-1", "ACC-2")
        if part and exact == (case.recipe == "lattice") and case in check.select((case,)):
            found.setdefault(part, []).append(check.clause)
    return {part: list(dict.fromkeys(ids)) for part, ids in found.items()}


def _legal(seed: int) -> Iterator[dict[str, Any]]:
    cases = _cases(seed)
    chosen = [
        (case, check.may_refuse)
        for _, check in catalog.checks()
        if _part(check)
        for case in evenly([c for c in check.select(cases) if _fits(c)], _A_CHECK)
    ]
    for case, may_refuse in dict.fromkeys(chosen):
        clauses, given = _clauses_of(case), operands(case)
        arrays = {"x": given.x, "w": given.w, "b": given.b}
        yield {
            "facts": case.facts(),
            "clauses": clauses,
            "arguments": case.attributes,
            "operands": {
                name: {"dtype": case.dtype, **to_json(array)}
                for name, array in {**arrays, "cotangent": given.cotangent}.items()
                if array is not None
            },
            "expected": {name: value for part in clauses for name, value in _EXPECTED[part](case).items()},
            "may_refuse": may_refuse,
        }


def _expected_y(case: Case) -> dict[str, Any]:
    given = operands(case)
    if case.recipe == "lattice":
        return {"y": to_json(oracle.forward(case, given))}
    return {"y": _bounded(bounds.forward(case, given, bounds.UNIT_ROUNDOFF[case.dtype]))}


def _expected_gradients(case: Case) -> dict[str, Any]:
    given = operands(case)
    if case.recipe == "lattice":
        return {f"g{name}": to_json(g) for name, g in oracle.gradients(case, given).items()}
    judged = bounds.gradients(case, given, bounds.UNIT_ROUNDOFF[case.dtype])
    return {f"g{name}": _bounded(one) for name, one in judged.items()}


_EXPECTED = {"y": _expected_y, "gradients": _expected_gradients}


def _bounded(judged: bounds.Judged) -> dict[str, Any]:
    """What is right with its bounds, rounded up to 24 bits: their last bits differ from one processor to another."""
    want, bound = judged
    fraction, exponent = np.frexp(bound)
    return {**to_json(want), "bound": to_json(np.ldexp(np.ceil(np.ldexp(fraction, 24)), exponent - 24))["data"]}


def _is_portable(example: Malformed) -> bool:
    """Whether every language can say the call: forward, small and real, in integers and words."""
    values = [v for value in example.attributes.values() for v in (value if isinstance(value, tuple) else (value,))]
    real = _fits(example.base) and not any(dtype.startswith("complex") for dtype in example.dtypes.values())
    return (
        example.program == "conv1d"
        and real
        and all(isinstance(v, str) or (type(v) is int and abs(v) <= _LARGEST_INTEGER) for v in values)
    )


def _malformed() -> Iterator[dict[str, Any]]:
    for _, check in catalog.checks():
        if check.body is is_refused:
            for example in filter(_is_portable, check.select(())):
                call = example.call()
                yield {
                    "facts": example.facts(),
                    "clauses": {"y": [check.clause]},
                    "arguments": dict(call.attributes),
                    "operands": {
                        name: {"dtype": array.dtype.name, **to_json(array)}
                        for name, array in call.arrays.items()
                        if array is not None
                    },
                    "expected": {"y": "error"},
                    "may_refuse": True,
                }


def corpus(seed: int) -> dict[str, Any]:
    """Every vector of a seed, each with an id made of its first clause."""
    vectors: list[dict[str, Any]] = []
    taken: dict[str, int] = {}
    for vector in (*_legal(seed), *_malformed()):
        first = next(iter(vector["clauses"].values()))[0].lower()
        taken[first] = taken.get(first, 0) + 1
        vectors.append({"id": f"{first}-{taken[first]}", **vector})
    return {"schema": SCHEMA, "suite": conv1d_cts.__version__, "seed": seed, "vectors": vectors}


def write(folder: Path, seed: int) -> Path:
    """Write the corpus, one vector a line; the folder exists."""
    whole = corpus(seed)
    vectors = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in whole.pop("vectors"))
    path = folder / FILE
    path.write_text(json.dumps(whole)[:-1] + ', "vectors": [\n' + vectors + "\n]}\n", encoding="utf-8")
    return path
