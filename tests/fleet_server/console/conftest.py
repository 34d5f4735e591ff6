"""A filled server in a process of its own and one browser, shared by the tests that need them."""

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

from tests.fleet_server.api.conftest import context, releases
from tests.fleet_server.console import served
from tests.fleet_server.console.served import Filled

__all__ = ["browser", "context", "filled", "releases", "serving", "url", "wait_until"]

WAIT_S = 40.0


@contextmanager
def serving(state: Path, **settings: str) -> Iterator[str]:
    """Serve the folder `state` from another process, and stop it; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST")}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", served.__name__, str(state), str(port)],
        cwd=state,
        env={**environment, **settings, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.stderr is not None
            assert process.stderr.read() == ""


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in", timeout=WAIT_S):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, releases: Path) -> Filled:
    """Return a filled state folder."""
    state = tmp_path_factory.mktemp("console")
    return served.fill(state, releases)


@pytest.fixture(scope="module")
def url(filled: Filled) -> Iterator[str]:
    """Give the address of a server over the filled folder."""
    with serving(filled.state) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Give a browser without a window."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("Chromium is not installed (apt install chromium chromium-driver)")
    with open_browser() as chrome:
        yield chrome


@contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """Give a browser without a window."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary is not None
    options = Options()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--window-size=1280,1400",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()
