"""Chapter VAL: NaN, infinities and signed zeros, placed where a tap reads them and where none does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import chain, product
from typing import Any

import numpy as np

from conv1d_cts.conformance import judge, oracle
from conv1d_cts.conformance.backend import Surface, Violation
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import tries
from conv1d_cts.conformance.edges import long_filters, model_sized, named_pads, wide_pads
from conv1d_cts.conformance.isolation.arrange import LAYOUTS, SHARING
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.special import SPECIAL, agrees_around, chosen_place, is_right_elsewhere, shows_every_nan
from conv1d_cts.conformance.values import VJP, heavy, largest_extent, non_empty, operand_names, read_samples, with_bias
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES

Array = np.ndarray[Any, Any]
_SMALL = 256
_MODES = [mode for mode in PADDING_MODES if mode != "zeros"]


_BESIDE = {"x": ("w", "b", "cotangent"), "w": ("x", "b", "cotangent"), "b": (), "cotangent": ("x", "w")}


def _placed(case: Case, name: str, *values: complex) -> Operands:
    """The case's operands with `values` at chosen places of one of them, the others scaled below 1.

    So the largest finite number in the place of an infinity stays finite, and is seen.
    """
    given = _scaled(operands(case), _BESIDE[name])
    array = getattr(given, name).copy()
    for salt, value in enumerate(values):
        array[chosen_place(case, array.shape, salt)] = value
    return replace(given, **{name: array})


def _scaled(given: Operands, names: Iterable[str]) -> Operands:
    """Lattice operands with some of them times 2^-7: each sum is scaled alike, and stays exact."""
    arrays = {name: getattr(given, name) for name in names}
    return replace(given, **{n: a * a.dtype.type(2**-7) for n, a in arrays.items() if a is not None})


def _unread(case: Case) -> Array:
    """The samples that no tap reads: in a gap of the stride or the dilation, or after the last window."""
    return np.flatnonzero(~read_samples(case))


def _small_zeros(case: Case) -> bool:
    g = case.geometry
    return case.padding_mode == "zeros" and non_empty(case) and max(*g.x_shape, *g.w_shape, *g.y_shape) <= _SMALL


def _oracle(case: Case, given: Operands) -> Array:
    with np.errstate(invalid="ignore"):
        return oracle.forward(case, given)


def nan_reaches_its_readers(surface: Surface, case: Case) -> None:
    """Every output whose window reads the NaN is NaN."""
    given = _placed(case, "x", np.nan)
    shows_every_nan(surface.conv1d(case, given), _oracle(case, given), "y")


def complex_nan_is_seen(surface: Surface, case: Case) -> None:
    """So is every output that reads a number of which one part is NaN, and no other is changed."""
    for value in (complex(np.nan, 1), complex(1, np.nan)):
        given = _placed(case, "x", value)
        agrees_around(case, given, surface.conv1d(case, given), f"y around {value}")


def others_are_untouched(surface: Surface, case: Case) -> None:
    """No other output is changed by a NaN, nor by an infinity."""
    for value in SPECIAL:
        given = _placed(case, "x", value)
        is_right_elsewhere(surface.conv1d(case, given), _oracle(case, given), "y")


def unread_are_not_seen(surface: Surface, case: Case) -> None:
    """NaN and infinities in every sample that no tap reads change nothing."""
    given = operands(case)
    want = oracle.forward(case, given)
    for value in (np.nan, np.inf):
        x = given.x.copy()
        x[..., _unread(case)] = value
        judge.equal(surface.conv1d(case, replace(given, x=x)), want, f"y around unread samples of {value}")


def edges_are_shown_as_they_are(surface: Surface, case: Case) -> None:
    """A NaN or an infinity at either end of the input is in y where a mode shows it, and nowhere else."""
    n, channel, _ = chosen_place(case, case.geometry.x_shape, 0)
    for value, end in product((np.nan, np.inf), (0, -1)):
        given = _scaled(operands(case), _BESIDE["x"])
        x = given.x.copy()
        x[n, channel, end] = value
        placed = replace(given, x=x)
        judge.equal(surface.conv1d(case, placed), _oracle(case, placed), f"y beside {value} at end {end} of x")


def agrees_with(name: str, *values: float) -> Callable[[Surface, Case], None]:
    """A body: with `values` placed in operand `name`, y is the formula's under IEEE 754."""

    def body(surface: Surface, case: Case) -> None:
        for sign in (1, -1):
            given = _placed(case, name, *(sign * value for value in values))
            judge.equal(surface.conv1d(case, given), _oracle(case, given), "y")

    return body


def _unpadded(case: Case) -> bool:
    return _small_zeros(case) and case.geometry.pads == (0, 0)


# Who looks at memory instead of values, takes another way where a cotangent is one number seen again and again.
_LAID_OUT = [
    Case(Geometry(2, 2, 3, 9, 6), layout=layout, seed=seed)
    for layout, seed in (
        *((layout, 1) for layout in LAYOUTS if layout not in SHARING), *(("repeated", seed) for seed in range(5))
    )
]  # fmt: skip
_COUNTS = [  # who looks for what is above 0, as after a ReLU, or below, finds no NaN
    Case(geometry, bias=False, recipe="whole", seed=seed)
    for seed, geometry in enumerate(
        (
            Geometry(2, 2, 3, 9, 3),
            Geometry(2, 4, 4, 12, 2, 2, groups=2),
            Geometry(1, 3, 2, 7, 1),
            Geometry(1, 2, 3, 20, 4),
        )
    )
]
test_val_1_nan_is_seen = tries("VAL-1", nan_reaches_its_readers, _small_zeros, own=[*_LAID_OUT, *_COUNTS])
_COMPLEX = [
    Case(geometry, "complex64", bias=False, seed=seed)
    for seed, geometry in enumerate(
        (Geometry(2, 2, 3, 9, 3), Geometry(2, 4, 4, 12, 2, 2, groups=2), Geometry(1, 3, 2, 7, 1))
    )
]
test_val_1_complex = tries("VAL-1", complex_nan_is_seen, lambda c: c in _COMPLEX, own=_COMPLEX, minimum=1)
test_val_2_nothing_else_is = tries(
    "VAL-2", others_are_untouched, _small_zeros, own=[*long_filters(), *_LAID_OUT, *_COUNTS]
)
# Sums that so much work is done by in another way, transforms among them, carry a NaN about.
_model_sized = partial(tries, telling=lambda c: heavy(c) and c.padding_mode == "zeros", own=list(model_sized()))
test_val_1_model_sized = _model_sized("VAL-1", nan_reaches_its_readers)
test_val_2_model_sized = _model_sized("VAL-2", others_are_untouched)
test_val_2_modes = tries(
    "VAL-2",
    edges_are_shown_as_they_are,
    lambda c: c.padding_mode != "zeros" and non_empty(c) and largest_extent(c) <= _SMALL,
    own=[*chain.from_iterable(pads(mode) for mode in _MODES for pads in (wide_pads, named_pads))],
)
test_val_2_gaps = tries("VAL-2", unread_are_not_seen, lambda c: _small_zeros(c) and _unread(c).size > 0)
test_val_3_infinity = tries("VAL-3", agrees_with("x", np.inf), _small_zeros)
test_val_3_infinities_of_both_signs = tries("VAL-3", agrees_with("x", np.inf, -np.inf, np.inf, -np.inf), _small_zeros)
test_val_4_infinite_weight = tries("VAL-4", agrees_with("w", np.inf), _unpadded)
test_val_4_nan_weight = tries("VAL-4", agrees_with("w", np.nan), _unpadded)
test_val_4_modes = tries(
    "VAL-4", agrees_with("w", np.inf), lambda c: c.padding_mode not in ("zeros", "constant") and non_empty(c),
    own=[*chain.from_iterable(named_pads(mode) for mode in _MODES)], sampled=True,
)  # fmt: skip
test_val_5_infinite_bias = tries("VAL-5", agrees_with("b", np.inf), _small_zeros, prepare=with_bias)
test_val_5_nan_bias = tries("VAL-5", agrees_with("b", np.nan), _small_zeros, prepare=with_bias)


def _zeros_beside(case: Case, name: str, value: float, other: str) -> Operands:
    """The case's operands, `value` in all of the first axis at one place of `name`, and zeros in `other`.

    By the case and the value they are the first or the last positions or taps, one channel or filter, about half of the
    elements, or all of them.
    """
    kind = (case.seed + np.isinf(value)) % 4
    given, rng = operands(case), np.random.default_rng([case.seed, kind])
    array, zeroed = getattr(given, name).copy(), getattr(given, other).copy()
    array[(slice(None), *chosen_place(case, array.shape[1:], 0))] = value
    if kind == 0:
        split = rng.integers(zeroed.shape[2] + 1)
        zeroed[..., slice(split) if rng.random() < 0.5 else slice(split, None)] = 0
    elif kind == 1:
        zeroed[:, rng.integers(zeroed.shape[1])] = 0
    elif kind == 2:
        zeroed[rng.random(zeroed.shape) < 0.5] = 0
    else:
        zeroed[...] = 0
    return replace(given, **{name: array, other: zeroed})


def zeros_switch_nothing_off(name: str, other: str) -> Callable[[Surface, Case], None]:
    """A body: a NaN or infinity in `name` acts on each y that reads it, beside zeros in `other` too."""

    def body(surface: Surface, case: Case) -> None:
        for value in (np.nan, np.inf):
            given = _zeros_beside(case, name, value, other)
            want = _oracle(case, given)
            what = f"zeros in {other}, {value} in {name}: y"
            judge.equal(surface.conv1d(case, given), want, what, among=~np.isfinite(want))

    return body


def zeros_switch_no_gradient_off(judged: str, name: str, other: str) -> Callable[[Surface, Case], None]:
    """A body: a NaN or infinity in `name` acts on each element of a gradient that it meets, beside zeros in `other`."""

    def body(surface: Surface, case: Case) -> None:
        for value in (np.nan, np.inf):
            given = _zeros_beside(case, name, value, other)
            with np.errstate(invalid="ignore"):
                want = oracle.gradients(case, given)[judged]
            got = surface.vjp(case, given, operand_names(case))[judged]
            judge.equal(got, want, f"zeros in {other}, {value} in {name}: g{judged}", among=~np.isfinite(want))

    return body


test_val_1_zero_weights = tries("VAL-1", zeros_switch_nothing_off("x", "w"), _small_zeros)
test_val_4_zero_samples = tries("VAL-4", zeros_switch_nothing_off("w", "x"), _unpadded)


def _skipping(case: Case, given: Operands, at: tuple[int, ...]) -> Array:
    """Y where the products of the weight at `at` with padded positions are left out."""
    g, (o, c, k) = case.geometry, at
    rest = given.w.copy()
    rest[at] = 0
    y = oracle.forward(case, replace(given, w=rest))
    channel = (o // (g.c_out // g.groups)) * g.w_shape[1] + c
    for i in range(g.l_out):
        position = i * g.stride + k * g.dilation - g.pads[0]
        if 0 <= position < g.length:
            y[:, o, i] += float(given.w[at]) * given.x[:, channel, position].astype(np.float64)
    return y


def padded_infinity(surface: Surface, case: Case) -> str | None:
    """Whether 0 * inf at padded positions is NaN, or is not formed; None where the two look alike."""
    given = _placed(case, "w", np.inf)
    got = surface.conv1d(case, given)
    materialised, skipped = _oracle(case, given), _skipping(case, given, chosen_place(case, given.w.shape, 0))
    if np.array_equal(materialised, skipped, equal_nan=True):
        return None
    for name, want in (("NaN: padding materialised", materialised), ("absent: padding skipped", skipped)):
        if np.array_equal(got, want, equal_nan=True):
            return name
    raise Violation("inf at padded positions is neither NaN throughout nor absent throughout", skipped, got)


test_val_6_padded_infinity = tries(
    "VAL-6", padded_infinity, lambda c: _small_zeros(c) and sum(c.geometry.pads) > 0 and c.geometry.kernel > 1,
    throughout=True,
)  # fmt: skip


def acts_on(judged: str, name: str, *values: float) -> Callable[[Surface, Case], None]:
    """A body: with each of `values` in turn in `name`, the gradients of the operands in `judged` are the formula's."""

    def body(surface: Surface, case: Case) -> None:
        for value in values:
            given = _placed(case, name, value)
            with np.errstate(invalid="ignore"):
                want = oracle.gradients(case, given)
            for operand, got in surface.vjp(case, given, operand_names(case)).items():
                if operand in judged:
                    judge.equal(got, want[operand], f"g{operand} with {value} in {name}")

    return body


test_val_7_cotangent = tries(
    "VAL-7", acts_on("xwb", "cotangent", np.nan, np.inf, -np.inf), _unpadded,
    own=[*_LAID_OUT, *_COUNTS], extra=VJP,
)  # fmt: skip
test_val_7_cotangent_at_padding = tries(  # but gw, whose taps meet padded positions: VAL-6
    "VAL-7", acts_on("xb", "cotangent", np.nan, np.inf),
    lambda c: _small_zeros(c) and sum(c.geometry.pads) > 0,
    extra=VJP, sampled=True,
)  # fmt: skip
test_val_7_model_sized = _model_sized("VAL-7", acts_on("xb", "cotangent", np.nan, np.inf), extra=VJP)
test_val_7_cotangent_under_modes = tries(
    "VAL-7", acts_on("xwb", "cotangent", np.nan, np.inf),
    lambda c: c.padding_mode not in ("zeros", "constant") and non_empty(c) and largest_extent(c) <= _SMALL,
    own=[*chain.from_iterable(named_pads(mode) for mode in _MODES)], extra=VJP, sampled=True,
)  # fmt: skip
test_val_7_zero_weights = tries("VAL-7", zeros_switch_no_gradient_off("x", "cotangent", "w"), _unpadded, extra=VJP)
test_val_7_zero_samples = tries("VAL-7", zeros_switch_no_gradient_off("w", "cotangent", "x"), _unpadded, extra=VJP)
test_val_9_zero_cotangents_on_weights = tries(
    "VAL-9", zeros_switch_no_gradient_off("x", "w", "cotangent"), _unpadded, extra=VJP
)
test_val_9_zero_cotangents_on_samples = tries(
    "VAL-9", zeros_switch_no_gradient_off("w", "x", "cotangent"), _small_zeros, extra=VJP
)
_acting = partial(tries, "VAL-9", telling=_small_zeros, own=[*_LAID_OUT, *_COUNTS], extra=VJP)
test_val_9_weight = _acting(acts_on("x", "w", np.nan, np.inf))
test_val_9_sample = _acting(acts_on("w", "x", np.nan, np.inf))


test_val_5_gradients = tries(
    "VAL-5", acts_on("xwb", "b", np.nan, np.inf, -np.inf), _small_zeros, prepare=with_bias, extra=VJP, sampled=True
)


def unread_stay_out_of_gw(surface: Surface, case: Case) -> None:
    """NaN and infinities in every sample that no tap reads change no gradient."""
    given, names = operands(case), operand_names(case)
    want = oracle.gradients(case, given)
    for value in (np.nan, np.inf):
        x = given.x.copy()
        x[..., _unread(case)] = value
        for name, got in surface.vjp(case, replace(given, x=x), names).items():
            judge.equal(got, want[name], f"g{name} around unread samples of {value}")


test_val_9_gaps = tries(
    "VAL-9", unread_stay_out_of_gw, lambda c: _small_zeros(c) and _unread(c).size > 0,
    extra=VJP,
)  # fmt: skip


def sign_of_zero(surface: Surface, case: Case) -> str:
    """What -0 times 1 gives where it is the only product, with the -0 in x and in w."""
    given = operands(case)
    ones = Operands(np.ones_like(given.x), np.ones_like(given.w), None, given.cotangent)
    signs = set()
    for name in "xw":
        y = surface.conv1d(case, replace(ones, **{name: np.full_like(getattr(ones, name), -0.0)}))
        judge.equal(y, np.zeros(case.geometry.y_shape), f"-0 in {name}, times 1,")
        signs |= {"-0" if sign else "+0" for sign in np.signbit(y).flat}
    return f"{given.x.dtype.name}: -0 times 1 gives {signs.pop() if len(signs) == 1 else 'both'}"


test_val_8_sign_of_zero = tries(
    "VAL-8", sign_of_zero,
    lambda c: _unpadded(c) and c.geometry.kernel == c.geometry.w_shape[1] == 1,
    prepare=lambda c: replace(c, bias=False), minimum=1,
)  # fmt: skip
