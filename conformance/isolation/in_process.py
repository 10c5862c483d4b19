"""A backend in the suite's own process, for a debugger: what ends it ends the run, and nothing of it is proven."""

from __future__ import annotations

from collections import deque
from typing import Any

from conv1d_cts.adapters import registry
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.isolation.worker import Worker, describe


class InProcess:
    """Answers what a BackendProcess answers, by calling the adapter; a breakpoint in the adapter stops there."""

    kind = "same process"
    outgrown = False

    def __init__(self, source: AdapterSource, device: str) -> None:
        adapter = registry.load(source.module, source.path)
        self._description = describe(adapter, device)
        self._worker = Worker(adapter, self._description["device"])
        self.history: deque[dict[str, Any]] = deque(maxlen=0)
        self.suspects: list[Any] = []

    def describe(self) -> dict[str, Any]:
        """What the adapter declares."""
        return self._description

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        return self._worker.answer(request)

    def close(self) -> None:
        """Nothing to end."""
