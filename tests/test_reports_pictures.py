"""The pictures of the page: nothing of a backend's is obeyed, the policy holds, and equal certificates are drawn alike.

Skipped by name where matplotlib is missing, without which the page says that it has none.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from conv1d_cts.reports import pictures
from conv1d_cts.reports.certificate import Certificate, validate
from conv1d_cts.reports.page import page
from tests.reports_factory import ACCURACY, CASE, FAILURE, HOSTILE, make_certificate, make_clauses

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SHARES = {"float32": {"1": 0.1, "8": 0.4}, "float64": {"4": 0.0, "1024": 0.25}}
FACTS = {"left operand bits": "11 (1 + ulp)", "sum bits": "24 (M + 1 - M)"}


def drawn(name: str = "torch") -> Certificate:
    issued: Any = make_certificate(name, version=name, verdicts={"GRAD-4": FAILURE})
    issued["clauses"][0]["evidence"] = {"accuracy": {**ACCURACY, "shares": SHARES}}
    issued["arithmetic"][0]["quantities"] = [{"quantity": "y", "class": "ieee", "products": [48], "facts": FACTS}]
    issued["coverage"] = {"kernel": {"1": 30, "512": 3}, "stride": {"1": 33}}
    return validate(issued, name)


def titles(certificate: Certificate) -> list[str]:
    return [picture.title.partition(": ")[2] for picture in pictures.of_backend(certificate, "x")]


def test_a_certificate_has_a_picture_for_each_thing_that_it_holds() -> None:
    assert titles(drawn()) == [
        "largest error as a share of its bound", "bits that operands and sums keep", "cases tried, by parameter",
    ]  # fmt: skip
    assert titles(make_certificate()) == []


def test_pictures_are_svg_that_the_policy_of_the_page_allows() -> None:
    for picture in [*pictures.of_backend(drawn(), "x"), *pictures.speed([drawn()])]:
        root = ElementTree.fromstring(picture.svg)
        assert root.attrib["aria-label"] == picture.title
        assert not any("style" in element.attrib or element.tag.endswith("}style") for element in root.iter())
        assert "#000000" not in picture.svg
        assert len(picture.svg) < 15_000


def test_a_path_is_told_in_fewer_letters_and_is_the_same() -> None:
    told = pictures._path("M 1 2 L 5 2 L 5 4 L 1 4 L 1 2 z M 7 0 L 8 1 L 7 0 L 9 0 z M 1 1 L 2 2 L 1 1")
    assert told == "M1 2H5V4H1zM7 0L8 1L7 0H9zM1 1L2 2L1 1"
    assert pictures._path("M 0 0 C 1 1 2 2 3 3 z") == "M 0 0 C 1 1 2 2 3 3 z"


def test_axes_keep_their_numbers() -> None:
    shares, bits, coverage = (ElementTree.fromstring(picture.svg) for picture in pictures.of_backend(drawn(), "x"))
    texts = [{"".join(element.itertext()).strip() for element in root.iter()} for root in (shares, bits, coverage)]
    assert {"float32", "of the bound"} < texts[0]
    assert {"0.3", "1"} & texts[0]
    assert {"0", "float32"} < texts[1]
    assert {"1", "512", "kernel"} < texts[2]


def test_a_failure_is_drawn_with_its_window() -> None:
    (picture,) = pictures.of_case(CASE, "y[0, 1, 2] is 5, not 3", "x")
    assert picture.title == "The window at fault"
    assert picture.svg.count(pictures.WRONG) == 1
    (other,) = pictures.of_case(CASE, "nothing is named", "x")
    assert other.title == "The first window"
    assert pictures.WRONG not in other.svg


NOT_DRAWN: list[dict[str, Any]] = [
    {"length": 10**9}, {"kernel": 2**62}, {"length": HOSTILE}, {"padding": [HOSTILE, 1]}, {"stride": 0},
    {"padding": HOSTILE},
]  # fmt: skip


@pytest.mark.parametrize("change", NOT_DRAWN)
def test_what_is_no_geometry_to_draw_is_not_drawn(change: dict[str, Any]) -> None:
    assert list(pictures.of_case({**CASE, **change}, "y[0, 0, 0]", "x")) == []


def test_pictures_of_a_page_are_drawn_alike_again_and_share_no_ids() -> None:
    several = [drawn(), drawn("jax"), drawn(HOSTILE)]
    html = page(several, [], make_clauses(), {})
    assert page(several, [], make_clauses(), {}) == html
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert html.count("<script") == 1
    assert html.count('<figure class="picture">') == 1 + 3 * 3 + 3 * 2
