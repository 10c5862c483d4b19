"""Convolutions that are no sums of products: Winograd's and Fourier's, in float32. Their error is norm-wise.

Winograd's F(m, r) gives m outputs of r taps by m + r - 1 products (Lavin and Gray, *Fast algorithms for convolutional
neural networks*, 2016): y = A^T [(G w) * (B^T x)]. The matrices are those of Toom and Cook on integer points and
infinity, transposed; B^T is kept in integers, as in practice, so that G takes the fractions.
"""

from __future__ import annotations

import numpy as np

from tests.emulators.arithmetic import Arithmetic
from tests.emulators.emulator import Emulator
from tests.emulators.rounding import Array
from tests.mutants.plan import Plan

_POINTS = {4: (0, 1, -1), 6: (0, 1, -1, 2, -2)}  # and infinity
_TAPS = 3


def _powers(points: tuple[int, ...], count: int) -> Array:
    """Rows (1, a, a^2, ...) of so many powers, and at infinity the highest one alone."""
    return np.array([[float(a**j) for j in range(count)] for a in points] + [[0.0] * (count - 1) + [1.0]])


def winograd_matrices(outputs: int, taps: int) -> tuple[Array, Array, Array]:
    """Return A^T (outputs, t), G (t, taps) and B^T (t, t), float32, for t = outputs + taps - 1 products."""
    t = outputs + taps - 1
    points = _POINTS[t]
    scale = np.array([*(np.prod([a - b for b in points if b != a]) for a in points), 1.0])[:, None]
    data = np.rint(np.linalg.inv(_powers(points, t)).T * scale)
    matrices = _powers(points, outputs).T, _powers(points, taps) / scale, data
    return tuple(m.astype(np.float32) for m in matrices)  # type: ignore[return-value]  # three of them


def _tiles(x: Array, size: int, step: int, count: int) -> Array:
    """(..., L) as (..., count, size): tiles that start `step` apart, zeros beyond the end."""
    short = max(0, (count - 1) * step + size - x.shape[-1])
    x = np.concatenate([x, np.zeros((*x.shape[:-1], short), x.dtype)], axis=-1)
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=-1)[..., : (count - 1) * step + 1 : step, :]


def _split(a: Array, plan: Plan) -> Array:
    return a.reshape(a.shape[0], plan.groups, a.shape[1] // plan.groups, a.shape[2])


class Winograd(Emulator):
    """F(m, 3) wherever it applies: three taps side by side, no stride. Elsewhere float32, one product after another."""

    def __init__(self, name: str, outputs: int) -> None:
        super().__init__(name, Arithmetic(), ("float32",))
        self.outputs = outputs

    def applies(self, plan: Plan) -> bool:
        """Whether this convolution has a fast form."""
        return plan.kernel == _TAPS and plan.dilation == plan.step == 1 and plan.l_out > 0

    def correlate(self, x: Array, w: Array, length: int) -> Array:
        """Return the outputs (N, g, O, length) of x (N, g, C, .) under w (g, O, C, 3)."""
        a, g, b = winograd_matrices(self.outputs, _TAPS)
        tiles = _tiles(x, len(b), self.outputs, -(-length // self.outputs))
        products = np.einsum("goct,ngcit->ngoit", w @ g.T, tiles @ b.T)
        y = products @ a.T
        return y.reshape(*y.shape[:3], -1)[..., :length]

    def forward(self, x: Array, w: Array, plan: Plan) -> Array:
        """Return y (N, O, L_out)."""
        if not self.applies(plan):
            return super().forward(x, w, plan)
        matrices = w.reshape(plan.groups, plan.fan_out, plan.fan_in, _TAPS)
        return self.correlate(_split(x, plan), matrices, plan.l_out).reshape(plan.y_shape)

    def grad_x(self, w: Array, g: Array, plan: Plan) -> Array:
        """Return gx (N, C, padded): g, widened by two zeros on each side, under the taps reversed."""
        if not self.applies(plan):
            return super().grad_x(w, g, plan)
        wide = np.pad(_split(g, plan), ((0, 0), (0, 0), (0, 0), (_TAPS - 1, _TAPS - 1)))
        matrices = w.reshape(plan.groups, plan.fan_out, plan.fan_in, _TAPS).transpose(0, 2, 1, 3)[..., ::-1]
        return self.correlate(wide, matrices, plan.padded).reshape(plan.n, plan.c_in, plan.padded)

    def grad_w(self, x: Array, g: Array, plan: Plan) -> Array:
        """Return gw (O, C/g, 3): tiles of g as the taps of F(3, m), added up before the last transform."""
        if not self.applies(plan):
            return super().grad_w(x, g, plan)
        a, taps, b = winograd_matrices(_TAPS, self.outputs)
        count = -(-plan.l_out // self.outputs)
        of_x = _tiles(_split(x, plan), len(b), self.outputs, count) @ b.T
        of_g = _tiles(_split(g, plan), self.outputs, self.outputs, count) @ taps.T
        return (np.einsum("ngoit,ngcit->goct", of_g, of_x) @ a.T).reshape(plan.c_out, plan.fan_in, _TAPS)


class Fourier(Emulator):
    """Every contraction as a product of spectra, complex64."""

    def __init__(self, name: str) -> None:
        super().__init__(name, Arithmetic(), ("float32",))

    def forward(self, x: Array, w: Array, plan: Plan) -> Array:
        """Return y (N, O, L_out)."""
        whole = self.correlate("ngcf,gocf->ngof", _split(x, plan), self.taps(w, plan), plan)
        return whole[..., : plan.reach : plan.step].reshape(plan.y_shape)

    def grad_x(self, w: Array, g: Array, plan: Plan) -> Array:
        """Return gx (N, C, padded)."""
        backward = self.taps(w, plan).transpose(0, 2, 1, 3)[..., ::-1]
        spread = np.pad(self.gapped(g, plan), ((0, 0),) * 3 + ((plan.span - 1, plan.padded - plan.reach),))
        whole = self.correlate("ngof,gcof->ngcf", spread, backward, plan)
        return whole[..., : plan.padded].reshape(plan.n, plan.c_in, plan.padded)

    def grad_w(self, x: Array, g: Array, plan: Plan) -> Array:
        """Return gw (O, C/g, K)."""
        whole = self.correlate("ngcf,ngof->gocf", _split(x, plan), self.gapped(g, plan), plan)
        return whole[..., : plan.span : plan.dilation].reshape(plan.c_out, plan.fan_in, plan.kernel)

    def correlate(self, axes: str, signal: Array, taps: Array, plan: Plan) -> Array:
        """Return the correlation along the last axis, summed over the axes that einsum sums."""
        size = signal.shape[-1] + taps.shape[-1]
        spectra = (np.fft.rfft(a, size).astype(np.complex64) for a in (signal, taps.astype(np.float32)))
        first, second = spectra
        return np.fft.irfft(np.einsum(axes, first, second.conj()), size).astype(np.float32)

    def taps(self, w: Array, plan: Plan) -> Array:
        """Return w as (g, O/g, C/g, span), zeros between the taps."""
        wide = np.zeros((plan.groups, plan.fan_out, plan.fan_in, plan.span), np.float32)
        wide[..., :: plan.dilation] = w.reshape(plan.groups, plan.fan_out, plan.fan_in, plan.kernel)
        return wide

    def gapped(self, g: Array, plan: Plan) -> Array:
        """Return g as (N, g, O/g, reach), zeros between the positions."""
        wide = np.zeros((plan.n, plan.groups, plan.fan_out, plan.reach), np.float32)
        wide[..., :: plan.step] = _split(g, plan)
        return wide
