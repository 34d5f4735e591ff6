"""What the console makes of messages: believed, shown as not vouched for, or refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.terminal.car import FRESH_US, SILENT_US
from fleet_server.terminal.model import CARS, Fleet
from fleet_server.terminal.trace import KEPT, SPAN_US
from shared.ids import is_device_name
from shared.messages import CommandResult, Message, OperatorKey, Operators, UpdateEvent
from shared.releases import target_path
from shared.signing import SigningKey
from shared.topics import DESIRED, OPERATORS, PRESENCE, RESULT, STATUS, TABLE, UPDATE, Topic
from tests.fleet_server.terminal.fleets import (
    BOOT,
    ONE,
    OWN,
    ROWS,
    SECOND,
    SERVER,
    TWO,
    make_fleet,
    on_wire,
    presence,
    status,
    telemetry,
    wish,
)

FORGER = SigningKey(b"f" * 32)
ESCAPE = "\x1b[2J\x1b]0;owned\x07\n"


class Heard:
    """A fleet, and the moment at which it hears something."""

    def __init__(self) -> None:
        self.fleet: Fleet = make_fleet()
        self.now_us = 1_000 * SECOND

    def hear(self, message: Message, *, retained: bool = False, key: SigningKey = SERVER) -> None:
        self.on(ROWS[type(message)], message, retained=retained, key=key, id=message.device)  # type: ignore[union-attr] # each of these has one

    def on(
        self,
        row: Topic,
        message: Message,
        *,
        retained: bool = False,
        key: SigningKey = SERVER,
        **parts: str,
    ) -> None:
        topic, payload = on_wire(row, message, key=key, **parts)
        self.bytes(topic, payload, retained=retained)

    def bytes(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        now = self.now_us
        self.fleet.hear(topic, payload, utc_us=now, now_us=now, retained=retained)

    def texts(self) -> list[str]:
        return [each.text for each in self.fleet.events.last(500)]

    def is_vouched(self) -> bool:
        return self.fleet.cars["car-1"].is_vouched

    def presence(self, car: str = "car-1") -> str:
        return self.fleet.cars[car].presence(self.now_us)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_a_last_will_takes_a_car_offline_and_an_older_one_does_not(heard: Heard) -> None:
    heard.hear(presence("car-1", connection=3))
    assert heard.presence() == "online"
    heard.hear(presence("car-1", online=False, connection=2))
    assert heard.presence() == "online"
    heard.hear(presence("car-1", online=False, connection=3))
    assert heard.presence() == "offline"
    assert heard.texts() == ["online, connection 3", "offline"]
    assert heard.fleet.events.last(1)[0].is_bad


def test_a_car_that_stays_connected_and_says_nothing_is_silent(heard: Heard) -> None:
    heard.hear(presence("car-1"))
    heard.now_us += SILENT_US + 1
    assert heard.presence() == "silent"
    heard.hear(status("car-1"))
    assert heard.presence() == "online"


def test_a_car_without_a_wish_of_the_server_is_not_vouched_for(heard: Heard) -> None:
    heard.hear(presence("car-1"))
    heard.hear(wish("car-1"), key=FORGER)
    assert not heard.is_vouched()
    heard.hear(wish("car-1"))
    assert heard.is_vouched()
    heard.bytes(DESIRED.topic(id="car-1"), b"", retained=True)  # as for a car that is revoked
    assert not heard.is_vouched()


def test_what_a_car_runs_is_what_it_says_and_what_is_wanted_is_what_the_server_signed(
    heard: Heard,
) -> None:
    heard.hear(status("car-1"))
    heard.hear(wish("car-1", target=target_path("wall-distance", "garage", TWO)))
    heard.hear(wish("car-1", epoch=0))  # older
    car = heard.fleet.cars["car-1"]
    assert (car.known.loaded, car.wanted) == (ONE, TWO)
    assert heard.fleet.version(car.known.loaded) == "4 010101"
    assert heard.fleet.version(car.wanted) == "? 020202"
    heard.hear(status("car-2", loaded=TWO, loaded_release_seq=5))
    assert heard.fleet.version(car.wanted) == "5 020202"
    assert "is to run model ? 020202" in heard.texts()


def test_a_report_of_an_earlier_boot_is_no_news(heard: Heard) -> None:
    heard.hear(status("car-1", boot="00000009-00000000"))
    heard.hear(status("car-1", boot=BOOT, loaded=TWO, queue_depth=99))
    kept = heard.fleet.cars["car-1"].status
    assert kept is not None
    assert kept.queue_depth == 12


def test_live_values_are_shown_while_they_are_fresh(heard: Heard) -> None:
    heard.hear(telemetry("car-1"))
    car = heard.fleet.cars["car-1"]
    assert car.error_now(heard.now_us) == 3.25
    assert car.error_now(heard.now_us + FRESH_US + 1) is None
    heard.hear(telemetry("car-1", estimate=None))
    assert heard.fleet.cars["car-1"].error_now(heard.now_us) is None


def test_a_trace_holds_the_last_seconds_and_no_more_than_its_share(heard: Heard) -> None:
    for _ in range(2 * KEPT):
        heard.hear(telemetry("car-1"))
    assert len(heard.fleet.cars["car-1"].trace.points) == KEPT
    heard.now_us += SPAN_US + 1
    heard.hear(telemetry("car-1", label=100.0, estimate=110.0))
    trace = heard.fleet.cars["car-1"].trace
    assert len(trace.points) == 1
    assert trace.mean_error() == 10.0


def test_a_car_that_speaks_for_another_is_refused(heard: Heard) -> None:
    for message in (presence("car-2"), status("car-2"), telemetry("car-2"), wish("car-2")):
        heard.on(ROWS[type(message)], message, id="car-1")
    answer = CommandResult(device="car-2", actor="anna", number=1, outcome="done")
    heard.on(RESULT, answer, id="car-1", actor="anna")
    heard.on(RESULT, msgspec.structs.replace(answer, actor="bert"), id="car-2", actor="anna")
    assert heard.fleet.refused == 6
    assert heard.fleet.cars == {}


def test_words_of_others_are_shown_in_printable_characters_alone(heard: Heard) -> None:
    heard.hear(status("car-1", faults=(ESCAPE,)))
    event = UpdateEvent(
        device="car-1",
        boot=BOOT,
        utc_us=1,
        number=1,
        target="a/b",
        model=TWO,
        state="refused",
        reason=ESCAPE,
    )
    heard.on(UPDATE, event, id="car-1")
    answer = CommandResult(device="car-1", actor="bert", number=1, outcome="failed", reason=ESCAPE)
    heard.on(RESULT, answer, id="car-1", actor="bert")
    heard.bytes(ESCAPE, b"")
    heard.fleet.disconnected(ESCAPE, 1)
    heard.hear(telemetry("car-1", state=ESCAPE))
    point = heard.fleet.cars["car-1"].trace.points[0]
    assert len(heard.texts()) == 6  # the model it runs, beside the five above
    assert all(text.isprintable() for text in (*heard.texts(), point.state, heard.fleet.link))


@given(
    topic=st.sampled_from(
        [row.topic(id="car-1", actor="anna", sha256=ONE, n=0) for row in TABLE] + ["x", "#"]
    ),
    payload=st.binary(max_size=200),
)
def test_no_bytes_of_a_broker_raise_or_make_a_car_vouched_for(topic: str, payload: bytes) -> None:
    heard = Heard()
    heard.bytes(topic, payload)
    assert not any(car.is_vouched for car in heard.fleet.cars.values())


def test_more_cars_than_a_fleet_may_have_are_refused(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_server.terminal.model.CARS", 3)
    for number in range(5):
        heard.hear(presence(f"car-{number}"))
    assert (len(heard.fleet.cars), heard.fleet.refused) == (3, 2)
    assert CARS > 10_000
    assert all(map(is_device_name, heard.fleet.cars))


def test_a_console_knows_whether_cars_are_to_obey_it(heard: Heard) -> None:
    def told(revision: int, *keys: OperatorKey, key: SigningKey = SERVER) -> str:
        heard.on(OPERATORS, Operators(revision=revision, utc_us=1, keys=keys), key=key)
        return heard.fleet.ordering_ends(OWN.public)

    mine = OperatorKey(name="anna", public_key=OWN.public.raw, until_utc_us=9)
    assert heard.fleet.ordering_ends(OWN.public) == ""
    assert told(2, mine) == ""
    assert told(3, key=FORGER) == ""
    assert "does not name this console" in told(3)
    assert "does not name this console" in told(2, mine)
    other = OperatorKey(name="anna", public_key=FORGER.public.raw, until_utc_us=9)
    assert "does not name this console" in told(4, other)


def test_what_a_broker_had_kept_is_no_event(heard: Heard) -> None:
    heard.hear(presence("car-1"), retained=True)
    heard.hear(status("car-1", faults=("old",)), retained=True)
    heard.hear(wish("car-1"), retained=True)
    assert heard.texts() == []
    assert heard.presence() == "online"
    assert PRESENCE.retained
    assert STATUS.retained
