"""The page in a real browser: it renders, filters, opens, is linked into, and throws no error.

Skipped by name where selenium, Chromium or its driver is missing; nothing else in the project needs a browser.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conv1d_cts.reports.page import page
from tests.reports_factory import FAILURE, HOSTILE, make_certificate, make_clauses, make_set

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("no chromium or chromedriver on the path", allow_module_level=True)

WIDTHS = (400, 1280, 1920)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    hostile = make_certificate(
        HOSTILE, surfaces=(HOSTILE,), verdicts={"OP-1": {**FAILURE, "message": HOSTILE * 10_000}}
    )
    path: Path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page([*make_set().values(), hostile], [HOSTILE], make_clauses()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def shown(browser: Any, url: str) -> Iterator[Any]:
    """The page, freshly loaded at 1280 pixels; the test fails if the console has anything to say afterwards."""
    resize(browser, 1280)
    browser.get("about:blank")
    browser.get(url)
    yield browser
    assert browser.get_log("browser") == []


def resize(browser: Any, width: int) -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def run(browser: Any, script: str) -> Any:
    return browser.execute_script(script)


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
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_without_scrolling_sideways(shown: Any, width: int, scheme: str) -> None:
    resize(shown, width)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    assert run(shown, "return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert run(shown, "return innerWidth") == width
    assert run(shown, "return document.querySelector('h1').textContent") == "3 of 6 backends are certified."
    red, green, blue = run(
        shown, "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert (red + green + blue < 3 * 128) == (scheme == "dark")


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
    cell.send_keys("\ue007")
    sheet = shown.find_element("id", "sheet")
    assert sheet.is_displayed()
    for text in ("GRAD-4", "L_out = max(0", "length=7", FAILURE["expected"], FAILURE["got"], "import torch"):
        assert str(text) in sheet.text
    assert len(sheet.find_elements("css selector", "button.copy")) == 2
    assert run(shown, "return location.hash") == "#torch-functional-GRAD-4"
    sheet.send_keys("\ue00c")
    assert not sheet.is_displayed()
    assert run(shown, "return document.activeElement.hash") == "#torch-functional-GRAD-4"


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


def wait_until(browser: Any, script: str) -> None:
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(browser, 5)
    wait.until(lambda _: run(browser, script), script)
