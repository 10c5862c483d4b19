"""The call of one geometry in plain code of each framework, for those who port; none needs to be installed.

Surfaces and limits are read from the text of an adapter: as `surfaces` and `limits`, dictionaries with literal keys.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from conv1d_cts.adapters import registry, scripts
from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.spec.geometry import Geometry

FRAMEWORKS = ("torch", "tensorflow", "jax", "keras-torch", "onnx", "mlx")


@cache
def _tree(module: str) -> ast.Module:
    """The syntax tree of a module beside this one, which is not imported."""
    name = module.partition(":")[0].rpartition(".")[2]
    return ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))


def _keys(module: str, name: str) -> Iterator[str]:
    """The literal keys of the dictionary that is assigned to a name, or to an attribute of that name."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            target = node.targets[0]
            if name == getattr(target, "id", getattr(target, "attr", "")):
                yield from (ast.literal_eval(key) for key in node.value.keys if key is not None)


def equivalent(name: str, geometry: Geometry) -> str:
    """The call on x, w and no bias, in canonical layouts: the first function whose limits allow it.

    By the padding's name where the framework has it, by numbers otherwise; empty where it takes neither.
    """
    source, g, (lo, hi) = registry.find(name), geometry, geometry.pads
    limits = [Condition(when) for when in _keys(source.module, "limits")]
    facts = {"stride": g.stride, "dilation": g.dilation, "kernel": g.kernel, "length": g.length, "l_out": g.l_out}
    facts |= {"span": g.span, "lo": lo, "hi": hi, "bias": False}
    for padding in (g.padding, g.pads):
        kind = padding if isinstance(padding, str) else "explicit"
        for surface in _keys(source.module, "surfaces"):
            if surface != "layer" and not any(
                limit.holds({**facts, "padding": kind, "surface": surface}) for limit in limits
            ):
                call = scripts.load(source).call(surface, "None", g.stride, padding, g.dilation, g.groups)
                return str(call).strip()
    return ""


def explain(geometry: Geometry) -> str:
    """The call in each framework, one line each, and what it needs to be read."""
    lines = ["Calls on x (N, C, L) and w (O, C, K), without a bias:"]
    for name in FRAMEWORKS:
        lines.append(f"{name.partition('-')[0]:<12}{equivalent(name, geometry) or 'none'}")
        remark = getattr(scripts.load(registry.find(name)), "remark", "")
        lines += [f"{'':<12}({remark})"] if remark else []
    return "\n".join(lines)
