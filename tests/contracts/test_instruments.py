"""What every backend's instruments keep to; a backend without hardware here is skipped."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device.hardware import Instruments, open_instruments
from shared.errors import HardwareError, UsageError
from tests.hardware_sim.recordings import record_approaches


@pytest.fixture(params=["sim", "replay", "pi"])
def instruments(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instruments]:
    """A backend's instruments, the wheels free to turn."""
    configuration = None
    if request.param == "sim":
        configuration = tmp_path / "sim.toml"
        configuration.write_text("speed = 0.0\nseed = 2\n")
    if request.param == "replay":
        configuration = tmp_path / "replay.toml"
        configuration.write_text('speed = 0.0\ndata = "recording"\n')
        record_approaches(tmp_path / "recording", manoeuvres=1, pictures=20)
    try:
        opened = open_instruments(request.param, configuration)
    except (UsageError, HardwareError) as error:
        pytest.skip(f"no {request.param} hardware here: {error}")
    yield opened
    opened.close()


def _wait(instruments: Instruments, seconds: float) -> None:
    clock = instruments.clock
    clock.sleep_until_us(clock.monotonic_us() + int(seconds * 1e6))


def test_time_never_goes_back_and_sleeping_reaches_its_moment(instruments: Instruments) -> None:
    clock = instruments.clock
    due_us = clock.monotonic_us() + 20_000
    clock.sleep_until_us(due_us)
    assert clock.monotonic_us() >= due_us


def test_a_frame_is_rgb_stamped_before_now_and_kept_until_a_newer_one(
    instruments: Instruments,
) -> None:
    _wait(instruments, 1.0)
    frame = instruments.camera.newest()
    assert frame is not None
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.shape[2] == 3
    assert 0 < instruments.clock.monotonic_us() - frame.exposed_us < 150_000
    _wait(instruments, 0.2)
    newer = instruments.camera.newest()
    assert newer is not None
    assert newer.exposed_us > frame.exposed_us


def test_a_range_is_told_once_and_says_when_it_was_measured(instruments: Instruments) -> None:
    sensor = instruments.range_sensor
    if sensor is None:
        pytest.skip("no range sensor is fitted")
    _wait(instruments, 0.2)
    reading = sensor.poll()
    assert reading is not None
    assert sensor.poll() is None
    assert (reading.range_mm is None) == (reading.status != "ok")
    assert 0 <= instruments.clock.monotonic_us() - reading.measured_us < 200_000


def test_driven_wheels_count_edges_and_stopped_ones_come_to_rest(
    instruments: Instruments,
) -> None:
    instruments.wheels.set_duty(0.4, 0.4)
    _wait(instruments, 0.5)
    instruments.wheels.stop()
    _wait(instruments, 1.0)
    counted = instruments.wheels.edges()
    assert min(counted) > 0
    _wait(instruments, 0.5)
    assert instruments.wheels.edges() == counted


def test_stopping_and_signalling_work_in_any_state(instruments: Instruments) -> None:
    for _ in range(2):
        instruments.wheels.stop()
        instruments.signals.set_led(on=True)
        instruments.signals.set_led(on=False)
        instruments.signals.set_buzzer(on=False)
    assert instruments.controls.pressed() is None
