"""What the web console costs, and how closely live figures follow a car.

    python -m tests.benchmarks.bench_console

A server in full (all parts, the embedded broker, a real browser) over a fleet of 10,000 cars that
have each driven. Measured are the fleet page as the server answers it (the first page, a search,
the order by error), what ten open browsers add to the server's memory, and how long after a car
said something its page shows it: from the publish to the change in the browser. Prints one JSON
object; exits with 1 where a figure misses its limit.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import click
import httpx2
import msgspec
import psutil
from selenium import webdriver
from sqlalchemy import insert

from fleet_server.broker import users
from fleet_server.releases.setup import initialise
from fleet_server.storage.tables import devices, manoeuvres, tallies
from hardware_sim.lab.fleet import free_port
from hardware_sim.lab.report import Check
from shared import codec
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.messages import Telemetry
from shared.mqtt import Address, Connection
from shared.signing import SigningKey
from shared.topics import TELEMETRY
from tests.benchmarks.processes import process, server
from tests.fleet_server.console.conftest import open_browser, wait_until
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, MODEL, START_US, Fleet, end, status

PAGE_LIMIT_MS: Final = 300.0
MEMORY_LIMIT_MB: Final = 300.0
LAG_LIMIT_MS: Final = 500.0
BROWSERS: Final = 10
_PAGES: Final = {"first": "", "search": "?q=77", "by error": "?order=error&down=1&page=3"}
_SECRET: Final = "a secret of a car that is simulated"
_SAY_S: Final = 0.2
_CALM_PERCENT: Final = 25.0
_CALM_LOOKS: Final = 3

_WATCH: Final = """
window.parkfleetSeen = [];
new MutationObserver(() => {
  const shown = document.querySelector(".figure .value")?.textContent;
  const seen = window.parkfleetSeen;
  if (shown !== seen.at(-1)?.[0]) seen.push([shown, performance.timeOrigin + performance.now()]);
}).observe(document.body, {subtree: true, childList: true, characterData: true});
"""


def fill(fleet: Fleet, cars: int) -> None:
    """Enrol `cars` cars that are online and have driven two manoeuvres each."""
    key = SigningKey.generate().public.raw
    names = [f"car-{number}" for number in range(1, cars + 1)]
    with fleet.database.write() as connection:
        connection.execute(insert(devices), [_device(name, key) for name in names])
        connection.execute(
            insert(manoeuvres), [_manoeuvre(name, place) for place in (1, 2) for name in names]
        )
        connection.execute(
            insert(tallies),
            [
                _tally(name, place, model, number)
                for number, name in enumerate(names)
                for place in (1, 2)
                for model in ("", MODEL)
            ],
        )


def _device(name: str, key: bytes) -> dict[str, object]:
    said = status(
        name,
        loaded=MODEL,
        loaded_release_seq=1,
        desired_epoch=1,
        desired_revision=1,
        queue_depth=3,
        pairs_logged=20,
        temperature_c=50.0,
    )
    return {
        "name": name,
        "public_key": key,
        "deployment": DEPLOYMENT,
        "enrolled_utc_us": START_US,
        "last_seen_utc_us": START_US,
        "online": True,
        "boot": BOOT,
        "connection": 1,
        "loaded": MODEL,
        "pairs_stored": 20,
        "status": msgspec.json.encode(said).decode(),
    }


def _manoeuvre(name: str, place: int) -> dict[str, object]:
    return {
        "device": name,
        "boot": BOOT,
        "manoeuvre": place,
        "deployment": DEPLOYMENT,
        "batch": 1,
        "received_utc_us": START_US,
        "pairs": 10,
        "content_hash": sha256_hex(f"{name} {place}".encode()),
        "body": codec_of_end(name, place),
    }


def codec_of_end(name: str, place: int) -> bytes:
    """Return the end record of a manoeuvre as it is stored."""
    return msgspec.msgpack.encode(end(place, pairs=10, device=name))


def _tally(name: str, place: int, model: str, number: int) -> dict[str, object]:
    return {
        "device": name,
        "boot": BOOT,
        "manoeuvre": place,
        "model": model,
        "samples": 10,
        "led": 10,
        "labelled": 10,
        "label_sum": 2000.0,
        "error_sum": 10.0 * (1 + (number * 7 + place) % 40),
        "since_sample": 1,
    }


def wait_for_rest(served: psutil.Process) -> None:
    """Wait until the server has told its cars what to run and is about what it does all day."""
    calm = 0
    while calm < _CALM_LOOKS:
        calm = calm + 1 if served.cpu_percent(interval=1.0) < _CALM_PERCENT else 0


def pages_ms(url: str, rounds: int) -> dict[str, list[float]]:
    """Return how long the server took for each page, in ms, warm."""
    found: dict[str, list[float]] = {name: [] for name in _PAGES}
    for number in range(rounds + 1):
        for name, query in _PAGES.items():
            begun = time.perf_counter()
            body = httpx2.get(f"{url}/{query}", timeout=30.0).text
            assert "/cars/car-" in body
            if number:
                found[name].append((time.perf_counter() - begun) * 1000)
            # Looks are shared for a second; what is measured is a page that looks anew.
            time.sleep(1.0)
    return found


def added_mb(chrome: webdriver.Chrome, url: str, served: psutil.Process) -> float:
    """Return what ten open fleet pages add to the server's memory, live for five seconds."""
    chrome.get(url)
    time.sleep(3.0)
    before = served.memory_info().rss
    for _ in range(BROWSERS):
        chrome.switch_to.new_window("tab")
        chrome.get(url)
    time.sleep(5.0)
    return (served.memory_info().rss - before) / 1e6


@contextmanager
def broker(state: Path) -> Iterator[int]:
    """Run the embedded broker; give its port."""
    port = free_port()
    words = [sys.executable, "-m", "shared", "broker", "run", "--state", str(state)]
    with process([*words, "--port", str(port)], port):
        yield port


def _server() -> psutil.Process:
    """Return the fleet server, which is a child of this process."""
    return next(each for each in psutil.Process().children() if "server" in each.cmdline())


@contextmanager
def talking(broker_port: int, said: dict[str, float]) -> Iterator[None]:
    """Let car-1 say five times a second what it measures; note when each was said, in ms."""
    connection = Connection(
        Address(host="127.0.0.1", port=broker_port, user="car-1", password=_SECRET)
    )
    stop = threading.Event()

    def talk() -> None:
        label = 1000.0
        while not stop.wait(_SAY_S):
            connection.next_event(0.0)
            if not connection.connected:
                continue
            label += 1.0
            body = codec.encode(_telemetry(label))
            said[f"{label:.1f} mm"] = time.time() * 1000
            connection.publish(TELEMETRY.topic(id="car-1"), body, qos=0)

    connection.start()
    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        connection.stop()


def _telemetry(label: float) -> Telemetry:
    return Telemetry(
        device="car-1",
        boot=BOOT,
        utc_us=SystemClock().utc_us(),
        state="approach",
        label=label,
        estimate=label + 2.0,
        sigma=2.0,
        speed_mm_s=100.0,
        manoeuvre=1,
    )


def lags_ms(chrome: webdriver.Chrome, url: str, broker_port: int, seconds: float) -> list[float]:
    """Return how long after each word of a car its page showed it, in ms."""
    said: dict[str, float] = {}
    with talking(broker_port, said):
        chrome.get(f"{url}/cars/car-1")
        chrome.execute_script(_WATCH)
        wait_until(lambda: len(chrome.execute_script("return window.parkfleetSeen")) > 3)
        time.sleep(seconds)
        seen = chrome.execute_script("return window.parkfleetSeen")
    return [at - said[text] for text, at in seen[1:] if text in said]


def measure(cars: int, rounds: int, seconds: float) -> tuple[list[Check], dict[str, object]]:
    """Return the checks, and the figures behind them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state = _state(folder, cars)
        broker_port = stack.enter_context(broker(state))
        port = stack.enter_context(server(state, broker_port))
        url = f"http://127.0.0.1:{port}"
        wait_for_rest(_server())
        pages = pages_ms(url, rounds)
        chrome = stack.enter_context(open_browser())
        added = added_mb(chrome, url, _server())
        lags = lags_ms(chrome, url, broker_port, seconds)
    slowest = max(_p95(each) for each in pages.values())
    checks = [
        _check(f"fleet page with {cars} cars, slowest p95", slowest, "ms", PAGE_LIMIT_MS),
        _check("ten open browsers add to the server", added, "MB", MEMORY_LIMIT_MB),
        _check("live figures behind the car, p95", _p95(lags), "ms", LAG_LIMIT_MS),
    ]
    return checks, {
        "page_median_ms": {name: round(median(each), 1) for name, each in pages.items()},
        "lag_median_ms": round(median(lags), 1),
        "lag_worst_ms": round(max(lags), 1),
        "lags": len(lags),
    }


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[18]


def _check(name: str, value: float, unit: str, limit: float) -> Check:
    return Check(name=name, value=round(value, 1), unit=unit, limit=limit, better="lower")


def _state(folder: Path, cars: int) -> Path:
    state = folder / "state"
    state.mkdir()
    initialise(
        owner_dir=folder / "owner",
        server_state=state,
        trainer_dir=folder / "trainer",
        trainer_name="trainer-1",
        task="wall-distance",
        clock=SystemClock(),
    )
    fleet = Fleet(state)
    fill(fleet, cars)
    fleet.close()
    users.ensure_server_user(state)
    users.add_user(state, "car-1", role="device", secret_sha256=sha256_hex(_SECRET.encode()))
    return state


@click.command()
@click.option("--cars", default=10_000, show_default=True, help="Cars of the fleet.")
@click.option(
    "--rounds",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Times each page is asked for.",
)
@click.option(
    "--seconds", default=10.0, show_default=True, help="How long live figures are watched."
)
def main(cars: int, rounds: int, seconds: float) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    checks, figures = measure(cars, rounds, seconds)
    body = {"checks": [check.as_dict() for check in checks], "figures": figures}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    main()
