"""What comes of a malformed call, asked for in two ways: as it is, and through another program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from conv1d_cts.conformance import malformed
from conv1d_cts.conformance.backend import Call, Flaw, Refused, Surface, Violation, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.pool import evenly
from conv1d_cts.conformance.values import operand_names

Outcome = tuple[int | None, ...] | None  # a result of this shape, or a refusal


def of_each_clause(most: int) -> Callable[[tuple[Case, ...]], Iterator[Malformed]]:
    """A selection, whatever the cases are: at most so many malformed forward calls of each clause of chapter ERR.

    Each rule is broken once.
    """

    def select(cases: tuple[Case, ...]) -> Iterator[Malformed]:
        for calls in (
            malformed.rank, malformed.channels, malformed.groups, malformed.stride, malformed.dilation,
            malformed.padding, malformed.bias, malformed.mixed_dtypes, malformed.names, malformed.empty_kernel,
            malformed.no_integers, malformed.mixed_integers, malformed.beyond_domain,
        ):  # fmt: skip
            forward = (call for call in calls() if call.program == "conv1d")
            yield from evenly([*malformed.of_each_rule(forward, 1)], most)

    return select


def alike(program: str, how: str) -> Callable[[Surface, Malformed], None]:
    """A body: a malformed call has no other outcome where it is asked for by the program.

    Where the plain call ends the process there is none, and the fault is chapter ERR's.
    """

    def body(surface: Surface, example: Malformed) -> None:
        try:
            plain = _outcome(surface, example.call())
        except Died as death:
            raise Refused({"type": "Died", "message": f"the plain call: {death}", "where": ""}) from None
        other = _outcome(surface, replace(example.call(), program=program, wrt=operand_names(example.base)))
        if plain != other:
            said = [f"a result of shape {shape}" if shape is not None else "an error" for shape in (plain, other)]
            kind = Flaw("accepted" if plain is None else "refused")
            raise Violation(f"{example.rule}: {said[1]} {how}, {said[0]} otherwise", said[0], said[1], kind)

    return body


def _outcome(surface: Surface, call: Call) -> Outcome:
    """With data or without."""
    try:
        answer = surface.answer(call)
    except Refused:
        return None
    return answer.spec[0] if answer.spec else require(answer.results[0], "y").shape
