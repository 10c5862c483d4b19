"""Conditions on a call: the small expression language of limits and deviations.

`lo != hi and dtype in ('float16', 'bfloat16')`: comparisons, `and`, `or`, `not`, `in`, integer arithmetic and
literals over the names in `FACTS`. There are no calls, no attributes and no other names, so a condition is data.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import CodeType

Fact = int | str | bool

# The values of `function` that are transforms of the call, which trace its operands or map them.
TRANSFORMED = (
    "vjp", "jvp", "vjp_of_vjp", "jvp_of_vjp", "vmap", "mapped_vjp", "vjp_of_vmap", "compiled", "compiled_vjp",
    "accumulated",
)  # fmt: skip

# What may be said of one call; each name with its value for a call of which nothing special is to be said.
FACTS: dict[str, Fact] = {
    "surface": "functional",
    # or one of TRANSFORMED, eval_shape, at_once, fit
    "function": "conv1d",
    "wrt": "",  # the operands differentiated or mapped, e.g. "xw"
    "device": "cpu",  # its kind: "cuda" of "cuda:1"
    "dtype": "float32",
    "n": 1,
    "c_in": 1,
    "c_out": 1,
    "length": 1,
    "kernel": 1,
    "stride": 1,
    "dilation": 1,
    "groups": 1,
    "padding": "explicit",  # or the name of the padding
    "lo": 0,
    "hi": 0,
    "padding_mode": "zeros",
    "bias": True,
    "l_out": 1,
    "span": 1,  # d (K-1) + 1, the samples from the first tap to the last
    "layout": "contiguous",
    "recipe": "lattice",
    # The rule that a malformed call breaks (chapter ERR); "huge" (ERR-7), "alone" (GRAD-13), "tied" (GRAD-16),
    # "size 0", "nested" (INV-17)
    "rule": "",
}

_NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Eq, ast.NotEq, ast.Lt,
    ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Name,
    ast.Load, ast.Constant, ast.Tuple, ast.List,
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A condition, checked when it is made. Raises ValueError for syntax and names outside the language."""

    text: str
    names: frozenset[str] = field(init=False, repr=False, compare=False)
    _code: CodeType = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
        except SyntaxError as error:
            raise ValueError(f"condition {self.text!r}: {error.msg}") from None
        for node in ast.walk(tree):
            if not isinstance(node, _NODES):
                raise ValueError(f"condition {self.text!r}: {type(node).__name__} is not part of the language")
            if isinstance(node, ast.Name) and node.id not in FACTS:
                near = get_close_matches(node.id, FACTS, n=3)
                raise ValueError(
                    f"condition {self.text!r}: unknown name {node.id!r}, nearest: {', '.join(near) or '-'}"
                )
        names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_code", compile(tree, "condition", "eval"))

    def __reduce__(self) -> tuple[type[Condition], tuple[str]]:
        return Condition, (self.text,)  # compiled anew: workers send conditions with what came of them

    def holds(self, facts: Mapping[str, Fact]) -> bool:
        """Whether the condition holds for a call with these facts; names not given have their plain value."""
        try:  # of the language alone, which can reach nothing but the facts
            return bool(eval(self._code, {"__builtins__": {}}, {**FACTS, **facts}))
        except (TypeError, ZeroDivisionError) as error:
            raise ValueError(f"condition {self.text!r}: {error}") from None
