"""What checks there are: every one by the name of its test, and those of a clause."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from conv1d_cts import conformance
from conv1d_cts.conformance.check import Check


@cache
def checks() -> tuple[tuple[str, Check], ...]:
    """Every check by `module.test`, chapter after chapter."""
    names = (m.name for m in pkgutil.iter_modules(conformance.__path__) if m.name.startswith("test_"))
    modules = (import_module(f"{conformance.__name__}.{name}") for name in names)
    return tuple(
        (f"{module.__name__}.{name}", test.check)
        for module in modules
        for name, test in vars(module).items()
        if isinstance(getattr(test, "check", None), Check)
    )


def checks_of(clause: str) -> list[str]:
    """Where the checks of a clause are: module, test, and what the body says of itself."""
    return [f"  {name}: {(check.body.__doc__ or '').strip()}" for name, check in checks() if check.clause == clause]
