"""Where a certification is: a bar with the current chapter, plain lines where nobody watches a terminal, or nothing."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text


class Display(Protocol):
    """What a certification tells while it runs; a context manager around the run."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End, whatever happened."""

    def start(self, total: int) -> None:
        """So many checks are to come."""

    def chapter(self, title: str) -> None:
        """The checks of this chapter begin."""

    def advance(self) -> None:
        """One more check is done."""

    def found(self, text: str) -> None:
        """A failure that nobody expected, as soon as it is known."""


class Lines:
    """One line a chapter."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name, self._total, self._done = console, name, 0, 0

    def __enter__(self) -> Self:
        self._say("loading")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._total:
            self._say(f"{self._done} of {self._total} checks done")

    def start(self, total: int) -> None:
        """So many checks are to come."""
        self._total = total

    def chapter(self, title: str) -> None:
        """A line with the checks done so far."""
        self._say(f"{title} ({self._done}/{self._total})")

    def advance(self) -> None:
        """Count."""
        self._done += 1

    def found(self, text: str) -> None:
        """A line."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", markup=False, highlight=False, soft_wrap=True)


class Bar:
    """A bar that goes when the run ends."""

    def __init__(self, console: Console, name: str) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._name, self._task = name, self._progress.add_task(f"{name}: loading", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def start(self, total: int) -> None:
        """The bar gets its length."""
        self._progress.update(self._task, total=total)

    def chapter(self, title: str) -> None:
        """The title stands beside the bar."""
        self._progress.update(self._task, description=f"{self._name}: {title}")

    def advance(self) -> None:
        """The bar grows."""
        self._progress.advance(self._task)

    def found(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(Text(f"{self._name}: {text}"), soft_wrap=True)


def display(console: Console, name: str) -> Display:
    """A bar on a terminal; lines elsewhere, on a dumb terminal, and where NO_COLOR is set."""
    plain = not console.is_terminal or console.is_dumb_terminal or bool(os.environ.get("NO_COLOR"))
    return Lines(console, name) if plain else Bar(console, name)
