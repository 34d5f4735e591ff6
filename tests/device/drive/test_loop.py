"""The car parks, by its sensor and by its model, and stops when anything is wrong."""

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from device.drive.loop import only_one
from device.journal import Journal
from device.settings import DeviceSettings
from shared.errors import UsageError
from shared.messages import Desired
from shared.picture import decode_jpeg
from tests.device.fakes import FRAME_US, TINY, Car, World


@pytest.mark.slow
def test_by_sensor_the_car_stops_within_millimetres_of_the_target(tmp_path: Path) -> None:
    stops = []
    for seed in range(8):
        car = Car(tmp_path / str(seed), World(distance_mm=300.0 + 7 * seed, seed=seed))
        car.drive(9.0, {0.2: "park_by_sensor"})
        assert car.world.contacts == 0
        assert [end.reason for end in car.ends()] == ["target"]
        stops.append(car.world.distance_mm)
    assert all(36.0 < stop < 43.0 for stop in stops), stops


def test_a_manoeuvre_leaves_about_25_labelled_pairs_of_its_own_moments(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.drive(9.0, {0.2: "park"})
    samples, (end,) = car.samples(), car.ends()
    assert 22 <= len(samples) <= 28
    assert end.pairs == len(samples)
    assert [sample.sequence for sample in samples] == list(range(len(samples)))
    gaps = [b.monotonic_us - a.monotonic_us for a, b in pairwise(samples)]
    assert all(abs(gap - 250_000) <= FRAME_US for gap in gaps)
    for sample in samples:
        assert sample.monotonic_us % FRAME_US == 0
        assert sample.label == pytest.approx(car.world.distance_at(sample.monotonic_us), abs=6.0)
        assert sample.sensor_status == "ok"
        assert sample.estimates == ()
        assert sample.utc_us == 1_700_000_000_000_000 + sample.monotonic_us
        assert sample.characteristics is not None
    assert end.stop_label == pytest.approx(40.0, abs=5.0)


def test_pictures_lie_beside_their_samples(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.drive(9.0, {0.2: "park"})
    journal = Journal.open(car.home.journal)
    pictures = journal.unsent_pictures(100)
    journal.close()
    samples = car.samples()
    assert [p.sha256 for p in pictures] == [s.picture_sha256 for s in samples]
    grey = decode_jpeg(pictures[0].jpeg)[:, :, 0].mean() / 255 * 350
    assert grey == pytest.approx(car.world.distance_at(samples[0].monotonic_us), abs=3.0)


def test_by_model_the_car_parks_and_logs_what_the_model_said(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.install()
    car.drive(9.0, {0.2: "park"})
    assert car.world.contacts == 0
    assert car.world.distance_mm == pytest.approx(40.0, abs=4.0)
    (end,) = car.ends()
    assert (end.reason, end.source) == ("target", "model")
    for sample in car.samples():
        (estimate,) = sample.estimates
        assert estimate.model == TINY.sha256
        true_mm = car.world.distance_at(sample.monotonic_us)
        assert estimate.value == pytest.approx(true_mm, abs=2.0)
        assert estimate.sigma == pytest.approx(6.4, rel=0.1)


def test_a_car_without_sensor_parks_by_its_model_and_labels_nothing(tmp_path: Path) -> None:
    car = Car(tmp_path, has_range_sensor=False)
    car.install()
    car.drive(9.0, {0.2: "park"})
    assert car.world.distance_mm == pytest.approx(40.0, abs=4.0)
    assert {(s.label, s.sensor_status) for s in car.samples()} == {(None, "absent")}


def test_a_car_with_neither_model_nor_sensor_does_not_move(tmp_path: Path) -> None:
    car = Car(tmp_path, has_range_sensor=False)
    car.drive(3.0, {0.2: "park"})
    assert car.world.distance_mm == 330.0
    assert [end.reason for end in car.ends()] == ["nothing_to_drive_by"]


def test_the_same_world_leaves_the_same_journal(tmp_path: Path) -> None:
    journals = []
    for name in ("one", "other"):
        car = Car(tmp_path / name)
        car.install()
        car.drive(14.0, {0.2: "park_by_sensor", 8.0: "park"})
        journals.append((car.samples(), car.ends()))
    assert journals[0] == journals[1]


FAULTS = [
    ({"camera_reddens": 0.35}, "park", "uncertain"),
    ({"camera_freezes_us": 3_000_000}, "park", "stale_picture"),
    ({"camera_ahead_from_us": 3_000_000}, "park", "camera_failed"),
    ({"range_silent_from_us": 3_000_000}, "park_by_sensor", "no_reading"),
    ({"range_fails_from_us": 3_000_000}, "park_by_sensor", "range_sensor_failed"),
    ({"left_stalls_from_us": 3_000_000}, "park_by_sensor", "stalled_wheel"),
]


@pytest.mark.parametrize(("fault", "press", "reason"), FAULTS)
def test_a_fault_stops_the_car_well_before_the_wall_and_is_named(
    tmp_path: Path, fault: dict[str, object], press: str, reason: str
) -> None:
    car = Car(tmp_path, World(**fault))  # type: ignore[arg-type] # named per case
    car.install()
    car.drive(9.0, {0.2: press})  # type: ignore[dict-item] # a Press
    assert [end.reason for end in car.ends()] == [reason]
    assert car.world.duty == (0.0, 0.0)
    assert car.world.distance_mm > 100.0
    assert not car.signals.led


def test_a_car_whose_model_contradicts_the_sensor_comes_near_slowly_and_stops(
    tmp_path: Path,
) -> None:
    car = Car(tmp_path, World(camera_bias_mm=90.0))
    car.install()
    car.drive(12.0, {0.2: "park"})
    assert [end.reason for end in car.ends()] == ["contradiction"]
    assert 60.0 < car.world.distance_mm < 80.0
    driven = [-min(duties) for duties in car.world.duties if any(duties)]
    assert max(driven[30:]) < 0.2 < max(driven[:30])


@pytest.mark.slow
def test_a_model_that_sees_the_wall_too_far_never_touches_it(tmp_path: Path) -> None:
    for bias_mm in range(10, 120, 10):
        car = Car(tmp_path / str(bias_mm), World(camera_bias_mm=float(bias_mm)))
        car.install()
        car.drive(9.0, {0.2: "park"})
        assert car.world.contacts == 0
        assert car.world.distance_mm > 15.0


def test_a_sensor_that_fails_does_not_keep_the_model_from_parking(tmp_path: Path) -> None:
    car = Car(tmp_path, World(range_fails_from_us=2_000_000))
    car.install()
    car.drive(9.0, {0.2: "park"})
    assert car.world.distance_mm == pytest.approx(40.0, abs=4.0)
    assert {s.sensor_status for s in car.samples()} == {"ok", "error"}


def test_stop_is_obeyed_at_once_and_logged(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.drive(5.0, {0.2: "park", 2.0: "stop"})
    assert car.world.distance_mm == pytest.approx(car.world.distance_at(3_100_000), abs=1.0)
    (end,) = car.ends()
    assert (end.reason, end.pairs) == ("stop", len(car.samples()))


def test_shutting_down_in_the_middle_cuts_the_motors_and_ends_the_manoeuvre(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.drive(3.0, {0.2: "park"})
    assert car.world.duty == (0.0, 0.0)
    (end,) = car.ends()
    assert (end.reason, end.pairs) == ("shutdown", len(car.samples()))


def test_who_watches_hears_that_the_car_stands_before_the_end_is_written(tmp_path: Path) -> None:
    car = Car(tmp_path)
    heard: list[tuple[bool, tuple[float, float], int]] = []

    def turned(is_moving: bool) -> None:
        heard.append((is_moving, car.world.duty, len(car.ends())))

    car.drive(1.0, {0.2: "park"}, turned)
    assert heard[-2][0]
    assert heard[-1] == (False, (0.0, 0.0), 0)
    assert len(car.ends()) == 1


def test_manoeuvres_and_sequences_count_on_and_each_start_is_a_new_boot(tmp_path: Path) -> None:
    car = Car(tmp_path)
    for _ in range(2):
        car.drive(3.0, {0.2: "park", 1.0: "stop", 1.8: "park", 2.5: "stop"})
        car.world.distance_mm = 330.0
    samples, ends = car.samples(), car.ends()
    assert [(end.boot[:8], end.manoeuvre) for end in ends] == [
        ("00000001", 1),
        ("00000001", 2),
        ("00000002", 1),
        ("00000002", 2),
    ]
    first = [sample.sequence for sample in samples if sample.boot == ends[0].boot]
    assert first == list(range(len(first)))
    assert len({sample.key for sample in samples}) == len(samples)


def test_samples_are_filed_as_the_server_last_wished(tmp_path: Path) -> None:
    car = Car(tmp_path, settings=DeviceSettings(name="blue", deployment="yard"))
    car.drive(2.0, {0.2: "park"})
    journal = Journal.open(car.home.journal)
    journal.set_desired(Desired(device="blue", epoch=1, revision=7, deployment="beige"))
    journal.close()
    car.drive(2.0, {0.2: "park"})
    filed = {(end.device, end.deployment) for end in car.ends()}
    assert filed == {("blue", "yard"), ("blue", "beige")}
    assert {s.desired_revision for s in car.samples() if s.deployment == "beige"} == {7}


def test_the_lamp_is_lit_and_the_buzzer_beats_while_parking(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.drive(3.0, {0.2: "park"})
    assert car.signals.beeps >= 2
    assert (car.signals.led, car.signals.buzzer) == (False, False)


def test_a_home_folder_is_driven_by_one_process_only(tmp_path: Path) -> None:
    car = Car(tmp_path)
    with only_one(car.home), pytest.raises(UsageError, match="another process drives"):
        car.drive(0.1, {})
    car.drive(0.1, {})


@pytest.mark.parametrize("from_byte", [0, 100, 4096])
def test_a_journal_that_a_power_cut_left_damaged_does_not_keep_the_car_from_parking(
    tmp_path: Path, from_byte: int
) -> None:
    car = Car(tmp_path)
    car.drive(0.1, {})
    content = car.home.journal.read_bytes()
    car.home.journal.write_bytes(content[:from_byte] + b"\xa5" * (len(content) - from_byte))
    car.drive(9.0, {0.2: "park"})
    assert car.world.distance_mm == pytest.approx(40.0, abs=4.0)


def test_a_journal_that_is_damaged_under_way_does_not_keep_the_car_from_parking(
    tmp_path: Path,
) -> None:
    car = Car(tmp_path)
    car.drive(0.1, {})
    connection = sqlite3.connect(car.home.journal, isolation_level=None)
    # As if these tables' pages were gone: every later read and write of them fails.
    for table in ("samples", "desired", "slots", "drive_state"):
        connection.execute(f"ALTER TABLE {table} RENAME TO lost_{table}")
    connection.close()
    car.drive(9.0, {0.2: "park"})
    assert car.world.distance_mm == pytest.approx(40.0, abs=4.0)
