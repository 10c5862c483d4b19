"""Bodies carried out abreast: what they ask goes out together, and each gets what is its own."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conv1d_cts.adapters.registry import AdapterSource
from conv1d_cts.conformance.abreast import Outcome, outcome, outcomes
from conv1d_cts.conformance.backend import Backend, Refused, Surface, Violation, call_of
from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.isolation.process import BackendProcess, Died, Limits
from conv1d_cts.conformance.isolation.wire import pack, unpack
from conv1d_cts.conformance.recipes import operands
from conv1d_cts.spec.geometry import Geometry
from tests.adapter_files import adapter_file

LENGTHS = (9, 10, 17, 11, 12)


def case(length: int) -> Case:
    return Case(Geometry(1, 2, 2, length, 3))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Surface]]:
    """Starts a numpy backend in which a statement happens inside a call."""
    backends = []

    def start(statement: str = "pass", **limits: float) -> Surface:
        path = adapter_file(tmp_path, statement)
        backends.append(
            Backend(AdapterSource(path.stem, path=str(path)), limits=Limits(**{"call_seconds": 10.0, **limits}))
        )
        return Surface(backends[-1], "functional")

    yield start
    for backend in backends:
        backend.close()


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of requests in each message to a process."""
    sizes: list[int] = []
    ask = BackendProcess.ask

    def counted(process: BackendProcess, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        sizes.append(len(requests))
        return ask(process, requests)

    monkeypatch.setattr(BackendProcess, "ask", counted)
    return sizes


def y_of(surface: Surface, length: int) -> tuple[int, ...]:
    one = case(length)
    return surface.conv1d(one, operands(one)).shape


def run(surface: Surface, body: Callable[[Surface, int], Any], lengths: Sequence[int] = LENGTHS) -> list[Outcome]:
    return list(outcomes(surface.backend, [partial(body, surface, length) for length in lengths]))


def test_what_all_ask_goes_out_in_one_message(started: Callable[..., Surface], messages: list[int]) -> None:
    found = run(started(), y_of)
    assert [one.finding for one in found] == [(1, 2, length - 2) for length in LENGTHS]
    assert messages == [5]


def test_each_round_is_of_those_that_ask_again(started: Callable[..., Surface], messages: list[int]) -> None:
    def several(surface: Surface, length: int) -> list[tuple[int, ...]]:
        return [y_of(surface, length + more) for more in range(length - 8)]

    found = run(started(), several, (9, 11, 10))
    assert [len(one.finding) for one in found] == [1, 3, 2]
    assert messages == [3, 2, 1]


def test_each_has_its_own_last_call_and_the_requests_before_it(started: Callable[..., Surface]) -> None:
    def asks_and_fails(surface: Surface, length: int) -> None:
        raise Violation(f"{y_of(surface, length)}")

    for length, one in zip(LENGTHS, found := run(started(), asks_and_fails), strict=True):
        assert isinstance(one.problem, Violation)
        assert one.last is not None
        assert one.last[1][0].arrays["x"].shape == (1, 2, length)  # type: ignore[union-attr]
    assert [[r["arrays"]["x"]["shape"][2] for r in one.earlier] for one in found] == [
        list(LENGTHS[:number]) for number in range(len(LENGTHS))
    ]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crash"),
        ("import os; os._exit(0)", "exit"),
        ("import time; time.sleep(99)", "hang"),
    ],
)
def test_a_death_is_of_the_one_that_asked_for_it(
    started: Callable[..., Surface], messages: list[int], statement: str, kind: str
) -> None:
    found = run(started(f"if length == 17: {statement}", call_seconds=2.0), y_of)
    problems = [one.problem for one in found]
    assert [problem is None for problem in problems] == [length != 17 for length in LENGTHS]
    assert isinstance(problems[2], Died)
    assert problems[2].kind == kind
    assert [one.finding for one in found if one.finding] == [(1, 2, length - 2) for length in LENGTHS if length != 17]
    assert messages == [5, 2, 2]  # those before it are asked of the next process again, then those after it


def test_whoever_has_seen_enough_waits_for_no_other_death(started: Callable[..., Surface], messages: list[int]) -> None:
    surface = started("if length > 10: import time; time.sleep(99)", call_seconds=2.0)
    for one in outcomes(surface.backend, [partial(y_of, surface, length) for length in LENGTHS]):
        if one.problem:
            break
    assert messages == [5, 2]  # and not the three that hang, one after another


def test_calls_of_which_none_hangs_may_take_longer_together(started: Callable[..., Surface]) -> None:
    found = run(started("import time; time.sleep(0.9)", call_seconds=2.0), y_of)
    assert all(one.problem is None for one in found)


def test_a_refusal_is_its_own(started: Callable[..., Surface]) -> None:
    found = run(started("if length == 17: raise ValueError('seventeen')"), y_of)
    assert [isinstance(one.problem, Refused) for one in found] == [length == 17 for length in LENGTHS]


def test_a_fresh_process_answers_at_once_and_is_nobody_elses(started: Callable[..., Surface]) -> None:
    def alone(surface: Surface, length: int) -> tuple[int, int]:
        with surface.backend.fresh_process():
            mine = surface.backend.describe()["process"]["pid"]
            y_of(surface, length)
        y_of(surface, length)
        return mine, surface.backend.describe()["process"]["pid"]

    found = run(started(), alone)
    own, shared = zip(*(one.finding for one in found), strict=True)
    assert len(set(own)) == len(LENGTHS)
    assert len(set(shared)) == 1
    assert not set(own) & set(shared)


def test_what_the_suite_did_wrong_is_not_kept(started: Callable[..., Surface]) -> None:
    surface = started()
    with pytest.raises(ZeroDivisionError):
        run(surface, lambda s, length: 1 // (len(y_of(s, length)) - 3))
    assert outcome(surface.backend, partial(y_of, surface, 9)).finding == (1, 2, 7)


def test_large_operands_go_alone(started: Callable[..., Surface], messages: list[int]) -> None:
    run(started(), y_of, (2**18, 2**18, 2**18, 9))  # 2 MiB each
    assert messages == [1, 1, 2]


class Evil:
    """What runs code when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("read",))


def test_only_plain_values_are_read_from_the_wire() -> None:
    plain = {"a": [1, 2.5, None, True, "x", b"y", (3, 4)]}
    assert unpack(pack(plain)) == plain
    for other in (Evil(), np.float32(1), [np.zeros(2)]):
        with pytest.raises(pickle.UnpicklingError, match="no plain value"):
            unpack(pack(other))


def test_a_call_is_read_as_it_was_written() -> None:
    request = call_of(case(9), operands(case(9))).request("functional")
    assert unpack(pack(request)) == request


def test_bodies_left_beside_one_that_died_end_there_and_then(started: Callable[..., Surface]) -> None:
    ended = []

    def body(surface: Surface, length: int) -> None:
        try:
            for _ in range(2):
                y_of(surface, length)
        finally:
            ended.append(length)

    surface = started("import os; x.shape[2] == 9 and os._exit(3)")
    gc.disable()  # which would end them later, in whatever thread it runs, and in the place of another one
    try:
        several = outcomes(surface.backend, [partial(body, surface, length) for length in LENGTHS])
        assert isinstance(next(several).problem, Died)
        assert ended == [9]
        several.close()
        assert ended == list(LENGTHS)
    finally:
        gc.enable()
