"""What there is: the adapters with what they say of themselves, and the checks of a clause."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module

from conv1d_cts import conformance
from conv1d_cts.adapters import registry
from conv1d_cts.conformance.certify import explain_broken
from conv1d_cts.conformance.check import Check
from conv1d_cts.conformance.isolation.process import BackendProcess, Broken, Died


def lines() -> Iterator[str]:
    """One line an installed adapter: versions and devices, or why there are none. All load at once, each for itself."""
    adapters = registry.known()
    width = max(map(len, adapters), default=0)
    processes = {name: BackendProcess(source, "cpu") for name, source in adapters.items()}
    try:
        for name, process in processes.items():
            yield f"{name:{width}}  {_describe(process)}"
    finally:
        for process in processes.values():
            process.close()


def _describe(process: BackendProcess) -> str:
    try:
        own = process.describe()
    except (Broken, Died) as problem:
        return f"missing: {explain_broken(problem, sys.executable)}"
    versions = ", ".join(f"{package} {version}" for package, version in own["versions"].items())
    return f"{versions} on {', '.join(own['devices'])}; surfaces {', '.join(own['surfaces'])}"


def checks() -> list[tuple[str, Check]]:
    """Every check by its test's name, chapter after chapter."""
    names = (m.name for m in pkgutil.iter_modules(conformance.__path__) if m.name.startswith("test_"))
    modules = (import_module(f"{conformance.__name__}.{name}") for name in names)
    return [
        (f"{module.__name__}.{name}", test.check)
        for module in modules
        for name, test in vars(module).items()
        if isinstance(getattr(test, "check", None), Check)
    ]


def checks_of(clause: str) -> list[str]:
    """Where the checks of a clause are: module, test, and what the body says of itself."""
    return [f"  {name}: {(check.body.__doc__ or '').strip()}" for name, check in checks() if check.clause == clause]
