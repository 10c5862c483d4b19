"""Chapter ACC, continued: the ends of the range of numbers and the way to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from conv1d_cts.conformance import bounds, judge, oracle
from conv1d_cts.conformance.accuracy import (
    Within,
    few_terms,
    forward_within,
    gradients_within,
    halves_under_zeros,
    judged_forward,
    judged_gradients,
    own_unit,
    recipe,
    single_product,
    single_unit,
)  # fmt: skip
from conv1d_cts.conformance.backend import Flaw, Surface, Violation, call_of, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.edges import long_filters
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.recipes import Operands, most_products, operands
from conv1d_cts.conformance.values import VJP, non_empty, operand_names
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES

# The binary exponents of normal numbers; of float64 those that the judge's error-free products survive (Theorem 5).
_EXPONENTS = {"float16": (-14, 15), "bfloat16": (-126, 127), "float32": (-126, 127), "float64": (-960, 960)}
_SMALL = 2.0**-7  # makes lattice values so small that what they are multiplied with may be large


def _scaled(array: bounds.Array, scale: float) -> bounds.Array:
    return (array.astype(np.float64) * scale).astype(array.dtype)


def _near_the_largest(array: bounds.Array, terms: bounds.Array) -> bounds.Array:
    """An operand, or a cotangent, so much larger that twice it and twice what its terms add up to are just in range."""
    half, most = bounds.largest(array.dtype.name) / 2, float(abs(array.astype(np.float64)).max())
    return _scaled(array, min(half / max(float(terms.max()), _SMALL), half / most))


def large_sums_stay_finite(surface: Surface, case: Case) -> None:
    """Where S is just below the largest finite number of the dtype, y is finite: of large weights, or of samples."""
    given = replace(operands(case), b=None)
    small, large = "xw" if case.seed % 2 else "wx"
    reduced: dict[str, Any] = {small: _scaled(getattr(given, small), _SMALL)}
    given = replace(given, **reduced)
    enlarged: dict[str, Any] = {large: _near_the_largest(getattr(given, large), oracle.absolute_sum(case, given))}
    given = replace(given, **enlarged)
    _all_finite(surface.conv1d(case, given), "y", case.dtype)


def large_samples_stay_finite(surface: Surface, case: Case) -> None:
    """Samples as large as there are, and small weights that are all alike: products are added up, and never samples."""
    given = operands(case)
    x = (np.sign(given.x.astype(np.float64)) * bounds.largest(case.dtype)).astype(given.x.dtype)
    _all_finite(surface.conv1d(case, replace(given, x=x, w=np.full_like(given.w, _SMALL), b=None)), "y", case.dtype)


def _all_finite(got: bounds.Array, name: str, dtype: str) -> None:
    if not np.isfinite(got).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(got))[0])
        flaw = Flaw("value", got, 0.0, at, bounds.largest(dtype))
        message = f"{name}: a sum whose absolute terms add up to a finite number overflowed"
        raise Violation(message, "finite", got[at], flaw)


def large_gradients_stay_finite(surface: Surface, case: Case) -> None:
    """Each gradient alone, where the cotangent brings its S just below the largest finite number of the dtype."""
    given = operands(case)
    given = replace(given, x=_scaled(given.x, _SMALL), w=_scaled(given.w, _SMALL))
    b = None if given.b is None else abs(given.b)
    for name, terms in oracle.vjp(case, abs(given.x), abs(given.w), b, abs(given.cotangent)).items():
        cotangent = _near_the_largest(given.cotangent, terms)
        _all_finite(surface.vjp(case, replace(given, cotangent=cotangent), name)[name], f"g{name}", case.dtype)


def _short_sums_of_zeros(case: Case) -> bool:
    """Sums so short, those of gw and gb too, that their bound in any dtype is below S."""
    return non_empty(case) and case.padding_mode == "zeros" and most_products(case.geometry) <= 64


# The plainest layers: who transforms short kernels adds up multiples of samples, which overflow where y does not.
_DENSE_HALVES = [
    Case(Geometry(2, c_in, 3, 14, kernel), "float16", False, seed=seed)
    for c_in, kernel, seed in product((1, 4, 8), (3, 5), (0, 1))
]
test_acc_6_overflow = tries(
    "ACC-6", large_sums_stay_finite, lambda c: few_terms(c) and c.padding_mode == "zeros", own=_DENSE_HALVES,
    prepare=lambda c: replace(c, bias=False, recipe="lattice"),
)  # fmt: skip
test_acc_6_equal_weights = tries(
    "ACC-6", large_samples_stay_finite, _short_sums_of_zeros, own=_DENSE_HALVES,
    prepare=lambda c: replace(c, bias=False, recipe="lattice"), sampled=True,
)  # fmt: skip
test_acc_6_overflow_in_gradients = tries(
    "ACC-6", large_gradients_stay_finite, _short_sums_of_zeros, own=_DENSE_HALVES, prepare=recipe("lattice"),
    extra={"function": "vjp"}, sampled=True,
)  # fmt: skip


def _finite_only(got: bounds.Array, judged: bounds.Judged, name: str) -> Accuracy:
    """How near the finite elements came to their bounds; an infinity or NaN is not judged."""
    want, bound = judged
    judge.same_shape(got, want.shape, name)
    return judge.within(got, (want, np.where(np.isfinite(got), bound, np.inf)), name)


def _with_largest(case: Case, names: tuple[str, ...]) -> Operands:
    """Samples and weights of 1 and -1, and in one place of each operand named, in all of its channels, the largest.

    Their sums overflow or cancel, by the signs that fall together and by the order of summation.
    """
    given, rng = operands(case), np.random.default_rng(case.seed)
    signs = {name: np.sign(getattr(given, name).astype(np.float64)).astype(given.x.dtype) for name in "xw"}
    given = replace(given, **signs)
    for name in names:
        array = getattr(given, name).copy()
        place = (
            (slice(None),)
            if name == "b"
            else (int(rng.integers(array.shape[0])), slice(None), int(rng.integers(array.shape[2])))
        )
        largest = rng.choice([-1, 1], array[place].shape) * bounds.largest(case.dtype)
        array[place] = largest.astype(array.dtype)
        given = replace(given, **{name: array})
    return given


def overflow_is_no_number(*names: str) -> Callable[[Surface, Case], Accuracy]:
    """A body: beside sums that overflow, y is within its bound wherever it is finite: no saturation, no remainder."""

    def body(surface: Surface, case: Case) -> Accuracy:
        return judged_forward(surface, case, _with_largest(case, names), own_unit(case.dtype), _finite_only)

    return body


def overflow_in_gradients(surface: Surface, case: Case) -> Accuracy:
    """The same of gx, gw and gb, with the largest finite numbers in the cotangent."""
    return judged_gradients(surface, case, _with_largest(case, ("cotangent",)), own_unit(case.dtype), _finite_only)


def overflow_in_tangents(surface: Surface, case: Case) -> Accuracy:
    """The same of the tangent of y, with the largest finite numbers in x."""
    given, names = _with_largest(case, ("x",)), operand_names(case)
    got = require(surface.answer(call_of(case, given, "jvp", names)).results[0], "the tangent")
    return _finite_only(got, bounds.tangent(case, given, names), "the tangent")


_FILTERS = tuple(replace(case, recipe="lattice") for case in long_filters())


def _overflows_in_the_oracles_range(case: Case) -> bool:
    return (few_terms(case) or case in _FILTERS) and case.padding_mode == "zeros" and case.dtype != "float64"


test_acc_6_largest_samples = tries(
    "ACC-6", overflow_is_no_number("x"), _overflows_in_the_oracles_range, own=_FILTERS, prepare=recipe("lattice"),
    sampled=True,
)  # fmt: skip
test_acc_6_largest_weights = tries(
    "ACC-6", overflow_is_no_number("w"), _overflows_in_the_oracles_range, prepare=recipe("lattice"), sampled=True
)
test_acc_6_largest_bias = tries(
    "ACC-6", overflow_is_no_number("x", "b"), _overflows_in_the_oracles_range,
    prepare=lambda c: replace(c, bias=True, recipe="lattice"), sampled=True,
)  # fmt: skip
test_acc_6_largest_cotangents = tries(
    "ACC-6", overflow_in_gradients, _overflows_in_the_oracles_range, own=_FILTERS, prepare=recipe("lattice"), extra=VJP,
    sampled=True,
)  # fmt: skip
test_acc_6_largest_samples_in_tangents = tries(
    "ACC-6", overflow_in_tangents, _overflows_in_the_oracles_range, own=_FILTERS, prepare=recipe("lattice"),
    extra={"function": "jvp", "wrt": "xwb"}, sampled=True,
)  # fmt: skip


def _subnormal_in(case: Case, name: str) -> tuple[Operands, Any]:
    """Operands of 1, a bias of 0 where it is not looked at, and everywhere in one of them the smallest subnormal."""
    given = operands(case)
    tiny = given.x.dtype.type(bounds.smallest_subnormal(case.dtype))
    one = Operands(np.ones_like(given.x), np.ones_like(given.w), None, np.ones_like(given.cotangent))
    if name == "b":
        return replace(one, x=np.zeros_like(given.x), b=np.full(case.geometry.c_out, tiny)), tiny
    return replace(one, **{name: np.full_like(getattr(one, name), tiny)}), tiny


def _kept(case: Case, place: str, results: list[bounds.Array], tiny: Any) -> str:
    """What became of the subnormals. Raises Violation where it is neither they nor zeros."""
    found = np.concatenate([result.ravel() for result in results])
    if not np.isin(found, [0, tiny]).all():
        raise Violation(f"the smallest subnormal in {place}, times 1, is neither itself nor 0", tiny, found[0])
    what = "kept" if (found == tiny).all() else "flushed to zero" if (found == 0).all() else "both"
    return f"{case.dtype}: in {place} {what}"


def subnormals(name: str) -> Callable[[Surface, Case], str]:
    """A body: whether the smallest subnormal in an operand, times 1 or added to 0, comes back in y."""

    def body(surface: Surface, case: Case) -> str:
        given, tiny = _subnormal_in(case, name)
        return _kept(case, name, [surface.conv1d(case, given)], tiny)

    return body


def subnormal_cotangents(surface: Surface, case: Case) -> str:
    """Whether the smallest subnormal in gy, times 1, comes back in gx."""
    given, tiny = _subnormal_in(case, "cotangent")
    return _kept(case, "gy", [surface.vjp(case, given, "xw")["x"]], tiny)


def _any_single_product(case: Case) -> Case:
    return single_product(case.dtype)(case)


def _single_product_in_gx(case: Case) -> Case:
    return _any_single_product(case).with_geometry(c_out=case.geometry.groups, stride=1)


test_acc_7_subnormal_samples = tries("ACC-7", subnormals("x"), non_empty, prepare=_any_single_product, sampled=True)
test_acc_7_subnormal_weights = tries("ACC-7", subnormals("w"), non_empty, prepare=_any_single_product, sampled=True)
test_acc_7_subnormal_bias = tries(
    "ACC-7", subnormals("b"), non_empty, prepare=lambda c: replace(_any_single_product(c), bias=True), sampled=True
)
test_acc_7_subnormal_cotangents = tries(
    "ACC-7", subnormal_cotangents, non_empty, prepare=_single_product_in_gx,
    extra={"function": "vjp", "wrt": "xw"}, sampled=True,
)  # fmt: skip
test_acc_8_wide_exponents = tries("ACC-8", forward_within(own_unit), non_empty, prepare=recipe("wide"))
test_acc_8_wide_exponents_in_gradients = tries(
    "ACC-8", gradients_within(own_unit), non_empty, prepare=recipe("wide"), extra=VJP
)


def scaled_tangents(surface: Surface, case: Case) -> None:
    """Along directions that are powers of two smaller or larger the tangent of y is so many times smaller or larger."""
    given, names = operands(case), operand_names(case)
    for power in _POWERS:
        tangents = {name: _scaled(given.tangents[name], 2.0**power) for name in names}
        scaled = replace(given, tangents=tangents)
        got = require(surface.answer(call_of(case, scaled, "jvp", names)).results[0], "the tangent")
        judge.equal(got, oracle.tangent(case, scaled, names), f"the tangent along directions times 2^{power}")


def scaled_cotangents(surface: Surface, case: Case) -> None:
    """So are the gradients, as of a loss that is scaled."""
    given, names = operands(case), operand_names(case)
    for power in _POWERS:
        scaled = replace(given, cotangent=_scaled(given.cotangent, 2.0**power))
        want = oracle.gradients(case, scaled)
        for name, got in surface.vjp(case, scaled, names).items():
            judge.equal(got, want[name], f"g{name} of a cotangent times 2^{power}")


_POWERS = (-60, 40)
_EXACT = [Case(Geometry(2, 2, 3, 9, 3), dtype, bias=False, seed=2) for dtype in ("float32", "float64", "bfloat16")]
_of_powers = partial(tries, "ACC-8", telling=lambda c: c in _EXACT, own=_EXACT, minimum=1)
test_acc_8_scaled_tangents = _of_powers(scaled_tangents, extra={"function": "jvp", "wrt": "xw"})
test_acc_8_scaled_cotangents = _of_powers(scaled_cotangents, extra={"function": "vjp", "wrt": "xw"})


def _in_range(case: Case) -> Within:
    """How a result of uneven operands is judged: float16 alone may overflow on them."""
    return _finite_only if case.dtype == "float16" else judge.within


def uneven_within(unit: Callable[[str], float]) -> Callable[[Surface, Case], Accuracy]:
    """A body: y is within its bound beside others that are larger by powers of two."""

    def body(surface: Surface, case: Case) -> Accuracy:
        return judged_forward(surface, case, operands(case), unit(case.dtype), _in_range(case))

    return body


def uneven_gradients_within(unit: Callable[[str], float]) -> Callable[[Surface, Case], Accuracy]:
    """A body: so are gx, gw and gb."""

    def body(surface: Surface, case: Case) -> Accuracy:
        return judged_gradients(surface, case, operands(case), unit(case.dtype), _in_range(case))

    return body


# Each operand by turns with parts that are far apart, in every dtype: who scales all by the largest loses the small.
_UNEVEN = [
    Case(Geometry(n, 2, 3, length, 3), dtype, seed=seed)
    for dtype, (n, length), seed in product(_EXPONENTS, ((1, 4), (3, 9)), range(5))
]
# Sums as long as blocks, and gradients of samples that several padded positions show.
_UNEVEN_LONG = [Case(Geometry(2, 2, 3, length, 3), seed=seed) for length, seed in product((75, 300), range(5))]
_UNEVEN_MODES = [
    Case(Geometry(2, 2, 3, 12, 3, padding=pads), padding_mode=mode, seed=seed)
    for mode, pads, seed in product(PADDING_MODES[1:], ((1, 5), (5, 1)), (3, 4))
]
_FURTHER = [replace(case, recipe="uneven") for case in (*_UNEVEN_LONG, *_UNEVEN_MODES)]
_uneven = partial(tries, own=_UNEVEN, prepare=recipe("uneven"), sampled=True)
test_acc_5_uneven_rows = _uneven(
    "ACC-5", uneven_within(single_unit), halves_under_zeros, prepare=lambda c: replace(c, recipe="uneven", bias=False)
)
test_acc_5_uneven_rows_in_gradients = _uneven(
    "ACC-5", uneven_gradients_within(single_unit), halves_under_zeros, extra=VJP
)
test_acc_8_uneven_rows = _uneven("ACC-8", uneven_within(own_unit), _short_sums_of_zeros)
test_acc_8_uneven_rows_in_gradients = _uneven(
    "ACC-8", uneven_gradients_within(own_unit), lambda c: _short_sums_of_zeros(c) or c in _FURTHER,
    own=[*_UNEVEN, *_FURTHER], extra=VJP,
)  # fmt: skip


def equal_weights_within(surface: Surface, case: Case) -> Accuracy:
    """Y is within its bound where all weights are 1, as in a moving average: no running sum carries old errors on."""
    given = operands(case)
    return judged_forward(surface, case, replace(given, w=np.ones_like(given.w)), own_unit(case.dtype))


def _moving_averages() -> Iterator[Case]:
    for kernel, channels in product((2, 3, 5, 9, 17, 33), (1, 3)):
        yield Case(Geometry(2, channels, channels, kernel + 30, kernel, groups=channels), bias=False, seed=kernel)


test_acc_8_equal_weights = tries(
    "ACC-8", equal_weights_within, non_empty, own=_moving_averages(), prepare=recipe("wide"), sampled=True
)


def _every_exponent(case: Case, name: str, subnormal: bool = True) -> Operands:
    """Operands of 1, and in one of them exponents over the range of normal numbers; its first is a subnormal, or 0."""
    given, rng = operands(case), np.random.default_rng(case.seed)
    lowest, highest = _EXPONENTS[case.dtype]
    shape = getattr(given, name).shape
    drawn = rng.uniform(1, 2 - 2**-7, shape) * rng.choice([-1, 1], shape)
    spread = np.ldexp(drawn, rng.integers(lowest, highest, shape, endpoint=True)).astype(given.x.dtype)
    spread.flat[0] = bounds.smallest_subnormal(case.dtype) if subnormal else 0
    one = Operands(np.ones_like(given.x), np.ones_like(given.w), None, np.ones_like(given.cotangent))
    return replace(one, **{name: spread})


def every_exponent_within(name: str) -> Callable[[Surface, Case], Accuracy]:
    """A body: a normal number of any exponent in an operand, times 1, comes back within its bound.

    Beside a subnormal, which may come back as 0: who scales an operand by its smallest number loses the large.
    """

    def body(surface: Surface, case: Case) -> Accuracy:
        want, bound = bounds.forward(case, _every_exponent(case, name, subnormal=False), own_unit(case.dtype))
        got = surface.conv1d(case, _every_exponent(case, name))
        return judge.within(got, (want, bound + bounds.smallest_subnormal(case.dtype)), "y")

    return body


def every_exponent_within_gx(surface: Surface, case: Case) -> Accuracy:
    """The same of gx, where the cotangent has every exponent."""
    given = _every_exponent(case, "cotangent", subnormal=False)
    judged = bounds.gradients(case, given, own_unit(case.dtype))["x"]
    return judge.within(surface.vjp(case, given, "x")["x"], judged, "gx")


test_acc_8_every_exponent_in_x = tries(
    "ACC-8", every_exponent_within("x"), non_empty, prepare=_any_single_product, sampled=True
)
test_acc_8_every_exponent_in_w = tries(
    "ACC-8", every_exponent_within("w"), non_empty, prepare=_any_single_product, sampled=True
)
test_acc_8_every_exponent_in_gradients = tries(
    "ACC-8", every_exponent_within_gx, non_empty, prepare=_single_product_in_gx,
    extra={"function": "vjp", "wrt": "x"}, sampled=True,
)  # fmt: skip
