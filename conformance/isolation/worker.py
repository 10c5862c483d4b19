"""The backend's side of the boundary: loads one adapter, answers one request after another over an execnet channel.

A request names a program, a surface, attributes and arrays; its answer holds the results as payloads and the facts that
prove who computed them, or the exception with which the backend refused. Both are plain Python values (chapter CONF).
"""

from __future__ import annotations

import faulthandler
import os
import platform
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from conv1d_cts.adapters import devices, processor, registry
from conv1d_cts.conformance.isolation.arrange import arrange
from conv1d_cts.conformance.isolation.faults import out_of_memory
from conv1d_cts.conformance.isolation.place import Place, facts, surfaces
from conv1d_cts.conformance.isolation.position import Position
from conv1d_cts.conformance.isolation.programs.catalogue import PROGRAMS
from conv1d_cts.conformance.isolation.programs.task import Miscounted, Native, Task
from conv1d_cts.conformance.isolation.wire import decode, decode_attributes, dtype_of, encode, pack, unpack
from conv1d_cts.conformance.isolation.witness import Witness

Array = np.ndarray[Any, Any]
Answer = dict[str, Any]
_TRANSFORMS = ("vjp", "jvp", "vmap", "compile", "eval_shape", "accumulate")


def _stand_alone() -> None:
    """Leave the terminal's signals to the suite, which ends its backends itself: one that dies first looks crashed."""
    if hasattr(os, "setsid"):
        os.setsid()


def _keep_no_orphan() -> None:
    """Ask the kernel to end this process with its parent, even while it hangs in native code (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))


def _keep_to(cpus: int) -> None:
    """Use so many processors only, of those that this process may use; any of them for 0 (Linux only)."""
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])


def _cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _capture_output(log: str) -> None:
    """Send everything that native code prints, and the stack of a fatal signal, to a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.enable(file=file)


def describe(adapter: Any, asked: str) -> Answer:
    """What the adapter declares, with the defaults of what it leaves out; None where the suite has to find out.

    `device` is its name of the device that is `asked` for, empty where it has none; facts and surfaces are that one's.
    """
    undefined = [name for name in ("name", "versions", "conv1d") if not hasattr(adapter, name)]
    if undefined:
        raise AttributeError(f"the adapter does not define {', '.join(undefined)}")
    offered = list(adapter.devices()) if hasattr(adapter, "devices") else ["cpu"]
    device = devices.resolve(asked, offered)
    return {
        "name": str(adapter.name),
        "versions": {str(k): str(v) for k, v in adapter.versions.items()},
        "surfaces": list(surfaces(adapter, device)),
        "devices": offered,
        "device": device,
        "device_facts": facts(adapter, device),
        "names_devices": hasattr(adapter, "device_of"),
        "shows_memory": devices.is_cpu(device) or hasattr(adapter, "shares_memory"),
        "dtypes": [dtype_of(name).name for name in adapter.dtypes] if hasattr(adapter, "dtypes") else None,
        "limits": dict(adapter.limits) if hasattr(adapter, "limits") else None,
        "native": str(getattr(adapter, "native", "")),
        "switches": {str(k): str(v) for k, v in getattr(adapter, "precision_switches", {}).items()},
        "transforms": [name for name in _TRANSFORMS if hasattr(adapter, name)],
        "fits": list(getattr(adapter, "fits", ())),
        "composes": bool(getattr(adapter, "composes", True)),
        "threads": bool(getattr(adapter, "threads", True)),
        "process": {
            "pid": os.getpid(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu_flags": processor.instruction_sets(),
            "cpus": _cpus(),
        },
    }


def _differs(array: np.ndarray[Any, Any], payload: Answer) -> bool:
    """Whether an array has another shape or other bytes than it had when it was sent."""
    return bool(array.shape != tuple(payload["shape"]) or array.tobytes() != payload["data"])


def _modified(operands: Mapping[str, np.ndarray[Any, Any]], request: Answer) -> list[str]:
    """The names of the operands that have another shape or other bytes than they had when they were sent."""
    return [name for name, array in operands.items() if _differs(array, request["arrays"][name])]


def _own_message(error: BaseException, path: str = "") -> Answer:
    """An exception as data: type, first lines of its message, and its place, which is in `path` where that is given."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path or not path]
    where, message = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else path, str(error)
    if isinstance(error, SyntaxError) and error.filename:
        where, message = f"{error.filename}:{error.lineno}", error.msg
    return {"type": type(error).__name__, "message": message[:2000], "where": where}


class Worker:
    """One adapter on one device."""

    def __init__(self, adapter: Any, device: str) -> None:
        self.adapter = adapter
        self.place = Place(adapter, device)
        self.seconds = 0.0
        self._operands: dict[str, Native] = {}  # those of the last request, once they are on the device
        self._surfaces = surfaces(adapter, device)
        self._first = next(iter(self._surfaces))
        self._was_alive = bool(device) and not self.place.is_cpu and not self.place.fault(self._first)

    def answer(self, request: Answer) -> Answer:
        """Carry out one request; an exception of the backend becomes an answer, anything else is left to rise.

        `seconds` in the answer are those spent in the adapter and its framework. `lost` is what the device says to
        whatever it is asked after a call that it refused, where it answered before: nothing can be computed any more.
        """
        self.seconds = 0.0
        answer = self._carry_out(request)
        refused = any("refused" in one for one in (answer, *answer.get("sequence", ())))
        lost = self.place.fault(self._first) if refused and self._was_alive else ""
        return {**answer, "seconds": self.seconds, **({"lost": lost} if lost else {})}

    def _carry_out(self, request: Answer) -> Answer:
        try:
            if request["program"] == "sequence":
                return self._sequence(request["requests"])
            with self.place.settings(request["surface"]):
                if request["witnessed"]:
                    return self._witnessed(request)
                if request["program"] == "eval_shape":
                    return self._eval_shape(request)
                arrays, results = self._compute(request)
                return self._report(request, arrays, results)
        except Exception as error:
            return self._refusal(request, error)

    def _refusal(self, request: Answer, error: Exception) -> Answer:
        """The exception, and what it left of the operands, as far as they can still be read.

        `exhausted` has their bytes where the memory of a device of its own ran out. Results that are not as many as
        were asked for are no refusal.
        """
        if isinstance(error, Miscounted):
            return {"miscounted": str(error)}
        report, sent = _own_message(error), request.get("arrays", {})  # a sequence has none of its own
        if not self.place.is_cpu and out_of_memory(error):
            report["exhausted"] = sum(len(a["data"]) for a in sent.values() if a is not None)
        with suppress(Exception):  # of a device that is lost, or of an operand that has no way back
            read = self._read({name: native for name, native in self._operands.items() if name in sent})
            report["modified"] = _modified(read, request)
        return {"refused": report}

    def _read(self, arrays: Mapping[str, Native]) -> dict[str, np.ndarray[Any, Any]]:
        """What NumPy has of native arrays."""
        with self._inside():
            return {name: self.place.to_numpy(native) for name, native in arrays.items() if native is not None}

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Count the seconds spent inside as the backend's."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds += perf_counter() - started

    def _prepare(self, request: Answer) -> tuple[dict[str, Native], Task]:
        self._operands = {}
        laid_out = {
            name: None if payload is None else arrange(decode(payload), request["layouts"][name])
            for name, payload in request["arrays"].items()
        }
        with self._inside():
            arrays = {name: None if array is None else self.place.to_native(array) for name, array in laid_out.items()}
        self._operands, name = arrays, request["surface"]
        attributes, *others = map(decode_attributes, (request["attributes"], *request["others"]))
        surface, asked = self._surfaces[name], (request["wrt"], request["slot"], request["axes"])
        return arrays, Task(self.adapter, name, surface, attributes, arrays, *asked, tuple(others))

    def _compute(self, request: Answer) -> tuple[dict[str, Native], list[Native]]:
        arrays, task = self._prepare(request)
        with self._inside():
            return arrays, PROGRAMS[request["program"]](task)

    def _witnessed(self, request: Answer) -> Answer:
        """The report of a call, and the packages that the adapter's own code called to compute it (CONF-1).

        Not those called in `to_native`, which gets NumPy's arrays and may rearrange them.
        """
        arrays, task = self._prepare(request)
        own = self.adapter.__name__ if isinstance(self.adapter, ModuleType) else type(self.adapter).__module__
        with Witness(own) as witness:
            results = PROGRAMS[request["program"]](task)
        return {**self._report(request, arrays, results), "called": sorted(witness.packages)}

    def _eval_shape(self, request: Answer) -> Answer:
        """Shape and dtype of y as the backend finds them without the operands' data."""
        _, task = self._prepare(request)
        with self._inside():
            shape, dtype = self.adapter.eval_shape(task.function(), task.primals())
        found = [None if extent is None else int(extent) for extent in shape], str(dtype)
        return {"results": [], "modified": [], "aliases": [], "types": [], "devices": [], "spec": found}

    def _report(self, request: Answer, arrays: Mapping[str, Native], results: list[Native]) -> Answer:
        place = self.place
        with self._inside():
            read = [None if result is None else place.to_numpy(result) for result in results]
            place.synchronize()
        operands = self._read(arrays)
        if request["rows"]:
            read = [None if array is None else array[:, list(request["rows"])] for array in read]
        answer: Answer = {
            "results": [None if array is None else encode(array) for array in read],
            "modified": _modified(operands, request),
            "aliases": place.aliases(arrays, operands, results, read),
            "types": [f"{type(r).__module__}.{type(r).__qualname__}" for r in results],
            "devices": [place.device_of(r) for r in results if r is not None],
        }
        place.poison(r for r in read if r is not None)
        return answer

    def _sequence(self, requests: list[Answer]) -> Answer:
        """Run the requests one after another; read every result when it comes and again after the last one."""
        kept, answers = [], []
        for request in requests:
            try:
                with self.place.settings(request["surface"]):
                    arrays, results = self._compute(request)
                    answers.append(self._report(request, arrays, results))
                kept.append(results)
            except Exception as error:
                answers.append(self._refusal(request, error))
                kept.append([])
        for answer, results in zip(answers, kept, strict=True):
            answer["later"] = [None if r is None else encode(self.place.to_numpy(r)) for r in results]
        return {"sequence": answers}


def serve(channel: Any, module: str, path: str, device: str, log: str, position: str, cpus: int) -> None:
    """Load the adapter, say what it is, and answer requests until the channel closes."""
    _stand_alone()
    _keep_no_orphan()
    _keep_to(cpus)
    _capture_output(log)
    try:
        adapter = registry.load(module, path)
        description = describe(adapter, device)
        worker = Worker(adapter, description["device"])
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        channel.send({"broken": {**_own_message(error, path), "missing": missing}})
        return
    progress = Position(position)
    channel.send(description)
    for message in channel:
        channel.send(pack(list(_answers(worker, unpack(message), progress))))


def _answers(worker: Worker, requests: list[Answer], progress: Position) -> Iterator[Answer]:
    """The answers to the calls of one message, up to one that lost the device."""
    for number, request in enumerate(requests, 1):
        answer = worker.answer(request)
        yield answer
        if "lost" in answer:
            return
        progress.answered = number
