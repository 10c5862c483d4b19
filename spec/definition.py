"""The operator and its derivatives as plain loops over exact numbers, written from the formulas (chapters OP, GRAD).

Slow and plainly right: the array reference and every backend are measured against it. Operands are nested lists of
Python integers or fractions, so no result is ever rounded. A nested list loses the extents behind an empty one, so
they come from the `Geometry`: an operand must have its shape there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from conv1d_cts.spec.geometry import Geometry
from conv1d_cts.spec.padding import check_domain, source_index

Number = int | Fraction
Vector = Sequence[Number]
Tensor = Sequence[Sequence[Vector]]
Lists = list[list[list[Number]]]


@dataclass(frozen=True, slots=True)
class _Product:
    """One product of the sum: w[o][c][k] times the sample that y[n][o][i] reads; `source` is None at a fill."""

    n: int
    o: int
    i: int
    c: int
    k: int
    channel: int
    source: int | None


def _products(geometry: Geometry, padding_mode: str) -> Iterator[_Product]:
    """Every product of OP-4, each once. Raises ValueError outside the mode's domain (PAD-14)."""
    g, (lo, hi) = geometry, geometry.pads
    check_domain(padding_mode, lo, hi, g.length)
    c_per_group, o_per_group = g.c_in // g.groups, g.c_out // g.groups
    for n in range(g.n):
        for o in range(g.c_out):
            for i in range(g.l_out):
                for c in range(c_per_group):
                    for k in range(g.kernel):
                        channel = (o // o_per_group) * c_per_group + c
                        source = source_index(padding_mode, i * g.stride + k * g.dilation - lo, g.length)
                        yield _Product(n, o, i, c, k, channel, source)


def _zeros(shape: tuple[int, int, int]) -> Lists:
    return [[[0] * shape[2] for _ in range(shape[1])] for _ in range(shape[0])]


def conv1d(
    x: Tensor, w: Tensor, b: Vector | None, geometry: Geometry, padding_mode: str = "zeros", padding_value: Number = 0
) -> Lists:
    """Return y of shape (N, O, L_out): y[n,o,i] = b[o] + sum over c, k of w[o,c,k] * the sample it meets (OP-4, OP-6).

    `padding_value` is the fill of mode "constant" and of no other. Raises ValueError outside the mode's domain.
    """
    fill = padding_value if padding_mode == "constant" else 0
    y = _zeros(geometry.y_shape)
    for p in _products(geometry, padding_mode):
        sample = fill if p.source is None else x[p.n][p.channel][p.source]
        y[p.n][p.o][p.i] += w[p.o][p.c][p.k] * sample
    if b is None:
        return y
    return [[[value + b[o] for value in row] for o, row in enumerate(item)] for item in y]


def conv1d_vjp(
    x: Tensor,
    w: Tensor,
    b: Vector | None,
    cotangent: Tensor,
    geometry: Geometry,
    padding_mode: str = "zeros",
    padding_value: Number = 0,
) -> tuple[Lists, Lists, list[Number] | None]:
    """Return (gx, gw, gb), the gradients of <cotangent, conv1d(x, w, b)> in the operands' shapes; gb None without b.

    `cotangent` has the shape of y. A product w * sample gives cotangent * w to the sample and cotangent * sample to w;
    a fill value is no operand and has no gradient (GRAD-1 to GRAD-8). Raises ValueError outside the mode's domain.
    """
    fill = padding_value if padding_mode == "constant" else 0
    gx, gw = _zeros(geometry.x_shape), _zeros(geometry.w_shape)
    for p in _products(geometry, padding_mode):
        gy = cotangent[p.n][p.o][p.i]
        sample = fill if p.source is None else x[p.n][p.channel][p.source]
        gw[p.o][p.c][p.k] += gy * sample
        if p.source is not None:
            gx[p.n][p.channel][p.source] += gy * w[p.o][p.c][p.k]
    if b is None:
        return gx, gw, None
    return gx, gw, [sum((sum(item[o]) for item in cotangent), start=0) for o in range(geometry.c_out)]


def conv1d_jvp(
    x: Tensor,
    w: Tensor,
    b: Vector | None,
    x_tangent: Tensor | None,
    w_tangent: Tensor | None,
    b_tangent: Vector | None,
    geometry: Geometry,
    padding_mode: str = "zeros",
    padding_value: Number = 0,
) -> Lists:
    """Return the derivative of conv1d at (x, w, b) along the tangents, in y's shape (GRAD-12).

    It is conv1d(dx, w) + conv1d(x, dw) + db; a tangent None is zero. `b` is there for the order of the arguments only.
    The fill value is no operand, so it appears beside dw and not beside dx. Raises ValueError outside its domain.
    """
    dx = _zeros(geometry.x_shape) if x_tangent is None else x_tangent
    dw = _zeros(geometry.w_shape) if w_tangent is None else w_tangent
    along_x = conv1d(dx, w, b_tangent, geometry, padding_mode)
    along_w = conv1d(x, dw, None, geometry, padding_mode, padding_value)
    return [
        [[p + q for p, q in zip(*rows, strict=True)] for rows in zip(*items, strict=True)]
        for items in zip(along_x, along_w, strict=True)
    ]
