"""What a surface can do: the dtypes in which its cases are drawn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conv1d_cts.adapters.conditions import Condition
from conv1d_cts.conformance.ledger import Limit
from conv1d_cts.conformance.probing import float_dtypes

SURFACE: Any = SimpleNamespace(name="functional", backend=SimpleNamespace(device="cpu"))


@pytest.mark.parametrize(
    ("conditions", "dtypes"),
    [
        ([], ("float32", "float64", "float16", "bfloat16")),
        (["bias", "c_in > 1", "kernel > 1"], ("float32", "float64", "float16", "bfloat16")),
        (["dtype in ('float16', 'bfloat16')"], ("float32", "float64")),
        (["dtype != 'int8'"], ("float32",)),
        (["surface == 'layer' and dtype == 'float64'"], ("float32", "float64", "float16", "bfloat16")),
    ],
)
def test_the_dtypes_drawn_are_those_of_the_simplest_call(conditions: list[str], dtypes: tuple[str, ...]) -> None:
    limits = tuple(Limit(Condition(when), "declared") for when in conditions)
    assert set(float_dtypes(SURFACE, limits)) == set(dtypes)
