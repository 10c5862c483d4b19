"""Where a certification is: a bar for each chapter, or plain lines where nobody watches a terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Display(Protocol):
    """What a certification tells while it runs; a context manager around the run."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End, whatever happened."""

    def start(self, totals: Mapping[str, int]) -> None:
        """So many checks of each chapter are to come."""

    def chapter(self, title: str) -> None:
        """The checks of this chapter begin."""

    def advance(self, title: str) -> None:
        """One more check of this chapter is done; several chapters may be under way."""

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

    def start(self, totals: Mapping[str, int]) -> None:
        """So many checks are to come."""
        self._total = sum(totals.values())

    def chapter(self, title: str) -> None:
        """A line with the checks done so far."""
        self._say(f"{title} ({self._done}/{self._total})")

    def advance(self, title: str) -> None:
        """Count."""
        self._done += 1

    def found(self, text: str) -> None:
        """A line."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", markup=False, highlight=False, soft_wrap=True)


class Bars:
    """A bar for each chapter that has begun, and one for the whole run with an estimate; all go when the run ends."""

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
        self._name, self._whole = name, self._progress.add_task(f"{name}: loading", total=None)
        self._chapters: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def start(self, totals: Mapping[str, int]) -> None:
        """The bars get their lengths."""
        self._progress.update(self._whole, description=self._name, total=sum(totals.values()))
        for title, total in totals.items():
            self._chapters[title] = self._progress.add_task(f"  {title}", total=total, visible=False, start=False)

    def chapter(self, title: str) -> None:
        """Its bar appears."""
        self._progress.start_task(self._chapters[title])
        self._progress.update(self._chapters[title], visible=True)

    def advance(self, title: str) -> None:
        """The bars grow."""
        for task in (self._chapters[title], self._whole):
            self._progress.advance(task)

    def found(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(Text(f"{self._name}: {text}"), soft_wrap=True)


def display(console: Console, name: str) -> Display:
    """Bars on a terminal; lines elsewhere, on a dumb terminal, and where NO_COLOR is set."""
    plain = not console.is_terminal or console.is_dumb_terminal or bool(os.environ.get("NO_COLOR"))
    return Lines(console, name) if plain else Bars(console, name)
