"""What checks there are: every one by the name of its test, those of a clause, and whether one would try a case."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from conv1d_cts import conformance
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.conformance.cases import case_from
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


def require_case_is_tried(deviation: Deviation) -> None:
    """Raise ValueError where the recorded case is none, or one that no check of the deviation's clauses takes."""
    try:
        case = case_from(dict(deviation.case))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the case of {deviation.when.text!r} is none: {error}") from None
    for _, check in checks():
        if check.clause in deviation.clauses:
            fixed = list(check.select(()))
            if any(example not in fixed for example in check.select((case,))):
                return
    raise ValueError(f"no check of {', '.join(deviation.clauses)} tries the case of {deviation.when.text!r}")
