"""Ctrl-C and SIGTERM: a run that is cut short still says what it knows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


def let_through(error: BaseException) -> None:
    """Interrupt again where an interruption is what led to the error: what it broke off tells nothing of the suite."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, KeyboardInterrupt):
            raise error


@dataclass
class Interruption:
    """The signal that came. Only the first one interrupts, and none while the certificate is written."""

    number: int = 0
    writing: bool = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Called by the interpreter."""
        first, self.number = not self.number, self.number or number
        if first and not self.writing:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Interrupt again: what is raised in a finalizer or in a callback of the garbage collector gets lost there."""
        if self.number:
            raise KeyboardInterrupt

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Receive SIGINT and SIGTERM while inside."""
        before = {number: signal.signal(number, self.receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
