"""Every refusal of chapter ERR, and that a call neither modifies nor aliases its operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conv1d_cts.adapters import numpy_adapter
from conv1d_cts.reference import autodiff, conv1d, conv1d_jvp, conv1d_vjp
from tests.test_reference_definition import lattice

X, W, B = lattice((2, 4, 8), 1), lattice((6, 2, 3), 2), lattice((6,), 3)


def call(x: Any = X, w: Any = W, b: Any = B, groups: Any = 2, **parameters: Any) -> Any:
    return conv1d(x, w, b, groups=groups, **parameters)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": X[0]}, ValueError, "x must be"),
        ({"w": W[0]}, ValueError, "x must be"),
        ({"x": X[None]}, ValueError, "x must be"),
        ({"x": X[:, :2]}, ValueError, "channels"),
        ({"w": W[:, :1]}, ValueError, "channels"),
        ({"groups": 0}, ValueError, "groups"),
        ({"groups": -1}, ValueError, "groups"),
        ({"groups": 3}, ValueError, "groups"),
        ({"groups": 4}, ValueError, "groups"),
        ({"groups": 2.0}, TypeError, "groups must be an integer"),
        ({"stride": 0}, ValueError, "stride"),
        ({"stride": -2}, ValueError, "stride"),
        ({"stride": 1.5}, TypeError, "stride must be an integer"),
        ({"stride": "1"}, TypeError, "stride must be an integer"),
        ({"stride": None}, TypeError, "stride must be an integer"),
        ({"dilation": 0}, ValueError, "dilation"),
        ({"dilation": 1.0}, TypeError, "dilation must be an integer"),
        ({"padding": (-1, 0)}, ValueError, "negative"),
        ({"padding": (0, -1)}, ValueError, "negative"),
        ({"padding": (0.0, 1)}, TypeError, "padding must be an integer"),
        ({"padding": 1}, TypeError, "padding must be a name"),
        ({"padding": (1, 1, 1)}, TypeError, "padding must be a name"),
        ({"padding": "SAME"}, ValueError, "unknown padding"),
        ({"padding_mode": "mirror"}, ValueError, "unknown padding mode"),
        ({"padding": (8, 0), "padding_mode": "reflect"}, ValueError, "at most 7"),
        ({"padding": (0, 9), "padding_mode": "symmetric"}, ValueError, "at most 8"),
        ({"padding": (0, 9), "padding_mode": "circular"}, ValueError, "at most 8"),
        ({"x": X[:, :, :0], "padding": (1, 2), "padding_mode": "replicate"}, ValueError, "at most 0"),
        ({"padding": (1, 1), "padding_mode": "constant", "padding_value": 1j}, TypeError, "padding_value"),
        ({"padding": (1, 1), "padding_mode": "constant", "padding_value": "0"}, TypeError, "padding_value"),
        ({"w": W[:, :, :0]}, ValueError, "kernel"),
        ({"b": B[:5]}, ValueError, "b must have"),
        ({"b": B[:, None]}, ValueError, "b must have"),
        ({"w": W.astype(np.float32)}, TypeError, "one dtype"),
        ({"b": B.astype(int)}, TypeError, "one dtype"),
        ({"x": X > 0, "w": W > 0, "b": B > 0}, TypeError, "numbers"),
        ({"x": X.tolist()}, TypeError, "array"),
        ({"padding": (2**31, 0)}, ValueError, "elements"),
        ({"padding": (0, 2**62)}, ValueError, "elements"),
        ({"dilation": 2**62, "padding": "full"}, ValueError, "elements"),
    ],
)
def test_an_invalid_call_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    before = call(), conv1d_vjp(X, W, B, call(), groups=2)
    with pytest.raises(error, match=message):
        call(**arguments)
    after = call(), conv1d_vjp(X, W, B, call(), groups=2)
    assert np.array_equal(before[0], after[0])
    assert all(np.array_equal(p, q) for p, q in zip(before[1], after[1], strict=True))


def test_integers_of_any_kind_are_accepted_and_immense_ones_are_right() -> None:
    assert np.array_equal(call(stride=np.int64(2), padding=[np.uint8(1), 1]), call(stride=2, padding=(1, 1)))
    assert np.array_equal(call(stride=2**62), call()[:, :, :1])
    assert call(dilation=2**62).shape == (2, 6, 0)
    gx, gw, _ = conv1d_vjp(X, W, B, call(stride=2**62), stride=2**62, groups=2)
    want = conv1d_vjp(X, W, B, call(stride=6), stride=6, groups=2)
    assert np.array_equal(gx, want[0])
    assert np.array_equal(gw, want[1])


@pytest.mark.parametrize("cotangent", [np.ones((2, 6, 5)), np.ones((1, 6, 6)), np.ones((6, 6)), np.ones((2, 6, 1))])
def test_a_cotangent_of_another_shape_is_refused(cotangent: Any) -> None:
    with pytest.raises(ValueError, match="cotangent must have the shape"):
        conv1d_vjp(X, W, B, cotangent, groups=2)
    with pytest.raises(ValueError, match="cotangent must have the shape"):
        autodiff.vjp(lambda x: autodiff.conv1d(x, W, B, groups=2), (X,), cotangent)


def test_cotangents_and_tangents_of_another_dtype_are_refused() -> None:
    g = np.ones((2, 6, 6), dtype=np.float32)
    with pytest.raises(TypeError, match="one dtype"):
        conv1d_vjp(X, W, B, g, groups=2)
    with pytest.raises(TypeError, match="one dtype"):
        conv1d_jvp(X, W, B, None, W.astype(np.float32), None, groups=2)
    with pytest.raises(TypeError, match="one dtype"):
        autodiff.jvp(lambda x: autodiff.conv1d(x, W, B, groups=2), (X,), (X.astype(np.float32),))


def test_tangents_of_another_shape_or_of_no_operand_are_refused() -> None:
    with pytest.raises(ValueError, match="x_tangent must have the shape"):
        conv1d_jvp(X, W, B, X[:1], None, None, groups=2)
    with pytest.raises(ValueError, match="there is no b"):
        conv1d_jvp(X, W, None, None, None, B, groups=2)


def test_the_numpy_adapter_refuses_mixed_halves() -> None:
    with pytest.raises(TypeError, match="one dtype"):
        numpy_adapter.conv1d(X.astype(np.float16), W.astype(np.float32), None, groups=2)


CALLS: list[Callable[..., Any]] = [
    lambda x, w, b, g, **how: (conv1d(x, w, b, **how),),
    lambda x, w, b, g, **how: conv1d_vjp(x, w, b, g, **how),
    lambda x, w, b, g, **how: (conv1d_jvp(x, w, b, x, w, b, **how),),
    lambda x, w, b, g, **how: (conv1d_jvp(x, w, b, None, None, b, **how),),
    lambda x, w, b, g, **how: autodiff.vjp(lambda *a: autodiff.conv1d(*a, **how), (x, w, b), g),
    lambda x, w, b, g, **how: (autodiff.jvp(lambda b: autodiff.conv1d(x, w, b, **how), (b,), (b,)),),
    lambda x, w, b, g, **how: (autodiff.vmap(lambda x: autodiff.conv1d(x, w, b, **how))(x[None]),),
]


@pytest.mark.parametrize("run", CALLS)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_operands_are_neither_modified_nor_aliased(run: Callable[..., Any], mode: str) -> None:
    for shapes, how in (
        (((2, 4, 8), (6, 2, 3), (6,), (2, 6, 8)), {"groups": 2, "padding": (1, 1)}),
        (((2, 4, 8), (4, 1, 1), (4,), (2, 4, 8)), {"groups": 4}),
        (((1, 1, 1), (1, 1, 1), (1,), (1, 1, 1)), {}),
    ):
        operands = [lattice(shape, i) for i, shape in enumerate(shapes)]
        copies = [a.copy() for a in operands]
        for a in operands:
            a.flags.writeable = False
        for result in run(*operands, **how, padding_mode=mode):
            assert result.flags.writeable
            assert not any(np.shares_memory(result, a) for a in operands)
        assert all(np.array_equal(p, q) for p, q in zip(operands, copies, strict=True))
