"""Coverage of the parameter space: classes of cases, and the pairs and triples that every profile meets."""

from __future__ import annotations

import pytest

from conv1d_cts.conformance.cases import Case
from conv1d_cts.conformance.coverage import classes, combined, extents
from conv1d_cts.conformance.pool import CLASSES, FLOATS, PROFILES, Profile, pool
from conv1d_cts.spec.geometry import Geometry

SQUARE = Case(Geometry(2, 2, 2, 6, 3, stride=3, dilation=1, padding=(0, 1)), "float16", bias=False)


def test_a_case_is_in_the_classes_of_its_numbers() -> None:
    found = classes(SQUARE)
    assert SQUARE.geometry.l_out == 2
    assert found["padding"] == ["hi only"]
    assert found["coincidence"] == ["l_out == c_out", "c_out == c_in", "n == c_out", "square"]
    assert [found[name] for name in ("kernel", "stride", "l_out")] == [[(3, 3)], [(3, 5)], [(2, 2)]]
    assert [found[name] for name in ("remainder", "bias")] == [[True], [False]]


def test_a_number_beyond_every_range_is_in_no_class() -> None:
    assert classes(Case(Geometry(1, 1, 1, 99, 64)))["kernel"] == []


def test_combinations_are_counted_once() -> None:
    assert combined([SQUARE], 2) == combined([SQUARE, SQUARE], 2)
    one, two = (combined([SQUARE], size)["met"] for size in (2, 3))
    assert 0 < one < two


def test_extents_are_counted_by_powers_of_two() -> None:
    assert extents([SQUARE])["length"] == {"8": 1}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_every_profile_meets_the_pairs_that_can_be(profile: Profile) -> None:
    """Of all named pairs about ten cannot be met, such as a remainder under stride 1."""
    pairs = combined(pool(profile, 0, FLOATS), 2)
    assert pairs["met"] >= 0.99 * pairs["of"]


def test_every_class_is_met() -> None:
    met: dict[str, set[object]] = {name: set() for name in CLASSES}
    for case in pool(PROFILES["standard"], 0, FLOATS):
        for name, found in classes(case).items():
            met[name].update(found)
    assert {name: set(values) - met[name] for name, values in CLASSES.items()} == {name: set() for name in CLASSES}
