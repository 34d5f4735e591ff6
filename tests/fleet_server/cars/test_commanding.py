"""Orders: entered with a reason, said once, answered once."""

import pytest
from sqlalchemy import update

from fleet_server.cars import commanding
from fleet_server.cars.commanding import ANSWER_US, SEND_US, CommandView, Order, Verb
from fleet_server.storage.tables import devices
from shared.errors import RefusedError
from shared.messages import Command, CommandResult
from shared.signing import open_envelope
from shared.topics import COMMAND
from tests.fleet_server.fleet import BOOT, START_US, Fleet


def know(fleet: Fleet, **values: object) -> None:
    """Note what the car last said of itself."""
    seen = {"boot": BOOT, "connection": 7, "online": True} | values
    with fleet.database.write() as connection:
        connection.execute(update(devices).values(seen))


def give(fleet: Fleet, verb: Verb = "sync", **arguments: str) -> int:
    with fleet.database.write() as connection:
        return commanding.order(
            connection,
            device="car-1",
            actor="anna",
            verb=verb,
            arguments=arguments,
            reason="to see whether it works",
            utc_us=fleet.clock.utc_us(),
        )


def due(fleet: Fleet) -> list[Order]:
    return commanding.due(fleet.database, fleet.server_key, fleet.clock)


def answer(fleet: Fleet, order: int, **changes: object) -> None:
    result = {"device": "car-1", "actor": "anna", "number": order, "outcome": "done"} | changes
    with fleet.database.write() as connection:
        commanding.take_result(
            connection,
            CommandResult(**result),  # type: ignore[arg-type]  # fields by name
            utc_us=fleet.clock.utc_us(),
        )


def seen(fleet: Fleet, number: int) -> CommandView:
    with fleet.database.read() as connection:
        view = commanding.find(connection, number)
    assert view is not None
    return view


def test_an_order_is_signed_for_the_boot_and_connection_last_seen(fleet: Fleet) -> None:
    know(fleet)
    number = give(fleet, "pictures", **{BOOT: "1-3"})
    assert seen(fleet, number).state == "waiting"
    (sent,) = due(fleet)
    command = open_envelope(
        COMMAND, sent.body, topic=sent.topic, message_type=Command, key=fleet.server_key.public
    )
    assert sent.topic == COMMAND.topic(id="car-1", actor="anna")
    assert (command.boot, command.connection, command.number) == (BOOT, 7, number)
    assert (command.verb, command.arguments) == ("pictures", {BOOT: "1-3"})


def test_an_order_is_said_once_and_its_first_answer_counts(fleet: Fleet) -> None:
    know(fleet)
    number = give(fleet)
    assert len(due(fleet)) == 1
    assert due(fleet) == []
    answer(fleet, number, outcome="failed", reason="no lamp")
    with pytest.raises(RefusedError, match="waits for no answer"):
        answer(fleet, number)
    view = seen(fleet, number)
    assert (view.state, view.reason, view.ended_utc_us) == ("failed", "no lamp", START_US)


def test_numbers_rise_and_each_order_has_an_entry_in_the_log_book(fleet: Fleet) -> None:
    know(fleet)
    first, second = give(fleet), give(fleet, "stop")
    assert second > first
    entries = {each.id: each for each in fleet.queries.decisions()}
    entry = entries[seen(fleet, second).decision]
    assert (entry.kind, entry.actor, entry.evidence["verb"]) == ("command", "anna", "stop")
    with fleet.database.read() as connection:
        assert [each.id for each in commanding.listed(connection, after=first)] == [second]
        assert commanding.listed(connection, device="car-2") == ()


@pytest.mark.parametrize(
    ("values", "verb", "why"),
    [
        ({"boot": None}, "stop", "never connected"),
        ({"online": False}, "park", "not connected"),
        ({"state": "revoked"}, "stop", "revoked"),
        ({"state": "unconfirmed"}, "sync", "unconfirmed"),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(
    fleet: Fleet, values: dict[str, object], verb: Verb, why: str
) -> None:
    know(fleet, **values)
    with pytest.raises(RefusedError, match=why):
        give(fleet, verb)
    assert due(fleet) == []


def test_stop_is_said_to_a_car_that_seems_away(fleet: Fleet) -> None:
    know(fleet, online=False)
    give(fleet, "stop")
    assert len(due(fleet)) == 1


def test_long_arguments_are_refused(fleet: Fleet) -> None:
    know(fleet)
    with pytest.raises(RefusedError, match="arguments"):
        give(fleet, "pictures", **{BOOT: "1," * 101})


def test_arguments_that_no_broker_would_carry_are_refused(fleet: Fleet) -> None:
    know(fleet)
    with pytest.raises(RefusedError, match="at most 4096"):
        give(fleet, "pictures", **{f"k{number}": "\u20ac" * 200 for number in range(16)})


def test_what_could_not_be_said_in_time_is_never_said(fleet: Fleet) -> None:
    know(fleet)
    number = give(fleet)
    fleet.clock.now_us += SEND_US + 1
    assert due(fleet) == []
    assert seen(fleet, number).state == "expired"
    with pytest.raises(RefusedError):
        answer(fleet, number)


def test_silence_is_an_outcome_and_a_late_answer_still_counts(fleet: Fleet) -> None:
    know(fleet)
    number = give(fleet)
    due(fleet)
    fleet.clock.now_us += ANSWER_US + 1
    due(fleet)
    assert seen(fleet, number).state == "unanswered"
    answer(fleet, number)
    assert seen(fleet, number).state == "done"


@pytest.mark.parametrize("changes", [{"actor": "bert"}, {"device": "car-2"}, {"number": 99}])
def test_an_answer_to_nobodys_order_is_refused(fleet: Fleet, changes: dict[str, object]) -> None:
    know(fleet)
    number = give(fleet)
    due(fleet)
    with pytest.raises(RefusedError, match="was not given"):
        answer(fleet, number, **changes)


def test_waiting_ends_with_the_answer_or_the_time(fleet: Fleet) -> None:
    know(fleet)
    number = give(fleet)
    due(fleet)
    view = commanding.wait(fleet.database, fleet.clock, number, timeout_s=2.0)
    assert view is not None
    assert (view.state, fleet.clock.now_us) == ("sent", START_US + 2_000_000)
    answer(fleet, number)
    view = commanding.wait(fleet.database, fleet.clock, number, timeout_s=2.0)
    assert view is not None
    assert view.state == "done"
    assert commanding.wait(fleet.database, fleet.clock, 99, timeout_s=2.0) is None
