"""How far a process has come with the calls it was given: a number in memory shared with it, which outlives it."""

from __future__ import annotations

import mmap
from pathlib import Path

_BYTES = 8


class Position:
    """Calls of the last message that have been answered; always 0 for another process without a `path`."""

    def __init__(self, path: str) -> None:
        if not path:
            self._shared = mmap.mmap(-1, _BYTES)
            return
        with Path(path).open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _BYTES)

    @staticmethod
    def prepare(path: Path) -> str:
        """Make the file that both sides map, and give its name."""
        path.write_bytes(bytes(_BYTES))
        return str(path)

    @property
    def answered(self) -> int:
        """The number."""
        return int.from_bytes(self._shared[:], "little")

    @answered.setter
    def answered(self, number: int) -> None:
        self._shared[:] = number.to_bytes(_BYTES, "little")
