"""The fingerprint: exact rounding, sums as matrices, and every emulator in its class."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from conv1d_cts import reference
from conv1d_cts.conformance import oracle
from conv1d_cts.conformance.arithmetic.fingerprint import FORWARD, SIZES, fingerprint
from conv1d_cts.conformance.arithmetic.formats import rounded, significand
from conv1d_cts.conformance.arithmetic.sums import QUANTITIES, Request, Sums
from conv1d_cts.conformance.arithmetic.words import rows, sentence
from conv1d_cts.conformance.backend import Refused
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.recipes import Operands
from conv1d_cts.conformance.test_arithmetic import Subject
from conv1d_cts.spec.geometry import Geometry
from tests.classes import SMALL, classify, long_sums, right_class
from tests.emulators.bank import EMULATORS, emulator
from tests.in_process import InProcess

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize(("function", "bias"), [("conv1d", False), ("vjp", True)])
def test_the_arithmetic_of_results_is_asked_without_a_bias(function: str, bias: bool) -> None:
    assert Subject("float32", function).facts()["bias"] is bias


class Exact:
    """The reference itself, counting its calls."""

    calls = 0

    def conv1d(self, case: Case, operands: Operands) -> Array:
        self.calls += 1
        return oracle.forward(case, operands)

    def vjp(self, case: Case, operands: Operands, wrt: str) -> dict[str, Array]:
        self.calls += 1
        return {name: g for name, g in oracle.gradients(case, operands).items() if name in wrt}


@pytest.mark.parametrize("bits", [8, 11, 24, 53])
def test_rounding_by_integers_is_that_of_the_formats(bits: int) -> None:
    rng = np.random.default_rng(bits)
    for _ in range(200):
        exact = Fraction(int(rng.integers(1, 2**62)), int(rng.integers(1, 2**30)))
        got = rounded(exact, bits)
        if bits == 53:
            assert got == exact.numerator / exact.denominator
        if bits == 24 and Fraction(float(exact)) == exact:
            assert got == float(np.float32(float(exact)))
        low = rounded(exact, bits, nearest=False)
        assert low <= exact < low * (1 + Fraction(2) ** (1 - bits))
        assert abs(Fraction(got) - exact) <= exact * Fraction(2) ** -bits


def test_a_significand_needs_all_its_bits() -> None:
    for bits in range(2, 54):
        value = significand(bits)
        assert 1 <= value < 2
        assert (value * 2 ** (bits - 1)) % 2 == 1


@pytest.mark.parametrize(
    "geometry",
    [Geometry(4, 8, 8, 26, 3), Geometry(8, 16, 12, 50, 3), Geometry(3, 5, 7, 13, 6), Geometry(1, 1, 1, 1, 1)],
)
@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_every_quantity_is_a_matrix_of_sums(geometry: Geometry, quantity: str, dtype: str) -> None:
    rng, exact = np.random.default_rng(0), Exact()
    sums = Sums(exact, Case(geometry, dtype=dtype), quantity)
    requests = []
    for _ in range(4):
        heights, widths = rng.integers(1, 12, 2)
        right = np.ones((sums.n, widths)) if quantity == "gb" else rng.integers(-3, 4, (sums.n, widths))
        requests.append(Request(rng.integers(-3, 4, (heights, sums.n)), right))
    for request, got in zip(requests, sums.solve(requests), strict=True):
        assert np.array_equal(got, request.left @ request.right)
    assert exact.calls <= sum(-(-r.left.shape[0] // sums.rows) * -(-r.right.shape[1] // sums.columns) for r in requests)


def test_small_requests_share_one_call() -> None:
    exact = Exact()
    sums = Sums(exact, Case(Geometry(8, 16, 16, 26, 3), dtype="float64"), "y")
    sums.solve([Request(np.ones((5, sums.n)), np.ones((sums.n, 3))) for _ in range(5)])
    assert exact.calls == 1


@pytest.mark.parametrize("name", list(EMULATORS))
def test_an_emulator_gets_its_class(name: str) -> None:
    """With sums of another length for each; `python -m tests.classes` does a hundred seeds."""
    seed = list(EMULATORS).index(name) % 12
    found = classify(name, seed)
    assert found.name == right_class(name), [(o.facts.quantity, o.facts.n, o.name, o.why) for o in found.observations]


def test_the_lengths_of_sums_run_from_1_to_4096() -> None:
    lengths = [
        Sums(Exact(), Case(geometry), quantity).n
        for geometry, quantities in map(long_sums, range(100))
        for quantity in quantities
    ]
    assert min(lengths) <= 2
    assert max(lengths) >= 3000


@pytest.mark.parametrize(
    ("name", "quantity", "fact", "value"),
    [
        ("fp32_serial", "y", "sum bits", 24),
        ("fp32_in_fp64", "gx", "sum bits", 53),
        ("fp16_in_fp32", "gw", "sum bits", 24),
        ("bf16_in_bf16", "gb", "sum bits", 8),
        ("fp32_truncating", "y", "sum rounding", "truncated"),
        ("fp32_pairwise", "gb", "sum rounding", "nearest"),
        ("fp32_serial", "gw", "products in sums", "rounded first"),
        ("fp32_serial_fma", "gw", "products in sums", "fused"),
        ("fp16_in_fp32", "y", "products in sums", "exact"),
        ("fp32_tf32", "gx", "left operand bits", 11),
        ("fp32_bf16", "y", "right operand bits", 8),
        ("fp32_serial", "y", "result rounding", "nearest, ties to even"),
        ("bf16_truncated_result", "y", "result rounding", "truncated"),
        ("fp32_flushing_operands", "gw", "subnormal left operand", "flushed"),
        ("fp32_flushing_operands", "gw", "subnormal right operand", "flushed"),
        ("fp32_flushing_results", "gx", "subnormal result", "flushed"),
        ("fp32_flushing_results", "gx", "subnormal left operand", "kept"),
        ("fp32_fp16", "y", "range of exponents", False),
        ("fp32_winograd_2", "y", "sums of products", False),
        ("fp64", "gx", "left operand bits", 53),
        ("fp64_through_fp32", "y", "left operand bits", 24),
    ],
)
def test_a_fact_is_what_the_emulator_does(name: str, quantity: str, fact: str, value: object) -> None:
    backend = emulator(name)
    (found,) = fingerprint(InProcess(backend), backend.dtypes[0], (quantity,), (SMALL,)).observations
    assert found.facts.value(fact) == value, found.facts.found[fact]


def test_what_needs_more_products_than_there_are_is_unknown() -> None:
    (found,) = fingerprint(
        InProcess(emulator("fp32_serial")), "float32", ("y",), (Geometry(1, 1, 1, 1, 1),)
    ).observations
    assert found.facts.unknown == {
        "result rounding": "needs 2 products, a sum has 1",
        "sum bits": "needs 3 products, a sum has 1",
        "products in sums": "needs 4 products, a sum has 1",
    }
    assert found.name == "ieee"


class Mortal(Exact):
    """Refuses, or dies, after so many calls."""

    def __init__(self, after: int, end: Exception) -> None:
        self.after, self.end = after, end

    def conv1d(self, case: Case, operands: Operands) -> Array:
        if self.calls >= self.after:
            raise self.end
        return super().conv1d(case, operands).astype(operands.x.dtype)


REFUSAL = Refused({"type": "RuntimeError", "message": "no", "where": ""})


def test_a_dtype_that_is_refused_is_refused() -> None:
    with pytest.raises(Refused):
        fingerprint(Mortal(0, REFUSAL), "float64", FORWARD)


@pytest.mark.parametrize("end", [REFUSAL, Died("crash", "SIGSEGV")])
def test_a_probe_without_an_answer_leaves_facts_unknown(end: Exception) -> None:
    found = fingerprint(Mortal(1, end), "float64", FORWARD, SIZES[:1])
    (observation,) = found.observations
    assert observation.facts.unknown == {"probes": f"no answer: {end}"}
    assert found.name == "unknown"
    assert "unknown" in sentence("float64", found.observations)


def test_a_death_in_the_sums_of_random_signs_is_a_fact_too() -> None:
    (observation,) = fingerprint(Mortal(0, Died("crash", "SIGSEGV")), "float64", FORWARD, SIZES[:1]).observations
    assert observation.facts.unknown["random signs"] == "no answer: crash: SIGSEGV"
    assert observation.moment is None


def test_integers_modulo_a_power_of_two_and_through_floats() -> None:
    class Integer(Exact):
        def __init__(self, through: type | None) -> None:
            self.through = through

        def conv1d(self, case: Case, operands: Operands) -> Array:
            through = self.through or operands.x.dtype
            given = Operands(operands.x.astype(through), operands.w.astype(through), None, operands.cotangent)
            with np.errstate(invalid="ignore", over="ignore"):
                return reference.conv1d(given.x, given.w).astype(operands.x.dtype)

    for dtype in ("int8", "uint8", "int16", "int32", "int64"):
        assert fingerprint(Integer(None), dtype, FORWARD).name == "exact"
    found = fingerprint(Integer(np.float32), "int32", FORWARD)
    assert found.name == "ieee"
    assert sentence("int32", found.observations).startswith("int32 conv1d computed exactly below 16777217")


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("fp32_tf32", "computed in TF32: 11-bit operands (10 of them stored), 24-bit sums"),
        ("fp32_serial", "computed in IEEE arithmetic: 24-bit operands, 24-bit sums, rounded to nearest"),
        ("fp16_in_fp16", "accumulated in float16 itself: 11-bit operands, 11-bit sums, rounded to nearest"),
        ("fp32_fft", "computed by a transform (Winograd's, Fourier's): errors scale with the largest operands"),
    ],
)  # fmt: skip
def test_a_class_in_plain_words(name: str, want: str) -> None:
    backend = emulator(name)
    found = fingerprint(InProcess(backend), backend.dtypes[0], ("y", "gx"), (SMALL,))
    assert sentence(found.dtype, found.observations) == f"{found.dtype} conv1d {want}"


def test_a_row_of_the_certificate() -> None:
    found = fingerprint(InProcess(emulator("fp32_tf32")), "float32", ("y", "gb"), (SMALL,))
    (row,) = rows({("functional", "float32"): [found]}, {"float32": "the switch"})
    assert (row["class"], row["switch"]) == ("tf32", "the switch")
    y, gb = row["quantities"]
    assert (y["quantity"], y["class"], gb["quantity"], gb["class"]) == ("y", "tf32", "gb", "ieee")
    assert y["why"].startswith("not ieee: left operand bits 11 of 24")
    assert row["text"].startswith("float32 conv1d: y computed in TF32")
    assert row["text"].partition("; ")[2].startswith("gb computed in IEEE arithmetic")
