"""What cars and their server say, and a line over which a console hears it, without a broker."""

from collections import deque
from dataclasses import dataclass, field

import msgspec

from fleet_server.terminal.home import Access
from fleet_server.terminal.model import Fleet
from fleet_server.terminal.session import Session
from shared import codec
from shared.messages import Desired, Message, Presence, Slot, Status, Telemetry
from shared.mqtt import Address
from shared.mqtt_events import Connected, Disconnected, Event, Received
from shared.releases import target_path
from shared.signing import SigningKey, seal
from shared.topics import DESIRED, PRESENCE, STATUS, TELEMETRY, Topic
from tests.fleet_server import fleet
from tests.fleet_server.fleet import START_US, VirtualClock

SERVER = SigningKey(b"s" * 32)
OWN = SigningKey(b"a" * 32)
BOOT = "00000007-0badcafe"
ONE, TWO = "01" * 32, "02" * 32
SECOND = 1_000_000


def presence(car: str, *, online: bool = True, connection: int = 3, boot: str = BOOT) -> Presence:
    return Presence(device=car, boot=boot, connection=connection, online=online)


def status(car: str, **changes: object) -> Status:
    made = fleet.status(
        car,
        boot=BOOT,
        loaded=ONE,
        loaded_release_seq=4,
        slots=(Slot(name="a", model=ONE, release_seq=4, state="active"),),
        deployment="garage",
        desired_epoch=1,
        desired_revision=1,
        queue_depth=12,
        pairs_logged=400,
        disk_free_bytes=9_300_000_000,
        temperature_c=48.2,
    )
    return msgspec.structs.replace(made, **changes)


def telemetry(car: str, **changes: object) -> Telemetry:
    made = Telemetry(
        device=car,
        boot=BOOT,
        utc_us=START_US,
        state="reversing",
        label=120.5,
        estimate=123.75,
        sigma=3.5,
        speed_mm_s=95.0,
        manoeuvre=3,
    )
    return msgspec.structs.replace(made, **changes)


def wish(car: str, **changes: object) -> Desired:
    made = Desired(
        device=car,
        epoch=1,
        revision=1,
        deployment="garage",
        target=target_path("wall-distance", "garage", ONE),
    )
    return msgspec.structs.replace(made, **changes)


ROWS: dict[type[Message], Topic] = {
    Presence: PRESENCE,
    Status: STATUS,
    Telemetry: TELEMETRY,
    Desired: DESIRED,
}


def on_wire(
    row: Topic, message: Message, *, key: SigningKey = SERVER, **parts: str | int
) -> tuple[str, bytes]:
    """Return topic and payload of `message` as a broker brings it."""
    topic = row.topic(**parts)
    return topic, seal(message, topic=topic, key=key) if row.signed else codec.encode(message)


def make_fleet(*, may_order: bool = True) -> Fleet:
    return Fleet(own="anna", may_order=may_order, server_key=SERVER.public)


@dataclass
class FakeLine:
    """A connection whose other end is the test."""

    coming: deque[Event] = field(default_factory=deque)
    filters: set[str] = field(default_factory=set)
    said: list[tuple[str, bytes]] = field(default_factory=list)
    acknowledged: int = 0
    connected: bool = False
    dropped: int = 0

    def start(self) -> None:
        self.coming.append(Connected())

    def stop(self) -> None:
        self.connected = False

    def next_event(self, timeout_s: float) -> Event | None:
        del timeout_s
        if not self.coming:
            return None
        event = self.coming.popleft()
        if not isinstance(event, Received):
            self.connected = isinstance(event, Connected)
            self.filters = set() if isinstance(event, Disconnected) else self.filters
        return event

    def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        del qos
        self.filters.add(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        self.filters.discard(topic_filter)

    def publish(self, topic: str, payload: bytes) -> None:
        self.said.append((topic, payload))

    def acknowledge(self, message: Received) -> None:
        del message
        self.acknowledged += 1

    def refused_filters(self) -> tuple[str, ...]:
        return ()

    def brings(self, *messages: Message, retained: bool = False) -> None:
        """Let messages of cars and server come."""
        for message in messages:
            row = ROWS[type(message)]
            topic, payload = on_wire(row, message, id=message.device)  # type: ignore[union-attr] # each of these has one
            self.bring(topic, payload, retained=retained)

    def bring(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Let bytes come."""
        event = Received(topic=topic, payload=payload, qos=1, retained=retained, mid=1)
        self.coming.append(event)


def make_session(line: FakeLine, clock: VirtualClock, *, role: str = "operator") -> Session:
    access = Access(
        name="anna",
        role="viewer" if role == "viewer" else "operator",
        until_utc_us=START_US * 2,
        key=OWN,
        server_key=SERVER.public,
        address=Address(host="track", port=1883, user="anna", password="secret"),
    )
    return Session(access, clock, line)


def some_cars(line: FakeLine) -> None:
    """Let a small fleet be retained at the broker."""
    for number in range(1, 9):
        car = f"car-{number}"
        line.brings(presence(car, online=number != 5), status(car), wish(car), retained=True)
    behind = target_path("wall-distance", "garage", TWO)
    line.brings(wish("car-3", revision=2, target=behind), retained=True)
    line.brings(status("car-4", faults=("the journal takes nothing",)), retained=True)
    line.brings(presence("stranger"), status("stranger", deployment="elsewhere"), retained=True)
