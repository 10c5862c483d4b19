"""vjp, jvp and vmap of any function made of conv1d, nested to any depth: what a framework's own AD is to its conv1d.

Everything derives from the trilinear form t(x, w, g) = <g, conv1d(x, w)>. Leaving one slot out gives the output, gx or
gw; and the derivative of each of these by one of its operands leaves out that operand's slot instead. So one rule, in
`_contract`, is closed under differentiation; padding, bias and casts are linear and have their transposes.

A vjp multiplies by the adjoint of the derivative, as torch does: the other operand is conjugated (GRAD-14). A jvp is
the vjp of the vjp, which is linear in its cotangent. A gradient is itself a `Variable` where an enclosing transform
differentiates it, and a plain array otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from conv1d_cts.reference import gradients, pad
from conv1d_cts.reference.contractions import input_gradient, output, weight_gradient
from conv1d_cts.reference.validation import Array, Plan, check_dtypes, check_shape, plan_call
from conv1d_cts.spec.padding import Padding

Traced = Any  # an array, or a Variable that stands for one
Rule = Callable[[Traced], Traced]  # from the gradient of a result to that of one of its operands


@dataclass(frozen=True, eq=False, slots=True)
class Variable:
    """An array that is differentiated: its value, and for each operand it was made of the rule of that derivative."""

    value: Array
    links: tuple[tuple[Variable, Rule], ...] = ()
    rank: int = 0  # above that of every operand: the order of evaluation

    @property
    def dtype(self) -> Any:
        """The dtype of the value."""
        return self.value.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return tuple(self.value.shape)

    def __add__(self, other: Traced) -> Traced:
        """The sum of two results of one shape."""
        return _add(self, other)


def conv1d(
    x: Traced,
    w: Traced,
    b: Traced = None,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    padding_value: Any = 0,
) -> Traced:
    """`conv1d_cts.reference.conv1d` of any mix of Variables and arrays; a Variable where an operand is one."""
    values = (_value(x), _value(w), _value(b))
    _, plan = plan_call(
        *values, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode
    )
    y = _contract("g", {"x": _pad(x, plan, padding_value), "w": w}, plan)
    return y if b is None else _add(y, _spread(b, plan))


def vjp(f: Callable[..., Traced], primals: Sequence[Traced], cotangent: Traced) -> tuple[Traced, ...]:
    """Return the gradients of <cotangent, f(*primals)> by each primal, zeros where f does not depend on it.

    Raises ValueError for a cotangent of another shape than the result of f and TypeError for another dtype (ERR-12).
    """
    inputs = [_fresh(primal) for primal in primals]
    out = f(*inputs)
    _check_like("cotangent", cotangent, out)
    return tuple(_settle(gradient, inputs) for gradient in _backward([(out, cotangent)], inputs))


def jvp(f: Callable[..., Traced], primals: Sequence[Traced], tangents: Sequence[Traced]) -> Traced:
    """Return the derivative of f at the primals along the tangents, in the shape of the result of f.

    Raises ValueError for a tangent of another shape than its primal and TypeError for another dtype.
    """
    inputs = [_fresh(primal) for primal in primals]
    for tangent, variable in zip(tangents, inputs, strict=True):
        _check_like("tangent", tangent, variable)
    out = f(*inputs)
    linear = Variable(_zeros_like(out))
    pulled = _backward([(out, linear)], inputs)
    (tangent_out,) = _backward(list(zip(pulled, tangents, strict=True)), [linear])
    return _settle(tangent_out, [*inputs, linear])


def vmap(f: Callable[..., Any], in_axes: int | Sequence[int | None] = 0) -> Callable[..., Any]:
    """Map f over one axis of each operand (None: the whole operand each time) and stack its results on axis 0.

    The results may be tuples. Raises ValueError where the mapped axes differ in extent or are empty.
    """

    def mapped(*operands: Traced) -> Any:
        axes = [in_axes] * len(operands) if isinstance(in_axes, int) else in_axes
        pairs = list(zip(operands, axes, strict=True))
        extents = {operand.shape[axis] for operand, axis in pairs if axis is not None}
        if len(extents) != 1 or 0 in extents:
            raise ValueError(f"vmap needs one extent, not empty, along its axes, got {sorted(extents)}")
        results = [f(*(a if axis is None else _take(a, i, axis) for a, axis in pairs)) for i in range(*extents)]
        if isinstance(results[0], tuple):
            return tuple(_stack(parts) for parts in zip(*results, strict=True))
        return _stack(results)

    return mapped


def astype(a: Traced, dtype: Any) -> Traced:
    """Cast; the gradient is cast back."""
    value = _value(a)
    return _record(array_namespace(value).astype(value, dtype), (a, lambda g: astype(g, value.dtype)))


def _value(a: Traced) -> Array:
    return a.value if isinstance(a, Variable) else a


def _record(value: Array, *links: tuple[Traced, Rule]) -> Traced:
    """Return the Variable of a computed value, or the value where no operand is a Variable."""
    kept = tuple(link for link in links if isinstance(link[0], Variable))
    return Variable(value, kept, 1 + max(operand.rank for operand, _ in kept)) if kept else value


def _fresh(primal: Traced) -> Variable:
    """Return a Variable of its own for a call of a transform, linked to the primal if that is a Variable."""
    if isinstance(primal, Variable):
        return Variable(primal.value, ((primal, _same),), primal.rank + 1)
    return Variable(primal)


def _same(g: Traced) -> Traced:
    return g


def _contract(slot: str, operands: dict[str, Traced], plan: Plan) -> Traced:
    """Evaluate the trilinear form with `slot` left out; its derivative by an operand leaves out the operand's slot."""
    t = {name: _value(operand) for name, operand in operands.items()}
    xp = array_namespace(*t.values())
    if slot == "g":
        value = output(xp, t["x"], t["w"], plan)
    elif slot == "x":
        value = input_gradient(xp, t["w"], t["g"], plan)
    else:
        value = weight_gradient(xp, t["x"], t["g"], plan)

    def by(name: str, other: str) -> tuple[Traced, Rule]:
        return operands[name], lambda g: _contract(name, {slot: g, other: _conj(operands[other])}, plan)

    first, second = operands
    return _record(value, by(first, second), by(second, first))


def _pad(x: Traced, plan: Plan, fill: Any) -> Traced:
    value = _value(x)
    return _record(pad.pad(array_namespace(value), value, plan, fill), (x, lambda g: _pad_transpose(g, plan)))


def _pad_transpose(g: Traced, plan: Plan) -> Traced:
    value = _value(g)
    return _record(pad.pad_transpose(array_namespace(value), value, plan), (g, lambda h: _pad(h, plan, 0)))


def _spread(b: Traced, plan: Plan) -> Traced:
    """Put b (O,) at every position of y (N, O, L_out)."""
    value = _value(b)
    xp = array_namespace(value)
    spread = xp.asarray(xp.broadcast_to(value[None, :, None], plan.y_shape), copy=True)
    return _record(spread, (b, lambda g: _sum(g, plan)))


def _sum(g: Traced, plan: Plan) -> Traced:
    """Sum to (O,): the transpose of `_spread`."""
    value = _value(g)
    return _record(gradients.bias_gradient(array_namespace(value), value), (g, lambda h: _spread(h, plan)))


def _conj(a: Traced) -> Traced:
    value = _value(a)
    return _record(gradients.conj(array_namespace(value), value), (a, _conj))


def _add(a: Traced, b: Traced) -> Traced:
    return _record(_value(a) + _value(b), (a, _same), (b, _same))


def _take(a: Traced, index: int, axis: int) -> Traced:
    value = _value(a)
    axis %= value.ndim
    part = value[(*(slice(None),) * axis, index, ...)]
    return _record(part, (a, lambda g: _embed(g, index, axis, value.shape[axis])))


def _embed(g: Traced, index: int, axis: int, extent: int) -> Traced:
    """Transpose `_take`: g at `index` of a new axis, zeros elsewhere."""
    value = _value(g)
    zeros = _zeros_like(g)
    parts = [value if i == index else zeros for i in range(extent)]
    return _record(array_namespace(value).stack(parts, axis=axis), (g, lambda h: _take(h, index, axis)))


def _stack(parts: Sequence[Traced]) -> Traced:
    """Stack the parts along a new first axis."""
    values = [_value(part) for part in parts]
    links = ((part, lambda g, i=i: _take(g, i, 0)) for i, part in enumerate(parts))
    return _record(array_namespace(*values).stack(values, axis=0), *links)


def _zeros_like(a: Traced) -> Array:
    value = _value(a)
    return array_namespace(value).zeros_like(value)


def _check_like(name: str, a: Traced, like: Traced) -> None:
    check_shape(name, _value(a), tuple(_value(like).shape))
    check_dtypes(_value(like), **{name: _value(a)})


def _backward(seeds: Sequence[tuple[Traced, Traced]], inputs: Sequence[Variable]) -> list[Traced]:
    """Return the gradient by each input of the sum of <cotangent, result> over the seeds, from the last result back."""
    path = _path([result for result, _ in seeds], inputs)
    gradient: dict[Variable, Traced] = {}

    def receive(variable: Traced, part: Traced) -> None:
        if isinstance(variable, Variable) and variable in path:
            gradient[variable] = _add(gradient[variable], part) if variable in gradient else part

    for result, cotangent in seeds:
        receive(result, cotangent)
    for variable in sorted(path - set(inputs), key=lambda v: -v.rank):
        g = gradient.pop(variable)
        for operand, rule in variable.links:
            if operand in path:
                receive(operand, rule(g))
    return [gradient[v] if v in gradient else _zeros_like(v) for v in inputs]


def _ancestors(results: Iterable[Traced], stop: Iterable[Variable]) -> set[Variable]:
    """Return the Variables that the results are made of, themselves included, no further than `stop`."""
    stops = set(stop)
    found: set[Variable] = set()
    todo = [result for result in results if isinstance(result, Variable)]
    while todo:
        variable = todo.pop()
        if variable not in found:
            found.add(variable)
            todo += [] if variable in stops else [operand for operand, _ in variable.links]
    return found


def _path(results: Iterable[Traced], inputs: Sequence[Variable]) -> set[Variable]:
    """Return the Variables between the inputs and the results, both included."""
    path: set[Variable] = set()
    for variable in sorted(_ancestors(results, inputs), key=lambda v: v.rank):
        if variable in inputs or any(operand in path for operand, _ in variable.links):
            path.add(variable)
    return path


def _settle(result: Traced, own: Sequence[Variable]) -> Traced:
    """Return a plain array where nothing but the transform's own Variables went into the result."""
    leaves = {v for v in _ancestors([result], ()) if not v.links}
    return result if leaves - set(own) else _value(result)
