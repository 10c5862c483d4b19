"""A failure that needs the calls before it: which of them, and as few as are found cheaply."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from conv1d_cts.conformance.backend import Backend
from conv1d_cts.conformance.isolation.process import Died

Request = dict[str, Any]
_MOST_REDUCED = 4  # calls; more of them are not tried one by one


def shortest(
    backend: Backend, earlier: Sequence[Request], fails: Callable[[], bool], seconds: float
) -> tuple[Request, ...]:
    """The fewest of the `earlier` calls after which `fails` holds in a fresh process; none where none of them do it.

    First the last one, the last two, the last four; then without each one. Only reductions look at the `seconds`.
    """
    count, deadline = 1, time.monotonic() + seconds
    while count < len(earlier) and not _again(backend, earlier[-count:], fails):
        count *= 2
    found = tuple(earlier[-count:])
    if not found or (count >= len(earlier) and not _again(backend, found, fails)):
        return ()
    for request in found if len(found) <= _MOST_REDUCED else ():
        fewer = tuple(r for r in found if r is not request)
        if fewer and time.monotonic() < deadline and _again(backend, fewer, fails):
            found = fewer
    return found


def _again(backend: Backend, requests: Sequence[Request], fails: Callable[[], bool]) -> bool:
    with backend.fresh_process():
        try:
            backend.process.ask(requests)
        except Died:
            return False  # one of them dies by itself: that is another failure
        return fails()


def lines(requests: Sequence[Request]) -> str:
    """The calls for a reader, one a line."""
    return "\n".join(f"{number}. {_line(request)}" for number, request in enumerate(requests, 1))


def _line(request: Request) -> str:
    if request["program"] == "sequence":
        return "; then ".join(map(_line, request["requests"]))
    arrays = [f"{name} {a['dtype']}{list(a['shape'])}" for name, a in request["arrays"].items() if a is not None]
    attributes = [f"{name}={value}" for name, value in json.loads(request["attributes"]).items()]
    return f"{request['program']} on {request['surface']}: {', '.join([*arrays, *attributes])}"
