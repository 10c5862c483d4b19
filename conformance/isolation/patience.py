"""How long an answer may take: in seconds of the process, where a busy machine gives it less than those of the clock."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_WAITING = 0.02  # of the time: a process that computes less than this waits, and not for a processor
_AT_MOST = 10  # times the seconds, by the clock


def _processor_seconds(pid: int) -> float:
    """What a process and its children have used of the processors so far; those that have ended count for nothing."""
    used = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                used += times.user + times.system
    return used


@dataclass
class Patience:
    """Whether a process has had its seconds since this was made.

    It has had them when it has computed for so long; when so long has passed and it hardly computed, for then it waits
    for something that does not come; and after ten times as long whatever it does.
    """

    pid: int
    seconds: float
    _since: float = field(default_factory=time.monotonic)
    _before: float | None = None

    def is_over(self) -> bool:
        """Asked every now and then, it looks at the process from the first time on."""
        if self._before is None:
            self._before = _processor_seconds(self.pid)
        passed = time.monotonic() - self._since
        if passed <= self.seconds:
            return False
        used = _processor_seconds(self.pid) - self._before
        return used >= self.seconds or used < _WAITING * passed or passed > _AT_MOST * self.seconds
