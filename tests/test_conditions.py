"""The language of limits and deviations: what it says, and what it does not understand."""

from __future__ import annotations

import pickle

import pytest

from conv1d_cts.adapters.conditions import FACTS, Condition


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("lo != hi", {"lo": 1, "hi": 2}, True),
        ("lo != hi", {"lo": 2, "hi": 2}, False),
        ("dtype in ('float16', 'bfloat16') and stride > 1", {"dtype": "float16", "stride": 2}, True),
        ("not bias or groups * 2 > c_in", {"bias": True, "groups": 3, "c_in": 6}, False),
        ("length % 8 == 1 and kernel // 2 >= 1", {"length": 17, "kernel": 3}, True),
        ("padding == 'same'", {}, False),
        ("1 < groups < c_in", {"groups": 2, "c_in": 4}, True),
    ],
)
def test_a_condition_says_whether_it_holds(text: str, facts: dict[str, int], expected: bool) -> None:
    assert Condition(text).holds(facts) is expected


@pytest.mark.parametrize(
    "text",
    [
        "strides > 1",
        "__import__('os')",
        "n.real > 0",
        "n >",
        "[i for i in (1, 2)]",
        "lambda: n",
        "n if bias else 0",
        "2 ** 9",
    ],
)
def test_what_is_outside_the_language_is_refused_when_the_condition_is_made(text: str) -> None:
    with pytest.raises(ValueError, match="condition"):
        Condition(text)


def test_an_unknown_name_comes_with_its_nearest() -> None:
    with pytest.raises(ValueError, match="nearest: stride"):
        Condition("strid > 1")


def test_a_condition_that_cannot_be_evaluated_says_so() -> None:
    with pytest.raises(ValueError, match="n % 0"):
        Condition("n % 0 == 1").holds({})


def test_a_condition_goes_from_worker_to_worker() -> None:
    copy = pickle.loads(pickle.dumps(Condition("stride > 1")))
    assert copy == Condition("stride > 1")
    assert copy.holds({"stride": 2})


def test_every_name_has_a_plain_value() -> None:
    assert all(Condition(f"{name} == {value!r}").holds({}) for name, value in FACTS.items())
