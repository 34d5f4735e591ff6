"""The model that drives is the one in the active slot, if and only if it is sound."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from device.drive.models import Models, load
from device.drive.wishes import Wishes
from device.home import Home
from device.journal import Journal
from shared.errors import RefusedError
from shared.task import WALL_DISTANCE
from tests.device.fakes import TINY, Car, FakeClock, World


@pytest.fixture
def car(tmp_path: Path) -> Car:
    return Car(tmp_path)


@pytest.fixture
def journal(car: Car) -> Iterator[Journal]:
    opened = Journal.open(car.home.journal)
    yield opened
    opened.close()


def follower(car: Car, journal: Journal) -> Models:
    return Models(car.home, Wishes(car.home, journal), FakeClock(car.world), task=WALL_DISTANCE)


def test_a_committed_model_is_loaded_within_a_second_or_at_a_nudge(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    seen = []
    for step in (models.start, car.install, models.start, models.nudge, models.start):
        step()
        seen.append(models.digest)
    assert seen == [None, None, None, None, TINY.sha256]
    assert models.release_seq == TINY.release_seq
    other = follower(car, journal)
    car.world.now_us += 1_000_000
    other.start()
    assert other.digest == TINY.sha256


def test_the_car_goes_on_while_a_model_loads_and_takes_it_between_two_turns(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    car.install()
    turns = 0
    while models.digest is None:
        assert models.follow() is (models.digest is not None)
        turns += 1
    assert turns >= 2


def test_a_refused_model_is_tried_again_when_agent_says_that_it_lies_there_anew(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    car.install()
    sound = car.home.model(TINY.sha256).read_bytes()
    damage(car.home, "flipped")
    models.start()
    assert models.digest is None
    car.home.model(TINY.sha256).write_bytes(sound)
    car.world.now_us += 1_000_000
    models.start()
    assert models.digest is None
    models.nudge()
    models.start()
    assert models.digest == TINY.sha256


def damage(home: Home, how: str) -> None:
    if how == "flipped":
        model = bytearray(home.model(TINY.sha256).read_bytes())
        model[-40] ^= 1
        home.model(TINY.sha256).write_bytes(model)
    elif how == "missing":
        home.model(TINY.sha256).unlink()
    elif how == "no manifest":
        home.manifest(TINY.sha256).unlink()
    elif how == "other manifest":
        text = msgspec.structs.replace(TINY, sha256="f" * 64).to_json()
        home.manifest(TINY.sha256).write_text(text)
    else:
        wrong = msgspec.structs.replace(TINY.value, scale=0.5)
        text = msgspec.structs.replace(TINY, value=wrong).to_json()
        home.manifest(TINY.sha256).write_text(text)


@pytest.mark.parametrize(
    "how", ["flipped", "missing", "no manifest", "other manifest", "other tensors"]
)
def test_a_model_that_is_not_sound_leaves_the_old_one_and_is_named(
    car: Car, journal: Journal, how: str
) -> None:
    car.install()
    damage(car.home, how)
    with pytest.raises(RefusedError):
        load(car.home, TINY.sha256, WALL_DISTANCE)
    models = follower(car, journal)
    models.start()
    assert models.model is None
    assert models.refusal.startswith(f"model {TINY.sha256[:12]} refused")
    models.nudge()
    models.start()
    assert models.refusal.startswith(f"model {TINY.sha256[:12]} refused")


def test_a_refused_model_is_told_in_the_journal(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.install()
    damage(car.home, "flipped")
    told = []
    for seconds in (0.2, 9.0):
        car.drive(seconds, {0.1: "park"} if seconds > 1 else {})
        journal = Journal.open(car.home.journal)
        state = journal.drive_state()
        journal.close()
        assert state is not None
        told.append((state.loaded, state.faults[0].startswith(f"model {TINY.sha256[:12]} refused")))
    assert told == [(None, True)] * 2
    assert [end.source for end in car.ends()] == ["sensor"]


def test_a_model_is_swapped_between_manoeuvres_of_a_running_car(tmp_path: Path) -> None:
    car = Car(tmp_path, World())
    car.install(commit=False)
    car.drive(8.0, {0.2: "park"})
    car.install()
    car.world.distance_mm = 330.0
    car.drive(8.0, {0.2: "park"})
    assert [end.source for end in car.ends()] == ["sensor", "model"]
