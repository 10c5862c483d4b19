"""The page in a real browser: it renders, filters, opens, is linked into, and throws no error.

Skipped by name where selenium, Chromium or its driver is missing; nothing else in the project needs a browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.reports.page import page
from tests.browser import ENTER, ESCAPE, SCHEMES, TAB, WIDTHS, chromium, renders, run, visit, wait_until
from tests.reports_factory import DEVIATION, FAILURE, HOSTILE, PROSE, make_certificate, make_clauses, make_set


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    hostile = make_certificate(
        HOSTILE, surfaces=(HOSTILE,), verdicts={"OP-1": {**FAILURE, "message": HOSTILE * 10_000}}
    )
    path: Path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page([*make_set().values(), hostile], [HOSTILE], make_clauses(), PROSE), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(browser: Any, url: str) -> Iterator[Any]:
    with visit(browser, url) as page_shown:
        yield page_shown


def choose(browser: Any, name: str, value: str) -> None:
    run(
        browser,
        f"""const field = document.querySelector('[name={name}]'); field.value = {value!r};
        field.dispatchEvent(new Event('input', {{bubbles: true}}))""",
    )


def visible_rows(browser: Any) -> list[str]:
    found: list[str] = run(
        browser,
        """return [...document.querySelectorAll('.grid tr[data-k]')]
        .filter(row => row.offsetHeight).map(row => row.dataset.k)""",
    )
    return found


def visible_columns(browser: Any) -> list[str]:
    found: list[str] = run(
        browser,
        """return [...document.querySelectorAll('.grid thead tr:last-child th')].slice(1)
        .filter(th => th.offsetWidth).map(th => th.textContent)""",
    )
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_renders_without_scrolling_sideways(shown: Any, width: int, scheme: str) -> None:
    renders(shown, width, scheme)
    assert run(shown, "return document.querySelector('h1').textContent") == "3 of 6 backends are certified."


def test_hostile_strings_run_nothing(shown: Any) -> None:
    assert run(shown, "return document.scripts.length") == 1
    assert run(shown, "return document.images.length") == 0


def test_filters_narrow_the_grid_and_clear_widens_it(shown: Any) -> None:
    assert len(visible_rows(shown)) == 100
    choose(shown, "verdict", "crash")
    assert visible_rows(shown) == ["SHAPE-6"]
    assert visible_columns(shown) == ["functional", "padded"]
    choose(shown, "backend", "jax")
    assert visible_rows(shown) == []
    choose(shown, "verdict", "deviation")
    assert visible_rows(shown) == ["PAD-5", "VAL-8"]
    choose(shown, "chapter", "VAL")
    assert visible_rows(shown) == ["VAL-8"]
    assert visible_columns(shown) == ["functional", "padded"]
    assert run(shown, "return document.getElementById('shown').textContent") == "1 of 100 clauses"
    run(shown, "document.querySelector('#filters [type=reset]').click()")
    wait_until(shown, "return document.getElementById('shown').textContent === '100 of 100 clauses'")
    choose(shown, "words", "sigsegv")
    assert visible_rows(shown) == ["SHAPE-6"]
    choose(shown, "words", "")
    choose(shown, "dtype", "float32")
    assert {"SHAPE-6", "PAD-5", "GRAD-4"} <= set(visible_rows(shown))
    assert "OP-2" not in visible_rows(shown)


def test_a_cell_opens_to_clause_evidence_and_reproducer_and_escape_closes_it(shown: Any) -> None:
    cell = shown.find_element("css selector", ".grid a[href='#torch-functional-GRAD-4']")
    cell.send_keys(ENTER)
    sheet = shown.find_element("id", "sheet")
    assert sheet.is_displayed()
    for text in ("GRAD-4", "L_out = max(0", "length=7", FAILURE["expected"], FAILURE["got"], "import torch"):
        assert str(text) in sheet.text
    assert len(sheet.find_elements("css selector", "button.copy")) == 2
    assert run(shown, "return location.hash") == "#torch-functional-GRAD-4"
    sheet.send_keys(ESCAPE)
    assert not sheet.is_displayed()
    assert run(shown, "return document.activeElement.hash") == "#torch-functional-GRAD-4"


def test_the_first_key_skips_to_the_grid(shown: Any) -> None:
    shown.switch_to.active_element.send_keys(TAB)
    assert run(shown, "return document.activeElement.textContent") == "Skip to the grid"
    shown.switch_to.active_element.send_keys(ENTER)
    wait_until(
        shown, "return location.hash === '#grid' && document.getElementById('grid').getBoundingClientRect().top < 100"
    )


def test_a_recorded_deviation_opens_with_its_own_words_and_script(shown: Any) -> None:
    shown.find_element("css selector", ".grid a[href='#jax-functional-PAD-5']").click()
    sheet = shown.find_element("id", "sheet")
    for text in (DEVIATION["reason"], DEVIATION["when"], DEVIATION["message"], "jax 0.10.2 on cpu", "import torch"):
        assert str(text) in sheet.text
    assert len(sheet.find_elements("css selector", "button.copy")) == 2


def test_a_pass_opens_with_what_its_clause_says_of_its_backend(shown: Any) -> None:
    cell = shown.find_element("id", "torch-padded-OP-2")
    cell.send_keys(ENTER)
    sheet = shown.find_element("id", "sheet")
    assert "functional 80/120 padded 80/120" in sheet.text
    assert "jax" not in sheet.text
    assert run(shown, "return location.hash") == "#torch-padded-OP-2"


def test_the_grid_stays_in_view_beside_the_clause_that_a_link_leads_to(shown: Any) -> None:
    run(shown, "location.hash = '#GRAD-4'")
    wait_until(shown, "return document.getElementById('GRAD-4').getBoundingClientRect().top < 100")
    left, right = (f"document.querySelector('{name}').getBoundingClientRect()" for name in (".gridbox", "#GRAD-4"))
    assert run(shown, f"return {left}.bottom > 300 && {left}.bottom <= innerHeight && {left}.right < {right}.left")


def test_the_copy_button_copies_the_reproducer(shown: Any, url: str) -> None:
    grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    shown.execute_cdp_cmd("Browser.grantPermissions", grant)
    run(shown, "location.hash = '#torch-functional-GRAD-4'")
    button = "document.querySelector('#torch-functional-GRAD-4 button.copy:not(.markdown)')"
    wait_until(shown, f"return {button}.offsetHeight > 0")
    run(shown, f"window.focus(); {button}.click()")
    wait_until(shown, "return document.getElementById('said').textContent !== ''")
    copied = shown.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], error => arguments[0](String(error)))"
    )
    assert copied == FAILURE["reproducer"]
    whole = "document.querySelector('#torch-functional-GRAD-4 button.markdown')"
    run(shown, f"{whole}.click()")
    wait_until(shown, f"return {whole}.textContent === 'Copied'")
    copied = shown.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], error => arguments[0](String(error)))"
    )
    assert f"```python\n{FAILURE['reproducer']}```" in copied
    assert f"**expected**\n\n```\n{FAILURE['expected']}\n```" in copied
    assert "torch 2.13.0 on cpu" in copied


@pytest.mark.parametrize("anchor", ["SHAPE-2", "torch-functional-SHAPE-6", "numpy-functional-OP-1"])
def test_a_deep_link_leads_to_the_clause_or_its_evidence(shown: Any, url: str, anchor: str) -> None:
    shown.get("about:blank")
    shown.get(f"{url}#{anchor}")
    place = f"document.getElementById('{anchor}').getBoundingClientRect()"
    wait_until(shown, f"return {place}.top >= 0 && {place}.top < innerHeight")
    if anchor == "torch-functional-SHAPE-6":
        assert run(shown, f"return document.getElementById('{anchor}').open")


def test_without_javascript_everything_is_there(browser: Any, url: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get("about:blank")
        browser.get(f"{url}#torch-functional-SHAPE-6")
        assert browser.find_element("id", "torch-functional-SHAPE-6").size["height"] > 200
        assert browser.find_element("id", "torch-padded-SHAPE-6").size["height"] < 100
        assert not browser.find_element("id", "filters").is_displayed()
        assert not browser.find_elements("css selector", "button.copy")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
