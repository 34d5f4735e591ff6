"""How soon a car that was offline has sent everything, beside the same bytes through mosquitto.

    python -m tests.benchmarks.bench_backlog [--minutes 5 --minutes 20 ...]

A car logged four pairs a second, with their pictures, for so many minutes; then its network is
there. For each size, in a fresh state:

- *car*: its real journal and agent send over mosquitto to the real fleet server, until the last
  signed receipt: read, packed, signed, proven, validated, indexed, committed, marked;
- *bare*: the same number of messages of the same bytes, through the same mosquitto from one bare
  client to another, two under way at a time, as the car has them.

Figures: how much sooner than it was logged it is receipted, and how much later than the bare bytes,
at the largest size; the exponent of the seconds over the pairs (1: a day takes twenty-four times as
long as an hour, so that the curve's shorter sizes speak for a day: `--minutes 1440`). Prints one
JSON object; exits with 1 where a figure misses its limit.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import msgspec
from sqlalchemy import select, update

from device.agent.enrolment import Enrolment
from device.agent.main import sync_once
from device.home import Home
from device.journal import Journal
from fleet_server.storage.tables import batches, devices
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.mqtt import Address, Connection
from shared.mqtt_events import Connected, Received
from shared.signing import SigningKey, write_secret
from shared.task import WALL_DISTANCE
from tests.benchmarks.bench_codec import batch as manoeuvre
from tests.benchmarks.outcome import at_least, at_most, tell
from tests.benchmarks.processes import mosquitto, server
from tests.benchmarks.scaling import Curve
from tests.fleet_server.fleet import DEPLOYMENT, Fleet, end, sample

FASTER_THAN_LIFE: Final = 100.0
OVER_BARE: Final = 120.0
EXPONENT_LIMIT: Final = 1.15

_CAR: Final = "car-1"
_PER_S: Final = 4
_MANOEUVRE: Final = 25
_WINDOW: Final = 2
_PATIENCE_S: Final = 3600.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One size: pairs, seconds of both sides, and what went over the wire."""

    pairs: int
    car_s: float
    bare_s: float
    messages: int
    bytes: int


def logged(journal: Journal, pairs: int) -> int:
    """Fill `journal` with manoeuvres as drive logs them; return how many pairs there are."""
    pictures = [each.jpeg for each in manoeuvre().pictures]
    digests = [sha256_hex(jpeg) for jpeg in pictures]
    boot = journal.start_boot(b"back")
    for number in range(pairs // _MANOEUVRE):
        first = number * _MANOEUVRE
        made = [
            sample(
                first + place,
                device=_CAR,
                boot=boot,
                manoeuvre=number,
                picture_sha256=digests[place],
            )
            for place in range(_MANOEUVRE)
        ]
        journal.append(
            samples=list(zip(made, pictures, strict=True)),
            manoeuvres=[end(number, pairs=_MANOEUVRE, device=_CAR, boot=boot)],
        )
    return pairs // _MANOEUVRE * _MANOEUVRE


def _home(root: Path, fleet: Fleet, server_key: SigningKey, broker_port: int) -> Home:
    """Return the home of an enrolled car."""
    home = Home(root)
    home.create()
    key = SigningKey.load_or_create(home.signing_key)
    fleet.add_car(_CAR)
    with fleet.database.write() as connection:
        connection.execute(update(devices).values(public_key=key.public.raw))
    write_secret(home.mqtt_secret, b"0" * 64)
    enrolment = Enrolment(
        device=_CAR,
        deployment=DEPLOYMENT,
        task=WALL_DISTANCE,
        server_url="http://127.0.0.1",
        server_public_key=server_key.public.raw.hex(),
        broker_host="127.0.0.1",
        broker_port=broker_port,
    )
    write_secret(home.enrolment, msgspec.json.encode(enrolment))
    return home


def run(folder: Path, minutes: float) -> Run:
    """Send the backlog of so many minutes, and as many bytes bare."""
    clock = SystemClock()
    state = folder / "state"
    state.mkdir()
    (state / "server.toml").write_text("quota_bytes = 1000000000\nquota_rows = 1000000000\n")
    fleet = Fleet(state)
    server_key = SigningKey.load_or_create(state / "keys" / "server.key")
    with mosquitto(folder) as port:
        home = _home(folder / "car", fleet, server_key, port)
        journal = Journal.open(home.journal)
        pairs = logged(journal, round(minutes * 60) * _PER_S)
        journal.close()
        with server(state, port):
            begun_us = clock.monotonic_us()
            done = sync_once(home, timeout_s=_PATIENCE_S, stop=lambda: False)
            car_s = (clock.monotonic_us() - begun_us) / 1e6
        if done.pairs_sent != pairs or not done.is_complete:
            raise RuntimeError(f"of {pairs} pairs {done.pairs_sent} were receipted")
        sizes = _sizes(fleet)
        bare_s = pushed(port, sizes)
    fleet.close()
    return Run(pairs=pairs, car_s=car_s, bare_s=bare_s, messages=len(sizes), bytes=sum(sizes))


def _sizes(fleet: Fleet) -> list[int]:
    """Return the bytes of each message that the server took in."""
    with fleet.database.read() as connection:
        return [size for (size,) in connection.execute(select(batches.c.size_bytes))]


def pushed(port: int, sizes: Sequence[int]) -> float:
    """Return the seconds from the first of such messages to the last, from client to client."""
    clock = SystemClock()
    taker, giver = _client(port, "bare-taker"), _client(port, "bare-giver")
    taker.subscribe("bare")
    body = os.urandom(max(sizes))
    room = threading.Semaphore(_WINDOW)
    taken = threading.Thread(target=_take, args=(taker, len(sizes), room))
    taken.start()
    begun_us = clock.monotonic_us()
    for size in sizes:
        room.acquire()
        giver.publish("bare", body[:size])
    taken.join()
    seconds = (clock.monotonic_us() - begun_us) / 1e6
    giver.stop()
    taker.stop()
    return seconds


def _take(taker: Connection, count: int, room: threading.Semaphore) -> None:
    for _ in range(count):
        while not isinstance(event := taker.next_event(60.0), Received):
            if event is None:
                raise RuntimeError("a bare message did not arrive within a minute")
        taker.acknowledge(event)
        room.release()


def _client(port: int, name: str) -> Connection:
    client = Connection(Address(host="127.0.0.1", port=port, user=name, password=""))
    client.start()
    while not isinstance(client.next_event(1.0), Connected):
        pass
    return client


@click.command()
@click.option(
    "--minutes",
    multiple=True,
    type=click.FloatRange(min=1.0, max=10_000.0),
    default=(5.0, 20.0, 60.0, 240.0),
    show_default=True,
    help="Offline for so long; repeatable, at least two.",
)
def main(minutes: tuple[float, ...]) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    runs = []
    for each in sorted(minutes):
        with tempfile.TemporaryDirectory() as name:
            runs.append(run(Path(name), each))
    last = runs[-1]
    curve = Curve(
        name="backlog of a car, sent and receipted",
        x="pairs",
        y="seconds",
        points=tuple((float(each.pairs), each.car_s) for each in runs),
        bound_name="bare bytes through mosquitto",
        bound=tuple((float(each.pairs), each.bare_s) for each in runs),
    )
    name = f"backlog of {max(minutes):g} minutes"
    day_s = curve.fit.at(24 * 3600 * _PER_S)
    checks = [
        at_least(f"{name}, sooner than logged", max(minutes) * 60 / last.car_s, FASTER_THAN_LIFE),
        at_most(f"{name}, over the same bytes bare", last.car_s / last.bare_s, OVER_BARE),
        at_most("backlog: exponent of seconds over pairs", curve.fit.exponent, EXPONENT_LIMIT, ""),
    ]
    told = {"runs": runs, "pairs_a_second": last.pairs / last.car_s, "a_day_by_the_line_s": day_s}
    tell(checks, told, [curve])


if __name__ == "__main__":
    sys.exit(main())
