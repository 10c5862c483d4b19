"""The tape: derivatives of any order equal those of the trilinear form t(x, w, g) = <g, conv1d(x, w)>, exactly."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conv1d_cts.adapters import numpy_adapter
from conv1d_cts.reference import conv1d, conv1d_jvp, conv1d_vjp
from conv1d_cts.reference.autodiff import Variable, jvp, vjp, vmap
from conv1d_cts.reference.autodiff import conv1d as traced
from conv1d_cts.spec.padding import PADDING_MODES
from tests.test_reference_definition import lattice

HOWS: list[dict[str, Any]] = [
    *({"stride": 2, "padding": (2, 1), "groups": 2, "padding_mode": mode} for mode in PADDING_MODES),
    {"dilation": 2, "padding": "same", "groups": 2},
    {"padding": "causal", "groups": 2, "padding_mode": "constant", "padding_value": 3},
]
X, W, B = lattice((2, 4, 7), 1), lattice((6, 2, 3), 2), lattice((6,), 3)
DX, DW, DB = lattice((2, 4, 7), 4), lattice((6, 2, 3), 5), lattice((6,), 6)


def same(got: Any, want: Any) -> bool:
    return type(got) is np.ndarray and got.shape == want.shape and np.array_equal(got, want)


@pytest.fixture(params=range(len(HOWS)))
def how(request: pytest.FixtureRequest) -> dict[str, Any]:
    return HOWS[int(request.param)]


def linear(how: dict[str, Any]) -> dict[str, Any]:
    """Return the same operator without its constant fill: its derivative by x."""
    return {**how, "padding_value": 0}


def test_first_derivatives_are_those_of_the_reference(how: dict[str, Any]) -> None:
    y = conv1d(X, W, B, **how)
    g = lattice(y.shape, 7)
    want = conv1d_vjp(X, W, B, g, **how)
    jointly = vjp(lambda x, w, b: traced(x, w, b, **how), (X, W, B), g)
    alone = (
        vjp(lambda x: traced(x, W, B, **how), (X,), g)[0],
        vjp(lambda w: traced(X, w, B, **how), (W,), g)[0],
        vjp(lambda b: traced(X, W, b, **how), (B,), g)[0],
    )
    assert all(map(same, jointly, want))
    assert all(map(same, alone, want))
    tangent = jvp(lambda x, w, b: traced(x, w, b, **how), (X, W, B), (DX, DW, DB))
    assert same(tangent, conv1d_jvp(X, W, B, DX, DW, DB, **how))


def test_second_derivatives_leave_out_another_slot(how: dict[str, Any]) -> None:
    g = lattice(conv1d(X, W, **how).shape, 7)

    def gx(x: Any, w: Any, g: Any) -> Any:
        return vjp(lambda x: traced(x, w, **how), (x,), g)[0]

    def gw(x: Any, w: Any, g: Any) -> Any:
        return vjp(lambda w: traced(x, w, **how), (w,), g)[0]

    flat = linear(how)
    by_x, by_w, by_g = vjp(gx, (X, W, g), DX)
    assert same(by_x, np.zeros_like(X))
    assert same(by_w, conv1d_vjp(DX, W, None, g, **flat)[1])
    assert same(by_g, conv1d(DX, W, **flat))
    by_x, by_w, by_g = vjp(gw, (X, W, g), DW)
    assert same(by_x, conv1d_vjp(X, DW, None, g, **flat)[0])
    assert same(by_w, np.zeros_like(W))
    assert same(by_g, conv1d(X, DW, **how))
    assert same(jvp(lambda x: gw(x, W, g), (X,), (DX,)), conv1d_vjp(DX, W, None, g, **flat)[1])
    assert same(jvp(lambda w: gx(X, w, g), (W,), (DW,)), conv1d_vjp(X, DW, None, g, **how)[0])


def test_mixed_second_derivatives_are_symmetric_and_third_ones_vanish(how: dict[str, Any]) -> None:
    g = lattice(conv1d(X, W, **how).shape, 7)

    def gx(w: Any) -> Any:
        return vjp(lambda x: traced(x, w, **how), (X,), g)[0]

    def gw(x: Any) -> Any:
        return vjp(lambda w: traced(x, w, **how), (W,), g)[0]

    assert np.vdot(jvp(gx, (W,), (DW,)), DX) == np.vdot(jvp(gw, (X,), (DX,)), DW)
    assert np.vdot(vjp(gx, (W,), DX)[0], DW) == np.vdot(vjp(gw, (X,), DW)[0], DX)
    third = jvp(lambda w: jvp(gx, (w,), (DW,)), (W,), (DW,))
    assert same(third, np.zeros_like(X))
    forward = jvp(lambda x: jvp(lambda w: traced(x, w, **how), (W,), (DW,)), (X,), (DX,))
    assert same(forward, conv1d(DX, DW, **linear(how)))


def test_a_composition_and_an_operand_used_twice() -> None:
    x, w = lattice((1, 2, 9), 1), lattice((2, 2, 3), 2)

    def twice(w: Any) -> Any:
        return traced(traced(x, w, padding="same"), w, padding="same")

    g = lattice((1, 2, 9), 3)
    inner = conv1d(x, w, padding="same")
    first, second, _ = conv1d_vjp(inner, w, None, g, padding="same")
    assert same(vjp(twice, (w,), g)[0], second + conv1d_vjp(x, w, None, first, padding="same")[1])
    hessian = [[np.vdot(jvp(lambda w: vjp(twice, (w,), g)[0], (w,), (p,)), q) for p in basis(w)] for q in basis(w)]
    assert np.array_equal(hessian, np.transpose(hessian))
    assert np.any(hessian)


def basis(w: Any) -> Any:
    return np.eye(w.size).reshape(w.size, *w.shape)


def test_functions_are_total() -> None:
    g = np.ones((2, 6, 5))
    gx, gz = vjp(lambda x, z: traced(x, W, groups=2), (X, DX), g)
    assert same(gz, np.zeros_like(DX))
    assert same(gx, conv1d_vjp(X, W, None, g, groups=2)[0])
    assert same(vjp(lambda z: conv1d(X, W, groups=2), (DX,), g)[0], np.zeros_like(DX))
    assert same(jvp(lambda z: conv1d(X, W, groups=2), (DX,), (DX,)), np.zeros_like(g))


def test_an_inner_variable_is_not_confused_with_an_outer_one() -> None:
    x, w = np.ones((1, 1, 1)), np.full((1, 1, 1), 2.0)
    # d/dx of x * (d/dw of w * x) = 2 x, at x = 1
    got = vjp(lambda x: traced(x, vjp(lambda w: traced(x, w), (w,), np.ones((1, 1, 1)))[0]), (x,), np.ones((1, 1, 1)))
    assert same(got[0], 2 * x)


def test_vmap_maps_functions_transforms_and_variables() -> None:
    xs, g = np.stack([X, DX, X + DX], axis=1), np.ones((2, 6, 5))
    got = vmap(lambda x, w: traced(x, w, groups=2), in_axes=(1, None))(xs, W)
    assert same(got, np.stack([conv1d(xs[:, i], W, groups=2) for i in range(3)]))
    both = vmap(lambda x: vjp(lambda x, w: traced(x, w, groups=2), (x, W), g), in_axes=-3)(
        np.stack([X, DX]).swapaxes(0, 1)
    )
    want = [conv1d_vjp(x, W, None, g, groups=2)[:2] for x in (X, DX)]
    assert all(same(p, np.stack(q)) for p, q in zip(both, zip(*want, strict=True), strict=True))
    mapped = vmap(lambda x: traced(x, W, groups=2), in_axes=1)
    (back,) = vjp(mapped, (xs,), np.ones((3, 2, 6, 5)))
    assert same(back, np.stack([conv1d_vjp(X, W, None, g, groups=2)[0]] * 3, axis=1))
    assert same(jvp(mapped, (xs,), (xs,)), mapped(xs))
    with pytest.raises(ValueError, match="one extent"):
        vmap(lambda x: traced(x, W, groups=2))(xs[:0])


def test_complex_derivatives_are_the_adjoint_at_every_order() -> None:
    x, w, h = X + 1j * DX, W + 1j * DW, DX - 1j * X
    g = lattice((2, 6, 5), 7) + 1j * lattice((2, 6, 5), 8)
    gx, gw = vjp(lambda x, w: traced(x, w, groups=2), (x, w), g)
    assert same(gx, conv1d_vjp(x, w, None, g, groups=2)[0])
    assert same(gw, conv1d_vjp(x, w, None, g, groups=2)[1])
    inner = lambda w: vjp(lambda x: traced(x, w, groups=2), (x,), g)[0]  # noqa: E731 - the function differentiated
    moved = jvp(inner, (w,), (w,))
    (pulled,) = vjp(inner, (w,), h)
    assert np.vdot(moved, h).real == np.vdot(w, pulled).real


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_the_adapter_computes_halves_in_float32_and_rounds_once(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, w, g = (rng.standard_normal(s).astype(dtype) for s in ((2, 4, 7), (6, 2, 3), (2, 6, 5)))
    wide_x, wide_w, wide_g = (a.astype(np.float32) for a in (x, w, g))

    def f(x: Any, w: Any) -> Any:
        return numpy_adapter.conv1d(x, w, None, groups=2)

    assert np.array_equal(f(x, w), conv1d(wide_x, wide_w, groups=2).astype(dtype))
    want = conv1d_vjp(wide_x, wide_w, None, wide_g, groups=2)
    for got, exact in zip(numpy_adapter.vjp(f, (x, w), g), want[:2], strict=True):
        assert got.dtype == dtype
        assert np.array_equal(got, exact.astype(dtype))
    tangent = numpy_adapter.jvp(f, (x, w), (x[::-1], w))
    assert tangent.dtype == dtype
    joint = conv1d_jvp(wide_x, wide_w, None, wide_x[::-1], wide_w, None, groups=2)
    assert np.array_equal(tangent, joint.astype(dtype))


def test_a_variable_shows_its_dtype_and_shape() -> None:
    variable = Variable(X)
    assert (variable.dtype, variable.shape) == (X.dtype, (2, 4, 7))


def test_the_adapter_is_silent_about_non_finite_operands() -> None:
    x = X.copy()
    x[0, 0, 0], x[0, 1, 0] = np.inf, -np.inf
    y = numpy_adapter.conv1d(x, np.ones_like(W), None, groups=2)
    assert np.isnan(y[0, :3, 0]).all()
    assert np.isfinite(y[0, 3:]).all()
    assert np.isfinite(y[1]).all()
    assert np.isfinite(y[:, :, 1:]).all()
