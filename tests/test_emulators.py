"""The emulators are what they say: rounded once, in their order, and right where nothing rounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.reference import conv1d, conv1d_vjp
from tests.emulators.arithmetic import Arithmetic
from tests.emulators.bank import EMULATORS, HONEST, TRANSFORMS, emulator
from tests.emulators.rounding import BFLOAT16, BINARY16, BINARY32, TF32, Array, Format, rounded, sum_to_odd
from tests.emulators.transforms import winograd_matrices

ADAPTER = Path(__file__).parent / "emulators" / "adapter.py"
FORMATS = {"binary32": BINARY32, "tf32": TF32, "bfloat16": BFLOAT16, "binary16": BINARY16}


def of_fraction(exact: Fraction, to: Format, truncate: bool) -> float:
    """Round a rational number to the format, by integers alone."""
    if exact == 0:
        return 0.0
    exponent = to.emin
    while abs(exact) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    quantum = Fraction(2) ** (exponent - to.bits + 1)
    steps = int(abs(exact) / quantum) if truncate else round(abs(exact) / quantum)
    size = steps * quantum
    beyond = to.largest if truncate else float("inf")
    return (1 if exact > 0 else -1) * (float(size) if size <= Fraction(to.largest) else beyond)


def hard_triples(rng: np.random.Generator, count: int, to: Format) -> Iterator[tuple[float, float, float]]:
    """a, b, c in the format: sums far apart, close to ties, cancelling, subnormal, overflowing."""
    for _ in range(count):
        a, b = (float(rng.integers(1, 2**to.bits)) * 2.0 ** int(rng.integers(-20, 20)) for _ in range(2))
        scale = 2.0 ** int(rng.choice([0, 0, 0, to.emin, to.emax // 2 - to.bits]))
        a, b = a * scale, b * scale
        c = -a * b * 2.0 ** int(rng.choice([0, 0, 1, to.bits, -to.bits, 40, -40, 100])) * rng.choice([-1, 1])
        yield tuple(float(v) for v in rounded(np.array([a, b, c]), to))  # type: ignore[misc]  # three of them


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("truncate", [False, True])
def test_a_sum_and_a_fused_multiply_add_are_rounded_once(name: str, truncate: bool) -> None:
    to = FORMATS[name]
    triples = [t for t in hard_triples(np.random.default_rng(0), 700, to) if np.isfinite(t).all()]
    a, b, c = np.array(triples).T
    fused = rounded(sum_to_odd(a * b, c), to, truncate)
    added = rounded(sum_to_odd(a, c), to, truncate)
    assert len(triples) > 200
    for i, (p, q, r) in enumerate(triples):
        assert fused[i] == of_fraction(Fraction(p) * Fraction(q) + Fraction(r), to, truncate), triples[i]
        assert added[i] == of_fraction(Fraction(p) + Fraction(r), to, truncate), triples[i]


def test_rounding_to_odd_is_needed() -> None:
    # 1 + 2^-24 + 2^-80: rounded to float64 it is a tie, which nearest-even would send down to 1.
    total = sum_to_odd(np.array([1 + 2.0**-24]), np.array([2.0**-80]))
    assert rounded(total, BINARY32) == 1 + 2.0**-23
    assert rounded(np.array([1 + 2.0**-24]) + 2.0**-80, BINARY32) == 1


def test_rounding_agrees_with_the_types_that_there_are() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(10_000) * np.exp2(rng.integers(-160, 140, 10_000))
    half = rng.standard_normal(10_000) * np.exp2(rng.integers(-30, 18, 10_000))
    with np.errstate(over="ignore"):
        single = a.astype(np.float32)
        assert np.array_equal(rounded(a, BINARY32), single)
        assert np.array_equal(rounded(half, BINARY16), half.astype(np.float16))
        assert np.array_equal(rounded(single.astype(float), BFLOAT16), single.astype(ml_dtypes.bfloat16).astype(float))
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0])
    assert rounded(special, BINARY32).tobytes() == special.tobytes()
    assert rounded(np.array([1e-40, -1e-40, 2.0**-126]), BINARY32, flush=True).tolist() == [0, -0.0, 2.0**-126]


def data(rng: np.random.Generator, dtype: str, *shapes: tuple[int, ...]) -> list[Array]:
    return [rng.standard_normal(shape).astype(dtype_of(dtype)) for shape in shapes]


def test_serial_float32_is_that_of_numpy_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    x, w, g = data(rng, "float32", (2, 3, 20), (4, 3, 5), (2, 4, 16))
    backend = emulator("fp32_serial")
    want = np.zeros((2, 4, 16), np.float32)
    for c in range(3):
        for k in range(5):
            want = want + w[None, :, c, k, None] * x[:, None, c, k : k + 16]
    assert np.array_equal(backend.conv1d(x, w), want)
    gw = np.zeros((4, 3, 5), np.float32)
    for n in range(2):
        for i in range(16):
            gw = gw + g[n, :, i, None, None] * x[n, None, :, i : i + 5]
    assert np.array_equal(backend.gradients(x, w, w[:, 0, 0], g)[1], gw)


def test_no_two_arithmetics_are_the_same() -> None:
    x, w = data(np.random.default_rng(1), "float32", (3, 40, 50), (5, 40, 3))
    x *= np.float32(1e-6)  # in float16 these are subnormal
    single = [name for name in EMULATORS if name.startswith("fp32_") and "flushing" not in name]
    results = {name: emulator(name).conv1d(x, w).tobytes() for name in single}
    assert len(set(results.values())) == len(results) > 20


INEXACT = ("fp32_winograd_4", "fp32_fft")  # 1/24 and the roots of unity are no floats: integers come out close to exact
GEOMETRIES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 2, 7), (2, 2, 3), {}),
    ((2, 4, 9), (4, 2, 3), {"groups": 2, "padding": (2, 1)}),
    ((1, 2, 14), (2, 2, 3), {"stride": 2, "dilation": 3, "padding": "causal"}),
    ((2, 2, 9), (1, 2, 4), {"stride": 3, "padding": "same"}),
    ((1, 1, 3), (1, 1, 1), {"stride": 5}),
]


@pytest.mark.parametrize("name", list(EMULATORS))
def test_integers_come_out_exact(name: str) -> None:
    backend, rng = emulator(name), np.random.default_rng(0)
    dtype = dtype_of(backend.dtypes[0])
    for x_shape, w_shape, how in GEOMETRIES:
        x, w, b = (rng.choice([-1, 1], shape) for shape in (x_shape, w_shape, w_shape[:1]))
        operands = [(x * rng.integers(1, 3, x_shape)).astype(float), 1.0 * w, 1.0 * b]
        y = conv1d(*operands, **how)
        g = 1.0 * rng.choice([-1, 1], y.shape)
        native = [a.astype(dtype) for a in operands]
        got = (backend.conv1d(*native, **how), *backend.gradients(*native, g.astype(dtype), **how))
        for mine, right in zip(got, (y, *conv1d_vjp(*operands, g, **how)), strict=True):
            exact = np.rint(mine) if name in INEXACT else mine.astype(float)
            assert mine.dtype == dtype
            assert np.array_equal(exact, right), how


def test_winograds_matrices_are_exact_identities() -> None:
    for outputs, taps in ((2, 3), (3, 2), (4, 3), (3, 4)):
        a, g, b = (np.array([[Fraction(round(24 * float(v)), 24) for v in row] for row in m], dtype=object)
                   for m in winograd_matrices(outputs, taps))  # fmt: skip
        for i in range(outputs):
            for j in range(taps):
                assert [sum(a[i] * g[:, j] * b[:, p]) for p in range(outputs + taps - 1)] == [
                    int(p == i + j) for p in range(outputs + taps - 1)
                ]


def test_shortened_operands_keep_as_many_bits_as_they_say() -> None:
    one = np.ones((1, 1, 1), np.float32)
    kept = {"fp32_tf32": 11, "fp32_tf32_truncated": 11, "fp32_bf16": 8, "fp32_bf16_truncated": 8, "fp32_fp16": 11}
    for name, bits in kept.items():
        for other in (bits, bits + 1):
            probe = np.float32(1 + 2.0 ** (1 - other)) * one
            assert (emulator(name).conv1d(probe, one) == probe) == (other == bits), (name, other)


def test_the_parts_of_an_operand_hold_8_bits_each() -> None:
    x, one = data(np.random.default_rng(0), "float32", (1, 1, 1000))[0], np.ones((1, 1, 1), np.float32)
    lost = np.abs(emulator("fp32_bf16x3").conv1d(x, one) - x) / np.abs(x)
    assert 2.0**-19 < lost.max() <= 2.0**-17
    assert np.array_equal(emulator("fp32_bf16x6").conv1d(x, one), x)


def test_truncation_never_gains_and_flushing_loses_subnormals_alone() -> None:
    x = np.abs(data(np.random.default_rng(0), "float32", (1, 30, 9))[0])
    w = np.ones((1, 30, 1), np.float32)
    exact = conv1d(x.astype(float), w.astype(float))
    assert (emulator("fp32_truncating").conv1d(x, w) <= exact).all()
    tiny, one = np.full((1, 1, 1), 1e-40, np.float32), np.ones((1, 1, 1), np.float32)
    small = np.full((1, 1, 1), 1e-20, np.float32)
    assert emulator("fp32_flushing_operands").conv1d(tiny, one) == 0
    assert emulator("fp32_flushing_operands").conv1d(small, small) != 0
    assert emulator("fp32_flushing_results").conv1d(small, small) == 0
    assert emulator("fp32_serial").conv1d(tiny, one) == tiny


def test_an_empty_sum_is_zero() -> None:
    arithmetic = Arithmetic()
    assert arithmetic.dot([], "float32") == arithmetic.total([], "float32") == 0
    y = emulator("fp32_tree").conv1d(np.ones((1, 0, 4), np.float32), np.ones((2, 0, 3), np.float32))
    assert np.array_equal(y, np.zeros((1, 2, 2), np.float32))


def test_an_unknown_emulator_and_another_dtype_are_refused() -> None:
    with pytest.raises(LookupError, match="no emulator 'fp8'"):
        emulator("fp8")
    with pytest.raises(TypeError, match="fp32_fft has no float64"):
        emulator("fp32_fft").conv1d(np.ones((1, 1, 1)), np.ones((1, 1, 1)))


@pytest.mark.parametrize(("name", "verdict"), [("fp32_tree_fma", "pass"), ("fp32_bf16", "fail")])
def test_an_emulator_is_an_adapter_that_can_be_certified(
    name: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONV1D_CTS_EMULATOR", name)
    session = Session(Options(str(ADAPTER), profile="quick", python=sys.executable, shrink_seconds=0.0))
    try:
        assert session.name == name
        check = next(check for test, check in checks() if test.endswith("test_acc_1_gaussian"))
        assert session.run(check, "functional").verdict == verdict
    finally:
        session.close()


def test_the_bank_has_what_the_suite_is_judged_by() -> None:
    assert len(HONEST) >= 12
    assert set(TRANSFORMS) == {"fp32_winograd_2", "fp32_winograd_4", "fp32_fft"}
    assert len(EMULATORS) >= 30
