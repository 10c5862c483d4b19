"""Run witnesses that end the process or never return, each in a child of its own: `python -m tests.mutants.isolated`.

Reads a JSON list of [mutant, seed] from stdin and writes the list of what became of each: "signal 11", "exit 0",
"hang", "same" as the correct backend, or "different" from it. Children get little memory and a few seconds.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from tests.mutants.bank import MUTANTS
from tests.mutants.base import Backend
from tests.mutants.witness import Isolated, observe

SECONDS = 3.0
MEMORY = 2**30  # bytes of address space for a child beyond those of the parent
SAME, DIFFERENT = 60, 61  # exit statuses of a child that came to its end


def child(name: str, seed: int) -> None:
    """Observe the witness, and exit by what was seen."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    backend, witness = MUTANTS[name].build(seed)
    inner = witness.inner if isinstance(witness, Isolated) else witness
    shown = observe(backend, inner)
    os._exit(SAME if shown == observe(Backend(), inner) else DIFFERENT)


def start(name: str, seed: int) -> int:
    """Fork a child; return its process id. Whatever escapes from it, SystemExit too, ends it with status 1."""
    pid = os.fork()
    if pid == 0:
        try:
            child(name, seed)
        finally:
            os._exit(1)
    return pid


def outcome(status: int) -> str:
    """Put a wait status in words."""
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    return {SAME: "same", DIFFERENT: "different"}.get(code, f"exit {code}")


def wait(pid: int, deadline: float) -> str:
    """Wait for a child, and kill it at the deadline."""
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return outcome(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hang"


def main() -> None:
    """Observe all that stdin asks for, at the same time."""
    children = [start(name, seed) for name, seed in json.load(sys.stdin)]
    deadline = time.monotonic() + SECONDS
    json.dump([wait(pid, deadline) for pid in children], sys.stdout)


if __name__ == "__main__":
    main()
