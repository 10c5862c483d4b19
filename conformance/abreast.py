"""Bodies carried out abreast: what several examples of a check ask goes to the backend's process in one message.

A process that is woken for each call, with the caches full of the suite's own data, takes about twice the time for
small convolutions. So each body runs until it asks; then all that was asked is answered, and each goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from greenlet import getcurrent, greenlet

from conv1d_cts.conformance.backend import Asked, Backend, Last, Refused, Request, Violation
from conv1d_cts.conformance.isolation.process import Died


@dataclass(frozen=True)
class Outcome:
    """How a body ended: with a finding or with a problem; what it asked last, and the requests before that."""

    finding: Any
    problem: Refused | Violation | Died | None
    last: Last | None
    earlier: tuple[Request, ...] = ()


def outcome(backend: Backend, body: Callable[[], Any]) -> Outcome:
    """Of a body carried out by itself."""
    try:
        return Outcome(body(), None, backend.last)
    except (Refused, Violation, Died) as problem:
        return Outcome(None, problem, backend.last)


def outcomes(backend: Backend, bodies: Sequence[Callable[[], Any]]) -> Generator[Outcome, None, None]:
    """Of bodies that take turns, in their order: in each round all of those that are left ask once.

    Each is given as soon as it is known; whoever has seen enough closes this, which ends the others where they are.
    """
    turns = [greenlet(lambda body=body: outcome(backend, body)) for body in bodies]
    earlier: dict[greenlet, tuple[Request, ...]] = {}
    try:
        with backend.taking_turns(getcurrent()):
            given = {turn: turn.switch() for turn in turns}
        for turn in turns:
            while not turn.dead:
                left = [other for other in turns if not other.dead]
                with backend.taking_turns(getcurrent()):
                    for one, asked in zip(left, backend.ask([given[other] for other in left]), strict=False):
                        earlier[one] = asked.earlier
                        given[one] = _go_on(one, asked)
            yield replace(given[turn], earlier=earlier.get(turn, ()))
    finally:  # the garbage collector may end one in another thread, and then in the place of the next that goes on
        for turn in turns:
            if not turn.dead:
                turn.throw()


def _go_on(turn: greenlet, asked: Asked) -> Request | Outcome:
    """Let a body go on with what came of its request, until it asks again or ends."""
    answer: Request | Outcome = turn.throw(asked.reply) if isinstance(asked.reply, Died) else turn.switch(asked.reply)
    return answer
