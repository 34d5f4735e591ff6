"""The first page in a real browser, over a real database, served by a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from fleet_server.storage.database import Database
from shared.clock import SystemClock
from tests.fleet_server.console import served

pytestmark = pytest.mark.e2e

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WAIT_S = 40.0
REQUIRED_CONTRAST = 4.5

LUMINANCE = """
const parts = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = c => { const [r, g, b] = parts(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = light(getComputedStyle(document.body).backgroundColor);
return [...document.querySelectorAll('main *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => light(getComputedStyle(e).color))
    .map(l => (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05));
"""


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Serve the database at `path` from another process, and stop it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST")}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", served.__name__, str(path), str(port)],
        cwd=path.parent,
        env={**environment, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: process.poll() is not None or answers(port))
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            assert process.stderr is not None
            assert process.stderr.read() == ""


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WAIT_S):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Return a browser without a window."""
    if not (BROWSER and DRIVER):
        pytest.skip("Chromium is not installed (apt install chromium chromium-driver)")
    options = Options()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1280,1400"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield chrome
    finally:
        chrome.quit()


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    found = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )
    return [str(text) for text in found]


def complaints(browser: webdriver.Chrome) -> list[object]:
    """Return what the page wrote to the browser's console."""
    return list(browser.execute("getLog", {"type": "browser"})["value"])


def look(browser: webdriver.Chrome, scheme: str, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def test_the_page_shows_the_fleet_and_follows_it(browser: webdriver.Chrome, tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite"
    served.seed(path)
    with serving(path) as url:
        browser.get(url)
        wait_until(lambda: len(texts(browser, "table.cars tbody tr")) == 2)
        wait_until(lambda: texts(browser, ".chart svg"))

        assert texts(browser, "table.cars tbody th") == ["car-1", "car-2"]
        assert texts(browser, ".presence") == ["online", "away"]
        assert texts(browser, ".figure .value")[:2] == ["10", "1 of 2"]
        assert texts(browser, "ol.log .kind") == ["new version", "retraining"]
        drawn = texts(browser, ".chart svg text")
        assert {"car-1", "car-2", "v1", "v2", "mean error (mm)"} <= set(drawn)

        browser.execute_script("document.querySelector('table.cars').dataset.same = 'yes'")
        database = Database.open(path, SystemClock())
        served.drive(database, {("car-1", served.V2): (7.5,)}, first=4)
        database.close()

        wait_until(lambda: "7.5 mm" in texts(browser, "table.cars td span"))
        assert texts(browser, ".figure .value")[0] == "12"
        assert texts(browser, "table.cars[data-same]")
        assert complaints(browser) == []


def test_the_page_reads_well_in_both_schemes_and_on_a_phone(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    path = tmp_path / "server.sqlite"
    served.seed(path)
    grounds = set()
    with serving(path) as url:
        for scheme, width in (("light", 1280), ("dark", 400)):
            look(browser, scheme, width)
            browser.get(url)
            wait_until(lambda: texts(browser, ".chart svg"))

            assert min(browser.execute_script(LUMINANCE)) >= REQUIRED_CONTRAST
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            grounds.add(
                browser.execute_script("return getComputedStyle(document.body).backgroundColor")
            )
        assert browser.execute_script("return document.documentElement.lang") == "en-GB"
        assert browser.get_cookies() == []
        asked = browser.execute_script(
            "return performance.getEntriesByType('resource').map(e => e.name)"
        )
        assert all(name.startswith(url) for name in asked)
    assert len(grounds) == 2


def test_an_empty_fleet_tells_the_next_step(browser: webdriver.Chrome, tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite"
    Database.open(path, SystemClock()).close()
    with serving(path) as url:
        browser.get(url)
        wait_until(lambda: texts(browser, ".empty:not([hidden])"))

        assert any("parkfleet device enrol" in text for text in texts(browser, ".empty pre"))
        assert len(texts(browser, ".empty:not([hidden])")) == 3
        assert texts(browser, "table.cars:not([hidden])") == []
        assert complaints(browser) == []
