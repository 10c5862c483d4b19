"""How fast the suite is: `python -m conv1d_cts.conformance.bench` prints a table of goals and what was measured.

Each row is a run of its own in this interpreter's environment; a framework that is not installed is left out by name.
Nothing else should run on the machine meanwhile. No test depends on these figures: machines are noisy.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from statistics import fmean
from textwrap import dedent
from typing import Any

import click
import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from conv1d_cts.adapters import registry
from conv1d_cts.conformance.catalog import checks
from conv1d_cts.conformance.session import Options, Session
from conv1d_cts.reference.convolution import conv1d

_FIRST_SURFACE = {"torch": "functional", "tensorflow": "functional", "jax": "functional"}
_GOALS = {"torch": 30, "tensorflow": 60, "jax": 60}  # seconds
_KEEP_EVERYTHING = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}  # fmt: skip
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Run:
    """One run of `certify`: its wall-clock time, the peak memory of the process started, and its certificate."""

    seconds: float
    peak_bytes: int
    certificate: dict[str, Any]

    @property
    def examples(self) -> int:
        """How many examples all checks were tried on."""
        return sum(row["examples"]["run"] for row in self.certificate["clauses"])

    @property
    def backend_share(self) -> float:
        """The share of a run by one worker that was spent inside the backend's own calls."""
        return float(self.certificate["run"]["backend_seconds"]) / self.seconds


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    goal: str
    measured: str
    met: bool | None = None

    def __str__(self) -> str:
        """As a line of Markdown."""
        return f"| {self.what} | {self.goal} | {self.measured} | { {True: 'yes', False: 'no', None: '-'}[self.met] } |"


def certify(*arguments: str, **environment: str) -> Run:
    """Run `certify` with these arguments in a process of its own. Raises CalledProcessError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from conv1d_cts.cli import main; main()", "certify", *arguments]
        started, peak = time.monotonic(), 0
        with subprocess.Popen(
            [*command, "--quiet", "--out", folder], stdout=subprocess.DEVNULL, env={**os.environ, **environment}
        ) as process:
            observed = psutil.Process(process.pid)
            while process.poll() is None:
                try:
                    peak = max(peak, observed.memory_info().rss)
                except psutil.NoSuchProcess:
                    break
                time.sleep(_POLL_SECONDS)
        seconds = time.monotonic() - started
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        (path,) = Path(folder).glob("*.json")
        return Run(seconds, peak, json.loads(path.read_text(encoding="utf-8")))


def numpy() -> Iterator[Row]:
    """From the command to the verdict; and what more examples cost, by those of the standard profile."""
    quick, standard = certify("numpy", "--profile", "quick"), certify("numpy")
    what = "`certify numpy --profile quick`, from the command to the verdict"
    yield Row(what, "5 s", f"{quick.seconds:.1f} s", quick.seconds <= 5)
    times, seconds = standard.examples / quick.examples, standard.seconds / quick.seconds
    doubled = seconds ** (log(2) / log(times))
    what = f"cost of doubled examples (numpy, {quick.examples} to {standard.examples})"
    yield Row(what, "2.1x", f"{doubled:.2f}x", doubled <= 2.1)


def frameworks() -> Iterator[Row]:
    """The standard profile on one surface, by two workers; of torch also what one worker shows."""
    for name, goal in _GOALS.items():
        what = f"`certify {name}`, standard profile, one surface, imports included"
        if find_spec(name) is None:
            yield Row(what, f"{goal} s", "not installed")
            continue
        with tempfile.TemporaryDirectory() as cache:
            kept = {"JAX_COMPILATION_CACHE_DIR": cache, **_KEEP_EVERYTHING} if name == "jax" else {}
            run = certify(name, "--surface", _FIRST_SURFACE[name], "--jobs", "2", **kept)
            yield Row(what, f"{goal} s", f"{run.seconds:.1f} s", run.seconds <= goal)
            if kept:  # as in the second run of a tox environment
                run = certify(name, "--surface", _FIRST_SURFACE[name], "--jobs", "2", **kept)
                yield Row("the same, XLA's programs kept", f"{goal} s", f"{run.seconds:.1f} s", run.seconds <= goal)
        if name == "torch":
            yield from workers(run.seconds)


def workers(seconds_of_two: float) -> Iterator[Row]:
    """What one worker shows of the suite itself, by torch: one that works alone has the checks in its own process."""
    one = certify("torch", "--surface", _FIRST_SURFACE["torch"], "--jobs", "1")
    share, megabytes, ratio = one.backend_share, one.peak_bytes / 1e6, one.seconds / seconds_of_two
    yield Row("share of it spent inside the backend's own calls (one worker)", "40 %", f"{share:.0%}", share >= 0.4)
    yield Row("peak memory of the suite's process (one worker)", "500 MB", f"{megabytes:.0f} MB", megabytes <= 500)
    yield Row("two workers against one", "1.7x", f"{ratio:.2f}x", ratio >= 1.7)


_FAULTY = """
    from conv1d_cts.adapters import numpy_adapter as right

    name, versions, native = "faulty", {"faulty": "1"}, "numpy"


    def conv1d(x, w, b=None, **parameters):
        y = right.conv1d(x, w, b, **parameters)
        y[..., 16:] += y[..., 16:] != 0
        return y
"""


def a_failure() -> Iterator[Row]:
    """The slowest check that meets a fault: from its start to the failure, shrunk and with its script."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "faulty.py")
        path.write_text(dedent(_FAULTY), encoding="utf-8")
        session, slowest = Session(Options(str(path), python=sys.executable)), 0.0
        try:
            for _, check in checks():
                started = time.monotonic()
                if session.run(check, session.surface_names[0]).kind == "fail":
                    slowest = max(slowest, time.monotonic() - started)
        finally:
            session.close()
    what = "a clause's failure, shrunk and reported: the slowest"
    if not slowest:
        raise RuntimeError("no check met the fault of the bench's adapter: nothing was measured")
    yield Row(what, "10 s", f"{slowest:.1f} s", slowest <= 10)


_GEOMETRIES = ((1, 1, 1, 1000, 3), (8, 16, 16, 128, 3), (4, 64, 64, 256, 5), (32, 32, 32, 64, 9), (2, 256, 256, 100, 1))


def _fastest(call: Callable[[], Any]) -> float:
    """Processor seconds of the fastest of several calls, by one thread."""
    times = []
    with threadpool_limits(1):
        for _ in range(9):
            started = time.process_time()
            for _ in range(5):
                call()
            times.append(time.process_time() - started)
    return min(times)


def reference() -> Iterator[Row]:
    """The reference on NumPy against torch's conv1d: float64, one thread, geometric mean over a few shapes."""
    what = "reference on numpy / torch, one thread, float64, geometric mean"
    if find_spec("torch") is None:
        yield Row(what, "1.0", "not installed")
        return
    source = registry.find("torch")
    torch, logs = registry.load(source.module, source.path), []
    plain = {"b": None, "stride": 1, "padding": (0, 0), "dilation": 1, "groups": 1}
    theirs = partial(torch.surfaces[_FIRST_SURFACE["torch"]], **plain)
    for n, c_in, c_out, length, kernel in _GEOMETRIES:
        rng = np.random.default_rng(0)
        x, w = rng.standard_normal((n, c_in, length)), rng.standard_normal((c_out, c_in, kernel))
        native = torch.to_native(x, "cpu"), torch.to_native(w, "cpu")
        logs.append(log(_fastest(partial(conv1d, x, w)) / _fastest(partial(theirs, *native))))
    ratio = exp(fmean(logs))
    yield Row(what, "1.0", f"{ratio:.2f}", ratio <= 1)


def whole_tox() -> Iterator[Row]:
    """`tox` in a fresh clone of the checkout that this package is run from, installs included."""
    what, root = "the whole `tox` from a fresh clone, installs included", Path(__file__).resolve().parents[1]
    if find_spec("tox") is None or not (root / ".git").exists():
        yield Row(what, "8 min", "no tox, or no checkout")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", root, folder], check=True)
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "tox", "-q"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        minutes = (time.monotonic() - started) / 60
    yield Row(what, "8 min", f"{minutes:.1f} min", minutes <= 8)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="A file to write the table to as well.")
def main(out: Path | None) -> None:
    """Measure, and print the table."""
    lines = ["| what | goal | measured | met |", "| --- | --- | --- | --- |"]
    print(*lines, sep="\n", flush=True)
    for rows in (numpy, frameworks, a_failure, reference, whole_tox):
        for row in rows():
            print(row, flush=True)
            lines.append(str(row))
    place = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines += ["", f"Measured by `python -m conv1d_cts.conformance.bench` on {place}."]
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
