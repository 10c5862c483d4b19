"""axe-core finds no serious fault on any page: labels, contrast, roles, order; at each width, light and dark.

Skipped by name where axe-core-python, selenium, Chromium or its driver is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.reports import history
from conv1d_cts.reports.page import page
from tests.browser import SCHEMES, WIDTHS, chromium, colour, resize, run
from tests.reports_factory import FAILURE, HOSTILE, PROSE, make_certificate, make_clauses, make_set

Axe: Any = pytest.importorskip("axe_core_python.selenium", reason="axe-core-python is not installed").Axe
SERIOUS = ("serious", "critical")
SECONDS = 120  # for axe to look at every element
# What is shown before axe looks: the page as it is, a cell's sheet, everything that folds out.
STATES = {
    "plain": "",
    "sheet": "document.querySelector('.grid td.fail a').click()",
    "unfolded": "document.querySelectorAll('details').forEach(item => { item.open = true; })",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        driver.set_script_timeout(SECONDS)
        yield driver


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three kinds of pages, of certificates with every verdict and hostile strings; few clauses, for speed."""
    path = tmp_path_factory.mktemp("pages")
    hostile = make_certificate(HOSTILE, surfaces=(HOSTILE,), verdicts={"OP-1": {**FAILURE, "message": HOSTILE}})
    releases = [make_certificate(), make_certificate(version="2.14.0", verdicts={"OP-1": "fail"}), hostile]
    certificates = [*make_set().values(), hostile]
    told = {row["id"] for row in make_set()["torch-cpu"]["clauses"] if row["verdict"] != "pass"} | {"OP-1"}
    for certificate in certificates:
        certificate["clauses"] = [row for row in certificate["clauses"] if row["id"] in told]
    spec = {name: clause for name, clause in make_clauses().items() if name in told}
    pages = {
        "index": page(certificates, [HOSTILE], spec, PROSE),
        "history": history.page(history.timelines(releases), [HOSTILE]),
        "diff": history.page([history.between(*releases[:2])]),
    }
    for name, text in pages.items():
        (path / f"{name}.html").write_text(text, encoding="utf-8")
    return path


def faults(browser: Any) -> list[str]:
    """What axe-core finds serious, one line for each rule."""
    found = Axe().run(browser)["violations"]
    return [
        f"{fault['id']} ({len(fault['nodes'])}): {fault['nodes'][0]['html'][:200]}"
        for fault in found
        if fault["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("name", "state"), [("index", "sheet"), ("index", "unfolded"), ("history", "plain"), ("diff", "plain")]
)
def test_axe_finds_no_serious_fault(browser: Any, folder: Path, name: str, state: str, scheme: str, width: int) -> None:
    resize(browser, width)
    colour(browser, scheme)
    browser.get((folder / f"{name}.html").as_uri())
    run(browser, STATES[state])
    assert faults(browser) == []


def test_axe_sees_a_fault(browser: Any, folder: Path) -> None:
    browser.get((folder / "diff.html").as_uri())
    run(browser, "document.body.append(document.createElement('input'))")
    assert any(line.startswith("label") for line in faults(browser))
