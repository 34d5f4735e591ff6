"""What so many connected cars cost a server, and what they do to a receipt.

    python -m tests.benchmarks.bench_presence [--cars 100 --cars 1000 --cars 10000] [--seconds 20]

Cars hold a connection with a last will, listen as cars do, say once that they are here, and every
five seconds how they are: through mosquitto to the real fleet server (`bare_mqtt`, in one process).
Beside them five cars send a batch twice a second and wait for its receipt, before the others are
there and while they are. Figures at the most cars:

- p99 of the wait for a receipt, over that without the others;
- memory a car, of broker and server together;
- cars that the registry does not know as online, or has not heard for four of their five seconds;
- the exponent of the server's processor time over the cars.

Where fewer files may be open than there are cars, fewer are connected, and the figures say how
many. Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import click
import msgspec
import psutil
from sqlalchemy import func, insert, select

from fleet_server.storage.tables import devices
from shared import codec
from shared.clock import SystemClock
from shared.ids import boot_id
from shared.messages import Batch, Presence
from shared.topics import BATCH, COMMAND, DESIRED, OPERATORS, PRESENCE, RECEIPT, STATUS
from tests.benchmarks.bare_mqtt import Client, Swarm, room_for
from tests.benchmarks.loading import Sent
from tests.benchmarks.outcome import at_most, tell
from tests.benchmarks.processes import mosquitto, server
from tests.benchmarks.scaling import Curve
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, sample, status

RECEIPT_LIMIT: Final = 3.0
MEMORY_LIMIT_KIB: Final = 64.0
EXPONENT_LIMIT: Final = 1.15

_STATUS_S: Final = 5.0
_LATE_US: Final = 20_000_000
_SENDERS: Final = tuple(f"sender-{number}" for number in range(1, 6))
_PER_S: Final = 10.0
_SPARE: Final = 300


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet: what it cost while it was there, and what a receipt took without and with it."""

    cars: int
    connected_s: float
    known_s: float
    server_cores: float
    broker_cores: float
    memory_kib: float
    alone_p99_ms: float
    beside_p99_ms: float
    unknown: int


def _status(name: str) -> bytes:
    return codec.encode(
        status(
            name,
            utc_us=SystemClock().utc_us(),
            queue_depth=3,
            pairs_logged=20,
            temperature_c=50.0,
            versions={"parkfleet": "0.1.0", "python": "3.11.7"},
        )
    )


def _presence(name: str, *, online: bool) -> bytes:
    return codec.encode(Presence(device=name, boot=BOOT, connection=1, online=online))


class Cars:
    """All connected cars, in one loop."""

    def __init__(self, port: int, names: list[str]) -> None:
        """Connect them, have them listen and say that they are here."""
        clock = SystemClock()
        begun_us = clock.monotonic_us()
        clients = [
            Client(name, will=(PRESENCE.topic(id=name), _presence(name, online=False)))
            for name in names
        ]
        self._swarm = Swarm(port, clients)
        for client in clients:
            for row in (RECEIPT, DESIRED, COMMAND):
                client.subscribe(row.filter(id=client.name))
            client.subscribe(OPERATORS.filter())
            said = _presence(client.name, online=True)
            client.publish(PRESENCE.topic(id=client.name), said, retained=True)
        self._swarm.run(lambda: all(each.unanswered == 0 for each in clients))
        self.connected_s = (clock.monotonic_us() - begun_us) / 1e6
        self._clock, self._begun_us, self._said = clock, clock.monotonic_us(), 0

    def live(self, until: "subprocess.Popen[bytes] | float") -> None:
        """Say what is due until a process ends, or for so many seconds."""
        end_us = self._clock.monotonic_us() + 1e6 * (until if isinstance(until, float) else 600.0)

        def is_over() -> bool:
            self._say()
            has_ended = not isinstance(until, float) and until.poll() is not None
            return has_ended or self._clock.monotonic_us() >= end_us

        self._swarm.run(is_over, within_s=900.0)

    def close(self) -> None:
        """Go."""
        self._swarm.close()

    def _say(self) -> None:
        """Publish the states that are due, each car's after five seconds again."""
        clients = self._swarm.clients
        passed_s = (self._clock.monotonic_us() - self._begun_us) / 1e6
        due = int(passed_s / _STATUS_S * len(clients))
        for number in range(self._said, due):
            client = clients[number % len(clients)]
            client.publish(STATUS.topic(id=client.name), _status(client.name), retained=True)
        self._said = max(self._said, due)


def _enrol(fleet: Fleet, names: list[str]) -> None:
    for sender in _SENDERS:
        fleet.add_car(sender)
    key = fleet.keys[_SENDERS[0]].public.raw
    row = {"public_key": key, "deployment": DEPLOYMENT, "enrolled_utc_us": START_US}
    with fleet.database.write() as connection:
        connection.execute(insert(devices), [{"name": name, **row} for name in names])


def _load(fleet: Fleet, folder: Path, number: int, count: int) -> Path:
    """Return a file of batches of the senders in turns; each load is a boot of its own."""
    made = []
    for place in range(count):
        car = _SENDERS[place % len(_SENDERS)]
        first = place // len(_SENDERS) * 20
        boot = boot_id(number, b"wait")
        rows = tuple(sample(first + i, device=car, boot=boot) for i in range(20))
        made.append((BATCH.topic(id=car), fleet.sealed(Batch(device=car, samples=rows))))
    path = folder / f"load-{number}"
    path.write_bytes(msgspec.msgpack.encode(made))
    return path


def _sending(port: int, path: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "tests.benchmarks.loading", str(port), str(path), "1000"]
    return subprocess.Popen([*words, str(_PER_S)], stdout=subprocess.PIPE)


def _p99_ms(process: "subprocess.Popen[bytes]") -> float:
    sent = msgspec.json.decode(process.communicate()[0], type=Sent)
    return quantiles(sent.waited_ms, n=100)[98]


def _children() -> dict[str, psutil.Process]:
    """Return broker and server, which are children of this process."""
    found: dict[str, psutil.Process] = {}
    for each in psutil.Process().children():
        words = each.cmdline()
        name = "server" if "server" in words else "broker"
        found[name] = each if "tests.benchmarks.loading" not in words else found.get(name, each)
    return found


def _kib(processes: dict[str, psutil.Process]) -> float:
    return sum(each.memory_info().rss for each in processes.values()) / 1024


def _busy_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _unknown(fleet: Fleet, names: list[str], *, late_us: int | None = None) -> int:
    """Return how many cars are not known as online, or were not heard lately enough."""
    wanted = select(func.count()).where(devices.c.name.like("car-%"), devices.c.online)
    if late_us is not None:
        wanted = wanted.where(devices.c.last_seen_utc_us >= SystemClock().utc_us() - late_us)
    with fleet.database.read() as connection:
        return len(names) - int(connection.execute(wanted).scalar_one())


@contextmanager
def _serving(folder: Path, fleet: Fleet) -> Iterator[int]:
    with mosquitto(folder) as port, server(folder / "state", port):
        _p99_ms(_sending(port, _load(fleet, folder, 1, 50)))  # warm
        yield port


def run(folder: Path, cars: int, seconds: float) -> Run:
    """Connect so many cars, and look what that costs and does."""
    (folder / "state").mkdir()
    fleet, names = Fleet(folder / "state"), [f"car-{number + 1}" for number in range(cars)]
    _enrol(fleet, names)
    count = round(seconds * _PER_S)
    clock = SystemClock()
    with ExitStack() as stack:
        port = stack.enter_context(_serving(folder, fleet))
        alone = _p99_ms(_sending(port, _load(fleet, folder, 2, count)))
        processes = _children()
        before_kib = _kib(processes)
        fleet_cars = Cars(port, names)
        stack.callback(fleet_cars.close)
        begun_us = clock.monotonic_us()
        while _unknown(fleet, names) and clock.monotonic_us() < begun_us + 120e6:
            fleet_cars.live(0.5)
        known_s = (clock.monotonic_us() - begun_us) / 1e6
        fleet_cars.live(2 * _STATUS_S)
        busy = {name: _busy_s(each) for name, each in processes.items()}
        begun_us = clock.monotonic_us()
        sending = _sending(port, _load(fleet, folder, 3, count))
        fleet_cars.live(sending)
        took_s = (clock.monotonic_us() - begun_us) / 1e6
        cores = {name: (_busy_s(each) - busy[name]) / took_s for name, each in processes.items()}
        unknown = _unknown(fleet, names, late_us=_LATE_US)
        memory = (_kib(processes) - before_kib) / cars
        beside = _p99_ms(sending)
    fleet.close()
    return Run(
        cars=cars,
        connected_s=fleet_cars.connected_s,
        known_s=known_s,
        server_cores=cores["server"],
        broker_cores=cores["broker"],
        memory_kib=memory,
        alone_p99_ms=alone,
        beside_p99_ms=beside,
        unknown=unknown,
    )


@click.command()
@click.option(
    "--cars",
    multiple=True,
    type=click.IntRange(1, 50_000),
    default=(100, 1_000, 10_000),
    show_default=True,
    help="So many connected; repeatable, at least two.",
)
@click.option("--seconds", default=20.0, show_default=True, help="How long receipts are timed.")
def main(cars: tuple[int, ...], seconds: float) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    most = room_for(max(cars) + _SPARE) - _SPARE
    runs = []
    for each in sorted({min(count, most) for count in cars}):
        with tempfile.TemporaryDirectory() as name:
            runs.append(run(Path(name), each, seconds))
    last = runs[-1]
    curve = Curve(
        name="the server's share of a core",
        x="cars",
        y="cores",
        points=tuple((float(each.cars), max(each.server_cores, 1e-4)) for each in runs),
        bound_name="mosquitto's",
        bound=tuple((float(each.cars), max(each.broker_cores, 1e-4)) for each in runs),
    )
    name = f"{last.cars} connected cars"
    alone = median(each.alone_p99_ms for each in runs)
    checks = [
        at_most(f"{name}: p99 receipt, over that without them", last.beside_p99_ms / alone,
                RECEIPT_LIMIT),
        at_most(f"{name}: memory of broker and server a car", last.memory_kib, MEMORY_LIMIT_KIB,
                "KiB"),
        at_most(f"{name}: not known as they are", last.unknown, 0.0, "cars"),
        at_most("presence: exponent of the server's time over cars", curve.fit.exponent,
                EXPONENT_LIMIT, ""),
    ]  # fmt: skip
    tell(checks, {"runs": runs}, [curve])


if __name__ == "__main__":
    sys.exit(main())
