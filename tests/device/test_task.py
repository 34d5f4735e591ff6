"""What a car is for: the task of its enrolment, whatever lies there."""

import logging
from pathlib import Path

import msgspec
import pytest

from device.agent.enrolment import Enrolment
from device.home import Home
from device.task import task_of
from shared.task import WALL_DISTANCE

FAR = msgspec.structs.replace(WALL_DISTANCE, high=4000.0)
ENROLMENT = Enrolment(
    device="car-1",
    deployment="yard",
    task=FAR,
    server_url="http://127.0.0.1:8080",
    server_public_key="0" * 64,
    broker_host="127.0.0.1",
    broker_port=1883,
)


def test_a_car_that_is_not_enrolled_parks(tmp_path: Path) -> None:
    assert task_of(Home(tmp_path)) == WALL_DISTANCE


def test_an_enrolled_car_is_for_what_it_was_enrolled_for(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.enrolment.write_bytes(msgspec.json.encode(ENROLMENT))
    assert task_of(home) == FAR


@pytest.mark.parametrize("damaged", [b"", b"{}", b'{"task": 7}', b"\xff"])
def test_a_damaged_enrolment_is_told_of_and_stops_no_car(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    home = Home(tmp_path)
    home.enrolment.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert task_of(home) == WALL_DISTANCE
    assert "task_unknown" in caplog.text
