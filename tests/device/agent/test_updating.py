"""A model's way into a car, over a real release repository and a real journal."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device.agent.effects import (
    ProbeEnded,
    StartProbe,
    StopProbe,
    ToDrive,
    Unsubscribe,
)
from device.agent.releases import KnownTime
from device.journal import DriveState
from device.update import saved as update
from shared.ids import sha256_hex
from shared.messages import ReleaseMetadata
from shared.mqtt_events import Connected, Disconnected, Received
from shared.topics import RELEASE_METADATA
from tests.device.agent.updates import (
    SHA,
    asked,
    events,
    fetch_all,
    install,
    passed,
    state,
)
from tests.device.agent.world import (
    DAY,
    MODEL,
    SECOND,
    Car,
    Fleet,
    SettableClock,
    enrolled_home,
)


def test_a_released_model_reaches_the_active_slot_and_drive_is_nudged(
    car: Car, fleet: Fleet
) -> None:
    target = fleet.release()
    car.agent.handle(Connected())
    effects = [*car.wish(target), *car.metadata()]
    assert asked(effects) == [0]
    effects += fetch_all(car)
    assert StartProbe(target=target, sha256=SHA) in effects
    effects += car.agent.handle(passed(target, latency_median_us=100.0))
    assert ToDrive(what="model") in effects
    assert car.journal.active_model() == SHA
    assert car.home.model(SHA).read_bytes() == MODEL
    assert car.home.manifest(SHA).exists()
    assert not car.home.incoming.exists()
    told = events(effects)
    assert [each.state for each in told] == [
        *("fetching", "fetching", "verifying", "probing", "committing", "idle")
    ]
    assert [each.number for each in told] == sorted({each.number for each in told})
    assert told[4].evidence == {"latency_median_us": 100.0}
    assert state(car).newest == {"wall-distance/beige": 1}


@pytest.mark.parametrize("kill_before", ["metadata", "pieces", "last piece", "probe", "commit"])
def test_a_kill_at_any_stage_only_delays_the_model(
    car: Car, fleet: Fleet, kill_before: str
) -> None:
    target = fleet.release()
    stages: dict[str, Callable[[], object]] = {
        "metadata": car.metadata,
        "pieces": lambda: [car.agent.handle(piece) for piece in car.pieces()[:2]],
        "last piece": lambda: car.agent.handle(car.pieces()[2]),
        "probe": lambda: car.agent.handle(passed(target)),
    }
    car.agent.handle(Connected())
    car.wish(target)
    for name, stage in stages.items():
        if name == kill_before:
            break
        if name == "probe":
            # Killed after the slot was swapped, before the state said so.
            car.journal.commit_slot(SHA, 1)
        stage()
    effects = car.start()
    effects += car.agent.handle(Connected())
    effects += car.metadata()
    for piece in car.pieces():
        if int(piece.topic.rpartition("/")[2]) in asked(effects):
            effects += car.agent.handle(piece)
    if kill_before == "last piece":
        assert asked(effects) == [2]
    if kill_before == "probe":
        assert StartProbe(target=target, sha256=SHA) in effects
    effects += car.agent.handle(passed(target))
    assert car.journal.active_model() == SHA
    assert state(car).state == "idle"


@pytest.mark.parametrize("left_in", ["verifying", "committing"])
def test_a_saved_state_is_taken_up_at_the_start_without_any_network(
    car: Car, fleet: Fleet, left_in: str
) -> None:
    target = fleet.release()
    car.agent.handle(Connected())
    car.metadata()
    car.wish(target)
    fetch_all(car)
    saved = msgspec.structs.replace(state(car), **msgspec.convert({"state": left_in}, dict))
    car.journal.set_update_state(update.dump(saved))
    effects = car.start()
    if left_in == "verifying":
        assert StartProbe(target=target, sha256=SHA) in effects
    else:
        assert car.journal.active_model() == SHA
        assert state(car).state == "idle"


def test_a_wish_before_its_metadata_waits_for_them(car: Car, fleet: Fleet) -> None:
    car.agent.handle(Connected())
    car.metadata()
    target = fleet.release()
    assert asked(car.wish(target)) == []
    assert state(car).state == "fetching"
    assert "no signed release" in car.agent.updating.trouble
    assert asked(car.metadata()) == [0]
    assert car.agent.updating.trouble == ""


def test_a_wrong_piece_is_refused_and_asked_for_again(
    car: Car, fleet: Fleet, clock: SettableClock
) -> None:
    target = fleet.release()
    car.agent.handle(Connected())
    car.metadata()
    car.wish(target)
    first, *others = car.pieces()
    forged = Received(topic=first.topic, payload=b"?" * 65536, qos=1, retained=True, mid=9)
    car.agent.handle(forged)
    assert car.agent.refused == 1
    for piece in others:
        car.agent.handle(piece)
    assert state(car).state == "fetching"
    clock.now_us += 10 * SECOND
    effects = car.agent.tick()
    assert asked(effects) == [0]
    assert StartProbe(target=target, sha256=SHA) in car.agent.handle(first)


def test_a_lost_connection_asks_again_only_for_what_is_missing(car: Car, fleet: Fleet) -> None:
    target = fleet.release()
    car.agent.handle(Connected())
    car.metadata()
    car.wish(target)
    car.agent.handle(car.pieces()[1])
    car.agent.handle(Disconnected(reason="gone"))
    effects = car.agent.handle(Connected())
    assert asked(effects) == [0]
    for number in (0, 2):
        effects += car.agent.handle(car.pieces()[number])
    assert asked(effects) == [0, 2]


def test_pieces_are_asked_for_one_at_a_time(car: Car, fleet: Fleet) -> None:
    model = bytes(20 * 8192)
    target = fleet.release(model)
    car.agent.handle(Connected())
    car.metadata()
    assert asked(car.wish(target)) == [0]
    effects = car.agent.handle(car.pieces(model)[0])
    assert asked(effects) == [1]
    assert any(isinstance(e, Unsubscribe) and e.topic_filter.endswith("/0") for e in effects)


def test_a_piece_of_a_model_that_nobody_wants_is_silenced(car: Car) -> None:
    (effect,) = car.agent.handle(car.pieces()[0])
    assert isinstance(effect, Unsubscribe)
    assert not car.home.incoming.exists()


def test_a_model_that_fails_its_probe_is_refused_and_not_tried_again(
    car: Car, fleet: Fleet
) -> None:
    target = fleet.release()
    car.agent.handle(Connected())
    car.metadata()
    car.wish(target)
    fetch_all(car)
    ended = ProbeEnded(target=target, reason="ended by signal 11", evidence={})
    (told,) = events(car.agent.handle(ended))
    assert (told.state, told.reason) == ("refused", "ended by signal 11")
    assert car.journal.active_model() is None
    assert not car.home.model(SHA).exists()
    assert asked([*car.wish(target, revision=2), *car.metadata(), *car.agent.tick()]) == []
    assert events(car.start()) == []
    assert state(car).state == "refused"


def test_another_wish_stops_the_probe_of_the_former(car: Car, fleet: Fleet) -> None:
    first = fleet.release()
    second = fleet.release(b"second", release_seq=2)
    car.agent.handle(Connected())
    car.metadata()
    car.wish(first)
    fetch_all(car)
    effects = car.wish(second, revision=2)
    assert StopProbe() in effects
    assert asked(effects) == [0]
    assert car.agent.handle(passed(first)) == []
    assert car.journal.active_model() is None


def test_the_model_before_may_come_back_and_an_older_one_may_not(car: Car, fleet: Fleet) -> None:
    models = [b"one", b"two", b"three"]
    targets = [fleet.release(m, release_seq=n + 1) for n, m in enumerate(models)]
    for n in (0, 1, 2):
        install(car, targets[n], models[n], revision=n + 1)
    assert car.journal.active_model() == sha256_hex(b"three")
    assert not car.home.model(sha256_hex(b"one")).exists()
    car.wish(targets[0], revision=4)
    assert state(car).state == "refused"
    assert "older than 3" in state(car).reason
    effects = car.wish(targets[1], revision=5)
    assert StartProbe(target=targets[1], sha256=sha256_hex(b"two")) in effects
    car.agent.handle(passed(targets[1]))
    assert car.journal.active_model() == sha256_hex(b"two")


def test_what_drive_still_has_loaded_is_not_thrown_away(car: Car, fleet: Fleet) -> None:
    models = [b"one", b"two", b"three"]
    targets = [fleet.release(m, release_seq=n + 1) for n, m in enumerate(models)]
    install(car, targets[0], models[0])
    loaded = sha256_hex(b"one")
    car.journal.set_drive_state(
        DriveState(
            boot="00000001-00000000", loaded=loaded, release_seq=1, state="reversing", utc_us=1
        )
    )
    for n in (1, 2):
        install(car, targets[n], models[n], revision=n + 1)
    assert car.home.model(loaded).exists()


def test_a_file_damaged_on_the_disk_is_fetched_again(car: Car, fleet: Fleet) -> None:
    target = fleet.release()
    car.agent.handle(Connected())
    car.metadata()
    car.wish(target)
    fetch_all(car)
    saved = msgspec.structs.replace(state(car), **msgspec.convert({"state": "verifying"}, dict))
    car.journal.set_update_state(update.dump(saved))
    car.home.model(SHA).write_bytes(MODEL[:-1] + b"!")
    car.start()
    assert state(car).state == "fetching"
    car.agent.handle(Connected())
    assert asked(car.metadata()) == [0]


def test_expired_metadata_stop_updates_until_newer_ones_come(
    car: Car, fleet: Fleet, clock: SettableClock
) -> None:
    target = fleet.release()
    stale = fleet.metadata()
    car.agent.handle(Connected())
    clock.now_us += 2 * DAY
    car.wish(target)
    assert asked(car.hear(RELEASE_METADATA, stale)) == []
    assert "expired" in car.agent.updating.trouble
    fleet.repository.refresh()
    assert asked(car.metadata()) == [0]


def test_a_car_that_wakes_in_1970_still_sees_that_metadata_are_expired(
    tmp_path: Path, clock: SettableClock, fleet: Fleet
) -> None:
    target = fleet.release(b"one")
    stale = fleet.metadata()
    clock.now_us += 3 * DAY
    fleet.repository.refresh()
    waking = SettableClock()
    car = Car(home=enrolled_home(tmp_path / "pi", fleet), fleet=fleet, clock=waking)
    waking.now_us = clock.now_us
    install(car, target, b"one")
    waking.now_us = 60 * SECOND
    car.start()
    car.agent.handle(Connected())
    newer = fleet.release(b"two", release_seq=2)
    car.wish(newer, revision=2)
    assert asked(car.hear(RELEASE_METADATA, stale)) == []
    assert car.agent.updating.trouble
    assert asked(car.metadata()) == [0]
    car.journal.close()


def test_a_wild_clock_does_not_poison_the_known_time(tmp_path: Path) -> None:
    clock = SettableClock(now_us=4_000_000_000 * SECOND)
    known = KnownTime(tmp_path / "known", clock)
    known.learn(KnownTime(tmp_path / "none", SettableClock()).now())
    clock.now_us = 0
    assert known.now().year == 2026
    clock.now_us, clock.synced = 1_900_000_000 * SECOND, True
    known.learn(known.now())
    clock.now_us = 0
    assert known.now().year == 2030


def test_metadata_older_than_those_seen_are_refused(car: Car, fleet: Fleet) -> None:
    first = fleet.release(b"one")
    old = fleet.metadata()
    fleet.release(b"two", release_seq=2)
    install(car, first, b"one")
    car.wish("wall-distance/beige/unknown.tflite", revision=2)
    car.hear(RELEASE_METADATA, old)
    assert "timestamp version" in car.agent.updating.trouble


@pytest.mark.parametrize("broken", ["timestamp.json", "trainer-1.json", "snapshot.json"])
def test_metadata_with_a_missing_or_forged_file_ship_nothing(
    car: Car, fleet: Fleet, broken: str
) -> None:
    target = fleet.release()
    files = dict(fleet.metadata().files)
    for name in list(files):
        if name.endswith(broken):
            files[name] = files[name].replace(b'"version"', b'"vers1on"')
    car.agent.handle(Connected())
    car.wish(target)
    assert asked(car.hear(RELEASE_METADATA, ReleaseMetadata(files=files))) == []
    assert car.agent.updating.trouble
    missing = {name: data for name, data in files.items() if not name.endswith(broken)}
    assert asked(car.hear(RELEASE_METADATA, ReleaseMetadata(files=missing))) == []
    assert asked(car.metadata()) == [0]


def test_a_trainer_outside_the_delegation_ships_nothing(
    car: Car, tmp_path: Path, clock: SettableClock
) -> None:
    stranger = Fleet(root=tmp_path / "stranger", clock=clock)
    target = stranger.release()
    car.agent.handle(Connected())
    car.wish(target)
    assert asked(car.hear(RELEASE_METADATA, stranger.metadata())) == []
    assert car.agent.updating.trouble


def test_a_slot_whose_file_is_gone_is_filled_again(car: Car, fleet: Fleet) -> None:
    target = fleet.release()
    install(car, target)
    car.home.model(SHA).unlink()
    assert asked(car.wish(target)) == [0]


@pytest.mark.parametrize("damage", ["model", "manifest", "no manifest"])
def test_a_damaged_active_model_is_found_at_the_next_start_and_fetched_again(
    car: Car, fleet: Fleet, damage: str
) -> None:
    target = fleet.release()
    install(car, target)
    if damage == "model":
        car.home.model(SHA).write_bytes(MODEL[:-1] + b"!")
    elif damage == "manifest":
        car.home.manifest(SHA).write_bytes(b"{}")
    else:
        car.home.manifest(SHA).unlink()
    car.start()
    car.agent.handle(Connected())
    car.metadata()
    assert asked(car.agent.tick()) == [0]
    fetch_all(car)
    assert ToDrive(what="model") in car.agent.handle(passed(target))
    assert car.home.model(SHA).read_bytes() == MODEL


def test_a_whole_model_is_left_alone_at_the_start(car: Car, fleet: Fleet) -> None:
    target = fleet.release()
    install(car, target)
    car.start()
    car.agent.handle(Connected())
    car.metadata()
    assert asked(car.agent.tick()) == []
    assert state(car).state == "idle"


def test_a_wish_for_another_car_changes_nothing(car: Car, fleet: Fleet) -> None:
    target = fleet.release()
    car.wish(target, device="car-2")
    assert car.agent.refused == 1
    assert car.journal.desired() is None
