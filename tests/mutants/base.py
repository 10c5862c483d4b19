"""The correct backend that every mutant starts from: numpy, plain, and with a seam wherever a fault can be planted.

A seam is a method that a mutant wraps with `around`, `edit` or `lie`. Those that compute take the `Plan` last:
`sources`, `pad`, `pad_tangent`, `pad_transpose`, `forward`, `grad_x`, `grad_w`, `spread` (of the bias), `grad_b`. Then
`biased`, `push` and `pull`, the rules of differentiation; `resolve` and `out_length`, integers alone; `accept`, which
validates; and the calls, `conv1d`, `vjp`, `jvp`, `accumulate`, `fit`, `vmap`, `compile`, `eval_shape`. Written from
the spec, apart from the reference.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conv1d_cts.spec.geometry import Geometry, output_length
from conv1d_cts.spec.padding import check_domain, resolve
from tests.mutants import tape
from tests.mutants.plan import Array, Plan, split_w, taps, widen
from tests.mutants.tape import Traced

Condition = Callable[[Plan], bool]
MOST = 2**31 - 1  # elements of one array: beyond it a call is refused


class Backend:
    """The adapter protocol on numpy arrays, and the seams. Correct until something is planted."""

    native = "numpy"
    dtypes = (
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )

    def __init__(self, name: str = "correct") -> None:
        self.name = name
        self.versions = {"mutant": name}
        self.limits: dict[str, str] = {}
        self.surface: dict[str, Callable[..., Any]] = {}

    @property
    def surfaces(self) -> dict[str, Callable[..., Any]]:
        """The doors: conv1d, and what a mutant adds."""
        return {"functional": self.conv1d, **self.surface}

    @property
    def fits(self) -> dict[str, Callable[..., Array]]:
        """The door by which a layer is fitted."""
        return {"functional": self.fit}

    # -- planting -------------------------------------------------------------------------------------------------

    def around(self, seam: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Replace a seam by the decorated function, which gets the seam as it was as its first argument."""

        def plant(fault: Callable[..., Any]) -> Callable[..., Any]:
            setattr(self, seam, functools.partial(fault, getattr(self, seam)))
            return fault

        return plant

    def edit(self, seam: str, when: Condition, change: Callable[[Array, Plan], Any]) -> None:
        """Change the (non-empty) result of a computing seam in place where the condition holds."""

        @self.around(seam)
        def edited(inner: Callable[..., Array], *args: Any) -> Array:
            result = inner(*args)
            if result.size and when(args[-1]):
                change(result, args[-1])
            return result

    def lie(self, seam: str, when: Condition, **changes: Any) -> None:
        """Let a computing seam see another plan where the condition holds: values, or functions of the plan."""

        @self.around(seam)
        def lied(inner: Callable[..., Any], *args: Any) -> Any:
            plan = args[-1]
            if when(plan):
                new = {key: value(plan) if callable(value) else value for key, value in changes.items()}
                plan = replace(plan, **new)
            return inner(*args[:-1], plan)

    # -- the adapter protocol -------------------------------------------------------------------------------------

    def conv1d(self, x: Traced, w: Traced, b: Traced = None, **parameters: Any) -> Traced:
        """Validate, pad, contract, add the bias."""
        with np.errstate(all="ignore"):
            x, w, b, plan = self.accept(x, w, b, {**DEFAULTS, **parameters})
            xp = tape.affine(
                lambda a: self.pad(a, plan.fill, plan),
                lambda a: self.pad_tangent(a, plan),
                lambda g: self.pad_transpose(g, plan),
                x,
            )
            y = self.contract("g", {"x": xp, "w": w}, plan)
            return y if b is None else self.biased(y, b, plan)

    def vjp(self, f: Callable[..., Traced], primals: Sequence[Traced], cotangent: Traced) -> tuple[Any, ...]:
        """Return the gradients by each primal."""
        with np.errstate(all="ignore"):
            return tape.vjp(f, primals, lambda out: self.check_cotangent(cotangent, out))

    def jvp(self, f: Callable[..., Traced], primals: Sequence[Traced], tangents: Sequence[Traced]) -> Traced:
        """Return the derivative along the tangents."""
        with np.errstate(all="ignore"):
            return tape.jvp(f, primals, [self.check_cotangent(t, p) for t, p in zip(tangents, primals, strict=True)])

    def accumulate(
        self, passes: Sequence[tuple[Callable[..., Traced], Array]], primals: Sequence[Array]
    ) -> tuple[Any, ...]:
        """Return the sum of the gradients by each primal over the passes, each a function and a cotangent."""
        gradients = [self.vjp(f, primals, cotangent) for f, cotangent in passes]
        return tuple(functools.reduce(operator.add, parts) for parts in zip(*gradients, strict=True))

    def fit(self, x: Array, w: Array, target: Array, *, steps: int) -> Array:
        """Return w after so many steps of Adam on the mean absolute error."""
        first, second = np.zeros(w.shape), np.zeros(w.shape)
        for step in range(1, steps + 1):
            sign = np.sign(self.conv1d(x, w) - target) / target.size
            (g,) = self.vjp(lambda kernel: self.conv1d(x, kernel), (w,), sign.astype(w.dtype))
            first, second = self.moments(first, second, g)
            root = np.sqrt(second / (1 - 0.999**step)) + 1e-7
            w = (w - 0.05 * first / (1 - 0.9**step) / root).astype(w.dtype)
        return w

    def moments(self, first: Array, second: Array, g: Array) -> tuple[Array, Array]:
        """Return the running means of a gradient and of its square."""
        return 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g

    def vmap(self, f: Callable[..., Any], in_axes: int | Sequence[int | None] = 0) -> Callable[..., Any]:
        """Map f over an axis of each operand, None being none of it, and stack the results on axis 0."""

        def mapped(*operands: Traced) -> Any:
            axes = [in_axes] * len(operands) if isinstance(in_axes, int) else list(in_axes)
            (count,) = {a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None}
            results = [f(*self.slices(operands, axes, i)) for i in range(count)]
            if isinstance(results[0], tuple):
                return tuple(tape.stack(parts) for parts in zip(*results, strict=True))
            return tape.stack(results)

        return mapped

    def compile(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that computes f."""
        return f

    def eval_shape(self, f: Callable[..., Any], operands: Sequence[Array]) -> tuple[tuple[int, ...], str]:
        """Return shape and dtype of f on operands of such shapes and dtypes."""
        y = f(*(np.zeros(operand.shape, operand.dtype) for operand in operands))
        return y.shape, str(y.dtype)

    def to_native(self, array: Array, device: str) -> Array:
        """Return the array, its layout kept."""
        return array

    def to_numpy(self, array: Array) -> Array:
        """Return the array."""
        return array

    # -- seams: validation and integers ---------------------------------------------------------------------------

    def accept(self, x: Traced, w: Traced, b: Traced, args: dict[str, Any]) -> tuple[Traced, Traced, Traced, Plan]:
        """Refuse what chapter ERR refuses; return the operands and the plan."""
        for operand in (w, b):
            if operand is not None and operand.dtype != x.dtype:
                raise TypeError("operands must have one dtype")
        if len(x.shape) != 3 or len(w.shape) != 3:
            raise ValueError("x and w must have rank 3")
        (n, c_in, length), (c_out, fan_in, kernel) = x.shape, w.shape
        stride, dilation, groups = (operator.index(args[key]) for key in ("stride", "dilation", "groups"))
        padding = _padding(args["padding"])
        Geometry(n, c_in, c_out, length, kernel, stride, dilation, groups, padding)
        if fan_in != c_in // groups or (b is not None and tuple(b.shape) != (c_out,)):
            raise ValueError("channels of w, or the shape of b, do not fit")
        lo, hi = self.resolve(padding, length, kernel, stride, dilation)
        mode = args["padding_mode"]
        check_domain(mode, lo, hi, length)
        l_out = self.out_length(length, kernel, stride, dilation, lo, hi)
        if max(max(n * c_in, 1) * (lo + length + hi), max(n * c_out, 1) * l_out) > MOST:
            raise ValueError("too large")
        named = padding if isinstance(padding, str) else "explicit"
        fill = args["padding_value"] if mode == "constant" else 0
        wanted = frozenset(key for key, a in (("x", x), ("w", w), ("b", b)) if isinstance(a, tape.Tracer))
        sizes = (n, c_in, c_out, length, kernel, stride, dilation, groups, lo, hi, l_out)
        return x, w, b, Plan(*sizes, named, mode, fill, str(x.dtype), b is not None, wanted)

    def check_cotangent(self, cotangent: Traced, out: Traced) -> Traced:
        """Refuse a cotangent (or a tangent) that has not the shape and dtype of its value."""
        if tuple(cotangent.shape) != tuple(out.shape) or cotangent.dtype != out.dtype:
            raise ValueError("a cotangent must be like its value")
        return cotangent

    def resolve(self, padding: Any, length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        """(lo, hi)."""
        return resolve(padding, length=length, kernel=kernel, stride=stride, dilation=dilation)

    def out_length(self, length: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> int:
        """L_out."""
        return output_length(length, kernel, stride, dilation, lo, hi)

    # -- seams: padding -------------------------------------------------------------------------------------------

    def sources(self, plan: Plan) -> Array:
        """Return the sample that each padded position shows, -1 where it is the fill."""
        p, last = np.arange(-plan.lo, plan.length + plan.hi), plan.length - 1
        before, after = p < 0, p > last
        images = {
            "reflect": (-p, 2 * last - p),
            "symmetric": (-p - 1, 2 * last + 1 - p),
            "replicate": (0 * p, 0 * p + last),
            "circular": (p + plan.length, p - plan.length),
        }
        left, right = images.get(plan.mode, (-1, -1))
        return np.where(before, left, np.where(after, right, p))

    def pad(self, x: Array, fill: Any, plan: Plan) -> Array:
        """Return x with its padding, (N, C, lo + L + hi)."""
        shown = self.sources(plan)
        padded = np.full((*x.shape[:2], len(shown)), fill, x.dtype)
        padded[:, :, shown >= 0] = x[:, :, shown[shown >= 0]]
        return padded

    def pad_transpose(self, g: Array, plan: Plan) -> Array:
        """Return the gradient of x (N, C, L) from that of the padded input: each position gives to what it shows."""
        shown = self.sources(plan)
        gx = np.zeros((plan.length, *g.shape[:2]), widen(g).dtype)
        np.add.at(gx, shown[shown >= 0], np.moveaxis(widen(g), -1, 0)[shown >= 0])
        return np.ascontiguousarray(np.moveaxis(gx, 0, -1)).astype(g.dtype)

    def pad_tangent(self, x: Array, plan: Plan) -> Array:
        """Return the tangent of the padded input: zeros where the fill is."""
        return self.pad(x, 0, plan)

    # -- seams: the three contractions and the bias ---------------------------------------------------------------

    def forward(self, x: Array, w: Array, plan: Plan) -> Array:
        """Return y (N, O, L_out) without bias, of the padded x."""
        y = np.zeros((plan.n, plan.groups, plan.fan_out, plan.l_out), widen(x).dtype)
        for matrix, columns in zip(split_w(w, plan), taps(x, plan), strict=True):
            y += matrix @ columns
        return y.reshape(plan.y_shape).astype(x.dtype)

    def grad_x(self, w: Array, g: Array, plan: Plan) -> Array:
        """Return the gradient of the padded x; exactly 0 where no tap reads."""
        room = max(plan.padded, plan.reach + plan.span - 1 if plan.l_out else 0)
        gx = np.zeros((plan.n, plan.groups, plan.fan_in, room), widen(g).dtype)
        g4 = widen(g).reshape(plan.n, plan.groups, plan.fan_out, plan.l_out)
        for k, matrix in enumerate(split_w(w, plan)):
            start = k * plan.dilation
            gx[..., start : start + plan.reach : plan.step] += np.swapaxes(matrix, -1, -2) @ g4
        return gx[..., : plan.padded].reshape(plan.n, plan.c_in, plan.padded).astype(g.dtype)

    def grad_w(self, x: Array, g: Array, plan: Plan) -> Array:
        """Return the gradient of w (O, C/g, K)."""
        rows = widen(g).reshape(plan.n, plan.groups, plan.fan_out, plan.l_out).transpose(1, 2, 0, 3)
        rows = rows.reshape(plan.groups, plan.fan_out, plan.n * plan.l_out)
        gw = np.zeros((plan.kernel, plan.groups, plan.fan_out, plan.fan_in), rows.dtype)
        for k, columns in enumerate(taps(x, plan)):
            gw[k] = rows @ columns.transpose(1, 0, 3, 2).reshape(plan.groups, plan.n * plan.l_out, plan.fan_in)
        return gw.transpose(1, 2, 3, 0).reshape(plan.c_out, plan.fan_in, plan.kernel).astype(g.dtype)

    def biased(self, y: Traced, b: Traced, plan: Plan) -> Traced:
        """Return y + b."""
        return tape.add(y, tape.linear(lambda a: self.spread(a, plan), lambda g: self.grad_b(g, plan), b))

    def spread(self, b: Array, plan: Plan) -> Array:
        """Put b (O,) at every position of y."""
        return np.array(np.broadcast_to(b[None, :, None], plan.y_shape))

    def grad_b(self, g: Array, plan: Plan) -> Array:
        """Return the sum of g over batch and positions, (O,)."""
        return np.asarray(widen(g).sum(axis=(0, 2), dtype=widen(g).dtype)).astype(g.dtype)

    # -- seams: differentiation -----------------------------------------------------------------------------------

    def contract(self, slot: str, operands: Mapping[str, Traced], plan: Plan) -> Traced:
        """Evaluate the trilinear form t(x, w, g) with one slot left out, on arrays and on tracers."""
        top = tape.level(*operands.values())
        low = {name: tape.lower(a, top) for name, a in operands.items()}
        if top == 0:
            kernel = {"g": self.forward, "x": self.grad_x, "w": self.grad_w}[slot]
            return kernel(*(low[name] for name in "xwg" if name != slot), plan)

        def link(name: str) -> tuple[Traced, tape.Map, tape.Map]:
            push = functools.partial(self.push, slot, name, low)
            return operands[name], lambda t: push(t, plan), lambda g: self.pull(slot, name, low, g, plan)

        return tape.trace(self.contract(slot, low, plan), top, [link(name) for name in operands])

    def push(self, slot: str, name: str, operands: Mapping[str, Traced], tangent: Traced, plan: Plan) -> Traced:
        """Return the part of the result's tangent that comes from the operand called `name`."""
        return self.contract(slot, {**operands, name: tangent}, plan)

    def pull(self, slot: str, name: str, operands: Mapping[str, Traced], g: Traced, plan: Plan) -> Traced:
        """Return the gradient of the operand called `name` from that of the result."""
        (other,) = set(operands) - {name}
        return self.contract(name, {slot: g, other: tape.conj(operands[other])}, plan)

    def slices(self, operands: Sequence[Traced], axes: Sequence[int | None], i: int) -> list[Traced]:
        """Return the i-th call's operands under vmap."""
        return [a if axis is None else tape.take(a, i, axis) for a, axis in zip(operands, axes, strict=True)]


DEFAULTS = {"stride": 1, "padding": (0, 0), "dilation": 1, "groups": 1, "padding_mode": "zeros", "padding_value": 0}


def _padding(padding: Any) -> Any:
    if isinstance(padding, str):
        return padding
    if not isinstance(padding, tuple | list) or len(padding) != 2:
        raise TypeError("padding must be a name or (lo, hi)")
    return operator.index(padding[0]), operator.index(padding[1])
