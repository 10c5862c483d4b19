"""The pages of a history and of a diff in a real browser: they render, are walked by keyboard, and obey nothing.

Skipped by name where selenium, Chromium or its driver is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.reports import history
from tests.browser import ENTER, SCHEMES, TAB, WIDTHS, chromium, renders, run, visit, wait_until
from tests.reports_factory import FAILURE, HOSTILE, make_certificate

LOUD = {**FAILURE, "message": HOSTILE + "x" * 1_000_000, "finding": HOSTILE * 20}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module", params=["history", "diff"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three releases of torch, of which the last lost a clause; in the history also a backend of hostile names."""
    releases = [make_certificate(version=f"2.{minor}.0") for minor in (12, 13, 14)]
    releases[2] = make_certificate(version="2.14.0", verdict="nonconformant", verdicts={"SHAPE-2": "fail"})
    loud = [make_certificate(HOSTILE, version=HOSTILE, surfaces=(HOSTILE,), verdicts=v) for v in ({}, {"OP-1": LOUD})]
    shown = history.timelines([*releases, *loud]), [history.between(*releases[1:]), history.between(*loud)]
    path: Path = tmp_path_factory.mktemp("history") / "page.html"
    path.write_text(history.page(shown[request.param == "diff"], [HOSTILE]), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(browser: Any, url: str) -> Iterator[Any]:
    with visit(browser, url) as page_shown:
        yield page_shown


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_renders_without_scrolling_sideways(shown: Any, width: int, scheme: str) -> None:
    renders(shown, width, scheme)


def test_hostile_strings_are_shown_and_run_nothing(shown: Any) -> None:
    assert run(shown, "return document.scripts.length + document.images.length") == 0
    text = run(shown, "return document.body.textContent")
    assert "<script>alert(1)</script>" in text
    assert "{{ 7*7 }}" in text
    assert len(text) < 50_000


def test_a_release_leads_to_what_it_lost_by_keyboard_alone(shown: Any) -> None:
    focused = "return document.activeElement.textContent"
    for _ in range(20):
        shown.switch_to.active_element.send_keys(TAB)
        if "2.14.0" in run(shown, focused) and run(shown, "return document.activeElement.tagName") == "A":
            break
    shown.switch_to.active_element.send_keys(ENTER)
    heading = "document.querySelector(location.hash ? `[id='${location.hash.slice(1)}']` : 'none')"
    wait_until(shown, f"return {heading} && {heading}.getBoundingClientRect().top < innerHeight")
    assert run(shown, f"return {heading}.textContent") == "torch 2.13.0 on cpu → torch 2.14.0 on cpu"
    lost = run(shown, f"return {heading}.nextElementSibling.textContent")
    assert "Lost (2)" in lost
    assert "SHAPE-2" in lost
