"""Chapter EX: the worked examples, written as their sources write them, with the numbers that the chapter prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product, takewhile
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from conv1d_cts import reference
from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import judge
from conv1d_cts.conformance.backend import Call, Surface, Violation, require
from conv1d_cts.conformance.bounds import UNIT_ROUNDOFF
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Body, Check, as_test
from conv1d_cts.conformance.judge import Accuracy
from conv1d_cts.conformance.learning import allowance, gamma, trajectory
from conv1d_cts.conformance.recipes import Operands, operands
from conv1d_cts.conformance.values import answers
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import Padding

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Example:
    """One call in one dtype: x (N,C,L), w (O,C,K), b (O,) or None, and what y must be; all given in float64.

    In an example of learning, w is where it starts and y the target.
    """

    x: Array
    w: Array
    y: Array
    b: Array | None = None
    stride: int = 1
    padding: Padding = (0, 0)
    padding_mode: str = "zeros"
    padding_value: int = 0
    dtype: str = "float32"

    @property
    def case(self) -> Case:
        """What the call is, but for its data."""
        (n, c_in, length), (c_out, _, kernel) = self.x.shape, self.w.shape
        geometry = Geometry(n, c_in, c_out, length, kernel, self.stride, padding=self.padding)
        return Case(geometry, self.dtype, self.b is not None, self.padding_mode, self.padding_value)

    def facts(self) -> dict[str, Fact]:
        """Those of the call."""
        return self.case.facts()

    def describe(self) -> dict[str, Any]:
        """The call with its data, which no seed rebuilds."""
        data = {"x": self.x, "w": self.w, "b": self.b, "y": self.y}
        call = {name: value for name, value in self.case.describe().items() if name not in ("recipe", "seed")}
        return call | {name: _text(array) for name, array in data.items() if array is not None}

    def operands(self, cotangent: Array | float = 0.0) -> Operands:
        """The arrays that are sent, rounded to the dtype."""
        x, w, c = (a.astype(self.dtype) for a in (self.x, self.w, np.broadcast_to(cotangent, self.y.shape)))
        return Operands(x, w, None if self.b is None else self.b.astype(self.dtype), c)


def _text(array: Array) -> str:
    """The values on one line, the middle of many left out."""
    return " ".join(np.array2string(array, separator=", ", threshold=64).split())


def _row(*values: float) -> Array:
    """One channel: (1, 1, L)."""
    return np.array([[values]], float)


def _columns(*rows: list[float]) -> Array:
    """Positions (or taps) in rows, channels in columns, as sources write them: (1, C, L)."""
    return np.array([rows], float).swapaxes(1, 2)


def _worked(clause: str, body: Body, examples: Iterable[Example | Layer], **options: Any) -> Any:
    """The test of a clause: each of its examples in float32 and in float64; one that held shows the clause."""
    both = [replace(example, dtype=dtype) for example, dtype in product(examples, ("float32", "float64"))]
    return as_test(Check(clause, body, lambda cases: both, minimum=1, **options))


def is_exact(surface: Surface, example: Example) -> None:
    """Y has the numbers of the chapter."""
    judge.equal(surface.conv1d(example.case, example.operands()), example.y, "y")


_X = _row(0, 3, 4, 5)
_X_OF_TWO = _columns([0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1])
_ONE_FILTER = Example(_X, _row(1, 2), _row(6, 11, 14))
_TWO_FILTERS = Example(_X, np.array([[[1.0, 2]], [[3, 4]]]), _columns([6, 12], [11, 25], [14, 32]))
_TWO_CHANNELS = Example(_X_OF_TWO, _columns([1, 0], [0, 1], [2, 0]), _row(14, 20, 14, 15, 10, 4))

test_ex_1_one_filter = _worked("EX-1", is_exact, [_ONE_FILTER])
test_ex_2_two_filters = _worked("EX-2", is_exact, [_TWO_FILTERS])
test_ex_3_two_channels = _worked("EX-3", is_exact, [_TWO_CHANNELS])


_WORDS = {
    "cat": [0.7, 0.4, 0.5], "sitting": [0.2, -0.1, 0.1], "there": [-0.5, 0.4, 0.1],
    "dog": [0.6, 0.3, 0.5], "resting": [0.3, -0.1, 0.2], "here": [-0.5, 0.4, 0.1],
}  # fmt: skip
_FILTER = np.array([[[0.6, 0.2], [0.4, -0.1], [0.5, 0.2]]])
_SIZES = _row(0.9, 0.76, 0.48)  # S, the sums of the absolute products


def is_near(surface: Surface, example: Example) -> Accuracy:
    """Y is within gamma_10(u) S of the decimals: eight roundings of the sum, and one of each factor of a product."""
    bound = gamma(10, UNIT_ROUNDOFF[example.dtype]) * _SIZES
    return judge.within(surface.conv1d(example.case, example.operands()), (example.y, bound), "y")


test_ex_4_words = _worked(
    "EX-4", is_near, [Example(_columns(*_WORDS.values()), _FILTER, _row(0.9, 0.1, 0.12), stride=2)]
)


@dataclass(frozen=True)
class Layer:
    """A layer with a bias, and a pool after it: input and output (length, channels), kernel (K, C, O)."""

    input: tuple[int, int]
    kernel: tuple[int, int, int]
    pool: int
    output: tuple[int, int]
    parameters: int
    dtype: str = "float32"

    @property
    def case(self) -> Case:
        """Its call on one item, with drawn data."""
        (length, c_in), (kernel, _, c_out) = self.input, self.kernel
        return Case(Geometry(1, c_in, c_out, length, kernel), self.dtype)

    def facts(self) -> dict[str, Fact]:
        """Those of the call."""
        return self.case.facts()

    def describe(self) -> dict[str, Any]:
        """The call."""
        return self.case.describe()


def has_shape_and_parameters(surface: Surface, layer: Layer) -> None:
    """The pooled output has the shape of the table, and the arrays that were sent its number of parameters."""
    given = operands(layer.case)
    y = surface.conv1d(layer.case, given)
    judge.same_shape(y, layer.case.geometry.y_shape, "y")
    pooled = sliding_window_view(y, layer.pool, axis=-1)[..., :: layer.pool, :].max(axis=-1)
    judge.same_shape(pooled, (1, *reversed(layer.output)), "the pooled y")
    sent = sum(array.size for array in (given.w, given.b) if array is not None)
    if sent != layer.parameters:
        raise Violation("the layer has another number of parameters", layer.parameters, sent)


test_ex_5_layers = _worked(
    "EX-5", has_shape_and_parameters,
    [
        Layer((20, 1), (3, 1, 32), 1, (18, 32), 128),
        Layer((50, 3), (5, 3, 64), 1, (46, 64), 1024),
        Layer((100, 1), (3, 1, 64), 2, (49, 64), 256),  # the next layer takes what this one gives
        Layer((49, 64), (3, 64, 128), 2, (23, 128), 24704),
        Layer((4, 100), (1, 100, 1), 1, (4, 1), 101),
    ],
)  # fmt: skip


def _by_name_and_pair(example: Example) -> Iterator[Example]:
    """The same padding as a name and as the pair it stands for: many a surface takes only one of them."""
    g = example.case.geometry
    yield example
    yield replace(example, padding=g.pads)


_CONVOLVE: dict[str, Literal["full", "same", "valid"]] = {"full": "full", "same_lower": "same", "valid": "valid"}


def _convolutions() -> Iterator[Example]:
    """numpy.convolve, which turns the kernel round."""
    for kernel, (padding, mode) in product(([1, 2], [1, 2, 3], [1, 2, 3, 4]), _CONVOLVE.items()):
        y = np.convolve([0, 3, 4, 5], kernel, mode)
        yield from _by_name_and_pair(Example(_X, _row(*kernel[::-1]), _row(*y), padding=padding))


test_ex_6_numpy_convolve = _worked("EX-6", is_exact, _convolutions())


_PAD: dict[str, dict[str, Any]] = {
    "zeros": {"mode": "constant"},
    "constant": {"mode": "constant", "constant_values": 9},
    "reflect": {"mode": "reflect"},
    "symmetric": {"mode": "symmetric"},
    "replicate": {"mode": "edge"},
    "circular": {"mode": "wrap"},
}


def _paddings() -> Iterator[Example]:
    """numpy.pad, then a sliding sum in which each output reads as the three samples it saw."""
    x, w = [1, 2, 3, 4], [100, 10, 1]
    for mode, of_numpy in _PAD.items():
        y = sliding_window_view(np.pad(x, 2, **of_numpy), 3) @ w
        value = of_numpy.get("constant_values", 0)
        yield Example(_row(*x), _row(*w), _row(*y), padding=(2, 2), padding_mode=mode, padding_value=value)


test_ex_7_numpy_pad = _worked("EX-7", is_exact, _paddings())


def _averages() -> Iterator[Example]:
    """Means of four samples."""
    x, w = _row(4, 8, 0, 4, 12, 16, 0, 8), _row(0.25, 0.25, 0.25, 0.25)
    yield from _by_name_and_pair(Example(x, w, _row(4, 6, 8, 8, 9), padding="valid"))
    yield from _by_name_and_pair(Example(x, w, _row(1, 3, 3, 4, 6, 8, 8, 9), padding="causal"))


test_ex_8_moving_average = _worked("EX-8", is_exact, _averages())


Trajectory = Iterator[tuple[Array, float]]


def _taken(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """What the backend gave, in float64. Raises Violation where it has not the shape."""
    judge.same_shape(array, shape, name)
    return array.astype(np.float64)


def _learning(surface: Surface, example: Example) -> Trajectory:
    """Weights and error after 0, 1, 2, ... steps, y and gw being the backend's."""

    def forward(w: Array) -> Array:
        y = surface.conv1d(example.case, replace(example, w=w).operands())
        return _taken(y, example.y.shape, "y")

    def gradient(w: Array, cotangent: Array) -> Array:
        gw = surface.vjp(example.case, replace(example, w=w).operands(cotangent), "w")["w"]
        return _taken(gw, w.shape, "gw")

    return trajectory(forward, gradient, example.w, example.y)


def _learning_by_reference(example: Example) -> Trajectory:
    """The same with the reference in float64."""

    def gradient(w: Array, cotangent: Array) -> Array:
        gw: Array = reference.conv1d_vjp(example.x, w, None, cotangent)[1]
        return gw

    return trajectory(lambda w: reference.conv1d(example.x, w), gradient, example.w, example.y)


def reaches_the_filter(surface: Surface, example: Example) -> None:
    """After 200 steps each weight is within 0.05 of the filter's."""
    w, _ = next(islice(_learning(surface, example), 200, None))
    judge.within(w, (_ONE_FILTER.w, np.full(w.shape, 0.05)), "w after 200 steps")


def reaches_a_small_error(surface: Surface, example: Example) -> None:
    """The error falls below 0.1 at some step up to 1000."""
    errors = (error for _, error in islice(_learning(surface, example), 1001))
    above = list(takewhile(lambda error: not error < 0.1, errors))
    if len(above) > 1000:
        raise Violation("the error is not below 0.1 at any step up to 1000", "below 0.1", min(above))


def stays_near_the_reference(surface: Surface, example: Example) -> Accuracy:
    """After each of 20 steps the weights differ from the reference's by no more than rounding can make them."""
    both = zip(_learning(surface, example), _learning_by_reference(example), strict=True)
    found = []
    for t, ((w, _), (want, _)) in islice(enumerate(both), 1, 21):
        bound = allowance(t, UNIT_ROUNDOFF[example.dtype]) + allowance(t, 2.0**-53)
        found.append(judge.within(w, (want, np.full(w.shape, bound)), f"w after {t} steps"))
    return judge.worst(found)


def fits_the_filters(surface: Surface, example: Example) -> None:
    """After 200 steps of the framework's own each weight is within 0.05 of the filters'; of a second layer too."""
    given, found = example.operands(), replace(example, w=np.zeros_like(example.w)).operands()
    arrays = {"x": given.x, "w": found.w, "b": None, "target": example.y.astype(example.dtype)}
    for answer in answers(surface, [Call("fit", arrays, {"steps": 200})] * 2):
        w = require(answer.results[0], "w")
        judge.within(w, (example.w, np.full(example.w.shape, 0.05)), "w after 200 steps")


def _learns(clause: str, body: Callable[[Surface, Example], Accuracy | None], example: Example) -> Any:
    start = replace(example, w=np.zeros_like(example.w))
    return _worked(clause, body, [start], extra={"function": "vjp", "wrt": "w"})


test_ex_9_learning_one_filter = _learns("EX-9", reaches_the_filter, _ONE_FILTER)
test_ex_10_learning_two_channels = _learns("EX-10", reaches_a_small_error, _TWO_CHANNELS)
test_ex_11_learning_two_filters = _learns("EX-11", reaches_a_small_error, _TWO_FILTERS)
test_ex_12_trajectories = _learns("EX-12", stays_near_the_reference, _ONE_FILTER)
test_ex_13_fitted = _worked("EX-13", fits_the_filters, [_ONE_FILTER, _TWO_FILTERS], extra={"function": "fit"})
