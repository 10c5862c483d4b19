"""What checks there are: every one by the name of its test, those of a clause, and whether one would try a case."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from conv1d_cts import conformance
from conv1d_cts.adapters.known_deviations import Deviation
from conv1d_cts.conformance.cases import Case, case_from
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


def require_cases_are_tried(deviation: Deviation) -> None:
    """Raise ValueError where a recorded case is none, or one that no check of the deviation's clauses takes."""
    for number, flat in enumerate(deviation.cases, start=1):
        try:
            case = case_from(dict(flat))
        except (TypeError, ValueError) as error:
            raise ValueError(f"case {number} of {deviation.when.text!r} is none: {error}") from None
        if not any(_takes(check, case) for _, check in checks() if check.clause in deviation.clauses):
            clauses = ", ".join(deviation.clauses)
            raise ValueError(f"no check of {clauses} tries case {number} of {deviation.when.text!r}")


def _takes(check: Check, case: Case) -> bool:
    """Whether the check tries the case, or what it makes of it, beside what it always tries."""
    fixed = list(check.select(()))
    return any(example not in fixed for example in check.select((case,)))
