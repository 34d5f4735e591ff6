"""The self-test finds what is broken, and names it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from device.calibration import Calibration, store
from device.drive.loop import only_one
from device.drivers.tflite import TfliteModel
from device.hardware import Frame, Instruments, RangeReading, opening
from device.selftest import Report, selftest
from device.settings import DeviceSettings
from shared import cli, golden
from shared.clock import Clock, SystemClock
from shared.errors import HardwareError, UsageError
from shared.manifest import Golden, Manifest
from tests.device.fakes import (
    DATA,
    FRAME_US,
    TINY,
    Car,
    FakeCamera,
    FakeClock,
    FakeControls,
    FakeRange,
    FakeSignals,
    FakeWheels,
    World,
)


class TexturedCamera(FakeCamera):
    """A camera that sees something: a wall is never of one brightness, nor twice the same."""

    def newest(self) -> Frame | None:
        frame = super().newest()
        if frame is not None:
            frame.pixels[::2] //= 2
            frame.pixels[0, 0] = frame.exposed_us // FRAME_US % 200
        return frame


class FrozenCamera(TexturedCamera):
    def newest(self) -> Frame | None:
        frame = super().newest()
        if frame is not None:
            frame.pixels[0, 0] = 0
        return frame


class LooseRange(FakeRange):
    """A sensor whose wire comes off under way: nothing can be asked of it any more."""

    def poll(self) -> RangeReading | None:
        raise HardwareError("VL53L0X: Remote I/O error")

    def close(self) -> None:
        raise HardwareError("VL53L0X: Remote I/O error")


class SilentRange(FakeRange):
    def poll(self) -> RangeReading | None:
        return None


class SeizedWheels(FakeWheels):
    def edges(self) -> tuple[int, int]:
        return 0, 7


def instruments(world: World) -> Instruments:
    return Instruments(
        clock=FakeClock(world),
        camera=TexturedCamera(world),
        range_sensor=FakeRange(world),
        wheels=FakeWheels(world),
        signals=FakeSignals(),
        controls=FakeControls(world, {}),
    )


class Machine:
    """A machine's own clock, on which the model always takes the same time, however busy it is."""

    def __init__(self, call_us: int = 1_000) -> None:
        self._now_us, self._call_us = 0, call_us

    def monotonic_us(self) -> int:
        self._now_us += self._call_us
        return self._now_us

    def utc_us(self) -> int:
        return SystemClock().utc_us()

    def is_synced(self) -> bool:
        return False

    def sleep_until_us(self, monotonic_us: int) -> None:
        self._now_us = max(self._now_us, monotonic_us)


def outcome(
    car: Car,
    change: Callable[[Instruments], Instruments] = lambda same: same,
    *,
    moves: bool = False,
    settings: DeviceSettings | None = None,
    machine: Clock | None = None,
) -> tuple[Report, dict[str, str]]:
    report = selftest(
        car.home,
        settings or DeviceSettings(disk_spare_mb=0),
        machine or Machine(),
        lambda: change(instruments(car.world)),
        moves=moves,
    )
    return report, {check.name: f"{check.verdict}: {check.detail}" for check in report.checks}


def test_a_sound_car_passes_and_every_line_says_what_was_seen(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.install()
    store(
        car.home,
        Calibration(
            number=1,
            sensor_to_bumper_mm=0,
            range_offset_mm=4,
            noise_mm=2,
            distance_mm=100,
            readings=40,
            utc_us=1,
        ),
    )
    report, lines = outcome(car, moves=True)
    assert report.passed
    assert {name: line[:4] for name, line in lines.items()} == {
        **dict.fromkeys(
            ("camera", "range sensor", "wheels", "lamp and buzzer", "controls"), "pass"
        ),
        **dict.fromkeys(("model", "calibration", "disk", "journal", "clock"), "pass"),
        **dict.fromkeys(("golden pictures", "broker"), "skip"),
    }
    assert "30 pictures a second" in lines["camera"]
    assert "calibration-1" in lines["calibration"]
    assert "p99" in lines["model"]
    assert "older trainer" in lines["golden pictures"]


def _answering(shift: int) -> Manifest:
    """Return the tiny model's manifest with its answers to the golden pictures, shifted."""
    shown, task = golden.pictures(), TINY.task
    estimate = TfliteModel(DATA / "tiny.tflite", TINY).estimate
    answers = [estimate(picture) for picture in shown]
    values = [round((value - task.low) / task.span / TINY.value.scale) for value, _ in answers]
    logs = [round(math.log(sigma / task.span) / TINY.log_sigma.scale) for _, sigma in answers]
    told = Golden(
        pictures=golden.set_id(shown),
        value=tuple(each + TINY.value.zero_point + shift for each in values),
        log_sigma=tuple(each + TINY.log_sigma.zero_point for each in logs),
    )
    return msgspec.structs.replace(TINY, golden=told)


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (0, "pass: 8 golden pictures, value at most 0 output steps"),
        (2, "pass: 8 golden pictures, value at most 2 output steps"),
        (3, "fail: 8 golden pictures, value at most 3 output steps"),
    ],
)
def test_golden_pictures_are_answered_in_this_runtime_as_where_the_model_was_made(
    tmp_path: Path, shift: int, verdict: str
) -> None:
    car = Car(tmp_path)
    car.install()
    car.home.manifest(TINY.sha256).write_text(_answering(shift).to_json())
    report, lines = outcome(car)
    assert lines["golden pictures"].startswith(verdict)
    assert report.passed == verdict.startswith("pass")


def test_a_model_that_outlasts_a_frame_fails(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.install()
    report, lines = outcome(car, machine=Machine(call_us=40_000))
    assert not report.passed
    assert lines["model"].startswith("fail")


def test_a_car_without_a_model_has_no_golden_answers_to_compare(tmp_path: Path) -> None:
    report, lines = outcome(Car(tmp_path))
    assert report.passed
    assert lines["golden pictures"].startswith("skip")


def test_nothing_moves_unless_it_is_asked_for(tmp_path: Path) -> None:
    car = Car(tmp_path)
    _, lines = outcome(car)
    assert car.world.duties == []
    assert "--move" in lines["wheels"]


def test_what_does_not_work_is_named_and_the_others_are_still_tested(tmp_path: Path) -> None:
    car = Car(tmp_path, World(camera_freezes_us=1_000_000))

    def broken(same: Instruments) -> Instruments:
        return replace(same, range_sensor=SilentRange(car.world), wheels=SeizedWheels(car.world))

    report, lines = outcome(car, broken, moves=True)
    assert not report.passed
    assert lines["camera"].startswith("fail: 1 pictures")
    assert lines["range sensor"].startswith("fail: 0 readings")
    assert lines["wheels"].startswith("fail: encoder edges left 0")
    assert lines["lamp and buzzer"].startswith("pass")
    assert car.world.duty == (0.0, 0.0)


def test_a_lens_cap_is_seen(tmp_path: Path) -> None:
    car = Car(tmp_path)
    report, lines = outcome(car, lambda same: replace(same, camera=FakeCamera(car.world)))
    # One brightness all over, as under a cap.
    assert not report.passed
    assert "lens cap" in lines["camera"]


def test_a_camera_that_shows_one_picture_under_new_stamps_is_frozen(tmp_path: Path) -> None:
    car = Car(tmp_path)
    _, lines = outcome(car, lambda same: replace(same, camera=FrozenCamera(car.world)))
    assert lines["camera"] == "fail: the same picture 15 times: the camera is frozen"


def test_a_sensor_whose_wire_comes_off_under_way_costs_its_own_line_alone(tmp_path: Path) -> None:
    car = Car(tmp_path)
    _, lines = outcome(car, lambda same: replace(same, range_sensor=LooseRange(car.world)))
    assert lines["range sensor"].startswith("fail: VL53L0X")
    assert {lines[name][:4] for name in ("camera", "wheels", "controls", "disk")} == {"pass"}


def test_the_instrument_that_does_not_open_fails_and_the_others_are_not_blamed(
    tmp_path: Path,
) -> None:
    def none(_same: Instruments) -> Instruments:
        with opening("range sensor"):
            raise HardwareError("no VL53L0X range sensor answers")

    report, lines = outcome(Car(tmp_path), none)
    assert not report.passed
    assert lines["range sensor"] == "fail: no VL53L0X range sensor answers"
    assert lines["camera"] == "skip: not tested: the range sensor comes first"
    assert lines["disk"].startswith("pass")


def test_instruments_that_do_not_open_fail_and_the_rest_is_tested(tmp_path: Path) -> None:
    def none(_same: Instruments) -> Instruments:
        raise HardwareError("no VL53L0X range sensor answers")

    report, lines = outcome(Car(tmp_path), none)
    assert not report.passed
    assert lines["wheels"] == "fail: no VL53L0X range sensor answers"
    assert lines["disk"].startswith("pass")


def test_a_car_that_drives_can_be_tested_but_for_its_instruments(tmp_path: Path) -> None:
    car = Car(tmp_path)
    with only_one(car.home):
        report, lines = outcome(car)
    assert report.passed
    assert lines["camera"].startswith("skip: drive runs")
    with only_one(car.home), pytest.raises(UsageError):
        car.drive(0.1, {})


def test_a_damaged_model_and_a_crowded_disk_fail(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.install()
    file = next(car.home.models.glob("*.tflite"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    report, lines = outcome(car, settings=DeviceSettings(disk_spare_mb=1_000_000))
    assert not report.passed
    assert "damaged" in lines["model"]
    assert "disk_spare_mb" in lines["disk"]


@pytest.mark.slow
def test_the_command_prints_one_object_and_ends_by_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARKFLEET_SIM_SPEED", "0")
    monkeypatch.setenv("PARKFLEET_DEVICE_DISK_SPARE_MB", "0")
    command = ["device", "selftest", "--home", str(tmp_path), "--backend", "sim"]
    assert cli.run([*command, "--move", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    (tmp_path / "enrolment.json").write_text("{}")
    assert cli.run(command) == 1
    assert "fail  broker" in capsys.readouterr().out
