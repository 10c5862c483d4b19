"""The suite's side of the boundary: starts a backend's process, asks it, and says how it died."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import execnet
import psutil

import conv1d_cts
from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.isolation.patience import Patience
from conv1d_cts.conformance.isolation.position import Position
from conv1d_cts.conformance.isolation.wire import pack, unpack

# The worker is imported in the other interpreter from a folder that holds nothing but this package. Threads of the
# backend that have nothing to do leave the cores to the suite and to other workers, and NumPy has no others: for small
# products they cost more than they compute. Libraries read that as they are loaded; who wants it otherwise sets it.
_BOOTSTRAP = """
import os, sys
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
package, module, path, device, log, position, cpus = channel.receive()
sys.path.append(package)
try:
    from conv1d_cts.conformance.isolation.worker import serve
except Exception as error:
    missing, name = getattr(error, "name", None), type(error).__name__
    channel.send({"broken": {"type": name, "message": str(error), "where": "", "missing": missing}})
else:
    serve(channel, module, path, device, log, position, cpus)
"""

Request = dict[str, Any]

_POLL_SECONDS = 0.25
_REMEMBERED = 64  # requests, the last ones: a failure may need what went before it
_AT_ONCE = 32  # calls in one message: more would save little of what waking up a process costs
_SSH_LOST = 255  # the status of ssh itself where a signal ended the remote process or the connection was lost
_QUIET_SECONDS = 2.0  # a process whose channel has closed is given this long to end by itself


class Died(Exception):  # noqa: N818 - it is what happened, and the verdict's own word
    """The backend's process did not answer: `kind` is crash, exit or hang; `log` the last lines it printed.

    `lost` where it did, but its device answers no more. Of the calls that it was given it died of the one `after` so
    many others.
    """

    def __init__(self, kind: str, detail: str, log: str = "", *, lost: bool = False, after: int = 0) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.log, self.lost, self.after = kind, detail, log, lost, after


class Broken(Exception):  # noqa: N818 - the adapter is broken, not the suite
    """The adapter could not be loaded: an error of the file or of the installation, never the backend's fault."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(
            f"{report['type']}: {report['message']}" + (f" ({report['where']})" if report["where"] else "")
        )
        self.missing: str | None = report.get("missing")


def _share_of_memory() -> int:
    """Half of the machine's memory, shared by the workers of a run."""
    return int(psutil.virtual_memory().total) // 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


@dataclass(frozen=True)
class Limits:
    """What one answer may cost: seconds for the first (imports included) and any later one, bytes of memory added.

    The seconds are those of `Patience`: of the process, on a machine that is busy with other things.

    A process that keeps more than `kept_bytes` (compiled programs, caches) is replaced between two calls.
    """

    start_seconds: float = 180.0
    call_seconds: float = 30.0
    memory_bytes: int = 4 << 30
    kept_bytes: int = field(default_factory=_share_of_memory)


def _package_folder() -> str:
    """A folder in which `conv1d_cts` is the only thing to import, so that no other package of ours leaks."""
    folder = Path(tempfile.mkdtemp(prefix="conv1d-cts-"))
    (folder / "conv1d_cts").symlink_to(Path(conv1d_cts.__file__).parent, target_is_directory=True)
    return str(folder)


@dataclass(frozen=True)
class Interpreter:
    """A Python that has the framework; on another `host` over ssh, where that is given, with this package installed.

    Its processes keep to so many `cpus`, where the system lets them, or to none in particular for 0.
    """

    python: str = sys.executable
    host: str = ""
    cpus: int = 0

    def start(self, group: execnet.Group) -> Any:
        """A gateway to a new process of it. Raises Broken where the host can't be reached.

        A second one where the first was ended from outside, before anything of ours or the backend's.
        """
        place = f"ssh={self.host}" if self.host else "popen"
        specification = f"{place}//python={shlex.quote(self.python)}"
        lost = (BrokenPipeError, execnet.HostNotFound) if self.host else ()
        try:
            return group.makegateway(specification)
        except lost as error:
            _bury(error)
            message = f"ssh does not reach {self.host}, or {self.python} does not start there"
            raise Broken({"type": "HostNotFound", "message": message, "where": ""}) from None
        except BrokenPipeError as error:
            _bury(error)
            return group.makegateway(specification)


def _bury(error: Exception) -> None:
    """End what execnet had started before it gave up: only the frames of its error still know of that process."""
    for frame, _line in traceback.walk_tb(error.__traceback__):
        started = getattr(frame.f_locals.get("io"), "popen", None)
        if started is not None:
            started.kill()
            started.wait()
            _close_pipes(started)


def _close_pipes(process: Any) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was still to be written has nobody to read it
            pipe.close()


class BackendProcess:
    """One process with one adapter loaded. Not restarted: a dead one is replaced by its owner."""

    kind = "fresh process"

    def __init__(
        self,
        source: AdapterSource,
        device: str,
        interpreter: Interpreter = Interpreter(),
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._host = interpreter.host
        self._folder = _package_folder()
        self._log = Path(self._folder) / "output.log"
        self._group = execnet.Group()
        try:
            self._gateway = interpreter.start(self._group)
        except Broken:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._popen = self._gateway._io.popen  # execnet has no public name for the process it started
        self._observed: psutil.Process | None = None
        self._channel: Any = None  # stays None where the process has ended already
        log, position = os.devnull, ""
        if not self._host:
            log, position = str(self._log), Position.prepare(Path(self._folder) / "position")
        self._position = Position(position)
        # How many calls it may be given in one message: where it dies, it must be known of which.
        self.at_once = _AT_ONCE if position else 1
        with suppress(OSError):
            channel = self._gateway.remote_exec(_BOOTSTRAP)
            channel.send((self._folder, source.module, source.path, device, log, position, interpreter.cpus))
            self._channel = channel
        self._description: dict[str, Any] | None = None
        self._loaded_bytes = self._held_bytes = 0  # when the adapter had been loaded; before the call that is under way
        self.history: deque[Request] = deque(maxlen=_REMEMBERED)
        self.suspects: list[Any] = []  # known causes of corrupted memory that this process has met, kept by the engine

    def describe(self) -> dict[str, Any]:
        """What the adapter declares. Raises Broken where it can't be loaded, Died where loading kills the process."""
        if self._channel is None:
            raise self._death()
        if self._description is None:
            reply = self._receive(self.limits.start_seconds)
            if "broken" in reply:
                raise Broken(reply["broken"])
            self._description, self._loaded_bytes = reply, self._held_bytes
        return self._description

    @property
    def outgrown(self) -> bool:
        """Whether the process keeps more memory than it may, beyond what it held when the adapter was loaded."""
        return self._held_bytes - self._loaded_bytes > self.limits.kept_bytes

    def ask(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """The answers to requests, carried out one after another.

        Raises Died, also where the process lives and its device does not; what was answered before is lost with it.
        """
        self.describe()
        self.history.extend(requests)
        self._position.answered = 0
        try:
            self._channel.send(pack(list(requests)))
        except OSError:
            raise self._death() from None
        answers: list[dict[str, Any]] = unpack(self._receive(self.limits.call_seconds))
        lost = str(answers[-1].get("lost", "")) if answers else ""
        if lost:
            self.close()
            message = f"after this call the device fails every other one: {lost}"
            raise Died("crash", message, lost=True, after=len(answers) - 1)
        return answers

    def _receive(self, seconds: float) -> Any:
        """The next message, of which each call may take that long."""
        patience, answered = Patience(self._popen.pid, seconds), self._position.answered
        before = self._held_bytes
        while True:
            try:
                message = self._channel.receive(timeout=_POLL_SECONDS)
            except self._channel.TimeoutError:
                if self._position.answered != answered:
                    patience, answered = Patience(self._popen.pid, seconds), self._position.answered
                    self._held_bytes = before  # what is held by now may be this call's already
                before = self._memory()
                self._check_growth(before)
                if patience.is_over():
                    tail = self._tail()
                    self.close()
                    raise Died("hang", f"no answer within {seconds:g} s", tail, after=answered) from None
            except (EOFError, OSError, self._channel.RemoteError):
                raise self._death() from None
            else:
                self._held_bytes = self._memory()
                return message

    def _memory(self) -> int:
        """Bytes that the process holds; 0 where it has ended."""
        try:
            self._observed = self._observed or psutil.Process(self._popen.pid)
            return int(self._observed.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _check_growth(self, held: int) -> None:
        """Raise Died where one call has taken more memory than it may; what the calls before it left is not its own."""
        taken = held - self._held_bytes
        if taken > self.limits.memory_bytes:
            self.close()
            message = f"took {taken >> 20} MiB of memory, the limit is {self.limits.memory_bytes >> 20}"
            raise Died("crash", message, after=self._position.answered)

    def _death(self) -> Died:
        """What the end of the process looks like from outside."""
        after = self._position.answered
        try:
            status = self._popen.wait(_QUIET_SECONDS)
        except Exception as error:
            if type(error).__name__ != "TimeoutExpired":
                raise
            tail = self._tail()
            self.close()
            return Died("exit", "stopped answering while its process lived on", tail, after=after)
        tail = self._tail()
        self.close()
        if status < 0:
            return Died("crash", signal.Signals(-status).name, tail, after=after)
        if self._host and status == _SSH_LOST:
            return Died("crash", f"killed, or cut off from {self._host}")
        return Died("exit", f"ended with status {status}", tail, after=after)

    def _tail(self, lines: int = 12) -> str:
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """End the process and everything it started. May be called twice."""
        try:
            family = psutil.Process(self._popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self._popen.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._popen.wait()
        self._group.terminate(timeout=0.1)
        if self._channel is None:  # execnet closes the pipes of a gateway only once it has been used
            _close_pipes(self._popen)
        shutil.rmtree(self._folder, ignore_errors=True)
