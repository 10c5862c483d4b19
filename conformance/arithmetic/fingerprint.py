"""The fingerprint of one dtype on one surface: every probe on every size, the facts, the class (chapter ARITH)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from conv1d_cts.conformance.arithmetic import probes, probes_of_sums, samples
from conv1d_cts.conformance.arithmetic.classes import classify, loosest
from conv1d_cts.conformance.arithmetic.facts import Fact, Facts
from conv1d_cts.conformance.arithmetic.formats import format_of
from conv1d_cts.conformance.arithmetic.integers import fingerprint_integers
from conv1d_cts.conformance.arithmetic.moments import Moment, Units, signed
from conv1d_cts.conformance.arithmetic.probes import Place, Probe
from conv1d_cts.conformance.arithmetic.samples import Sample
from conv1d_cts.conformance.arithmetic.sums import Evaluator, Sums
from conv1d_cts.conformance.backend import Refused, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.spec.geometry import Geometry

# Sums of 48 and of 384 products (for gw and gb of 192 in both): libraries have other kernels for other sizes.
SIZES = (Geometry(8, 16, 16, 26, 3), Geometry(4, 128, 128, 50, 3))
FORWARD, GRADIENTS = ("y",), ("gx", "gw", "gb")
_FIRST: tuple[tuple[int, Callable[[Place], Probe]], ...] = (  # the products that a probe needs, and the probe
    (1, probes.operands), (1, probes.subnormals), (2, probes_of_sums.result_rounding), (3, probes_of_sums.accumulator),
)  # fmt: skip
_OF_PRODUCTS: tuple[tuple[int, Callable[[Place], Probe]], ...] = (
    (1, probes.products), (1, probes.exponents), (1, probes.isolation), (4, probes_of_sums.products_in_sums),
)  # fmt: skip


@dataclass(frozen=True)
class Observation:
    """What was found of one quantity at one size: facts, the class, why no tighter one, errors on random signs.

    `moment` holds those errors against sums with the unit roundoff of the dtype.
    """

    facts: Facts
    name: str
    why: str
    moment: Moment | None = None


@dataclass(frozen=True)
class Fingerprint:
    """All observations of one dtype on one surface."""

    dtype: str
    observations: tuple[Observation, ...]

    @property
    def name(self) -> str:
        """The class: the loosest of those of the quantities and sizes."""
        return loosest([observation.name for observation in self.observations])

    @property
    def finding(self) -> str:
        """Dtype, quantities and class on one line."""
        quantities = dict.fromkeys(observation.facts.quantity for observation in self.observations)
        return f"{self.dtype} {', '.join(quantities)}: {self.name}"


def is_integer(dtype: str) -> bool:
    """Whether a dtype holds integers."""
    return dtype.startswith(("int", "uint"))


def fingerprint(
    evaluator: Evaluator, dtype: str, quantities: Sequence[str], sizes: Sequence[Geometry] = SIZES, seed: int = 0
) -> Fingerprint:
    """Put every probe to the quantities at each size. Raises Refused where the first plain call is refused."""
    found = [
        observation
        for size in sizes
        for observation in _observe(evaluator, Case(size, dtype=dtype, bias=False), quantities, seed)
    ]
    return Fingerprint(dtype, tuple(found))


def _observe(evaluator: Evaluator, case: Case, quantities: Sequence[str], seed: int) -> Iterator[Observation]:
    if is_integer(case.dtype):
        facts = fingerprint_integers(Sums(evaluator, case, "y"))
        yield Observation(facts, *_of_integers(facts))
        return
    errors, lost = _samples(evaluator, case, quantities, seed)
    for quantity in quantities:
        sums = Sums(evaluator, case, quantity)
        if not sums.rows or not sums.n:
            continue
        facts = _facts(sums)
        if lost:
            facts = replace(facts, found={**facts.found, "random signs": Fact("random signs", None, lost)})
        sample = errors.get(quantity)
        unit = 2.0 ** -format_of(case.dtype).bits
        moment = None if sample is None else sample.moment(Units(0.0, unit, unit))
        yield Observation(facts, *classify(facts, case.dtype, sample), moment)


def _of_integers(facts: Facts) -> tuple[str, str]:
    way = str(facts.value("integers"))
    name = "exact" if way.startswith("exactly modulo") else "ieee" if way.startswith("exactly below") else "fail"
    return name, "" if name == "exact" else f"not exact: {facts.found['integers'].evidence}"


def _samples(evaluator: Evaluator, case: Case, quantities: Sequence[str], seed: int) -> tuple[dict[str, Sample], str]:
    """The errors on random signs by quantity; and what the process died of, where it did.

    Raises Refused: a plain call of this dtype is not possible.
    """
    found: list[Sample] = []
    given, lost = signed(case, seed), ""
    try:
        if "y" in quantities:
            found.append(samples.sample_y(evaluator, case, given))
        wrt = "".join(quantity[1] for quantity in quantities if quantity != "y")
        if wrt:
            found += samples.sample_gradients(evaluator, replace(case, bias=True), given, wrt)
    except (Died, Violation) as problem:
        lost = f"no answer: {problem}"
    return {sample.quantity: sample for sample in found}, lost


def _facts(sums: Sums) -> Facts:
    """Rounds of probes: each asks what the answers before it call for."""
    place = Place(format_of(sums.case.dtype), sums.n, sums.quantity != "gb")
    wanted = (*_FIRST, *(_OF_PRODUCTS if place.right_is_free else ()))
    found = {f.name: f for f in _short_of_products(wanted, sums.n)}
    found |= _ask(sums, [probe(place) for least, probe in wanted if sums.n >= least])
    direct, bits = found.get(probes.DIRECT), found.get("sum bits")
    if direct is not None and direct.value is False:  # what was asked beside other probes was mixed with them
        found = {probes.DIRECT: direct} | _ask(sums, [probes.exponents(place)], together=False)
    elif bits is not None and bits.value is not None and not bits.evidence.endswith(probes_of_sums.EXACT):
        found |= _ask(sums, [probes_of_sums.sum_rounding(place, int(bits.value))])
    return Facts(sums.quantity, sums.n, found)


def _short_of_products(wanted: Sequence[tuple[int, Callable[[Place], Probe]]], n: int) -> Iterator[Fact]:
    for least, probe in wanted:
        if n < least:
            name = probe.__name__.replace("_", " ")
            yield Fact({"accumulator": "sum bits"}.get(name, name), None, f"needs {least} products, a sum has {n}")


def _ask(sums: Sums, asked: Sequence[Probe], together: bool = True) -> dict[str, Fact]:
    """The facts of some probes; unknown, with the reason, where they were refused or ended the process."""
    requests = [request for probe in asked for request in probe.requests]
    try:
        results = sums.solve(requests) if together else [sums.solve([request])[0] for request in requests]
    except (Refused, Died, Violation) as problem:
        return {"probes": Fact("probes", None, f"no answer: {problem}")}
    found: dict[str, Fact] = {}
    for probe in asked:
        own, results = results[: len(probe.requests)], results[len(probe.requests) :]
        found |= {fact.name: fact for fact in probe.read(own)}
    return found
