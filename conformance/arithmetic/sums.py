"""The results of conv1d as matrices of sums: entry (r, c) is the sum over j of left[r, j] * right[j, c].

Every probe is written once, against this view, and is then put to y, gx, gw and gb. Rows and columns that do not meet
in one window are kept apart by zeros, and a product with zero changes no honest sum. Many probes share one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from conv1d_cts.conformance import judge
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.wire import dtype_of
from conv1d_cts.conformance.recipes import Operands

Array = np.ndarray[Any, Any]
QUANTITIES = ("y", "gx", "gw", "gb")


class Evaluator(Protocol):
    """What computes: a surface, or an arithmetic in this process."""

    def conv1d(self, case: Case, operands: Operands) -> Array:
        """Y (N, O, L_out)."""

    def vjp(self, case: Case, operands: Operands, wrt: str) -> dict[str, Array]:
        """The gradients of the operands in `wrt`."""


@dataclass(frozen=True)
class Request:
    """A matrix of sums to be computed: left (rows, n), right (n, columns)."""

    left: Array
    right: Array


@dataclass(frozen=True)
class Sums:
    """One result of a plain case (stride, dilation and groups 1, no padding) as a matrix of sums of n products."""

    evaluator: Evaluator
    case: Case
    quantity: str

    @property
    def windows(self) -> int:
        """Windows side by side without a common sample, in y and in the interior of gx."""
        return self.case.geometry.l_out // self.case.geometry.kernel

    @property
    def kind(self) -> type:
        """What matrices are held in: int64 for integers, float64 for all others."""
        return np.int64 if self.case.dtype.startswith(("int", "uint")) else np.float64

    def _zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, self.kind)

    @property
    def n(self) -> int:
        """Products of a sum."""
        g = self.case.geometry
        return {"y": g.c_in * g.kernel, "gx": g.c_out * g.kernel}.get(self.quantity, g.n * g.l_out)

    @property
    def rows(self) -> int:
        """Rows of one call."""
        g = self.case.geometry
        return g.n * self.windows if self.quantity in ("y", "gx") else g.c_out

    @property
    def columns(self) -> int:
        """Columns of one call; gb, whose right operand is all ones, has as many as one likes."""
        g = self.case.geometry
        return {"y": g.c_out, "gx": g.c_in, "gw": g.c_in}.get(self.quantity, 2**30)

    def solve(self, requests: Sequence[Request]) -> list[Array]:
        """The matrices asked for, as float64 or int64, in as few calls as they fit in. Raises Refused, Died."""
        results = [self._zeros((r.left.shape[0], r.right.shape[1])) for r in requests]
        for tiles in self._packed(requests):
            self._call([(requests[tile.request], tile, results) for tile in tiles])
        return results

    def _packed(self, requests: Sequence[Request]) -> Iterable[list[_Tile]]:
        """The requests cut into tiles that fit a call, the tiles gathered into calls."""
        calls: list[list[_Tile]] = []
        for tile in (t for i, r in enumerate(requests) for t in _tiles(i, r, self.rows, self.columns)):
            call = next((call for call in calls if self._fits(tile, call)), None)
            if call is None:
                calls.append(call := [])
            call.append(tile)
        return calls

    def _fits(self, tile: _Tile, call: list[_Tile]) -> bool:
        rows, columns = (sum(sizes) for sizes in zip(*((t.rows, t.columns) for t in call), strict=True))
        return bool(rows + tile.rows <= self.rows and columns + tile.columns <= self.columns)

    def _call(self, placed: list[tuple[Request, _Tile, list[Array]]]) -> None:
        left = self._zeros((self.rows, self.n))
        right = self._zeros((self.n, min(self.columns, sum(tile.columns for _, tile, _ in placed))))
        row = column = 0
        for request, tile, _ in placed:
            left[row : row + tile.rows] = request.left[tile.top : tile.top + tile.rows]
            right[:, column : column + tile.columns] = request.right[:, tile.start : tile.start + tile.columns]
            row, column = row + tile.rows, column + tile.columns
        whole = self._evaluate(left, right)
        row = column = 0
        for _, tile, results in placed:
            part = whole[row : row + tile.rows, column : column + tile.columns]
            results[tile.request][tile.top : tile.top + tile.rows, tile.start : tile.start + tile.columns] = part
            row, column = row + tile.rows, column + tile.columns

    def _evaluate(self, left: Array, right: Array) -> Array:
        """The matrix of one call: left (rows, n), right (n, at most `columns`)."""
        g, w = self.case.geometry, self.windows
        if self.quantity in ("y", "gx"):
            channels, others = (g.c_in, g.c_out) if self.quantity == "y" else (g.c_out, g.c_in)
            wide = self._zeros((self.n, others))
            wide[:, : right.shape[1]] = right
            signal = left.reshape(g.n, w, channels, g.kernel).transpose(0, 2, 1, 3)
            kernel = wide.reshape(channels, g.kernel, others)
            return self._of_signal(signal, kernel).transpose(0, 2, 1).reshape(self.rows, others)
        gy = left.reshape(g.c_out, g.n, g.l_out).transpose(1, 0, 2)
        x, tap = self._zeros(g.x_shape), g.kernel // 2
        if self.quantity == "gb":
            gb = self._ask(x, np.zeros(g.w_shape), gy)
            return np.broadcast_to(gb[:, None], (g.c_out, right.shape[1]))
        x[:, : right.shape[1], tap : tap + g.l_out] = right.T.reshape(-1, g.n, g.l_out).transpose(1, 0, 2)
        return self._ask(x, np.zeros(g.w_shape), gy)[:, :, tap]

    def _of_signal(self, signal: Array, kernel: Array) -> Array:
        """(N, columns, windows) of a signal (N, channels, windows, K) and kernels (channels, K, columns)."""
        g, count = self.case.geometry, self.windows * self.case.geometry.kernel
        if self.quantity == "y":
            x = self._zeros(g.x_shape)
            x[:, :, :count] = signal.reshape(g.n, g.c_in, count)
            return self._ask(x, kernel.transpose(2, 0, 1), np.zeros(g.y_shape))[:, :, : count : g.kernel]
        gy = self._zeros(g.y_shape)
        gy[:, :, :count] = signal[..., ::-1].reshape(g.n, g.c_out, count)
        gx = self._ask(np.zeros(g.x_shape), kernel.transpose(0, 2, 1), gy)
        return gx[:, :, g.kernel - 1 : g.kernel - 1 + count : g.kernel]

    def _ask(self, x: Array, w: Array, gy: Array) -> Array:
        """The whole result of this quantity, real."""
        dtype = dtype_of(self.case.dtype)
        x, w, gy = (np.ascontiguousarray(a).astype(dtype) for a in (x, w, gy))
        b = np.zeros(self.case.geometry.c_out, dtype)
        if self.quantity == "y":
            got = self.evaluator.conv1d(self.case, Operands(x, w, None, gy))
        else:
            name = self.quantity[1]
            got = self.evaluator.vjp(self.case, Operands(x, w, b, gy), name)[name]
        judge.same_shape(got, {"y": gy, "gx": x, "gw": w, "gb": b}[self.quantity].shape, self.quantity)
        return np.real(got).astype(self.kind)


@dataclass(frozen=True)
class _Tile:
    """A part of a request: which one, its first row and column, its extents."""

    request: int
    top: int
    start: int
    rows: int
    columns: int


def _tiles(index: int, request: Request, rows: int, columns: int) -> Iterable[_Tile]:
    height, width = request.left.shape[0], request.right.shape[1]
    for top in range(0, height, rows):
        for start in range(0, width, columns):
            yield _Tile(index, top, start, min(rows, height - top), min(columns, width - start))
