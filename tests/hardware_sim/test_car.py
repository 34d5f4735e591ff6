"""A whole simulated car, in this process, as fast as it goes."""

import csv
from pathlib import Path

import msgspec
import pytest

from device.home import Home
from device.journal import Journal
from hardware_sim import scene as scenes
from hardware_sim.backend import SimConfiguration, open_instruments
from hardware_sim.car import drive
from hardware_sim.faults import Fault, FaultName
from hardware_sim.script import Progress
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.samples import Sample

pytestmark = pytest.mark.slow

_FAST = SimConfiguration(speed=0.0, seed=4)


def _order(folder: Path, *, run: int = 1, scene: str = "beige", manoeuvres: int = 2) -> Path:
    script = folder / "script.toml"
    script.write_text(f'run = {run}\nscene = "{scene}"\nmanoeuvres = {manoeuvres}\n')
    return script


def _drive(folder: Path, script: Path, manoeuvres: int) -> Progress:
    drive(
        folder / "home",
        script,
        _FAST,
        SystemClock(),
        stop=lambda: False,
        max_manoeuvres=manoeuvres,
    )
    return msgspec.json.decode((folder / "progress.json").read_bytes(), type=Progress)


class _AnotherDay(SystemClock):
    """This machine's clock, a day and a moment later."""

    def utc_us(self) -> int:
        return super().utc_us() + 86_400_012_345


def test_the_same_seed_gives_the_same_pictures_and_readings_to_the_byte_on_any_day(
    tmp_path: Path,
) -> None:
    seen = []
    for number, real in enumerate((SystemClock(), _AnotherDay())):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        home = folder / "home"
        drive(home, _order(folder), _FAST, real, stop=lambda: False, max_manoeuvres=1)
        journal = Journal.open(Home(home).journal)
        seen.append([(each.label, jpeg) for each, jpeg in journal.pairs_after(("", -1), 1000)])
        journal.close()
    assert len(seen[0]) > 10
    assert seen[0] == seen[1]


def _samples(folder: Path) -> list[Sample]:
    journal = Journal.open(Home(folder / "home").journal)
    try:
        return journal.unsent_samples(10_000)
    finally:
        journal.close()


def _truth(folder: Path) -> dict[int, tuple[float, int]]:
    with (folder / "truth.csv").open(newline="") as file:
        return {
            int(row["exposed_us"]): (float(row["true_mm"]), int(row["run"]))
            for row in csv.DictReader(file)
        }


def test_a_car_parks_by_its_range_sensor_and_touches_nothing(tmp_path: Path) -> None:
    progress = _drive(tmp_path, _order(tmp_path), 2)
    assert progress == Progress(run=1, done=2, parked=2, contacts=0, refused=0, state="finished")


def test_every_pair_finds_its_truth_and_its_label_is_near_it(tmp_path: Path) -> None:
    _drive(tmp_path, _order(tmp_path), 2)
    truth, samples = _truth(tmp_path), _samples(tmp_path)
    assert len(samples) > 30
    errors = []
    for sample in samples:
        true_mm, run = truth[sample.monotonic_us]
        assert run == 1
        if sample.label is not None:
            errors.append(abs(sample.label - true_mm))
    assert sum(errors) / len(errors) < 4.0


def test_an_order_that_is_done_is_not_driven_again_and_a_new_one_is(tmp_path: Path) -> None:
    script = _order(tmp_path, manoeuvres=1)
    assert _drive(tmp_path, script, 1).done == 1
    _order(tmp_path, run=2, scene="red", manoeuvres=3)
    progress = _drive(tmp_path, script, 1)
    assert (progress.run, progress.done, progress.state) == (2, 1, "driving")
    assert _drive(tmp_path, script, 2).state == "finished"
    assert {run for _, run in _truth(tmp_path).values()} == {1, 2}


def test_the_car_ends_when_it_is_told_to_with_its_motors_cut(tmp_path: Path) -> None:
    turns = iter(range(60))
    driven = drive(
        tmp_path / "home",
        _order(tmp_path),
        _FAST,
        SystemClock(),
        stop=lambda: next(turns, None) is None,
    )
    assert driven == 0


def test_a_sensor_that_dies_ends_the_manoeuvre_with_the_car_untouched(tmp_path: Path) -> None:
    text = (
        (scenes.SCENES / "beige.toml")
        .read_text()
        .replace("textures/", f"{scenes.SCENES}/textures/")
    )
    faulty = tmp_path / "faulty.toml"
    faulty.write_text(text + '\n[[faults]]\nname = "i2c_error"\nfrom_s = 3.0\nfor_s = 2.0\n')
    progress = _drive(tmp_path, _order(tmp_path, scene=str(faulty), manoeuvres=1), 1)
    assert (progress.done, progress.parked, progress.contacts) == (1, 0, 0)


@pytest.mark.parametrize(
    "fault", ["sensor_stuck", "sensor_dropout", "motor_stalled", "encoder_lost"]
)
@pytest.mark.parametrize("from_s", [1.5, 2.5, 4.0])
def test_whatever_fails_on_the_way_the_wall_is_not_touched(
    tmp_path: Path, fault: FaultName, from_s: float
) -> None:
    faulty = msgspec.structs.replace(_FAST, faults=(Fault(name=fault, from_s=from_s),))
    script = _order(tmp_path, manoeuvres=1)
    drive(tmp_path / "home", script, faulty, SystemClock(), stop=lambda: False, max_manoeuvres=1)
    progress = msgspec.json.decode((tmp_path / "progress.json").read_bytes(), type=Progress)
    assert (progress.parked, progress.contacts) == (0, 0)


def test_a_full_disk_costs_pairs_and_no_parking(tmp_path: Path) -> None:
    full = msgspec.structs.replace(_FAST, faults=(Fault(name="disk_full", from_s=3.0, for_s=2.0),))
    script = _order(tmp_path, manoeuvres=2)
    drive(tmp_path / "home", script, full, SystemClock(), stop=lambda: False, max_manoeuvres=2)
    progress = msgspec.json.decode((tmp_path / "progress.json").read_bytes(), type=Progress)
    assert (progress.parked, progress.contacts) == (2, 0)
    assert _samples(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [('run = 1\nscene = "nosuch"\nmanoeuvres = 1\n', "nosuch"), ("run = 1", r"script\.toml")],
)
def test_a_wrong_order_is_told_before_anything_moves(tmp_path: Path, text: str, named: str) -> None:
    script = tmp_path / "script.toml"
    script.write_text(text)
    with pytest.raises(UsageError, match=named):
        drive(tmp_path / "home", script, _FAST, SystemClock(), stop=lambda: False)


def test_the_backend_opens_from_its_own_configuration_file(tmp_path: Path) -> None:
    configuration = tmp_path / "sim.toml"
    configuration.write_text('scene = "green"\nspeed = 0\nhas_range_sensor = false\n')
    instruments = open_instruments(configuration)
    try:
        assert instruments.range_sensor is None
        before_us = instruments.clock.monotonic_us()
        instruments.clock.sleep_until_us(before_us + 100_000)
        assert instruments.camera.newest() is not None
    finally:
        instruments.close()


@pytest.mark.parametrize("text", ['scene = "nosuch"', "speed = -1", "colour = 3"])
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str) -> None:
    configuration = tmp_path / "sim.toml"
    configuration.write_text(text)
    with pytest.raises(UsageError, match=r"nosuch|sim\.toml"):
        open_instruments(configuration)
