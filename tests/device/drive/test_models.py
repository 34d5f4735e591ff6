"""The model that drives is the one in the active slot, if and only if it is sound."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from device.drive.models import Models, load
from device.drive.wishes import Wishes
from device.home import Home
from device.journal import Journal
from device.update import arms
from device.update.saved import Saved, dump
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.task import WALL_DISTANCE
from tests.device.fakes import DATA, TINY, Car, FakeClock, World


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


OTHER_BYTES = (DATA / "tiny.tflite").read_bytes() + b"\0"
"""The same model under another digest: what follows a flatbuffer is passed over."""

OTHER = msgspec.structs.replace(
    TINY, sha256=sha256_hex(OTHER_BYTES), size_bytes=len(OTHER_BYTES), release_seq=2
)


def put_other(home: Home) -> None:
    home.model(OTHER.sha256).write_bytes(OTHER_BYTES)
    home.manifest(OTHER.sha256).write_text(OTHER.to_json())


def follow(models: Models, *, swaps_at_once: bool = False) -> None:
    """Let `models` look until nothing is left to load, or once where nothing is to be loaded."""
    models.nudge()
    if swaps_at_once:
        models.follow()
        return
    for _ in range(3):
        models.nudge()
        models.start()


def digests(models: Models) -> tuple[str | None, str | None]:
    shadow = models.shadow
    return models.digest, shadow.manifest.sha256 if shadow else None


def test_a_candidate_is_loaded_beside_and_committed_by_a_change_of_places(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    car.install()
    put_other(car.home)
    journal.stage_slot(OTHER.sha256, 2)
    follow(models)
    assert digests(models) == (TINY.sha256, OTHER.sha256)
    journal.commit_slot(OTHER.sha256, 2, keep_asking=True)
    follow(models, swaps_at_once=True)
    assert digests(models) == (OTHER.sha256, TINY.sha256)
    journal.step_back(OTHER.sha256)
    follow(models, swaps_at_once=True)
    assert digests(models) == (TINY.sha256, None)


def test_a_first_model_that_is_rolled_back_leaves_the_car_to_its_sensor(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    car.install()
    follow(models)
    journal.step_back(TINY.sha256)
    follow(models, swaps_at_once=True)
    assert digests(models) == (None, None)


def test_a_candidate_that_does_not_load_is_named_and_the_model_in_service_stays(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    car.install()
    put_other(car.home)
    car.home.model(OTHER.sha256).write_bytes(b"nonsense")
    journal.stage_slot(OTHER.sha256, 2)
    follow(models)
    assert digests(models) == (TINY.sha256, None)
    assert models.refusal.startswith(f"model {OTHER.sha256[:12]} refused")


def test_candidate_and_model_in_service_answer_the_same_pictures_and_both_are_logged(
    tmp_path: Path,
) -> None:
    car = Car(tmp_path, World())
    car.install()
    put_other(car.home)
    journal = Journal.open(car.home.journal)
    journal.stage_slot(OTHER.sha256, 2)
    journal.close()
    car.drive(9.0, {1.5: "park"})
    samples, (end,) = car.samples(), car.ends()
    assert len(samples) > 20
    for sample in samples:
        first, second = sample.estimates
        assert (first.model, second.model) == (TINY.sha256, OTHER.sha256)
        assert first.value == second.value
    assert end.stop_estimate == samples[-1].estimates[0].value
    assert car.world.distance_mm == pytest.approx(40.0, abs=4.0)


def share(journal: Journal, share: float) -> None:
    """Have the two models of the slots share the driving."""
    known = arms.begin(TINY.sha256, OTHER.sha256, WALL_DISTANCE)
    split = arms.Split(draw="share", share=share)
    journal.set_update_state(dump(Saved(state="choosing", split=split, arms=known)))


@pytest.mark.parametrize(("candidate", "drives"), [(0.0, TINY), (1.0, OTHER)])
def test_of_two_arms_the_one_that_is_drawn_drives_and_the_other_answers_beside(
    car: Car, journal: Journal, candidate: float, drives: Manifest
) -> None:
    models = follower(car, journal)
    car.install()
    put_other(car.home)
    journal.stage_slot(OTHER.sha256, 2)
    share(journal, candidate)
    follow(models)
    driver, beside = models.pair("car-1", "00000001-00000000", 1)
    assert driver is not None
    assert beside is not None
    assert driver.manifest.sha256 == drives.sha256
    assert {driver.manifest.sha256, beside.manifest.sha256} == {TINY.sha256, OTHER.sha256}
    # What the car is said to have loaded is what was committed, whoever drives.
    assert digests(models) == (TINY.sha256, OTHER.sha256)


def test_while_the_second_arm_is_not_in_memory_the_committed_model_drives(
    car: Car, journal: Journal
) -> None:
    models = follower(car, journal)
    car.install()
    journal.stage_slot(OTHER.sha256, 2)
    share(journal, 1.0)
    follow(models)
    driver, beside = models.pair("car-1", "00000001-00000000", 1)
    assert driver is not None
    assert (driver.manifest.sha256, beside) == (TINY.sha256, None)
