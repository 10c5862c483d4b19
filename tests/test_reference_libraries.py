"""The same reference on the arrays of four libraries, to the bit, and beside the convolutions of NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from conv1d_cts.reference import autodiff, conv1d, conv1d_jvp, conv1d_vjp
from conv1d_cts.reference.bounds import Units, conv1d_bound, conv1d_vjp_bound
from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import PADDING_MODES
from tests.test_reference_definition import lattice

GEOMETRIES = [
    Geometry(2, 4, 6, 13, 3, 3, 2, 2, (3, 1)),
    Geometry(2, 3, 3, 9, 2, 2, 1, 3, (1, 2)),
    Geometry(3, 1, 5, 11, 4, padding=(2, 0)),
    Geometry(1, 2, 2, 6, 3, 4),
    Geometry(0, 2, 2, 5, 2),
    Geometry(2, 0, 3, 5, 2),
    Geometry(2, 2, 0, 5, 2),
    Geometry(1, 1, 1, 2, 4),
]


@pytest.fixture(params=["array_api_strict", "torch", "jax"])
def library(request: pytest.FixtureRequest) -> Iterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Yield the functions from and to NumPy of a library that may not be installed."""
    module = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    if request.param == "array_api_strict":
        yield module.asarray, lambda a: np.from_dlpack(a)
    elif request.param == "torch":
        yield module.from_numpy, lambda a: a.numpy()
    else:
        with module.enable_x64(True):
            yield module.numpy.asarray, np.asarray


def keywords(g: Geometry, mode: str) -> dict[str, Any]:
    return {
        "stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups, "padding_mode": mode
    }  # fmt: skip


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_every_library_gives_the_bits_of_numpy(library: tuple[Callable[..., Any], ...], mode: str) -> None:
    native, plain = library
    compiled = plain is np.asarray  # jax compiles every operation for every shape
    for g in GEOMETRIES[:1] if compiled else GEOMETRIES:
        if mode != "zeros" and not g.length:
            continue
        how = keywords(g, mode)
        x, w, b, cotangent = (lattice(s, i) for i, s in enumerate((g.x_shape, g.w_shape, g.b_shape, g.y_shape)))
        nx, nw, nb, nc = (native(a.copy()) for a in (x, w, b, cotangent))
        units = Units(2.0**-24, 2.0**-24)
        pairs = [
            (conv1d(nx, nw, nb, **how), conv1d(x, w, b, **how)),
            *zip(conv1d_vjp(nx, nw, nb, nc, **how), conv1d_vjp(x, w, b, cotangent, **how), strict=True),
            (conv1d_jvp(nx, nw, nb, nx, nw, None, **how), conv1d_jvp(x, w, b, x, w, None, **how)),
            (second(nx, nw, nb, nc, how), second(x, w, b, cotangent, how)),
        ]
        if not compiled:
            bounds = conv1d_vjp_bound(nx, nw, nb, nc, **how, units=units)
            pairs.append((conv1d_bound(nx, nw, nb, **how, units=units), conv1d_bound(x, w, b, **how, units=units)))
            pairs.extend(zip(bounds, conv1d_vjp_bound(x, w, b, cotangent, **how, units=units), strict=True))
        for got, want in pairs:
            assert type(got) is type(nx)
            assert np.array_equal(plain(got), want)
            assert plain(got).dtype == want.dtype == np.float64


def test_an_immense_stride_costs_no_memory(library: tuple[Callable[..., Any], ...]) -> None:
    native, plain = library
    x, w, g = (native(lattice(shape, 1)) for shape in ((1, 1, 3), (1, 1, 2), (1, 1, 1)))
    for immense, plainly in zip(
        conv1d_vjp(x, w, None, g, stride=2**62)[:2], conv1d_vjp(x, w, None, g, stride=2)[:2], strict=True
    ):
        assert np.array_equal(plain(immense), plain(plainly))


def second(x: Any, w: Any, b: Any, cotangent: Any, how: dict[str, Any]) -> Any:
    """Return the derivative along w of the gradient by x: a vjp of the tape within a jvp."""

    def gradient(w: Any) -> Any:
        (gx,) = autodiff.vjp(lambda x: autodiff.conv1d(x, w, b, **how), (x,), cotangent)
        return gx

    return autodiff.jvp(gradient, (w,), (w,))


def test_valid_and_full_equal_numpy_convolve_of_the_flipped_kernel() -> None:
    for length, kernel in ((9, 3), (7, 1), (5, 5), (64, 8)):
        x, w = lattice((length,), 1), lattice((kernel,), 2)
        for padding in ("valid", "full"):
            y = conv1d(x[None, None], w[None, None, ::-1], padding=padding)
            assert np.array_equal(y[0, 0], np.convolve(x, w, mode=padding))


def test_padding_names_equal_scipy_correlate() -> None:
    signal = pytest.importorskip("scipy.signal", reason="scipy is not installed")
    x, w = lattice((2, 3, 12), 1), lattice((4, 3, 3), 2)
    for padding in ("valid", "full", "same"):
        y = conv1d(x, w, padding=padding)
        for n, o in np.ndindex(2, 4):
            rows = [signal.correlate(x[n, c], w[o, c], mode=padding, method="direct") for c in range(3)]
            assert np.array_equal(y[n, o], sum(rows))


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64", "complex128", "int8", "int64", "uint8", "uint32"])
def test_every_dtype_keeps_itself(dtype: str) -> None:
    x, w, b = (lattice(s, i).astype(dtype) for i, s in enumerate(((2, 4, 7), (6, 2, 3), (6,))))
    how: dict[str, Any] = {"groups": 2, "padding": (2, 1), "padding_mode": "replicate"}
    y = conv1d(x, w, b, **how)
    results = [y, *conv1d_vjp(x, w, b, y, **how), conv1d_jvp(x, w, b, x, w, b, **how)]
    assert {str(a.dtype) for a in results} == {dtype}
    if np.issubdtype(x.dtype, np.integer):
        wide = conv1d(x.astype(np.int64), w.astype(np.int64), b.astype(np.int64), **how)
        assert np.array_equal(y, wide.astype(dtype))


def test_complex_gradients_are_the_adjoint() -> None:
    x, w, g = (lattice(s, 1) + 1j * lattice(s, 2) for s in ((2, 3, 9), (4, 3, 3), (2, 4, 5)))
    how: dict[str, Any] = {"stride": 2, "padding": (1, 1), "padding_mode": "reflect"}
    gx, gw, _ = conv1d_vjp(x, w, None, g, **how)
    forward = np.vdot(conv1d(x, w, **how), g)
    assert forward == np.vdot(x, gx) == np.vdot(w, gw)


def test_operand_layouts_make_no_difference() -> None:
    x, w = lattice((3, 4, 10), 1), lattice((6, 2, 3), 2)
    want = conv1d(x, w, groups=2, stride=2)
    strided = np.zeros((6, 4, 20))[::2, :, ::-2]
    strided[...] = x
    for other in (np.asfortranarray(x), strided, np.moveaxis(np.moveaxis(x, 2, 0).copy(), 0, 2)):
        assert np.array_equal(conv1d(other, np.asfortranarray(w), groups=2, stride=2), want)
