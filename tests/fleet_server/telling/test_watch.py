"""What people are alerted to: once, and for as long as it lasts."""

import base64
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, update

from fleet_server.settings import ServerSettings
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import devices, training_jobs
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause
from fleet_server.telling.watch import releases_due
from hardware_sim.lab.fleet import free_port
from shared.errors import RefusedError
from shared.messages import Batch
from shared.signing import SigningKey
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet, drive, sample
from tests.fleet_server.telling.telling import (
    HOUR_US,
    Hook,
    raised,
    shown,
    teller_of,
    turn,
)


def test_a_silent_car_alerts_once_and_until_it_speaks_again(fleet: Fleet) -> None:
    fleet.send(drive(0))
    teller = teller_of(fleet, settings=ServerSettings(car_silent_s=60.0))
    turn(teller)
    assert shown(fleet) == []
    for _ in range(3):
        fleet.clock.now_us += 61_000_000
        turn(teller)
    assert shown(fleet) == [("car-silent", True)]
    fleet.send(drive(1))
    fleet.clock.now_us += 10_000_000
    turn(teller)
    assert shown(fleet) == [("car-silent", False)]


def test_refused_messages_alert_from_a_number_on_and_for_an_hour(fleet: Fleet) -> None:
    settings = ServerSettings(refused_an_hour=3, car_silent_s=1e9)
    teller = teller_of(fleet, settings=settings)
    for number in range(2):
        fleet.send(Batch(device="car-1", samples=(sample(number, label=1e7),)))
    turn(teller)
    assert shown(fleet) == []
    fleet.send(Batch(device="car-1", samples=(sample(3, label=1e7),)))
    fleet.clock.now_us += 10_000_000
    turn(teller)
    assert shown(fleet) == [("messages-refused", True)]
    fleet.clock.now_us += HOUR_US
    turn(teller)
    assert shown(fleet) == [("messages-refused", False)]


def test_a_failed_training_alerts_until_another_is_asked_for(fleet: Fleet) -> None:
    job = {
        "deployment": DEPLOYMENT,
        "reason": "r",
        "decision": 1,
        "created_utc_us": 0,
        "changed_utc_us": 0,
    }
    with fleet.database.write() as connection:
        connection.execute(insert(training_jobs).values(**job, state="failed", message="no room"))
    teller = teller_of(fleet)
    turn(teller)
    assert shown(fleet) == [("training-failed", True)]
    with fleet.database.write() as connection:
        connection.execute(insert(training_jobs).values(**job, state="queued"))
    fleet.clock.now_us += 10_000_000
    turn(teller)
    assert shown(fleet) == [("training-failed", False)]


def test_a_paused_rollout_alerts_until_it_goes_on_or_is_over(fleet: Fleet) -> None:
    rollout = {
        "deployment": DEPLOYMENT,
        "model": "ab" * 32,
        "path": "p",
        "strategy": "canary",
        "state": "paused",
        "stage": 1,
        "stage_since_utc_us": START_US,
        "begun_utc_us": START_US,
        "reason": "of 10 cars 3 refused it",
    }
    with fleet.database.write() as connection:
        connection.execute(insert(rollouts).values(**rollout))
    teller = teller_of(fleet)
    turn(teller)
    assert shown(fleet) == [("rollout-paused", True)]
    with fleet.database.write() as connection:
        connection.execute(update(rollouts).values(state="running"))
    fleet.clock.now_us += 10_000_000
    turn(teller)
    assert shown(fleet) == [("rollout-paused", False)]


@pytest.mark.parametrize(
    ("days_left", "severity"), [(46, None), (44, "warning"), (8, "critical"), (-1, "critical")]
)
def test_release_metadata_alerts_past_half_of_its_life_and_again_near_its_end(
    days_left: float, severity: str | None
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lives = {"targets": (now + timedelta(days=days_left), timedelta(days=90))}
    found = [cause.severity for cause in releases_due(lives, now)]
    assert found == ([] if severity is None else [severity])


def test_an_alert_of_an_event_stays_until_somebody_acknowledges_it(fleet: Fleet) -> None:
    cause = Cause(
        key="enrolment/1",
        kind="enrolment-code-misused",
        severity="critical",
        subject="car-7",
        reason="a code came twice",
    )
    number = raised(fleet, cause)
    turn(teller_of(fleet))
    assert shown(fleet) == [("enrolment-code-misused", True)]
    with fleet.database.write() as connection:
        assert alerts.raise_alert(connection, cause, utc_us=START_US) is None
        assert alerts.acknowledge(connection, number, by="me", utc_us=START_US)
        assert not alerts.acknowledge(connection, number, by="you", utc_us=START_US)
    assert shown(fleet) == [("enrolment-code-misused", False)]


def test_a_refusal_is_no_retry(fleet: Fleet) -> None:
    @dataclass
    class Stubborn:
        name: str = "stubborn"
        asked: int = 0

        def tell(self, _alert: alerts.AlertView, _utc_us: int) -> None:
            self.asked += 1
            raise RefusedError("no more")

    way = Stubborn()
    raised(fleet)
    teller = teller_of(fleet, way)
    for _ in range(3):
        turn(teller)
        fleet.clock.now_us += HOUR_US
    assert way.asked == 1


@pytest.mark.e2e
def test_a_running_server_tells_of_a_silent_car_by_itself(tmp_path: Path, hook: Hook) -> None:
    state = tmp_path / "server"
    made = Fleet(state)
    made.add_car()
    with made.database.write() as connection:
        connection.execute(devices.update().values(enrolled_utc_us=0))
    made.close()
    (state / "server.toml").write_text(
        f'webhooks = ["{hook.url}"]\ncar_silent_s = 60.0\nbroker_port = {free_port()}\n'
    )
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "shared", "server", "--state", str(state), "--role", "control"],
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 30.0
            while not hook.received:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
        finally:
            server.terminate()
            assert server.wait(20) == 0
    ((_, headers, body),) = hook.received
    assert msgspec.json.decode(body)["data"]["subject"] == "car-1"
    key = SigningKey.load(state / "keys" / "webhook.key")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.public.verify(base64.b64decode(headers["webhook-signature"].removeprefix("v1a,")), signed)
