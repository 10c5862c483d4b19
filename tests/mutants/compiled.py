"""Faults of compiled functions and of shapes that are found without data (chapters INV and SHAPE)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.mutants.base import Backend
from tests.mutants.plan import Array, Plan
from tests.mutants.registry import Rng, chapter, draw
from tests.mutants.witness import Call, Probe, Witness, fingerprint, observe

mutant = chapter("transforms")
shapes = chapter("shapes")
Function = Callable[..., Any]
Spec = tuple[tuple[int, ...], str]


def compiling(m: Backend, fault: Callable[[Function, list[tuple[Array, ...]], tuple[Array, ...]], Any]) -> None:
    """Let what compiled functions give be the fault's: of the function, the operands of its calls so far, and these."""

    @m.around("compile")
    def compiled(inner: Callable[[Function], Function], f: Function) -> Function:
        function, earlier = inner(f), list[tuple[Array, ...]]()

        def call(*operands: Array) -> Any:
            y = fault(function, earlier, operands)
            earlier.append(operands)
            return y

        return call


def through_compiler(*calls: Call) -> Probe:
    """Show what one compiled function gives for the operands of each call; the parameters are those of the first."""

    def probe(backend: Backend) -> Any:
        given = calls[0].parameters()
        function = backend.compile(lambda x, w, b: backend.conv1d(x, w, b, **given))
        return [observe(backend, lambda _, c=call: function(*(c.operands()[name] for name in "xwb"))) for call in calls]

    return probe


def without_data(call: Call) -> Probe:
    """Show shape and dtype of y as they are found without data."""

    def probe(backend: Backend) -> Any:
        arrays, given = call.operands(), call.parameters()
        return backend.eval_shape(lambda x, w: backend.conv1d(x, w, arrays["b"], **given), (arrays["x"], arrays["w"]))

    return probe


def evaluating(m: Backend, fault: Callable[[Spec, Sequence[Array]], Spec]) -> None:
    """Change what is found without data."""

    @m.around("eval_shape")
    def eval_shape(inner: Callable[..., Spec], f: Function, operands: Sequence[Array]) -> Spec:
        return fault(inner(f, operands), operands)


def _shapes(operands: tuple[Array, ...]) -> list[Any]:
    return [None if operand is None else operand.shape for operand in operands]


def _like(operands: tuple[Array, ...], other: tuple[Array, ...]) -> bool:
    return [(a.shape, a.dtype) for a in operands] == [(a.shape, a.dtype) for a in other]


@mutant
def compiled_keeps_first_kernel(m: Backend, rng: Rng) -> Witness:
    """Compiled, later calls of the same shapes have the kernel of the first (kind: weights folded as constants)."""

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        first = next((other for other in earlier if _like(other, operands)), operands)
        return function(operands[0], first[1], *operands[2:])

    compiling(m, fault)
    call = Call(c_out=draw(rng, 1, 4), bias=True)
    return through_compiler(call, call.but(put=(("w", np.s_[...], 2),)))


@mutant
def compiled_for_first_length(m: Backend, rng: Rng) -> Witness:
    """Compiled, outputs beyond the L_out of the first call are 0 (kind: a loop bound as a constant)."""

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        y = function(*operands)
        if earlier and isinstance(y, np.ndarray) and y.shape[0] > earlier[0][0].shape[0]:
            y[:, :, function(*earlier[0]).shape[2] :] = 0
        return y

    compiling(m, fault)
    call = Call(length=draw(rng, 6, 12))
    return through_compiler(call, call.but(n=2, length=call.length + 1))


@mutant
def compiled_for_first_taps(m: Backend, rng: Rng) -> Witness:
    """Compiled, taps beyond the K of the first call are 0 (kind: an unrolled tap loop)."""

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        taps = earlier[0][1].shape[2] if earlier else operands[1].shape[2]
        w = operands[1].copy()
        w[:, :, taps:] = 0
        return function(operands[0], w, *operands[2:])

    compiling(m, fault)
    call = Call(kernel=draw(rng, 1, 4))
    return through_compiler(call, call.but(kernel=call.kernel + 1))


@mutant
def compiled_gradient_of_first_cotangent(m: Backend, rng: Rng) -> Witness:
    """Compiled, gradients after T (1 to 2) calls have the first cotangent (kind: a saved residual)."""
    least = draw(rng, 1, 2)

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        if len(earlier) < least or len(operands[-1].shape) != 3 or not _like(earlier[0], operands):
            return function(*operands)
        return function(*operands[:-1], earlier[0][-1])

    compiling(m, fault)

    def probe(backend: Backend) -> Any:
        x, w, g = np.ones((1, 1, 4)), np.ones((1, 1, 2)), np.ones((1, 1, 3))
        function = backend.compile(lambda x, w, g: backend.vjp(lambda x, w: backend.conv1d(x, w, None), (x, w), g))
        return [fingerprint(function(x, w, factor * g)) for factor in (1, 2, 3, 4)]

    return probe


@mutant
def compiled_broadcasts_bias(m: Backend, rng: Rng) -> Witness:
    """Compiled, a bias of length 1 serves every channel (kind: a fused broadcast that nobody checks)."""

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        if len(operands) > 2 and operands[2] is not None and operands[2].shape == (1,):
            operands = (*operands[:2], np.repeat(operands[2], len(operands[1])), *operands[3:])
        return function(*operands)

    compiling(m, fault)
    return through_compiler(Call(c_out=draw(rng, 2, 5), bias=True, shapes={"b": (1,)}))


@mutant
def compiled_tunes_itself(m: Backend, rng: Rng) -> Witness:
    """Compiled, fractions have another last bit from the third call on (kind: autotuning in service)."""

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        y = function(*operands)
        if sum(_like(other, operands) for other in earlier) < 2 or not isinstance(y, np.ndarray) or y.dtype.kind != "f":
            return y
        return np.where(y == np.round(y), y, np.nextafter(y, np.asarray(np.inf, y.dtype)))

    compiling(m, fault)
    return through_compiler(*[Call(length=draw(rng, 4, 9), data=_fractions)] * 3)


def _fractions(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


@mutant
def compiled_fill_rounded_once(m: Backend, rng: Rng) -> Witness:
    """Compiled, a fill is what the dtype of the first call holds of it, in later ones too (kind: folded constant)."""
    first: list[Any] = []  # while a compiled function runs

    def fault(function: Function, earlier: list[tuple[Array, ...]], operands: tuple[Array, ...]) -> Any:
        first[:] = [(*earlier, operands)[0][0].dtype]
        try:
            return function(*operands)
        finally:
            first.clear()

    @m.around("pad")
    def pad(inner: Callable[..., Array], x: Array, fill: Any, p: Plan) -> Array:
        return inner(x, np.asarray(fill).astype(first[0]).astype(x.dtype) if first else fill, p)

    compiling(m, fault)
    call = Call(c_out=draw(rng, 1, 4), padding=(1, 1), mode="constant", fill=0.1, dtype="float32")
    return through_compiler(call, call.but(dtype="float64"))


@shapes
def shape_without_data_rounds_up(m: Backend, rng: Rng) -> Witness:
    """Without data L_out is one more where a stride of T (2 to 3) or more has a remainder (kind: ceil)."""
    least = draw(rng, 2, 3)
    plans: list[Plan] = []

    @m.around("forward")
    def forward(inner: Callable[..., Array], x: Array, w: Array, plan: Plan) -> Array:
        plans.append(plan)
        return inner(x, w, plan)

    def fault(spec: Spec, operands: Sequence[Array]) -> Spec:
        (n, c_out, l_out), dtype = spec
        return (n, c_out, l_out + (plans[-1].stride >= least and plans[-1].remainder > 0)), dtype

    evaluating(m, fault)
    return without_data(Call(length=2 * least + 3, kernel=2, stride=least))


@shapes
def shape_without_data_is_single(m: Backend, rng: Rng) -> Witness:
    """Without data the result of halves is float32 (kind: the dtype of the accumulator)."""

    def fault(spec: Spec, operands: Sequence[Array]) -> Spec:
        return spec[0], "float32" if spec[1] in ("float16", "bfloat16") else spec[1]

    evaluating(m, fault)
    return without_data(Call(c_in=draw(rng, 1, 3), dtype="float16"))


@shapes
def shape_without_data_of_no_items(m: Backend, rng: Rng) -> Witness:
    """Without data an empty batch has one item (kind: max(N, 1) in shape inference)."""

    def fault(spec: Spec, operands: Sequence[Array]) -> Spec:
        return (max(spec[0][0], 1), *spec[0][1:]), spec[1]

    evaluating(m, fault)
    return without_data(Call(n=0, c_out=draw(rng, 1, 3)))


@shapes
def shape_without_data_takes_any_bias(m: Backend, rng: Rng) -> Witness:
    """Without data a bias of any shape is accepted (kind: a meta kernel that checks less)."""

    @m.around("eval_shape")
    def eval_shape(inner: Callable[..., Spec], f: Function, operands: Sequence[Array]) -> Spec:
        if len(operands) > 2 and len(operands[1].shape) == 3:
            operands = (*operands[:2], np.zeros(len(operands[1]), operands[1].dtype))
        return inner(f, operands)

    length = draw(rng, 5, 9)

    def probe(backend: Backend) -> Any:
        operands = np.ones((1, 1, length)), np.ones((2, 1, 3)), np.ones(3)
        return backend.eval_shape(lambda x, w, b: backend.conv1d(x, w, b), operands)

    return probe
