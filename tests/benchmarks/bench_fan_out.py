"""A model to a whole fleet, beside the same bytes from a bare broker to as many bare clients.

    python -m tests.benchmarks.bench_fan_out [--cars 1 --cars 10 --cars 100 --cars 1000]

The real fleet server publishes a signed model of the size of ours once, and what each car is to
have; a proxy counts what it says. Then so many cars fetch it at the same moment:

- *cars*: each asks the broker for one piece after the other, checks it against the signed digests,
  writes it down and installs the whole, by the car's own rules (`device.agent.chunks`); the
  metadata are verified by one car (python-tuf), since that costs each car the same;
- *bare*: one client publishes the same pieces, so many clients receive them.

Cars are connections of one process on one core (`bare_mqtt`), so that the seconds are those of a
fleet whose thousand processors are one: an upper bound. Figures: bytes of the model that the server
says, over the model (however many cars: exponent 0); the exponent of the seconds over the cars, and
the seconds over those of the bare clients at the most cars. Prints one JSON object; exits with 1
where a figure misses its limit.
"""

import os
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import msgspec
from sqlalchemy import insert, select, update

from device.agent.chunks import ChunkStore, Requests
from device.agent.releases import ReleaseClient, SignedRelease
from device.home import Home
from fleet_server.storage.tables import desired, devices
from shared import codec
from shared.clock import SystemClock
from shared.messages import Chunk, ReleaseMetadata
from shared.releases import split
from shared.topics import DESIRED, RELEASE_METADATA, RELEASE_TARGET
from tests.benchmarks.bare_mqtt import Client, Message, Swarm, room_for
from tests.benchmarks.outcome import at_most, tell
from tests.benchmarks.processes import mosquitto, server
from tests.benchmarks.scaling import Curve, fitted
from tests.device.agent import world
from tests.device.releases import manifest
from tests.fleet_server.fleet import DEPLOYMENT, Fleet
from tests.rollouts.wire import Proxy

SENT_LIMIT: Final = 1.05
EXPONENT_LIMIT: Final = 1.15
OVER_BARE: Final = 40.0

_MODEL_BYTES: Final = 180_000
_SPARE: Final = 200


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet: seconds of both sides, bytes that the server said, and that the cars were sent."""

    cars: int
    car_s: float
    bare_s: float
    model_bytes: int
    control_bytes: int
    server_bytes: int


class Car:
    """One car that fetches a release by the device's own rules."""

    def __init__(self, name: str, root: Path, signed: SignedRelease) -> None:
        """Be about to fetch `signed` into the home `root`."""
        home = Home(root)
        home.create()
        self.client = Client(name, hears=self._hear)
        self.is_done = False
        self._store = ChunkStore(home, signed)
        self._requests = Requests(random.Random(name))
        self._clock = SystemClock()

    def ask(self) -> None:
        """Ask for what is missing."""
        sha256 = self._store.sha256
        for number in self._requests.ask(self._store.missing, self._clock.monotonic_us()):
            topic = RELEASE_TARGET.topic(sha256=sha256, n=number)
            self.client.unsubscribe(topic)
            self.client.subscribe(topic)

    def _hear(self, _client: Client, said: Message) -> None:
        parts = RELEASE_TARGET.parts(said.topic)
        if parts is None or self.is_done:
            return
        piece = codec.decode(Chunk, said.payload, limit_bytes=RELEASE_TARGET.limit_bytes)
        self._store.put(int(parts["n"]), piece.data)
        self._requests.answered(int(parts["n"]))
        if self._store.missing:
            self.ask()
        else:
            self._store.install()
            self.is_done = True


def _released(folder: Path, cars: int) -> tuple[Path, str, bytes]:
    """Return a server's state in which so many cars are to have a model; its path, and the root."""
    repository = world.Fleet(folder / "fleet", SystemClock())  # type: ignore[arg-type]  # any clock will do
    model = random.Random(1).randbytes(_MODEL_BYTES)
    made = manifest(model, deployment=DEPLOYMENT)
    target = repository.release(model, made=made)
    root = repository.repository.root()
    fleet = Fleet(folder / "fleet" / "server")
    for number in range(cars):
        fleet.add_car(f"car-{number + 1}")
    with fleet.database.write() as connection:
        connection.execute(
            insert(desired),
            [_wish(f"car-{number + 1}", target) for number in range(cars)],
        )
        its = select(desired.c.id).where(desired.c.device == devices.c.name).scalar_subquery()
        connection.execute(update(devices).values(desired=its))
    fleet.close()
    return folder / "fleet" / "server", target, root


def _wish(car: str, target: str) -> dict[str, object]:
    return {
        "device": car,
        "epoch": 1,
        "revision": 1,
        "deployment": DEPLOYMENT,
        "target": target,
        "upload": "pictures",
        "utc_us": SystemClock().utc_us(),
    }


def run(folder: Path, cars: int) -> Run:
    """Take a model to so many cars, and as many bytes to so many bare clients."""
    state, target, root = _released(folder, cars)
    with ExitStack() as stack:
        port = stack.enter_context(mosquitto(folder))
        proxy = Proxy(port)
        stack.callback(proxy.close)
        stack.enter_context(server(state, proxy.port))
        metadata = _published(port, cars)
        signed = _verified(folder / "first", root, metadata, target)
        car_s = _fetched(folder / "cars", port, cars, signed)
    said = proxy.up
    model = sum(said.payload_bytes[topic] for topic in said.on("releases/target"))
    control = sum(said.payload_bytes[topic] for topic in said.on("/desired"))
    with mosquitto(folder) as port:
        bare_s = _pushed(port, cars)
    return Run(
        cars=cars,
        car_s=car_s,
        bare_s=bare_s,
        model_bytes=model,
        control_bytes=control,
        server_bytes=said.bytes,
    )


def _published(port: int, cars: int) -> ReleaseMetadata:
    """Wait until the server has said all that cars need; return the release metadata."""
    heard: dict[str, bytes] = {}
    listener = Client(
        "listener", hears=lambda _client, said: heard.update({said.topic: said.payload})
    )
    swarm = Swarm(port, [listener])
    for topic_filter in (RELEASE_METADATA.filter(), DESIRED.filter()):
        listener.subscribe(topic_filter)
    swarm.run(lambda: len(heard) > cars, within_s=300.0)
    swarm.close()
    body = heard[RELEASE_METADATA.topic()]
    return codec.decode(ReleaseMetadata, body, limit_bytes=RELEASE_METADATA.limit_bytes)


def _verified(root: Path, trusted: bytes, metadata: ReleaseMetadata, target: str) -> SignedRelease:
    home = Home(root)
    home.create()
    home.tuf_root.parent.mkdir()
    home.tuf_root.write_bytes(trusted)
    return ReleaseClient(home, SystemClock()).find(metadata, target)


def _fetched(folder: Path, port: int, cars: int, signed: SignedRelease) -> float:
    """Return the seconds until every car has the whole model in its place."""
    folder.mkdir()
    fleet = [Car(f"car-{number + 1}", folder / str(number), signed) for number in range(cars)]
    swarm = Swarm(port, [each.client for each in fleet])
    for car in fleet:
        car.ask()
    seconds = swarm.run(lambda: all(car.is_done for car in fleet), within_s=600.0)
    swarm.close()
    return seconds


def _pushed(port: int, clients: int) -> float:
    """Return the seconds until so many bare clients have every piece."""
    pieces = split(os.urandom(_MODEL_BYTES))
    counts: dict[str, int] = {}

    def hear(client: Client, _said: Message) -> None:
        counts[client.name] = counts.get(client.name, 0) + 1

    takers = [Client(f"bare-{number}", hears=hear) for number in range(clients)]
    giver = Client("giver")
    swarm = Swarm(port, [*takers, giver])
    for taker in takers:
        taker.subscribe("bare/#")
    swarm.run(lambda: all(taker.unanswered == 0 for taker in takers))
    for number, piece in enumerate(pieces):
        giver.publish(f"bare/{number}", piece)
    whole = clients * len(pieces)
    seconds = swarm.run(lambda: sum(counts.values()) == whole, within_s=600.0)
    swarm.close()
    return seconds


@click.command()
@click.option(
    "--cars",
    multiple=True,
    type=click.IntRange(1, 5_000),
    default=(1, 10, 100, 1_000),
    show_default=True,
    help="So many at once; repeatable, at least two.",
)
def main(cars: tuple[int, ...]) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    most = room_for(max(cars) + _SPARE) - _SPARE
    runs = []
    for each in sorted({min(count, most) for count in cars}):
        with tempfile.TemporaryDirectory() as name:
            runs.append(run(Path(name), each))
    last = runs[-1]
    curve = Curve(
        name="a model to so many cars at once",
        x="cars",
        y="seconds",
        points=tuple((float(each.cars), each.car_s) for each in runs),
        bound_name="bare fan-out of the same bytes",
        bound=tuple((float(each.cars), each.bare_s) for each in runs),
    )
    said = Curve(
        name="bytes of the model that the server says",
        x="cars",
        y="bytes",
        points=tuple((float(each.cars), float(each.model_bytes)) for each in runs),
    )
    name = f"a model to {last.cars} cars"
    checks = [
        at_most(f"{name}: bytes that the server says of it, over its own",
                last.model_bytes / _MODEL_BYTES, SENT_LIMIT),
        at_most("fan-out: exponent of the model's bytes said over cars",
                fitted(said.points).exponent, 0.01, ""),
        at_most("fan-out: exponent of seconds over cars", curve.fit.exponent, EXPONENT_LIMIT, ""),
        at_most(f"{name}, over bare fan-out of the same bytes", last.car_s / last.bare_s,
                OVER_BARE),
    ]  # fmt: skip
    tell(checks, {"runs": runs}, [curve, said])


if __name__ == "__main__":
    sys.exit(main())
