"""A backend in the suite's own process, for a debugger: what ends it ends the run, and nothing of it is proven."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from conv1d_cts.adapters import registry
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.isolation.worker import Worker, describe


class InProcess:
    """Answers what a BackendProcess answers, by calling the adapter; a breakpoint in the adapter stops there."""

    kind = "same process"
    outgrown = False
    at_once = 1

    def __init__(self, source: AdapterSource, device: str) -> None:
        adapter = registry.load(source.module, source.path)
        self._description = describe(adapter, device)
        self._worker = Worker(adapter, self._description["device"])
        self.history: deque[dict[str, Any]] = deque(maxlen=0)
        self.suspects: list[Any] = []

    def describe(self) -> dict[str, Any]:
        """What the adapter declares."""
        return self._description

    def ask(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to requests."""
        return [self._worker.answer(request) for request in requests]

    def close(self) -> None:
        """Nothing to end."""
