"""What comes of a malformed call, asked for in two ways: as it is, and through another program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance import malformed
from conv1d_cts.conformance.backend import Call, Flaw, Refused, Surface, Violation, require
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.check import Check, as_test
from conv1d_cts.conformance.isolation.process import Died
from conv1d_cts.conformance.judge import UNSEEN, Accuracy
from conv1d_cts.conformance.malformed import Malformed
from conv1d_cts.conformance.pool import evenly
from conv1d_cts.conformance.values import operand_names

_LONGEST = 16  # of a map
Outcome = tuple[int | None, ...] | None  # a result of this shape, or a refusal


def of_each_clause(
    most: int, wanted: Callable[[Malformed], bool] = lambda call: True
) -> Callable[[tuple[Case, ...]], Iterator[Malformed]]:
    """A selection, whatever the cases are: at most so many malformed forward calls of each clause of chapter ERR.

    Each rule is broken once.
    """

    def select(cases: tuple[Case, ...]) -> Iterator[Malformed]:
        for calls in (
            malformed.rank, malformed.channels, malformed.groups, malformed.stride, malformed.dilation,
            malformed.padding, malformed.bias, malformed.mixed_dtypes, malformed.names, malformed.empty_kernel,
            malformed.no_integers, malformed.mixed_integers, malformed.beyond_domain,
        ):  # fmt: skip
            forward = (call for call in calls() if call.program == "conv1d" and wanted(call))
            yield from evenly([*malformed.of_each_rule(forward, 1)], most)

    return select


def of_operands(most: int) -> Callable[[tuple[Case, ...]], Iterator[Malformed]]:
    """The same of those whose operands are malformed, and whose parameters are not."""
    return of_each_clause(most, lambda call: not call.attributes)


def takes(surface: Surface, valid: Malformed, asked: Callable[[Malformed], Call] = Malformed.call) -> bool:
    """Whether the surface answers a valid call, asked for in this way; it is asked once.

    Who refuses that refuses what is made from it too, whatever is broken there.
    """
    known, key = surface.backend.taken, (surface.name, valid, asked)
    if key not in known:
        try:
            surface.answer(asked(valid))
            known[key] = True
        except (Refused, Died):
            known[key] = False
    return known[key]


def refused_alike(
    clause: str,
    how: str,
    select: Callable[[tuple[Case, ...]], Iterable[Malformed]],
    extra: dict[str, Fact],
    *asked: Callable[[Malformed], Call],
) -> Any:
    """A pytest test of one clause: what is malformed has no other outcome where it is asked for in these ways."""
    return as_test(Check(clause, _alike(how, *asked), select, extra, may_refuse=True, must_refuse=True, minimum=2))


def _alike(how: str, *asked: Callable[[Malformed], Call]) -> Callable[[Surface, Malformed], Accuracy | None]:
    """A body: a malformed call has no other outcome where it is asked for in these ways.

    Where the plain call ends the process there is none, and the fault is chapter ERR's. Where each way refuses, and one
    of them the valid call too, nothing is seen.
    """

    def body(surface: Surface, example: Malformed) -> Accuracy | None:
        try:
            plain = _outcome(surface, example.call())
        except Died as death:
            raise Refused({"type": "Died", "message": f"the plain call: {death}", "where": ""}) from None
        for other in (_outcome(surface, of(example)) for of in asked):
            if plain != other:
                said = [f"a result of shape {shape}" if shape is not None else "an error" for shape in (plain, other)]
                kind = Flaw("accepted" if plain is None else "refused")
                raise Violation(f"{example.rule}: {said[1]} {how}, {said[0]} in a plain call", said[0], said[1], kind)
        if plain is None and not all(takes(surface, example.valid, of) for of in (Malformed.call, *asked)):
            return UNSEEN
        return None

    return body


def through(program: str) -> Callable[[Malformed], Call]:
    """The malformed call by way of another program; in forward mode each operand is its own tangent."""

    def call(example: Malformed) -> Call:
        plain, names = example.call(), operand_names(example.base)
        tangents = {f"{name}_tangent": plain.arrays[name] for name in names} if program == "jvp" else {}
        return replace(plain, program=program, wrt=names, arrays={**plain.arrays, **tangents})

    return call


def mapped(over: str) -> Callable[[Malformed], Call]:
    """A map of the malformed call over its operands of those names, as long as what is malformed.

    By its length another operand may be taken for one that is mapped.
    """

    def call(example: Malformed) -> Call:
        plain, names = example.call(), "".join(name for name in over if name in operand_names(example.base))
        lengths = [shape[0] for shape in example.shapes.values() if shape and 0 < shape[0] <= _LONGEST]
        copies = {name: np.stack([require(plain.arrays[name], name)] * (lengths or [2])[0]) for name in names}
        return replace(plain, program="vmap", wrt=names, axes=((0,) * len(names),), arrays={**plain.arrays, **copies})

    return call


def _outcome(surface: Surface, call: Call) -> Outcome:
    """With data or without; of a map that of each call."""
    try:
        answer = surface.answer(call)
    except Refused:
        return None
    return answer.spec[0] if answer.spec else require(answer.results[0], "y").shape[len(call.axes) :]
