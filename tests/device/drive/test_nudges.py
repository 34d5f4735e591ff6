"""What drive does on the agent's word, and what it tells the agent of the people at the car."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.hardware import Press
from device.live import Live, LiveSocket, Nudge
from tests.device.fakes import Car


class Agent:
    """The agent's end of the socket: nudges at given moments, hears everything."""

    def __init__(self, car: Car) -> None:
        self.car = car
        self.heard: list[Live] = []
        self.lamp: list[bool] = []
        self._socket = LiveSocket(car.home.agent_socket, car.home.drive_socket)

    def drive(
        self, seconds: float, presses: dict[float, Press], nudges: dict[float, Nudge]
    ) -> None:
        began_us = self.car.world.now_us
        waiting = sorted(nudges.items(), key=lambda item: item[0])

        def turned(_is_moving: bool) -> None:
            at_s = (self.car.world.now_us - began_us) / 1e6
            while waiting and waiting[0][0] <= at_s:
                self._socket.send(waiting.pop(0)[1])
            while (message := self._socket.receive()) is not None:
                assert isinstance(message, Live)
                self.heard.append(message)
            self.lamp.append(self.car.signals.led)

        self.car.drive(seconds, presses, turned)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(Car(tmp_path))
    yield made
    made.close()


def test_a_nudge_to_park_parks(agent: Agent) -> None:
    agent.drive(9.0, {}, {0.5: Nudge(what="park")})
    assert [end.reason for end in agent.car.ends()] == ["target"]


def test_identify_blinks_and_beeps_for_five_seconds_and_moves_nothing(agent: Agent) -> None:
    started_mm = agent.car.world.distance_mm
    agent.drive(8.0, {}, {1.0: Nudge(what="identify")})
    assert agent.car.signals.beeps == 10
    assert sum(agent.lamp) == pytest.approx(75, abs=8)
    assert not agent.lamp[-1]
    assert agent.car.world.distance_mm == started_mm
    assert agent.car.ends() == []


def test_identify_does_not_disturb_a_manoeuvre(agent: Agent) -> None:
    agent.drive(9.0, {0.2: "park"}, {1.0: Nudge(what="identify")})
    assert [end.reason for end in agent.car.ends()] == ["target"]


def test_the_agent_is_told_how_long_ago_somebody_pressed_a_button_to_drive(agent: Agent) -> None:
    agent.drive(4.0, {1.5: "park"}, {})
    ages = [live.armed_age_us for live in agent.heard]
    assert ages[0] is None
    known = [age for age in ages if age is not None]
    assert known == sorted(known)
    assert known[-1] == pytest.approx(2_500_000, abs=400_000)


@pytest.mark.parametrize("by_press", [True, False])
def test_a_stop_disarms(agent: Agent, *, by_press: bool) -> None:
    presses: dict[float, Press] = {0.2: "park", 2.0: "stop"} if by_press else {0.2: "park"}
    agent.drive(5.0, presses, {} if by_press else {2.0: Nudge(what="stop")})
    assert agent.heard[1].armed_age_us is not None
    assert agent.heard[-1].armed_age_us is None
