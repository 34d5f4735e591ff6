"""What is told goes out as a signed webhook, once, and again until it is answered."""

import base64
from dataclasses import dataclass, replace

import msgspec
import pytest

from fleet_server.telling import alerts, rules
from fleet_server.telling.alerts import AlertView
from fleet_server.telling.channels import Webhook
from shared.errors import RetryLaterError, SignatureError
from tests.fleet_server.fleet import START_US, Fleet
from tests.fleet_server.telling.telling import (
    CAUSE,
    HOUR_US,
    KEY,
    Hook,
    check_signature,
    dripping,
    raised,
    teller_of,
    turn,
)


def test_a_webhook_is_told_once_in_words_that_prove_their_sender(fleet: Fleet, hook: Hook) -> None:
    number = raised(fleet)
    teller = teller_of(fleet, Webhook(url=hook.url, key=KEY))
    turn(teller)
    turn(teller)
    ((path, headers, body),) = hook.received
    assert path == "/in?token=secret"
    assert headers["webhook-id"] == f"alert-{number}"
    check_signature(headers, body)
    with pytest.raises(SignatureError):
        check_signature(headers, body + b" ")
    said = msgspec.json.decode(body)
    assert said["type"] == "alert.raised"
    assert said["data"]["reason"] == CAUSE.reason
    (view,) = alerts.listed(fleet.database)
    assert view.deliveries[0].delivered_utc_us == START_US
    assert "secret" not in view.deliveries[0].channel
    public = rules.public_key(KEY)
    assert base64.b64decode(public.removeprefix("whpk_")) == KEY.public.raw


def test_a_webhook_that_fails_is_tried_again_ever_later_in_the_same_words(
    fleet: Fleet, hook: Hook
) -> None:
    hook.answers = [500, 302, 503]
    raised(fleet)
    teller = teller_of(fleet, Webhook(url=hook.url, key=KEY))
    tries = []
    for _ in range(100):
        before = len(hook.received)
        turn(teller)
        if len(hook.received) > before:
            tries.append((fleet.clock.now_us - START_US) // 1_000_000)
        fleet.clock.now_us += 1_000_000
    assert tries == [0, 10, 30, 70]
    assert len({body for _, _, body in hook.received}) == 1
    assert len({headers["webhook-id"] for _, headers, _ in hook.received}) == 1
    (view,) = alerts.listed(fleet.database)
    assert (view.deliveries[0].attempts, view.deliveries[0].problem) == (4, "")


def test_a_receiver_that_drips_its_answer_is_cut_off(fleet: Fleet) -> None:
    number = raised(fleet)
    (alert,) = alerts.listed(fleet.database, number=number)
    with dripping(b"HTTP/1.1 ") as port:
        hook = Webhook(url=f"http://127.0.0.1:{port}/", key=KEY, longest_s=0.2)
        with pytest.raises(RetryLaterError, match="no answer"):
            hook.tell(alert, START_US)


def test_a_receiver_that_said_yes_and_then_drips_has_taken_it(fleet: Fleet) -> None:
    number = raised(fleet)
    (alert,) = alerts.listed(fleet.database, number=number)
    with dripping(b"HTTP/1.1 200 OK\r\nx-") as port:
        Webhook(url=f"http://127.0.0.1:{port}/", key=KEY, longest_s=0.2).tell(alert, START_US)


def test_what_cannot_be_told_is_given_up_after_a_day_and_says_so(fleet: Fleet) -> None:
    raised(fleet)
    nobody = Webhook(url="http://127.0.0.1:9/", key=KEY)
    teller = teller_of(fleet, nobody)
    for _ in range(26):
        turn(teller)
        fleet.clock.now_us += HOUR_US
    (view,) = alerts.listed(fleet.database)
    (told,) = view.deliveries
    assert told.delivered_utc_us is None
    assert told.given_up_utc_us is not None
    assert told.given_up_utc_us >= START_US + 24 * HOUR_US
    assert told.problem == "no answer: ConnectionRefusedError"
    assert alerts.deliveries_by_state(fleet.database)["given_up"] == 1


def test_a_receiver_that_is_gone_is_left_in_peace(fleet: Fleet, hook: Hook) -> None:
    hook.answers = [410]
    raised(fleet)
    teller = teller_of(fleet, Webhook(url=hook.url, key=KEY))
    for _ in range(5):
        turn(teller)
        fleet.clock.now_us += HOUR_US
    assert len(hook.received) == 1


def test_one_channel_that_fails_does_not_keep_another_from_being_told(
    fleet: Fleet, hook: Hook
) -> None:
    raised(fleet)
    turn(
        teller_of(
            fleet, Webhook(url="http://127.0.0.1:9/", key=KEY), Webhook(url=hook.url, key=KEY)
        )
    )
    assert len(hook.received) == 1


@pytest.mark.parametrize(("attempts", "pause_s"), [(1, 10), (2, 20), (9, 2560), (10, 3600)])
def test_pauses_double_up_to_an_hour(attempts: int, pause_s: int) -> None:
    assert rules.pause_us(attempts) == pause_s * 1_000_000
    assert rules.pause_us(10_000) == HOUR_US


@pytest.mark.parametrize(
    "url",
    [
        "http://host:abc/in",
        "http://127.0.0.1:99999/in",
        "http://127.0.0.1:9/ein/t\u00fcr",
        f"http://{'a' * 80}.example/in",
        "http://[/in",
    ],
)
def test_an_address_that_cannot_be_reached_as_written_is_a_failed_delivery_and_ends_nothing(
    fleet: Fleet, url: str
) -> None:
    raised(fleet)
    turn(teller_of(fleet, Webhook(url=url, key=KEY)))
    (view,) = alerts.listed(fleet.database)
    (told,) = view.deliveries
    assert (told.attempts, told.delivered_utc_us) == (1, None)
    assert told.problem.startswith("no answer: ")


@dataclass
class _Hanging:
    """A channel that never answers in time."""

    name: str = "hanging"
    tries: int = 0

    def tell(self, alert: AlertView, utc_us: int) -> None:  # noqa: ARG002 - a Channel
        self.tries += 1
        raise RetryLaterError("no answer: TimeoutError")


def test_a_channel_that_hangs_holds_a_turn_up_once_however_much_waits_for_it(
    fleet: Fleet, hook: Hook
) -> None:
    for number in range(5):
        raised(fleet, replace(CAUSE, key=f"car-silent/car-{number}"))
    hanging = _Hanging()
    turn(teller_of(fleet, hanging, Webhook(url=hook.url, key=KEY)))
    assert (hanging.tries, len(hook.received)) == (1, 5)
