"""The watch over the error of the model in service, on a real journal."""

import math
import sqlite3
from itertools import count
from pathlib import Path

import msgspec
import pytest

from device.agent.effects import Effect
from device.agent.watching import Watching, estimated_error, mean_error
from device.journal import DriveState
from shared import codec
from shared.errors import RetryLaterError
from shared.messages import Batch, Status, UploadLevel
from shared.mqtt_events import Connected
from shared.samples import Estimate, Sample, SensorStatus
from shared.signing import SigningKey, open_envelope
from shared.topics import BATCH, STATUS
from tests.device.agent.world import SECOND, Car, Fleet, enrolled_home, published
from tests.device.fakes import TINY
from tests.device.records import BOOT, JPEG, manoeuvre_end, sample

PAIRS = 4
PROMISED_MM = 6.0


def serve(car: Car, promised: float | None = PROMISED_MM) -> None:
    """Put the tiny model into service, with the error that its manifest promises."""
    metrics = {} if promised is None else {"test_mae": promised}
    car.home.manifest(TINY.sha256).write_text(
        msgspec.structs.replace(TINY, metrics=metrics).to_json()
    )
    car.journal.set_drive_state(
        DriveState(boot=BOOT, loaded=TINY.sha256, release_seq=1, state="idle", utc_us=1)
    )


def measured(number: int, error_mm: float, model: str = TINY.sha256) -> Sample:
    estimate = Estimate(model=model, value=100.0 + error_mm)
    return sample(number, label=100.0, estimates=(estimate,), manoeuvre=number // PAIRS)


def drive(
    car: Car, number: int, error_mm: float, *, model: str = TINY.sha256, closes: bool = True
) -> None:
    sequences = range(PAIRS * number, PAIRS * (number + 1))
    car.journal.append(
        samples=[(measured(n, error_mm, model), JPEG) for n in sequences],
        manoeuvres=[manoeuvre_end(number, pairs=PAIRS)] if closes else (),
    )


def watch_until_alarm(car: Car, watching: Watching, error_mm: float, first: int = 0) -> int:
    """Drive with that error until the alarm; return the manoeuvre that raised it."""
    for number in count(first):
        drive(car, number, error_mm)
        if watching.look():
            return number
    raise AssertionError


def batch(car: Car, effects: list[Effect]) -> Batch:
    key = SigningKey.load(car.home.signing_key).public
    each = published(effects, BATCH)[0]
    return open_envelope(BATCH, each.payload, topic=each.topic, message_type=Batch, key=key)


def faults(effects: list[Effect]) -> tuple[str, ...]:
    (said,) = published(effects, STATUS)
    return codec.decode(Status, said.payload, limit_bytes=STATUS.limit_bytes).faults


def test_a_model_as_good_as_promised_raises_no_alarm(car: Car) -> None:
    serve(car)
    watching = Watching(car.home, car.journal, car.agent.updating)
    for number in range(60):
        drive(car, number, PROMISED_MM)
        assert not watching.look()
    assert watching.fault == ""


def test_on_an_alarm_that_manoeuvre_is_sent_first_and_the_status_tells(car: Car) -> None:
    serve(car)
    car.agent.handle(Connected())
    car.agent.tick()
    for number in range(4):
        drive(car, number, PROMISED_MM)
    bad = 0
    while not car.agent.watching.fault:
        bad = max(bad + 1, 4)
        drive(car, bad, 30.0)
        car.agent.watching.look()
    drive(car, bad + 1, PROMISED_MM)
    car.clock.now_us += 10 * SECOND
    sent = batch(car, car.agent.tick())
    assert [s.manoeuvre for s in sent.samples[:PAIRS]] == [bad] * PAIRS
    assert len(sent.pictures) == len(sent.samples)
    car.agent.handle(Connected())
    (fault,) = faults(car.agent.tick())
    assert fault == (
        f"measured error risen: mean 30.0 in manoeuvre {BOOT}/{bad}, "
        "6.0 is normal for this model here"
    )


@pytest.mark.parametrize("level", ["none", "characteristics"])
def test_an_owner_who_lets_nothing_leave_is_not_told_on_by_the_status(
    car: Car, level: UploadLevel
) -> None:
    serve(car)
    watch_until_alarm(car, car.agent.watching, 30.0)
    car.wish(None, upload=level)
    car.agent.handle(Connected())
    assert bool(faults(car.agent.tick())) == (level != "none")


def test_interrupted_at_every_manoeuvre_none_is_skipped_or_repeated(
    car: Car, tmp_path: Path, fleet: Fleet
) -> None:
    serve(car)
    steady = Watching(car.home, car.journal, car.agent.updating)
    last = watch_until_alarm(car, steady, 13.0)
    other = Car(home=enrolled_home(tmp_path / "other", fleet), fleet=fleet, clock=fleet.clock)
    serve(other)
    disk = sqlite3.connect(other.home.journal)
    alarms = []
    for number in range(last + 1):
        drive(other, number, 13.0)
        disk.execute("ALTER TABLE watch RENAME TO away")
        with pytest.raises(RetryLaterError):
            Watching(other.home, other.journal, other.agent.updating).look()
        disk.execute("ALTER TABLE away RENAME TO watch")
        alarms += (
            [number] if Watching(other.home, other.journal, other.agent.updating).look() else []
        )
        assert not Watching(other.home, other.journal, other.agent.updating).look()
    disk.close()
    assert alarms == [last]
    assert other.journal.watch_state() == car.journal.watch_state()
    assert Watching(other.home, other.journal, other.agent.updating).fault == steady.fault
    other.journal.close()


def test_a_manoeuvre_that_is_not_closed_waits(car: Car) -> None:
    serve(car)
    watching = Watching(car.home, car.journal, car.agent.updating)
    drive(car, 0, 30.0, closes=False)
    watching.look()
    assert car.journal.watch_state() is None
    car.journal.append(samples=[], manoeuvres=[manoeuvre_end(0, pairs=PAIRS)])
    watching.look()
    assert car.journal.watch_state() is not None


def test_a_manoeuvre_that_a_kill_cut_short_is_learnt_from_after_the_next_boot(car: Car) -> None:
    serve(car)
    watching = Watching(car.home, car.journal, car.agent.updating)
    last = watch_until_alarm(car, watching, 30.0)
    drive(car, last + 1, 30.0, closes=False)
    assert car.journal.next_unwatched() is None
    car.journal.close_interrupted(BOOT.replace("1", "2", 1))
    before = car.journal.watch_state()
    watching.look()
    assert car.journal.watch_state() != before
    assert car.journal.next_unwatched() is None


def test_another_model_begins_anew_and_what_the_former_said_is_no_evidence(car: Car) -> None:
    serve(car)
    watching = Watching(car.home, car.journal, car.agent.updating)
    last = watch_until_alarm(car, watching, 30.0)
    other = msgspec.structs.replace(TINY, sha256="e" * 64, metrics={"test_mae": 5.0})
    car.home.manifest(other.sha256).write_text(other.to_json())
    car.journal.set_drive_state(
        DriveState(boot=BOOT, loaded=other.sha256, release_seq=2, state="idle", utc_us=2)
    )
    for number in range(last + 1, last + 30):
        drive(car, number, 30.0)
        assert not watching.look()
    assert watching.fault == ""


@pytest.mark.parametrize("promised", [None, 0.0, -1.0])
def test_a_model_that_promises_nothing_is_not_watched_and_holds_nothing_up(
    car: Car, promised: float | None
) -> None:
    serve(car, promised)
    watching = Watching(car.home, car.journal, car.agent.updating)
    for number in range(20):
        drive(car, number, 300.0)
        assert not watching.look()
    assert car.journal.next_unwatched() is None


def test_the_alarm_is_told_until_the_error_was_normal_for_long(car: Car) -> None:
    serve(car)
    watching = Watching(car.home, car.journal, car.agent.updating)
    last = watch_until_alarm(car, watching, 30.0)
    for number in range(last + 1, last + 21):
        assert watching.fault
        drive(car, number, PROMISED_MM)
        watching.look()
    assert watching.fault == ""


def test_only_labelled_pairs_with_an_estimate_of_that_model_count() -> None:
    samples = [
        measured(0, 10.0),
        measured(1, -20.0),
        measured(2, 500.0, model="f" * 64),
        sample(3, label=None, sensor_status="no_reading"),
    ]
    assert mean_error(samples, TINY.sha256) == pytest.approx(15.0)
    assert mean_error(samples[2:], TINY.sha256) is None


def unlabelled(car: Car, number: int, sigma_mm: float, *, status: SensorStatus = "absent") -> None:
    """Drive a manoeuvre without labels, of which the model says that it is so unsure."""
    estimate = Estimate(model=TINY.sha256, value=100.0, sigma=sigma_mm)
    sequences = range(PAIRS * number, PAIRS * (number + 1))
    made = [
        sample(n, label=None, sensor_status=status, estimates=(estimate,), manoeuvre=number)
        for n in sequences
    ]
    car.journal.append(
        samples=[(each, JPEG) for each in made], manoeuvres=[manoeuvre_end(number, pairs=PAIRS)]
    )


def test_without_a_sensor_the_models_own_word_is_watched_and_told_as_an_estimate(car: Car) -> None:
    serve(car)
    usual = PROMISED_MM / math.sqrt(2.0 / math.pi)
    for number in range(30):
        unlabelled(car, number, usual)
        assert not car.agent.watching.look()
    for number in range(30, 40):
        unlabelled(car, number, 5.0 * usual)
        if car.agent.watching.look():
            break
    assert car.agent.watching.fault == (
        f"error by the model's own word risen: mean 30.0 in manoeuvre {BOOT}/{number}, "
        "6.0 is normal for this model here"
    )


def test_a_sensor_that_is_fitted_and_silent_makes_no_car_without_one(car: Car) -> None:
    serve(car)
    for number in range(20):
        unlabelled(car, number, 60.0, status="out_of_range")
        assert not car.agent.watching.look()
    assert car.agent.watching.fault == ""
    assert estimated_error([], TINY.sha256) is None
