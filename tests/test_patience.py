"""A process has its seconds by its own time: one that gets little of the processor is not taken for one that hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from conv1d_cts.conformance.isolation.patience import Patience

BUSY, WAITING = "while True: pass", "import time; time.sleep(60)"


@contextmanager
def process(program: str) -> Iterator[psutil.Process]:
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        child.wait()


def seconds_until_over(patience: Patience) -> float:
    started = time.monotonic()
    while not patience.is_over():
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_busy_process_has_its_seconds_of_the_processor() -> None:
    with process(BUSY) as child:
        time.sleep(0.3)  # what it did before is not counted
        before = child.cpu_times().user
        seconds_until_over(Patience(child.pid, 0.4))
        assert child.cpu_times().user - before >= 0.35


def test_one_that_waits_has_them_by_the_clock() -> None:
    with process(WAITING) as child:
        time.sleep(2.0)  # its start is over
        assert 1.0 <= seconds_until_over(Patience(child.pid, 1.0)) < 9.0


def test_one_that_gets_little_of_the_processor_has_more_of_the_clock() -> None:
    """It is stopped for two thirds of the time, as a crowded machine does."""
    with process(BUSY) as child:
        time.sleep(0.3)
        patience, started = Patience(child.pid, 0.5), time.monotonic()
        while not patience.is_over():
            child.suspend()
            time.sleep(0.06)
            child.resume()
            time.sleep(0.03)
        assert time.monotonic() - started > 0.9


def test_one_that_has_ended_is_over() -> None:
    with process("") as child:
        child.wait()
        assert seconds_until_over(Patience(child.pid, 0.5)) < 4.5
