"""What there is to certify: the adapters with what they say of themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from conv1d_cts.adapters import registry
from conv1d_cts.conformance.certify import explain_broken
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
