"""From manoeuvres to verdicts: harm and its cause, changes that do not hurt, and the sensor."""

import msgspec
import numpy as np
import pytest

from fleet_server.drift import naming, reference
from fleet_server.drift.families import NOT_APPLICABLE
from fleet_server.drift.follow import Found, Over, Track
from tests.fleet_server.drift import drives
from tests.fleet_server.drift.drives import Follower, Pool

USUAL = drives.made_up(60, seed=1)
BEFORE = 24


def _follower(pool: Pool = USUAL, *, seed: int = 1) -> Follower:
    follower = Follower(np.random.default_rng(seed), promised=4.0)
    follower.drive(pool, BEFORE)
    assert follower.found == []
    return follower


def _last(follower: Follower) -> Found:
    found = [change for _, change in follower.found if isinstance(change, Found)]
    return found[-1]


def test_nothing_is_found_where_nothing_changes() -> None:
    follower = _follower()
    follower.drive(USUAL, 100)
    assert follower.found == []


def test_pictures_that_look_different_and_hurt_are_a_covariate_shift() -> None:
    follower = _follower()
    follower.drive(drives.made_up(20, seed=2, error_mm=25.0, shift=12.0), 8)
    found = _last(follower)
    assert (found.kind, found.cause, found.hurts) == ("drift", "covariate-shift", True)
    assert found.since == BEFORE + 1
    assert found.error is not None
    assert found.normal is not None
    assert found.error > 4 * found.normal
    assert "pictures changed at the same distance" in found.words
    moved = found.evidence["moved"]
    assert isinstance(moved, list)
    assert moved[0]["now"] - moved[0]["before"] == pytest.approx(12.0, abs=3.0)


def test_the_cause_is_named_three_manoeuvres_after_the_change() -> None:
    follower = _follower()
    follower.drive(drives.made_up(20, seed=2, error_mm=40.0, shift=12.0), 3)
    assert _last(follower).cause == "covariate-shift"


@pytest.mark.parametrize("by_mm", [15.0, -15.0, 40.0])
def test_a_constant_offset_of_the_sensor_asks_to_check_the_sensor(by_mm: float) -> None:
    follower = _follower()
    follower.drive(USUAL, 12, sensor=drives.offset(by_mm))
    found = _last(follower)
    assert found.cause == "concept-or-sensor"
    assert "check the sensor" in found.words
    assert found.evidence["offset"] == pytest.approx(by_mm, abs=2.0)


@pytest.mark.parametrize("by", [1.2, 0.8])
def test_a_wrong_scale_is_named_and_measured(by: float) -> None:
    follower = _follower()
    follower.drive(USUAL, 12, sensor=drives.scaled(by))
    assert _last(follower).cause == "sensor-scaled"
    assert _last(follower).evidence["scale"] == pytest.approx(by, abs=0.03)


@pytest.mark.parametrize(
    ("sensor", "cause"),
    [
        (drives.stuck, "sensor-stuck"),
        (drives.noisy(20.0), "sensor-noisy"),
        (drives.dropping(0.4), "sensor-dropping"),
    ],
)
def test_a_faulty_sensor_is_named_by_its_symptom(sensor: drives.Sensor, cause: str) -> None:
    follower = _follower()
    follower.drive(USUAL, 12, sensor=sensor)
    causes = {change.cause for _, change in follower.found if isinstance(change, Found)}
    assert cause in causes
    hurting = [each for _, each in follower.found if isinstance(each, Found) and each.hurts]
    assert [each.cause for each in hurting[-1:]] in ([], [cause])


def test_farther_distances_that_hurt_are_a_label_shift() -> None:
    near = tuple(reel[6:] for reel in USUAL)
    follower = _follower(near)
    follower.drive(USUAL, 10, reach_mm=250.0)
    assert _last(follower).cause == "label-shift"
    assert _last(follower).evidence["shares_of_added_error"] == pytest.approx(
        {"label": 1.0, "appearance": 0.0, "inside": 0.0}, abs=0.2
    )


def test_a_change_without_harm_is_noted_once_and_is_normal_from_then_on() -> None:
    follower = _follower()
    changed = drives.made_up(40, seed=3, shift=12.0)
    follower.drive(changed, 80)
    (noted,) = (change for _, change in follower.found)
    assert isinstance(noted, Found)
    assert (noted.kind, noted.cause, noted.hurts) == ("change", "appearance-changed", False)
    follower.drive(changed, 12, sensor=drives.offset(25.0))
    assert _last(follower).cause == "concept-or-sensor"


def test_an_error_that_nothing_explains_is_put_down_to_model_or_runtime() -> None:
    rng = np.random.default_rng(1)
    first = [drives.summary(drives.samples(reel, rng)) for reel in USUAL[:20]]
    window = [drives.summary(drives.samples(reel, rng)) for reel in USUAL[20:28]]
    built = reference.build(first, 4.0)
    tested = dict.fromkeys(("label", "appearance", "concept"), NOT_APPLICABLE)
    waiting, whole = (
        naming.name(built, window, tested, is_whole=is_whole) for is_whole in (False, True)
    )
    assert waiting.cause == "unnamed"
    assert whole.cause == "model-or-runtime"
    assert "golden pictures" in whole.words


def test_harm_that_ends_is_said_to_be_over() -> None:
    follower = _follower()
    follower.drive(USUAL, 6, sensor=drives.offset(30.0))
    follower.drive(USUAL, 9)
    assert [change for _, change in follower.found if isinstance(change, Over)] == [
        Over(subject="harm")
    ]
    assert follower.track.bad == []


def test_a_car_without_a_sensor_takes_part_by_looks_and_sigma() -> None:
    follower = Follower(np.random.default_rng(4), promised=4.0)
    follower.drive(USUAL, BEFORE, sensor=drives.absent)
    follower.drive(drives.made_up(20, seed=2, error_mm=25.0, shift=12.0), 8, sensor=drives.absent)
    found = _last(follower)
    assert (found.cause, found.is_estimate) == ("covariate-shift", True)
    assert found.words.startswith("estimated error risen")


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_manoeuvres() -> None:
    follower = _follower()
    follower.drive(USUAL, 40)
    size = len(msgspec.msgpack.encode(follower.track))
    follower.drive(USUAL, 400)
    assert len(msgspec.msgpack.encode(follower.track)) <= size * 1.2
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(follower.track), type=Track)
    assert read == follower.track


def test_erased_manoeuvres_are_done_without() -> None:
    follower = _follower()
    for number in range(1, 20):
        follower.stored.pop(number)
    follower.drive(drives.made_up(20, seed=2, error_mm=30.0, shift=12.0), 8)
    assert _last(follower).cause in {"unnamed", "model-or-runtime"}
