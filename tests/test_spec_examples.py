"""The numbers printed in the chapters, recomputed: a table is read from the Markdown, a formula is evaluated again."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest

from conv1d_cts.spec.definition import Number, Vector, conv1d, conv1d_vjp
from conv1d_cts.spec.geometry import Geometry
from tests.chapter_formulas import accuracy, gamma

X: Vector = [0, 3, 4, 5]
W: Vector = [1, 2]
Row = list[str]


def _chapter(name: str) -> str:
    return (resources.files("conv1d_cts.spec") / name).read_text(encoding="utf-8")


def _table(name: str, header: str) -> list[Row]:
    """Return the cells of the table of chapter `name` whose first line starts with `header`."""
    lines = _chapter(name).split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(header)) + 2
    rows = []
    while lines[start].startswith("|"):
        rows.append([cell.strip() for cell in lines[start].strip("|").split("|")])
        start += 1
    return rows


def _ints(cell: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", cell)]


def _row(x: Vector, w: Vector, mode: str = "zeros", value: Number = 0, **parameters: object) -> Vector:
    geometry = Geometry(1, 1, 1, len(x), len(w), **parameters)  # type: ignore[arg-type]  # parameters of Geometry
    return conv1d([[x]], [[w]], None, geometry, mode, value)[0][0]


def test_operator_example() -> None:
    x, text = [[[1, 2, 3, 4], [5, 6, 7, 8]]], _chapter("01-operator.md")
    w, b = [[[1, 2], [3, 4]], [[0, 1], [-1, 0]]], [10, 20]
    plain = conv1d(x, w, b, Geometry(1, 2, 2, 4, 2, dilation=2, padding=(1, 0)))
    grouped = conv1d(x, [[[1, 2]], [[0, 1]]], b, Geometry(1, 2, 2, 4, 2, 1, 2, 2, (1, 0)))
    assert plain == [[[38, 60, 70], [22, 18, 18]]]
    assert "y = [[38, 60, 70],\n     [22, 18, 18]]" in text
    assert f"y = {grouped[0]}" in text


@pytest.mark.parametrize("row", _table("02-shapes.md", "| L | lo, hi |"))
def test_shape_table(row: Row) -> None:
    length, kernel, stride, dilation, span, l_out = (int(row[i]) for i in (0, 2, 3, 4, 5, 6))
    lo, hi = _ints(row[1])
    geometry = Geometry(1, 1, 1, length, kernel, stride, dilation, padding=(lo, hi))
    assert (geometry.span, geometry.l_out) == (span, l_out)
    assert row[7] == (str(geometry.remainder) if l_out else "none")


@pytest.mark.parametrize("row", _table("03-padding.md", "| mode | y |"))
def test_padding_modes_table(row: Row) -> None:
    mode, _, value = row[0].partition(" ")
    assert _row([1, 2, 3, 4], [100, 10, 1], mode, int(value or 0), padding=(2, 2)) == _ints(row[1])


@pytest.mark.parametrize("row", _table("03-padding.md", "| name | lo, hi | y |"))
def test_padding_names_table(row: Row) -> None:
    assert Geometry(1, 1, 1, 4, 2, padding=row[0]).pads == tuple(_ints(row[1]))
    assert _row(X, W, padding=row[0]) == _ints(row[2])


def test_same_example() -> None:
    pads = {s: Geometry(1, 1, 1, 10, 3, stride=s, dilation=2, padding="same").pads for s in (1, 2, 3, 7)}
    assert pads == {1: (2, 2), 2: (1, 2), 3: (2, 2), 7: (1, 1)}


@pytest.mark.parametrize("row", _table("04-gradients.md", "| call | gy | gx | gw |"))
def test_gradient_table(row: Row) -> None:
    stride = int(row[0].split()[1].strip(",")) if row[0].startswith("stride") else 1
    padding = (_ints(row[0])[0], _ints(row[0])[1]) if row[0].startswith("(") else row[0].split(",")[0]
    mode = row[0].split()[-1].replace("valid", "zeros")
    geometry = Geometry(1, 1, 1, 4, 2, stride, padding=(0, 0) if stride > 1 else padding)
    gy: Vector = list(_ints(row[1]))
    gx, gw, _ = conv1d_vjp([[X]], [[W]], None, [[gy]], geometry, mode)
    assert (gx[0][0], gw[0][0]) == (_ints(row[2]), _ints(row[3]))


def test_accuracy_example() -> None:
    text, u, half = _chapter("05-accuracy.md"), 2.0**-24, 2.0**-11
    known = {"u_in": 0.0, "D": 0.0, "v": 2.0**-53, "ref": 0.0, "compensated": False}
    short = {"n": 65, "S": 2112.0, "exact": 2112.0, "u_out": half, "omega_out": 2.0**-14, **known}
    first = accuracy(n=3, S=2 + u, exact=u, u_acc=u, u_out=u, omega_acc=2.0**-126, omega_out=2.0**-126, **known)
    assert f"gamma(4, u) = {gamma(4, u):.6e}" in text
    assert f"B = {first['B']:.5e}" in text
    assert f"gamma(66, 2^-11) = {gamma(66, half):.7f}" in text
    assert f"B(2^-11) = {accuracy(u_acc=half, omega_acc=2.0**-14, **short)['B']:.1f}" in text
    assert f"B(2^-24) = {accuracy(u_acc=u, omega_acc=2.0**-126, **short)['B']:.4f}" in text
    serial = np.float16(2048)
    for _ in range(64):
        serial = np.float16(serial + np.float16(1))
    assert serial == 2048


def _value(cell: str, w: Vector) -> list[float]:
    """Return the windows' IEEE 754 sums for a row of the table of special values."""
    x = [float(token) for token in cell.split(",")]
    return [float(sum(a * b for a, b in zip(x[i : i + len(w)], w, strict=True))) for i in range(len(x) - len(w) + 1)]


@pytest.mark.parametrize(
    "row", [r for r in _table("06-special-values.md", "| x | w |") if r[2] == "valid" and "d =" not in r[1]]
)
def test_special_values_table(row: Row) -> None:
    weights: Vector = list(_ints(row[1]))
    assert np.array_equal(_value(row[0], weights), [float(v) for v in row[3].split(",")], equal_nan=True)


def test_invariance_example() -> None:
    x: Vector = [*X, 1]
    assert _row(x, W) == [6, 11, 14, 7]
    assert _row([2 * a + z for a, z in zip(x, (1, 0, 0, 0, 1), strict=True)], W) == [13, 22, 28, 16]
    assert _row([1, 0, 0, 0, 1], W) == [1, 0, 0, 2]
    assert _row(x[1:], W) == [11, 14, 7]
    assert _row(x, W, stride=2) == [6, 14]
    assert _row(x, W, dilation=3) == [10, 5] == _row(x, [1, 0, 0, 2])
    gx, _, _ = conv1d_vjp([[x]], [[W]], None, [[[1, 0, -1, 2]]], Geometry(1, 1, 1, 5, 2))
    assert gx == [[[1, 2, -1, 0, 4]]]


def test_ex_2_to_8() -> None:
    two = conv1d([[X]], [[W], [[3, 4]]], None, Geometry(1, 1, 2, 4, 2))
    assert two == [[[6, 11, 14], [12, 25, 32]]]
    rows = [[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]]
    channels: list[Vector] = [[row[c] for row in rows] for c in (0, 1)]
    assert conv1d([channels], [[[1, 0, 2], [0, 1, 0]]], None, Geometry(1, 2, 1, 8, 3)) == [[[14, 20, 14, 15, 10, 4]]]
    for kernel in ([1, 2], [1, 2, 3], [1, 2, 3, 4]):
        for mode, padding in (("full", "full"), ("same", "same_lower"), ("valid", "valid")):
            expected = np.convolve(np.array(X), np.array(kernel), mode)  # type: ignore[call-overload]  # mode is a str
            assert _row(X, list(kernel[::-1]), padding=padding) == expected.tolist()
    signal: Vector = [4, 8, 0, 4, 12, 16, 0, 8]
    assert _row(signal, [1] * 4) == [4 * mean for mean in (4, 6, 8, 8, 9)]
    assert _row(signal, [1] * 4, padding="causal") == [4 * mean for mean in (1, 3, 3, 4, 6, 8, 8, 9)]


def test_ex_5_layers() -> None:
    assert [_length(20, 3), _length(50, 5)] == [18, 46]
    assert [_length(100, 3), _length(49, 3), 47 // 2] == [98, 47, 23]
    assert [32 * 3 + 32, 64 * 3 * 5 + 64, 64 * 3 + 64, 128 * 64 * 3 + 128, 101] == [128, 1024, 256, 24704, 101]


def _length(length: int, kernel: int) -> int:
    return Geometry(1, 1, 1, length, kernel).l_out


Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _learn(x: Array, target: Array, kernel: int, steps: int, dtype: type) -> tuple[list[Array], list[float]]:
    """Return the weights after each step of the algorithm of chapter Examples, and the error before each step."""
    w = m = v = np.zeros((target.shape[1], x.shape[1], kernel))
    weights: list[Array] = []
    errors: list[float] = []
    windows: Array = np.lib.stride_tricks.sliding_window_view(x.astype(dtype), kernel, axis=2)
    for t in range(1, steps + 1):
        e = np.einsum("nclk,ock->nol", windows, w.astype(dtype)).astype(np.float64) - target
        errors.append(float(abs(e).mean()))
        g = np.einsum("nol,nclk->ock", (np.sign(e) / e.size).astype(dtype), windows).astype(np.float64)
        m, v = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g * g
        w = w - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
        weights.append(w)
    return weights, errors


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def learn(request: pytest.FixtureRequest) -> Callable[[Array, Array, int, int], tuple[list[Array], list[float]]]:
    return lambda x, target, kernel, steps: _learn(x, target, kernel, steps, request.param)


def _first_below(errors: list[float]) -> int:
    return next(i for i, error in enumerate(errors) if error < 0.1)


def test_ex_9_one_filter(learn: Callable[..., tuple[list[Array], list[float]]]) -> None:
    weights, errors = learn(np.array([[X]], float), np.array([[[6.0, 11, 14]]]), 2, 210)
    assert max(float(abs(w - [1, 2]).max()) for w in weights[194:205]) < 0.0122
    assert [round(float(a), 4) for a in weights[199].ravel()] == [1.0041, 2.0076]
    assert (errors[0], _first_below(errors)) == (31 / 3, 86)


def test_ex_10_two_channels(learn: Callable[..., tuple[list[Array], list[float]]]) -> None:
    x = np.array([[[0.0, 3, 4, 5, 1, 4, 2, 0], [0, 6, 7, 8, 2, 5, 0, 1]]])
    assert _first_below(learn(x, np.array([[[14.0, 20, 14, 15, 10, 4]]]), 3, 300)[1]) == 232


def test_ex_11_two_filters(learn: Callable[..., tuple[list[Array], list[float]]]) -> None:
    target = np.array([[[6.0, 11, 14], [12, 25, 32]]])
    assert _first_below(learn(np.array([[X]], float), target, 2, 300)[1]) == 116


def test_ex_12_trajectories_agree_within_the_bound() -> None:
    def allowance(t: int, u: float) -> float:
        eta = gamma(7, u) + gamma(5 * t + 8, 2.0**-53)
        return 2 * 0.05 * t * eta / (1 - eta)

    runs = [
        _learn(np.array([[X]], float), np.array([[[6.0, 11, 14]]]), 2, 20, dtype)[0]
        for dtype in (np.float32, np.float64)
    ]
    for t, (single, double) in enumerate(zip(*runs, strict=True), start=1):
        assert abs(single - double).max() <= allowance(t, 2.0**-24) + allowance(t, 2.0**-53)
    text = _chapter("09-examples.md")
    assert 2 * allowance(20, 2.0**-24) <= 1.7e-6
    assert 2 * allowance(20, 2.0**-53) <= 5.2e-14
    assert "is 1.7e-6, for two in float64 5.2e-14" in text


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", _chapter("annex-porting.md"), re.DOTALL))
def test_annex_snippets_that_need_numpy_alone(block: str) -> None:
    """Run a snippet of the annex; one that imports a framework is compiled only."""
    code = compile(block, "annex-porting.md", "exec")
    if not re.search(r"^import (torch|tensorflow|jax)", block, re.MULTILINE):
        exec(code, {})
