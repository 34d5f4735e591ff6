"""The world runs on in another process, whatever becomes of the one that drives in it."""

import signal
from pathlib import Path

import msgspec
import pytest

from hardware_sim.script import Progress
from tests.e2e.apart import Apart, Strike, hang, kill, kill_supervisor

pytestmark = pytest.mark.e2e

LIMIT_US = 200_000
"""A promise to whoever stands behind the car, and so the one absolute time that a test asserts."""


@pytest.mark.alone
@pytest.mark.parametrize("strike", [kill, kill_supervisor])
def test_motors_are_off_within_200_ms_of(tmp_path: Path, strike: Strike) -> None:
    assert _off_after_us(tmp_path, strike) <= LIMIT_US


@pytest.mark.alone
def test_motors_are_off_within_200_ms_of_a_hang(tmp_path: Path) -> None:
    # 150 ms of these are the supervisor's patience: a machine that does something else for the rest
    # may try again, a supervisor that is late by itself is late each time.
    attempts = (_off_after_us(tmp_path / str(number), hang) for number in range(3))
    assert any(off_us <= LIMIT_US for off_us in attempts)


def _off_after_us(folder: Path, strike: Strike) -> int:
    with Apart(folder) as apart, apart.driving() as drive:
        apart.roll()
        struck_us = apart.clock.monotonic_us()
        strike(drive)
        off_us = apart.off_after_us(struck_us)
        assert off_us is not None, drive.said()
        assert apart.hand.look().contacts == 0
        return off_us


def test_without_a_supervisor_the_pins_of_a_killed_drive_keep_driving(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart, apart.driving(supervised=False) as drive:
        rolling = apart.roll()
        kill(drive)
        assert apart.off_after_us(rolling.now_us) is None
        assert apart.hand.look().contacts == 1
        told = apart.run("device", "stop-motors", "--home", str(apart.home))
        assert (told.returncode, told.stdout) == (0, "motors cut\n")
        assert not apart.hand.look().is_driven


def test_strict_gpiod_cuts_the_motors_with_nobody_left_to_do_it(tmp_path: Path) -> None:
    with (
        Apart(tmp_path, options=("--strict-gpiod",)) as apart,
        apart.driving(supervised=False) as drive,
    ):
        apart.roll()
        struck_us = apart.clock.monotonic_us()
        kill(drive)
        off_us = apart.off_after_us(struck_us)
        assert off_us is not None
        assert off_us <= LIMIT_US


def test_a_car_that_was_killed_starts_again_with_the_sensor_as_it_was_left(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart:
        with apart.driving() as drive:
            apart.roll()
            kill(drive)
            assert drive.process.wait(30) == 1
            assert "motors=cut" in drive.said()
        with apart.driving() as drive:
            apart.roll()
            parked = apart.until(lambda: None if (seen := apart.hand.look()).lamp else seen)
            assert drive.end() == 0, drive.said()
        assert parked.contacts == 0
        assert 32.0 < parked.distance_mm < 48.0


def test_asked_to_end_in_a_manoeuvre_the_drive_takes_its_time_to_write(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart, apart.driving() as drive:
        apart.roll()
        assert drive.end() == 0, drive.said()
        assert not apart.hand.look().is_driven
        assert "reason=shutdown" in drive.said()


def test_a_world_that_dies_is_a_fault_of_the_instruments_and_no_crash(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart, apart.driving() as drive:
        apart.roll()
        apart.world.send_signal(signal.SIGKILL)
        apart.until(lambda: "manoeuvre_ended" in drive.said())
        apart.until(lambda: "wheels_failed" in drive.said())
        assert drive.end() == 1
        assert "Traceback" not in drive.said()
        assert "parkfleet: wheels: " in drive.said()
        told = apart.run("device", "drive", "--home", str(apart.home))
        assert told.returncode == 1
        assert told.stderr.startswith("parkfleet: no world at ")
        assert told.stderr.count("\n") == 1


def test_a_world_that_hangs_is_a_fault_and_its_car_parks_again_afterwards(tmp_path: Path) -> None:
    # The supervisor has tests of its own; here it would end a drive that a busy machine held up.
    with Apart(tmp_path) as apart, apart.driving(supervised=False) as drive:
        apart.roll()
        apart.world.send_signal(signal.SIGSTOP)
        apart.until(lambda: "manoeuvre_ended" in drive.said())
        apart.world.send_signal(signal.SIGCONT)
        assert "range_sensor_failed" in drive.said()
        apart.until(lambda: not apart.hand.look().lamp)
        apart.parks(drive)
        assert drive.end() == 0


def test_a_person_in_the_world_gives_orders_to_a_car_outside(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text('run = 1\nscene = "red"\nmanoeuvres = 1\nby = "park_by_sensor"\n')
    with Apart(tmp_path, options=("--script", str(script))) as apart, apart.driving():
        progress = tmp_path / "progress.json"
        apart.until(lambda: progress.exists() and b'"done":1' in progress.read_bytes())
        told = msgspec.json.decode(progress.read_bytes(), type=Progress)
        assert (told.parked, told.contacts, told.state) == (1, 0, "finished")
        assert apart.hand.look().scene == "red"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scene", "nowhere"], "nowhere"),
        (["--listen", "/proc/missing/world.socket"], "No such file or directory"),
        (["--fault", "power_cut@1"], "another process"),
        (["--fault", "rain@1"], "is no fault"),
        (["--script", "{folder}/none.toml"], "none.toml"),
    ],
)
def test_a_world_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, words: list[str], said: str
) -> None:
    listen = ["--listen", str(tmp_path / "world.socket")]
    told = Apart(tmp_path).run(
        "sim", "world", *listen, *(word.format(folder=tmp_path) for word in words)
    )
    assert told.returncode == 2
    assert said in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "world.socket").exists()


@pytest.mark.parametrize("place", ["far", "1,2,3", "-5", "nan", "300,89"])
def test_a_place_that_is_none_is_refused_in_one_line(tmp_path: Path, place: str) -> None:
    told = Apart(tmp_path).run("sim", "hand", "--put", place)
    assert told.returncode == 2
    assert told.stderr.startswith("parkfleet: --put: ")


def test_two_drives_cannot_have_one_cars_pins(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart, apart.driving():
        other = tmp_path / "other"
        other.mkdir()
        for name in ("device.toml", "world.toml"):
            (other / name).write_text((apart.home / name).read_text())
        told = apart.run("device", "drive", "--home", str(other))
        assert told.returncode == 1
        assert "busy" in told.stderr
        assert "Traceback" not in told.stderr


def test_a_world_ends_on_sigterm_and_takes_its_socket_along(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart:
        apart.world.send_signal(signal.SIGTERM)
        assert apart.world.wait(10) == 0
        assert not apart.socket.exists()
