"""The arithmetic classes, tightest first, and the first of them that all observations satisfy (chapter ARITH)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from conv1d_cts.conformance.arithmetic.facts import NEAREST, NEAREST_EVEN, Facts
from conv1d_cts.conformance.arithmetic.formats import format_of
from conv1d_cts.conformance.arithmetic.moments import Units
from conv1d_cts.conformance.arithmetic.probes import DIRECT
from conv1d_cts.conformance.arithmetic.samples import Sample

FAIL, UNKNOWN, NORM_WISE = "fail", "unknown", "norm-wise"
NORM_WISE_BITS = 6  # what an arithmetic may lose against the norms of its operands and still be named after them


@dataclass(frozen=True)
class Class:
    """What an arithmetic of the class keeps: bits of operands, of sums; whether it rounds to nearest."""

    name: str
    operand_bits: int
    product_error: float
    sum_bits: int
    nearest_sums: bool
    nearest_result: bool
    units: Units


def _faithful(bits: int) -> float:
    """The unit roundoff of any rounding to one of the two neighbours among numbers of so many bits."""
    return 2.0 ** (1 - bits)


def candidates(dtype: str) -> tuple[Class, ...]:
    """The classes that a floating dtype may have, tightest first."""
    p = format_of(dtype).bits
    u = 2.0**-p
    storage = Class("storage-accumulate", p, _faithful(p), p, False, False, Units(0, _faithful(p), _faithful(p)))
    if p < 24:
        return (Class("ieee-fp32-accumulate", p, u, 24, False, True, Units(0, _faithful(24), u)), storage)
    ieee = Class("ieee", p, u, p, True, True, Units(0, u, u))
    return (ieee, storage, *(_SHORT if p == 24 else ()))


def _short(name: str, operand_bits: int, product_error: float, sum_bits: int) -> Class:
    """A class of float32 with shortened operands: each product within that error, sums of 24 bits or so."""
    units = Units(product_error / 2, _faithful(sum_bits), _faithful(24))
    return Class(name, operand_bits, product_error, sum_bits, False, False, units)


_SHORT = (
    _short("bf16x3", 16, 2.0**-14, 24),
    _short("tf32", 11, 2.0**-9 * (1 + 2.0**-10), 24),
    _short("bf16", 8, 2.0**-6 * (1 + 2.0**-7), 8),
)


def classify(facts: Facts, dtype: str, sample: Sample | None) -> tuple[str, str]:
    """The class of a quantity at one size, and why it is no tighter one (empty where it is the tightest)."""
    if all(fact.value is None for fact in facts.found.values()):
        return UNKNOWN, next((fact.evidence for fact in facts.found.values()), "nothing was probed")
    why = ""
    for candidate in candidates(dtype):
        reason = next(_against(candidate, facts, sample), "")
        if not reason:
            return candidate.name, why
        why = why or f"not {candidate.name}: {reason}"
    mixes, norms = facts.found.get(DIRECT), _norm_wise(dtype, facts, sample)
    return (NORM_WISE if mixes is not None and mixes.value is False and norms else FAIL), why


def _norm_wise(dtype: str, facts: Facts, sample: Sample | None) -> bool:
    limit = 2.0 ** (NORM_WISE_BITS - format_of(dtype).bits)
    return sample is not None and sample.norm_wise() <= limit and facts.value("range of exponents") is not False


def _against(candidate: Class, facts: Facts, sample: Sample | None) -> Iterator[str]:
    """What speaks against the class, the plainest first. What is unknown does not."""
    for name in ("range of exponents", DIRECT):
        if facts.value(name) is False:
            yield facts.found[name].evidence
    for name in ("left operand bits", "right operand bits"):
        yield from _below(facts, name, candidate.operand_bits)
    yield from _below(facts, "sum bits", candidate.sum_bits)
    error = facts.number("product error")
    if error is not None and error > candidate.product_error:
        yield facts.found["product error"].evidence
    if candidate.nearest_result:
        yield from _not_nearest(facts, "lone product", (NEAREST_EVEN,))
        yield from _not_nearest(facts, "result rounding", NEAREST)
    if candidate.nearest_sums:
        yield from _not_nearest(facts, "sum rounding", ("nearest",))
    found = sample.moment(candidate.units) if sample is not None else None
    if found is not None and not found.holds:
        yield (
            f"sums of {facts.n} products of random signs have a mean square error of {found.mean_square:.1e} of"
            f" what it may be, at most {found.limit:.1e}; the largest is {found.largest:.1e}"
        )


def _below(facts: Facts, name: str, bits: int) -> Iterator[str]:
    value = facts.number(name)
    if value is not None and value < bits:
        yield f"{name} {value:g} of {bits}: {facts.found[name].evidence}"


def _not_nearest(facts: Facts, name: str, ways: tuple[str, ...]) -> Iterator[str]:
    value = facts.value(name)
    if value is not None and value not in ways:
        yield f"{name} {value}: {facts.found[name].evidence}"


ORDER = (
    "exact", "ieee", "ieee-fp32-accumulate", "storage-accumulate", "bf16x3", "tf32", "bf16", NORM_WISE, FAIL,
)  # fmt: skip


def loosest(classes: list[str]) -> str:
    """The loosest of some classes; those that are unknown do not count unless all are."""
    known = [name for name in classes if name != UNKNOWN]
    return max(known, key=ORDER.index) if known else UNKNOWN
