"""Live values: what is listened to follows who looks, over a connection that a test plays."""

import threading
from collections import deque

import pytest

from fleet_server.cars.live import LOOKS_US, Live
from fleet_server.running.listening import Listening
from shared import codec
from shared.messages import Telemetry
from shared.mqtt import Connection
from shared.mqtt_events import Connected, Event, Received
from tests.fleet_server.fleet import BOOT, VirtualClock

TOPIC = "fleet/v1/device/car-1/telemetry"


class Line(Connection):
    """A connection whose events are a script; the last one ends the run."""

    def __init__(self, *events: Event | None) -> None:
        self.events = deque(events)
        self.over = threading.Event()
        self.asked: list[str] = []
        self.connected = False

    def start(self) -> None:
        self.asked.append("start")

    def stop(self, **_: object) -> None:
        self.asked.append("stop")

    def next_event(self, _timeout_s: float) -> Event | None:
        event = self.events.popleft()
        self.connected |= isinstance(event, Connected)
        if not self.events:
            self.over.set()
        return event

    def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        self.asked.append(f"+{topic_filter} {qos}")

    def unsubscribe(self, topic_filter: str) -> None:
        self.asked.append(f"-{topic_filter}")


def said(device: str = "car-1") -> bytes:
    return codec.encode(
        Telemetry(
            device=device,
            boot=BOOT,
            utc_us=0,
            state="approach",
            label=120.0,
            estimate=None,
            sigma=None,
            speed_mm_s=0.0,
            manoeuvre=1,
        )
    )


def heard(payload: bytes, topic: str = TOPIC) -> Received:
    return Received(topic=topic, payload=payload, qos=0, mid=0, retained=False, connection=1)


def listen(live: Live, clock: VirtualClock, *events: Event | None) -> list[str]:
    """Run until the script has ended; return what was asked of the connection."""
    line = Line(*events)
    Listening(line, live, clock).run(line.over)
    return line.asked


def test_a_car_is_listened_to_once_somebody_looks() -> None:
    clock, live = VirtualClock(), Live()
    live.look("car-1", clock.monotonic_us())

    assert listen(live, clock, Connected(), None, None) == ["start", f"+{TOPIC} 0", "stop"]
    assert not live.is_connected


def test_a_car_that_nobody_looks_at_any_more_is_left_alone() -> None:
    clock, live = VirtualClock(), Live()
    asked = listen(live, clock, Connected(), None)
    assert asked == ["start", "stop"]
    live.look("car-1", clock.monotonic_us() - LOOKS_US - 1)
    assert listen(live, clock, Connected(), None) == ["start", "stop"]


def test_what_a_car_says_is_kept() -> None:
    clock, live = VirtualClock(), Live()
    live.look("car-1", clock.monotonic_us())
    listen(live, clock, Connected(), heard(said()), None)
    found = live.look("car-1", clock.monotonic_us())

    assert found is not None
    assert found.said.label == 120.0


@pytest.mark.parametrize(
    "message",
    [heard(b"nonsense"), heard(said("car-2")), heard(said(), "fleet/v1/device/car-1/status")],
)
def test_what_is_no_live_value_of_that_car_is_dropped(message: Received) -> None:
    clock, live = VirtualClock(), Live()
    live.look("car-1", clock.monotonic_us())
    listen(live, clock, Connected(), message, None)

    assert live.look("car-1", clock.monotonic_us()) is None
