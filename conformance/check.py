"""A check: a function that tries one clause on examples, and how to write one as a pytest test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Protocol
from zlib import crc32

from conv1d_cts.adapters.conditions import Fact
from conv1d_cts.conformance.arithmetic.fingerprint import Fingerprint
from conv1d_cts.conformance.backend import Surface
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.judge import Accuracy


class Example(Protocol):
    """Anything a check can be tried on, and a set can hold: it says its facts to conditions and itself to readers."""

    def facts(self) -> dict[str, Fact]:
        """What a condition may ask about it."""

    def describe(self) -> dict[str, Any]:
        """What a certificate says of it."""


Body = Callable[[Surface, Any], str | Accuracy | Fingerprint | None]


@dataclass(frozen=True)
class Check:
    """One clause tried by one body.

    `select` takes the pool and gives the examples that can tell right from wrong; `extra` are facts that every example
    shares (the program it runs); `may_refuse` where the clause allows a clean refusal, `must_refuse` where it asks for
    one; a `sampled` check takes an even sample of those from the pool; fewer than `minimum` that held prove nothing.
    What the body finds must be one thing `throughout` where the clause calls a mixture a fault. Where the bias is
    `bias_aside`, there to be tried as well, cases are tried without it on a surface that has none. What is
    `for_accelerators` is tried by the thorough profile off the CPU alone. Calls of other examples come between those of
    one, unless they are to be made `in_a_row`. Of a `costly` check each example takes a compiler seconds.
    """

    clause: str
    body: Body
    select: Callable[[tuple[Case, ...]], Iterable[Any]]
    extra: dict[str, Fact] = field(default_factory=dict)
    may_refuse: bool = False
    must_refuse: bool = False
    sampled: bool = False
    minimum: int = 3
    throughout: bool = False
    bias_aside: bool = False
    for_accelerators: bool = False
    in_a_row: bool = False
    costly: bool = False

    @property
    def turn(self) -> int:
        """A number of its own, the same in every run: which cases it gets where each check gets some."""
        return crc32(f"{self.clause} {self.body.__qualname__} {sorted(self.extra.items())}".encode())

    def made_of(self, case: Case) -> Any:
        """What the check makes of a case, apart from the examples that it always makes; None where it is not for it."""
        own = list(self.select(()))
        made = next((example for example in self.select((case,)) if example not in own or example == case), None)
        if self.bias_aside and isinstance(made, Case) and not case.bias:
            return replace(made, bias=False)
        return made


def tries(
    clause: str,
    body: Body,
    telling: Callable[[Case], bool] = lambda case: True,
    *,
    own: Iterable[Case] = (),
    prepare: Callable[[Case], Case] = lambda case: case,
    **options: Any,
) -> Any:
    """A pytest test of one clause on its `own` cases and those of the pool, where `telling` holds after `prepare`.

    `prepare` must leave a case alone that it has prepared before: the shrinker passes its candidates through again.
    """
    always = tuple(own)

    def select(cases: tuple[Case, ...]) -> Iterator[Case]:
        return (case for case in map(prepare, chain(always, cases)) if telling(case))

    return as_test(Check(clause, body, select, **options))


def as_test(check: Check) -> Any:
    """The pytest test that carries out a check; the plugin provides `conduct`."""

    def test(conduct: Callable[[Check], None]) -> None:
        conduct(check)

    test.check = check  # type: ignore[attr-defined]  # read by the plugin, which names the clauses that were not run
    return test
