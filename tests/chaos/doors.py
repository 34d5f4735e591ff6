"""The doors that foreign bytes come through, called as the product calls them.

Laws:
- a door returns, or raises `RefusedError`: a rejection by the server is turned into that here, so
  that a door that takes everything is seen; a car does not say what it refuses;
- behind doors that ask for a signature the damage is signed too: a captured car has its own key;
- what is stored behind a door (the server's database, a car's home) is real.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from shared import codec
from shared.errors import RefusedError
from shared.manifest import Manifest
from shared.messages import Chunk
from shared.mqtt_events import Received
from shared.picture import decode_jpeg
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import BATCH, COMMAND, DESIRED, RECEIPT, RELEASE_METADATA, TABLE, Topic
from tests.device.agent import world
from tests.fleet_server import fleet
from tests.shared.examples import EXAMPLES

KEY: Final = SigningKey(b"k" * 32)
_PARTS: Final = {"id": world.DEVICE, "actor": "alex"}
TOPIC: Final = "fleet/v1/devices/car-1/any"

Enter = Callable[[bytes], object]


@dataclass(frozen=True, kw_only=True)
class Door:
    """One way in; `goods` are let in undamaged, and `share` is its part of all cases.

    `tells`: whether it says that it refused something.
    """

    name: str
    enter: Enter
    goods: Sequence[bytes]
    share: float
    tells: bool = True


@contextmanager
def doors(folder: Path) -> Iterator[list[Door]]:
    """Give every door; what is behind the last two lies in `folder`."""
    server = fleet.Fleet(folder / "server")
    server.add_car()
    clock = world.SettableClock()
    owner = world.Fleet(folder / "owner", clock)
    home = world.enrolled_home(folder / "car", owner)
    car = world.Car(home=home, fleet=owner, clock=clock)
    try:
        yield [*_codec(), *_signed(), *_files(), _ingest(server), *_agent(car)]
    finally:
        server.close()
        car.journal.close()


def _codec() -> Iterator[Door]:
    for each in EXAMPLES:
        kind = type(each)
        limit = max(row.limit_bytes for row in TABLE if row.message is kind)
        enter = partial(codec.decode, kind, limit_bytes=limit)
        yield Door(
            name=f"codec {kind.__name__}", enter=enter, goods=[codec.encode(each)], share=0.05
        )


def _signed() -> Iterator[Door]:
    for row in (each for each in TABLE if each.signed):
        good = next(each for each in EXAMPLES if type(each) is row.message)
        outside = partial(open_envelope, row, topic=TOPIC, message_type=row.message, key=KEY.public)

        def inside(body: bytes, outside: Enter = outside) -> object:
            return outside(signed_as(KEY, TOPIC, body))

        sealed = seal(good, topic=TOPIC, key=KEY)
        yield Door(name=f"envelope of {row.name}", enter=outside, goods=[sealed], share=0.025)
        goods = [codec.encode(good)]
        yield Door(name=f"signed {row.name}", enter=inside, goods=goods, share=0.025)


def signed_as(key: SigningKey, topic: str, body: bytes) -> bytes:
    """Return any bytes in an envelope of `key`; a chunk is encoded as what it holds."""
    return seal(Chunk(data=body), topic=topic, key=key)


def _files() -> Iterator[Door]:
    good = fleet.manifest().to_json().encode()
    yield Door(name="manifest", enter=Manifest.from_json, goods=[good], share=0.08)
    pictures = [fleet.jpeg(shade) for shade in (0, 90, 255)]
    yield Door(name="picture", enter=decode_jpeg, goods=pictures, share=0.08)


def _ingest(server: fleet.Fleet) -> Door:
    topic = BATCH.topic(id="car-1")

    def enter(body: bytes) -> object:
        reply = server.ingest.take(topic, signed_as(server.keys["car-1"], topic, body))
        if reply is None or reply.receipt.outcome == "rejected":
            raise RefusedError("rejected")
        return reply

    goods = [codec.encode(fleet.drive(number, pairs=3)) for number in range(4)]
    return Door(name="ingest", enter=enter, goods=goods, share=0.004)


def _agent(car: world.Car) -> Iterator[Door]:
    """Yield a car's own doors: what the server says, and what anyone may say of releases."""
    for row in (RECEIPT, DESIRED, COMMAND, RELEASE_METADATA):
        topic = row.topic(**{part: _PARTS[part] for part in _parts(row)})

        def enter(body: bytes, row: Topic = row, topic: str = topic) -> object:
            payload = signed_as(car.fleet.key, topic, body) if row.signed else body
            received = Received(topic=topic, payload=payload, qos=1, retained=False, mid=1)
            return [*car.agent.handle(received), *car.agent.tick()]

        goods = [_good(row, car)]
        yield Door(name=f"car's {row.name}", enter=enter, goods=goods, share=0.002, tells=False)


def _parts(row: Topic) -> list[str]:
    return re.findall(r"\{(\w+)\}", row.pattern)


def _good(row: Topic, car: world.Car) -> bytes:
    if row is RELEASE_METADATA:
        return codec.encode(car.fleet.metadata())
    example = next(each for each in EXAMPLES if type(each) is row.message)
    return codec.encode(msgspec.structs.replace(example, device=world.DEVICE))
