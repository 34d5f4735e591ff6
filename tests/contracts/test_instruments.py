"""What every backend's instruments keep to; a backend without hardware here is skipped."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from device.hardware import Instruments, open_instruments
from hardware_sim.apart.world import serve
from shared.clock import SystemClock
from shared.errors import HardwareError, UsageError
from tests.hardware_sim.recordings import record_approaches


@contextmanager
def _a_world(path: Path) -> Iterator[None]:
    """Hold a world at `path`, as `parkfleet sim world` does."""
    ready, over = threading.Event(), threading.Event()
    options = {"scene": "beige", "seed": 2, "strict": False, "faults": (), "script": None}
    calls = {"ready": ready.set, "stop": over.is_set}
    thread = threading.Thread(target=serve, args=(path, SystemClock()), kwargs=options | calls)
    thread.start()
    try:
        assert ready.wait(10.0)
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(params=["sim", "replay", pytest.param("sim-world", marks=pytest.mark.e2e), "pi"])
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
    with ExitStack() as around:
        if request.param == "sim-world":
            configuration = tmp_path / "world.toml"
            configuration.write_text('socket = "world.socket"\n')
            around.enter_context(_a_world(tmp_path / "world.socket"))
        yield from _opened(request.param, configuration)


def _opened(backend: str, configuration: Path | None) -> Iterator[Instruments]:
    try:
        opened = open_instruments(backend, configuration)
    except (UsageError, HardwareError) as error:
        if backend != "pi":
            raise
        pytest.skip(f"no {backend} hardware here: {error}")
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
