"""A backend as the suite sees it: asks its process, replaces it when it dies, and turns answers into arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from greenlet import greenlet

from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.in_process import InProcess
from conv1d_cts.conformance.isolation.process import BackendProcess, Died, Interpreter, Limits
from conv1d_cts.conformance.isolation.wire import decode, encode, encode_attributes
from conv1d_cts.conformance.recipes import Operands

if TYPE_CHECKING:  # which asks backends itself
    from conv1d_cts.conformance.arithmetic.fingerprint import Fingerprint

Array = np.ndarray[Any, Any]


Request = dict[str, Any]
Reply = dict[str, Any]

_MESSAGE_BYTES = 4 << 20  # of operands, beyond which no other call goes into the same message


class Refused(Exception):  # noqa: N818 - the verdict's own word
    """The backend declined the call with an exception of its own.

    `modified` names the operands that are no longer what they were before it; it is None where they can't be read.
    `exhausted` has the bytes of the operands where the memory of a device ran out, and is None everywhere else.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(f"{report['type']}: {report['message'].splitlines()[0] if report['message'] else ''}"[:300])
        self.where = report["where"]
        self.modified: tuple[str, ...] | None = tuple(report["modified"]) if "modified" in report else None
        self.exhausted: int | None = report.get("exhausted")


@dataclass(frozen=True)
class Answer:
    """What came back of one call: arrays, and the facts that go with them."""

    results: tuple[Array | None, ...]
    modified: tuple[str, ...]
    aliases: tuple[str, ...]
    types: tuple[str, ...]
    devices: tuple[str, ...]
    later: tuple[Array | None, ...] = ()
    called: tuple[str, ...] = ()
    spec: tuple[tuple[int | None, ...], str] | None = None  # shape and dtype of y, where they alone were asked for


def _arrays(payloads: list[dict[str, Any] | None]) -> tuple[Array | None, ...]:
    return tuple(None if payload is None else decode(payload) for payload in payloads)


def _answer(reply: Reply) -> Answer:
    if "refused" in reply:
        raise Refused(reply["refused"])
    if "miscounted" in reply:
        raise Violation(reply["miscounted"], "a result for each that is asked for")
    return Answer(
        _arrays(reply["results"]),
        tuple(reply["modified"]),
        tuple(reply["aliases"]),
        tuple(reply["types"]),
        tuple(reply["devices"]),
        _arrays(reply.get("later", [])),
        tuple(reply.get("called", [])),
        (tuple(reply["spec"][0]), reply["spec"][1]) if "spec" in reply else None,
    )


@dataclass(frozen=True)
class Call:
    """One program on named arrays, ready to be sent. Of its results come back all channels, or those in `rows`.

    The arrays lie in memory as `layout` says, and those named in `layouts` as is said there. Of a program that makes
    several calls on the same arrays the further ones have the attributes in `others`.
    """

    program: str
    arrays: Mapping[str, Array | None]
    attributes: Mapping[str, Any]
    wrt: str = ""
    slot: str = ""
    axes: tuple[tuple[int | None, ...], ...] = ()
    others: tuple[Mapping[str, Any], ...] = ()
    layout: str = "contiguous"
    layouts: Mapping[str, str] = field(default_factory=dict)
    witnessed: bool = False
    rows: tuple[int, ...] = ()

    def request(self, surface: str) -> Request:
        """The call as plain values for the wire."""
        return {
            "program": self.program,
            "surface": surface,
            "arrays": {name: None if a is None else encode(a) for name, a in self.arrays.items()},
            "attributes": encode_attributes(self.attributes),
            "others": tuple(map(encode_attributes, self.others)),
            "wrt": self.wrt,
            "slot": self.slot,
            "axes": self.axes,
            "layouts": {name: self.layouts.get(name, self.layout) for name in self.arrays},
            "witnessed": self.witnessed,
            "rows": self.rows,
        }


def call_of(case: Case, operands: Operands, program: str = "conv1d", wrt: str = "", slot: str = "") -> Call:
    """The call of a program on a case; derivatives get the arrays that they need."""
    arrays: dict[str, Array | None] = {"x": operands.x, "w": operands.w, "b": operands.b}
    if program in ("vjp", "vjp_of_vjp", "jvp_of_vjp"):
        arrays["cotangent"] = operands.cotangent
    if program in ("jvp", "jvp_of_vjp"):
        arrays |= {f"{name}_tangent": operands.tangents[name] for name in wrt}
    if program == "jvp_of_vjp":
        arrays["cotangent_tangent"] = operands.tangents["cotangent"]
    if program == "vjp_of_vjp":
        arrays["outer"] = operands.tangents[slot]
    return Call(program, arrays, case.attributes, wrt, slot, layout=case.layout)


Last = tuple[str, list[Call], list["Answer | Refused"]]  # surface and calls of the last request, and the answers


@dataclass(frozen=True)
class Asked:
    """What came of a request, and the last ones that its process had been given before."""

    reply: Reply | Died
    earlier: tuple[Request, ...]


def _message(requests: Sequence[Request], at_once: int) -> Sequence[Request]:
    """As many of the first requests as go into one message, which is one at least."""
    sizes = accumulate(map(_bytes, requests[:at_once]))
    return requests[: max(1, sum(1 for _ in takewhile(lambda size: size <= _MESSAGE_BYTES, sizes)))]


def _bytes(request: Request) -> int:
    """Of its operands, those of a sequence included."""
    return sum(map(_bytes, request.get("requests", ()))) + sum(
        len(array["data"]) for array in request.get("arrays", {}).values() if array is not None
    )


@dataclass
class Backend:
    """One adapter on one device, in a process that is replaced whenever it has died; or `in_process`, to debug it."""

    source: AdapterSource
    device: str = "cpu"
    interpreter: Interpreter = field(default_factory=Interpreter)
    limits: Limits = field(default_factory=Limits)
    in_process: bool = False
    fingerprints: dict[tuple[str, str, str], Fingerprint] = field(default_factory=dict)  # by surface, dtype, function
    taken: dict[Hashable, bool] = field(default_factory=dict)  # whether a valid call was answered, by what asked
    seconds: float = 0.0  # spent in the adapter and its framework so far, by the process's own clock
    last: Last | None = None
    _hub: greenlet | None = field(default=None, repr=False)  # carries out what several bodies ask, in turns
    _process: BackendProcess | InProcess | None = field(default=None, repr=False)
    _spare: BackendProcess | InProcess | None = field(default=None, repr=False)

    def _start(self) -> BackendProcess | InProcess:
        if self.in_process:
            return InProcess(self.source, self.device)
        return BackendProcess(self.source, self.device, self.interpreter, self.limits)

    @property
    def process(self) -> BackendProcess | InProcess:
        """The living process; started where there is none."""
        if self._process is None:
            self._process, self._spare = self._spare or self._start(), None
        return self._process

    def describe(self) -> dict[str, Any]:
        """What the adapter declares. Raises Broken, Died."""
        return self.process.describe()

    def replace_process(self) -> None:
        """Go on in a fresh process."""
        if self._process is not None:
            self._process.close()
        self._process = None

    @contextmanager
    def fresh_process(self) -> Iterator[None]:
        """A fresh process, of which nothing is known, for what is asked inside; then the old one again."""
        kept, self._process = self._process, None
        known, self.fingerprints = self.fingerprints, {}
        try:
            with self._alone():
                yield
        finally:
            self.replace_process()
            self._process, self.fingerprints = kept, known

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Inside, whoever asks is answered at once: the process is not the one that others take turns at."""
        hub, self._hub = self._hub, None
        try:
            yield
        finally:
            self._hub = hub

    @contextmanager
    def on_cpus(self, cpus: int) -> Iterator[None]:
        """Processes that keep to so many processors, for what is asked inside; then the old one again."""
        kept, self._process, self._spare = (self._process, self._spare), None, None
        interpreter, self.interpreter = self.interpreter, replace(self.interpreter, cpus=cpus)
        try:
            with self._alone():
                yield
        finally:
            self.close()
            (self._process, self._spare), self.interpreter = kept, interpreter

    @contextmanager
    def taking_turns(self, hub: greenlet) -> Iterator[None]:
        """Inside, whoever asks gives its request to the `hub`, and goes on when that has the reply."""
        self._hub = hub
        try:
            yield
        finally:
            self._hub = None

    def _ask(self, request: Request) -> Reply:
        """The reply to one request. Raises Died."""
        if self._hub is None:
            reply = self.ask([request])[0].reply
            if isinstance(reply, Died):
                raise reply
            return reply
        last = self.last
        try:
            replied: Reply = self._hub.switch(request)
        finally:
            self.last = last  # the others have asked meanwhile
        return replied

    def ask(self, requests: Sequence[Request]) -> list[Asked]:
        """What comes of the first of the requests, of one at least: of those that go into one message, up to a death.

        What a process had answered before it died is asked of the next one again.
        """
        some = _message(requests, self.process.at_once)
        earlier = tuple(self.process.history)
        replies = self._replies(some)
        full = next((number for number, reply in enumerate(replies) if _exhausted(reply)), None)
        if full is not None:  # what earlier calls left may be what was lacking: their process gives it back
            self.replace_process()
            replies[full:] = self._replies(some[full : full + 1])
        if self.process.outgrown:
            self.replace_process()
        return [Asked(reply, (*earlier, *some[:number])) for number, reply in enumerate(replies)]

    def _replies(self, requests: Sequence[Request]) -> list[Reply | Died]:
        """What comes of the requests of one message, up to the first that ends the process."""
        try:
            replies = self.process.ask(requests)
        except Died as death:
            self.replace_process()
            # The next one loads its framework while this death is being looked at.
            self._process, self._spare = self._spare or self._start(), self._start()
            answered = requests[: min(death.after, len(requests) - 1)]
            before = self._replies(answered) if answered else []
            return [*before, death] if len(before) == len(answered) else before
        self.seconds += sum(reply.pop("seconds", 0.0) for reply in replies)
        return [*replies]

    def answer(self, surface: str, call: Call) -> Answer:
        """The answer to one call. Raises Refused, Died."""
        self.last = surface, [call], []
        answer = _answer(self._ask(call.request(surface)))
        self.last = surface, [call], [answer]
        return answer

    def sequence(self, surface: str, calls: list[Call]) -> list[Answer | Refused]:
        """The answers to calls made one after another, each with its results read again after the last. Raises Died."""
        self.last = surface, calls, []
        reply = self._ask({"program": "sequence", "requests": [call.request(surface) for call in calls]})
        if "refused" in reply:
            raise Refused(reply["refused"])
        answers = [_settle(one) for one in reply["sequence"]]
        self.last = surface, calls, answers
        return answers

    def close(self) -> None:
        """End every process of this backend."""
        for process in (self._process, self._spare):
            if process is not None:
                process.close()
        self._process = self._spare = None


def _exhausted(reply: Reply | Died) -> bool:
    """Whether memory ran out in a call, or in one of several."""
    return not isinstance(reply, Died) and any(
        "exhausted" in one.get("refused", ()) for one in (reply, *reply.get("sequence", ()))
    )


def _settle(reply: Reply) -> Answer | Refused:
    try:
        return _answer(reply)
    except Refused as refusal:
        return refusal


@dataclass(frozen=True)
class Surface:
    """One door to the operator in a backend; probes of a `brief` one keep to small sums."""

    backend: Backend
    name: str
    brief: bool = False

    def answer(self, call: Call) -> Answer:
        """The answer to one call. Raises Refused, Died."""
        return self.backend.answer(self.name, call)

    def conv1d(self, case: Case, operands: Operands) -> Array:
        """Y (N, O, L_out)."""
        return require(self.answer(call_of(case, operands)).results[0], "y")

    def vjp(self, case: Case, operands: Operands, wrt: str) -> dict[str, Array]:
        """The gradients of the operands in `wrt`, asked for jointly."""
        results = self.answer(call_of(case, operands, "vjp", wrt)).results
        return {name: require(array, f"g{name}") for name, array in zip(wrt, results, strict=True)}

    def sequence(self, calls: list[Call]) -> list[Answer | Refused]:
        """Calls made one after another."""
        return self.backend.sequence(self.name, calls)


@dataclass(frozen=True)
class Flaw:
    """What a script can show of a fault in one answer; `kind` is one of those named here.

    value, shape, dtype: `got` is the result at fault and `want` what is right by the definition: the number of element
    `at`, from which an honest one differs by `bound` at most, a shape, or a dtype's name. bits: `want` is the result
    that `got` should equal. refused, accepted: the call. shared, changed: `want` are the names of the operands whose
    memory a result shares, or whose contents are others after the call.
    """

    kind: str
    got: Array | None = None
    want: Any = None
    at: tuple[int, ...] = ()
    bound: float = 0.0


class Violation(AssertionError):  # noqa: N818 - what a clause suffers
    """A clause does not hold for an example."""

    def __init__(self, message: str, expected: object = "", got: object = "", flaw: Flaw | None = None) -> None:
        super().__init__(message)
        self.expected, self.got, self.flaw = str(expected), str(got), flaw


def require(array: Array | None, name: str) -> Array:
    """The array itself. Raises Violation where the backend returned none."""
    if array is None:
        raise Violation(f"{name} is missing: the backend returned None")
    return array
