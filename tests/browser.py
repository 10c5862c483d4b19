"""A real browser for the tests of the pages: headless Chromium, and what one does in it.

Importing this skips the tests of the importing module by name where selenium, Chromium or its driver is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if _CHROMIUM is None or _DRIVER is None:
    pytest.skip("no chromium or chromedriver on the path", allow_module_level=True)

WIDTHS = (400, 1280, 1920)
SCHEMES = ("light", "dark")
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that keeps what its console says."""
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def visit(browser: Any, url: str) -> Iterator[Any]:
    """The page, freshly loaded, 1280 pixels wide and light; raises AssertionError if the console says anything."""
    resize(browser, 1280)
    colour(browser, "light")
    browser.get("about:blank")
    browser.get(url)
    # Beside busy processes chromedriver takes the load of the blank page for this one's and returns while it loads.
    wait_until(browser, "return document.URL !== 'about:blank' && document.readyState === 'complete'")
    yield browser
    assert browser.get_log("browser") == []


def resize(browser: Any, width: int) -> None:
    """Make the page that many pixels wide."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def colour(browser: Any, scheme: str) -> None:
    """Prefer light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def run(browser: Any, script: str) -> Any:
    """What the body of a function, written in JavaScript, returns on the page."""
    return browser.execute_script(script)


def wait_until(browser: Any, script: str) -> None:
    """Wait up to 30 seconds for the script to return something true."""
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(browser, 30)
    wait.until(lambda _: run(browser, script), script)


def renders(browser: Any, width: int, scheme: str) -> None:
    """The page as wide as the window and no wider, on a ground of its scheme. Raises AssertionError."""
    resize(browser, width)
    colour(browser, scheme)
    assert run(browser, "return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert run(browser, "return innerWidth") == width
    ground = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert (sum(run(browser, ground)) < 3 * 128) == (scheme == "dark")
