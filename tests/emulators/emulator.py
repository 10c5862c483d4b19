"""A backend whose contractions run in a given arithmetic: an adapter like any other, and callable in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.emulators.arithmetic import Arithmetic, Product
from tests.emulators.rounding import Array
from tests.mutants.base import Backend
from tests.mutants.plan import Plan
from tests.mutants.tape import Traced

Parameters = dict[str, object]


class Restricted(Backend):
    """The correct backend of the mutants, for some dtypes alone: it refuses all others."""

    def __init__(self, name: str, dtypes: tuple[str, ...]) -> None:
        super().__init__(name)
        self.dtypes = dtypes
        self.limits = {" and ".join(f"dtype != {dtype!r}" for dtype in dtypes): "not what this one emulates"}

    def accept(self, x: Traced, w: Traced, b: Traced, args: Parameters) -> tuple[Traced, Traced, Traced, Plan]:
        """Refuse other dtypes than its own."""
        if str(x.dtype) not in self.dtypes:
            raise TypeError(f"{self.name} has no {x.dtype}")
        return super().accept(x, w, b, args)

    def gradients(
        self, x: Array, w: Array, b: Array | None, cotangent: Array, **parameters: object
    ) -> tuple[Array, ...]:
        """Return gx, gw and, where there is a bias, gb."""
        primals = (x, w) if b is None else (x, w, b)
        return self.vjp(lambda *primals: self.conv1d(*primals, **parameters), primals, cotangent)


class Emulator(Restricted):
    """Every sum of y, gx, gw and gb, to the bit, as an arithmetic computes it; the bias is added in the dtype."""

    def __init__(self, name: str, arithmetic: Arithmetic, dtypes: tuple[str, ...]) -> None:
        super().__init__(name, dtypes)
        self.arithmetic = arithmetic

    def forward(self, x: Array, w: Array, plan: Plan) -> Array:
        """Return y (N, O, L_out): one product for each tap and channel."""
        y = self.arithmetic.dot(_of_output(x, w, plan), plan.dtype)
        return _shaped(y, (plan.n, plan.groups, plan.fan_out, plan.l_out), plan.y_shape).astype(x.dtype)

    def grad_x(self, w: Array, g: Array, plan: Plan) -> Array:
        """Return gx (N, C, padded): one product for each tap and output channel, where there is one."""
        gx = self.arithmetic.dot(_of_input(w, g, plan), plan.dtype)
        whole = plan.n, plan.groups, plan.fan_in, plan.padded
        return _shaped(gx, whole, (plan.n, plan.c_in, plan.padded)).astype(g.dtype)

    def grad_w(self, x: Array, g: Array, plan: Plan) -> Array:
        """Return gw (O, C/g, K): one product for each item and output position."""
        gw = self.arithmetic.dot(_of_weight(x, g, plan), plan.dtype)
        whole = plan.groups, plan.fan_out, plan.fan_in, plan.kernel
        return _shaped(gw, whole, (plan.c_out, plan.fan_in, plan.kernel)).astype(g.dtype)

    def grad_b(self, g: Array, plan: Plan) -> Array:
        """Return gb (O,)."""
        terms = g.astype(np.float64).transpose(0, 2, 1).reshape(-1, plan.c_out)
        return _shaped(self.arithmetic.total(terms, plan.dtype), (plan.c_out,), (plan.c_out,)).astype(g.dtype)


def _shaped(total: Array, whole: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Return the sum in its shape; one without terms is a scalar 0."""
    return np.ascontiguousarray(np.broadcast_to(total, whole)).reshape(shape)


def _grouped(a: Array, plan: Plan) -> Array:
    """Turn (N, C, .) into (N, g, C/g, .), in float64."""
    return a.astype(np.float64).reshape(a.shape[0], plan.groups, a.shape[1] // plan.groups, a.shape[2])


def _weights(w: Array, plan: Plan) -> Array:
    """Turn (O, C/g, K) into (g, O/g, C/g, K), in float64."""
    return w.astype(np.float64).reshape(plan.groups, plan.fan_out, plan.fan_in, plan.kernel)


def _reads(plan: Plan, k: int) -> slice:
    """The padded samples that tap k reads."""
    start = k * plan.dilation
    return slice(start, start + plan.reach, plan.step)


def _of_output(x: Array, w: Array, plan: Plan) -> Iterator[Product]:
    x, w = _grouped(x, plan), _weights(w, plan)
    for c in range(plan.fan_in):
        for k in range(plan.kernel):
            yield w[None, :, :, c, k, None], x[:, :, None, c, _reads(plan, k)]


def _of_input(w: Array, g: Array, plan: Plan) -> Iterator[Product]:
    """Where tap k reads no sample at a position, both factors are 0: no arithmetic can tell that from no product."""
    w, g = _weights(w, plan), _grouped(g, plan)
    for o in range(plan.fan_out):
        for k in range(plan.kernel):
            there, spread = np.zeros(plan.padded, bool), np.zeros((plan.n, plan.groups, 1, plan.padded))
            if plan.l_out:
                there[_reads(plan, k)] = True
                spread[..., 0, _reads(plan, k)] = g[:, :, o]
            yield np.where(there, w[None, :, o, :, k, None], 0.0), spread


def _of_weight(x: Array, g: Array, plan: Plan) -> Iterator[Product]:
    x, g = _grouped(x, plan), _grouped(g, plan)
    for n in range(plan.n):
        for i in range(plan.l_out):
            start = i * plan.step
            stop = start + plan.span
            yield g[n, :, :, i, None, None], x[n, :, None, :, start : stop : plan.dilation]


Make = Callable[[], Restricted]
