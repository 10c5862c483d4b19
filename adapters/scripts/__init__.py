"""How a call is written in plain code of each framework: one template a backend, of macros that give expressions.

`imports` and `definitions` are lines. `array` is a literal; `call` the operator on x, w and b; `vjp`, `jvp` and `vmap`
are the transforms of a function, `compiled` is the function as the framework's compiler makes it, and `eval_shape` has
the shape and dtype of its result without the operands' data; `scalar` is an element as a number of Python. The lines
`gathering` define `gathered(passes, *leaves)`, the gradients that backward passes leave, `pulling` and `pushing` what
`vjp` and `jvp` need. A `remark` says what a reader of the call alone would miss. Reproducers and the calls of `explain`
are made of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, TemplateNotFound

from conv1d_cts.adapters.registry import AdapterSource


def load(source: AdapterSource) -> Any:
    """The macros of a backend: `<name>.py.j2`, beside an adapter file or in this folder; None where there are none."""
    beside = [FileSystemLoader(Path(source.path).parent)] if source.path else []
    loader = ChoiceLoader([*beside, PackageLoader("conv1d_cts.adapters", "scripts")])
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["py"] = repr
    try:
        return environment.get_template(f"{source.name}.py.j2").module
    except TemplateNotFound:
        return None
