"""What the agent says and does about the server's messages, without sockets."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from device.agent.effects import Effect, Publish, Subscribe, ToDrive
from device.agent.status import NO_BOOT
from device.journal import DriveState
from device.live import Live
from shared import codec, topics
from shared.errors import RetryLaterError
from shared.ids import sha256_hex
from shared.messages import (
    UPLOAD_ORDER,
    Batch,
    Command,
    CommandResult,
    Desired,
    Presence,
    Receipt,
    Status,
    Telemetry,
    UploadLevel,
)
from shared.mqtt_events import Connected, Disconnected, Received
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import BATCH, COMMAND, DESIRED, PRESENCE, RECEIPT, RESULT, STATUS, TELEMETRY
from tests.device.agent.world import (
    DEVICE,
    SECOND,
    Car,
    Fleet,
    SettableClock,
    enrolled_home,
    published,
    received,
)
from tests.device.records import JPEG, manoeuvre_end, sample

BOOT = "00000007-00c0ffee"


def log_pairs(car: Car, count: int) -> None:
    car.journal.append(
        samples=[(sample(n), JPEG) for n in range(count)], manoeuvres=[manoeuvre_end()]
    )


def batches(car: Car, effects: list[Effect]) -> list[tuple[str, Batch]]:
    key = SigningKey.load(car.home.signing_key).public
    return [
        (
            sha256_hex(each.payload),
            open_envelope(BATCH, each.payload, topic=each.topic, message_type=Batch, key=key),
        )
        for each in published(effects, BATCH)
    ]


def receipt(car: Car, digest: str, outcome: str = "stored") -> list[Effect]:
    said = {"device": DEVICE, "batch": digest, "outcome": outcome, "reason": "bad label"}
    return car.hear(RECEIPT, msgspec.convert(said, Receipt), id=DEVICE)


def drive_runs(car: Car, boot: str = BOOT, loaded: str | None = None) -> None:
    state = DriveState(boot=boot, loaded=loaded, release_seq=3, state="idle", utc_us=1)
    car.journal.set_drive_state(state)


def status(effects: list[Effect]) -> list[Status]:
    return [
        codec.decode(Status, each.payload, limit_bytes=STATUS.limit_bytes)
        for each in published(effects, STATUS)
    ]


def test_every_connection_subscribes_anew_and_says_that_the_car_is_there(car: Car) -> None:
    for _ in range(2):
        effects = car.agent.handle(Connected())
        filters = {e.topic_filter for e in effects if isinstance(e, Subscribe)}
        assert filters == {
            RECEIPT.topic(id=DEVICE),
            DESIRED.topic(id=DEVICE),
            COMMAND.filter(id=DEVICE),
            topics.OPERATORS.topic(),
            topics.RELEASE_METADATA.topic(),
        }
        (said,) = published(effects, PRESENCE)
        presence = codec.decode(Presence, said.payload, limit_bytes=1024)
        assert (presence.online, presence.boot, said.retained) == (True, NO_BOOT, True)
        car.agent.handle(Disconnected(reason="gone"))


def test_all_that_the_agent_says_and_asks_for_is_within_a_cars_rights(
    car: Car, fleet: Fleet
) -> None:
    target = fleet.release()
    log_pairs(car, 2)
    effects = [*car.agent.handle(Connected()), *car.metadata(), *car.wish(target)]
    effects += car.agent.tick()
    effects += car.agent.live(Live(telemetry=telemetry(), logged=True))
    kinds = {type(effect) for effect in effects}
    assert {Publish, Subscribe} <= kinds
    for effect in effects:
        if isinstance(effect, Publish):
            assert topics.may_publish("device", DEVICE, effect.topic)
        if isinstance(effect, Subscribe):
            assert topics.may_subscribe("device", DEVICE, effect.topic_filter)


def test_a_wish_that_the_journal_did_not_take_is_kept_until_it_does(car: Car) -> None:
    car.agent.handle(Connected())
    other = sqlite3.connect(car.home.journal)
    other.execute("ALTER TABLE desired RENAME TO away")
    with pytest.raises(RetryLaterError):
        car.wish(None, revision=3)
    with pytest.raises(RetryLaterError):
        car.agent.tick()
    other.execute("ALTER TABLE away RENAME TO desired")
    other.close()
    car.clock.now_us += SECOND
    car.agent.tick()
    wish = car.journal.desired()
    assert wish is not None
    assert wish.revision == 3


def test_what_was_given_up_is_reported_with_its_reason(car: Car) -> None:
    car.journal.count_dropped("crowded", 3, BOOT)
    car.agent.handle(Connected())
    (told,) = status(car.agent.tick())
    assert (told.pairs_dropped, told.dropped) == (3, {"crowded": 3})
    with car.journal.writing():
        car.journal.count("pictures_dropped", 2)
    car.clock.now_us += SECOND
    (told,) = status(car.agent.tick())
    assert (told.pairs_dropped, told.dropped) == (3, {"crowded": 3, "pictures": 2})


def test_waiting_pairs_are_sent_and_leave_the_queue_on_the_signed_receipt(car: Car) -> None:
    log_pairs(car, 3)
    car.agent.handle(Connected())
    ((digest, batch),) = batches(car, car.agent.tick())
    assert len(batch.samples) == len(batch.pictures) == 3
    assert car.journal.counts().queue_depth == 3
    receipt(car, digest)
    assert car.journal.counts().queue_depth == 0
    assert car.journal.counts().pairs_sent == 3
    assert car.journal.unsent_pictures(9) == []
    assert car.journal.unsent_manoeuvres(9) == []
    assert car.agent.is_settled


def test_a_receipt_forged_or_for_another_car_releases_nothing(car: Car) -> None:
    log_pairs(car, 3)
    car.agent.handle(Connected())
    ((digest, _),) = batches(car, car.agent.tick())
    said = Receipt(device=DEVICE, batch=digest, outcome="stored")
    topic = RECEIPT.topic(id=DEVICE)
    forged = seal(said, topic=topic, key=SigningKey(b"x" * 32))
    car.agent.handle(Received(topic=topic, payload=forged, qos=1, retained=False, mid=1))
    other = msgspec.structs.replace(said, device="car-2")
    car.hear(RECEIPT, other, id=DEVICE)
    elsewhere = received(RECEIPT, said, car.fleet, id="car-2")
    car.agent.handle(elsewhere)
    car.agent.handle(moved_to(elsewhere, topic))
    assert car.agent.refused == 4
    assert car.journal.counts().queue_depth == 3


def moved_to(message: Received, topic: str) -> Received:
    return Received(topic=topic, payload=message.payload, qos=1, retained=False, mid=2)


def test_a_row_rejected_alone_is_put_aside(car: Car) -> None:
    car.journal.append(samples=[(sample(0), None)])
    car.agent.handle(Connected())
    ((digest, _),) = batches(car, car.agent.tick())
    receipt(car, digest, "rejected")
    counts = car.journal.counts()
    assert (counts.queue_depth, counts.pairs_rejected) == (0, 1)


def test_what_was_on_its_way_is_sent_again_after_a_kill(car: Car) -> None:
    log_pairs(car, 3)
    car.agent.handle(Connected())
    first = batches(car, car.agent.tick())
    car.start()
    car.agent.handle(Connected())
    assert batches(car, car.agent.tick()) == first


@pytest.mark.parametrize(
    ("owner", "desired", "pictures"),
    [
        ("pictures", "pictures", 2),
        ("pictures", "characteristics", 0),
        ("characteristics", "pictures", 0),
        ("none", "pictures", None),
        ("pictures", "none", None),
    ],
)
def test_the_least_consent_decides_what_leaves(
    tmp_path: Path, fleet: Fleet, owner: UploadLevel, desired: UploadLevel, pictures: int | None
) -> None:
    home = enrolled_home(tmp_path / "c", fleet)
    car = Car(home=home, fleet=fleet, clock=fleet.clock, owner_level=owner)
    log_pairs(car, 2)
    car.agent.handle(Connected())
    car.wish(None, upload=desired)
    sent = [batch for _, batch in batches(car, car.agent.tick())]
    assert [len(batch.pictures) for batch in sent] == ([] if pictures is None else [pictures])
    live = published(car.agent.live(Live(telemetry=telemetry(), logged=False)), TELEMETRY)
    assert len(live) == (0 if pictures is None else 1)
    car.journal.close()


def test_what_was_captured_at_none_is_not_sent_once_the_owner_consents(car: Car) -> None:
    for number, level in enumerate(UPLOAD_ORDER):
        car.journal.append(
            samples=[(sample(number), JPEG)], manoeuvres=[manoeuvre_end(number)], consent=level
        )
    car.agent.handle(Connected())
    ((digest, batch),) = batches(car, car.agent.tick())
    assert [s.sequence for s in batch.samples] == [1, 2]
    assert [p.sequence for p in batch.pictures] == [2]
    assert [end.manoeuvre for end in batch.manoeuvres] == [1, 2]
    receipt(car, digest)
    assert batches(car, car.agent.tick()) == []
    assert car.agent.is_settled


def telemetry() -> Telemetry:
    return Telemetry(
        device=DEVICE,
        boot=BOOT,
        utc_us=1,
        state="reversing",
        label=100.0,
        estimate=None,
        sigma=None,
        speed_mm_s=50.0,
        manoeuvre=1,
    )


def test_live_values_are_forwarded_only_while_connected_and_not_too_often(
    car: Car, clock: SettableClock
) -> None:
    assert car.agent.live(Live(telemetry=telemetry(), logged=False)) == []
    car.agent.handle(Connected())
    (effect,) = car.agent.live(Live(telemetry=telemetry(), logged=False))
    assert isinstance(effect, Publish)
    assert effect.qos == 0
    assert car.agent.live(Live(telemetry=telemetry(), logged=False)) == []
    clock.now_us += SECOND
    assert car.agent.live(Live(telemetry=telemetry(), logged=False)) != []


def test_new_pairs_are_sent_at_once_when_drive_says_so(car: Car) -> None:
    car.agent.handle(Connected())
    car.agent.tick()
    log_pairs(car, 1)
    assert batches(car, car.agent.tick()) == []
    car.agent.live(Live(telemetry=telemetry(), logged=True))
    assert len(batches(car, car.agent.tick())) == 1


def test_the_status_names_what_drive_loaded_and_the_boot_it_runs_in(car: Car) -> None:
    drive_runs(car, loaded="a" * 64)
    car.agent.handle(Connected())
    effects = car.agent.tick()
    (said,) = status(effects)
    assert (said.loaded, said.loaded_release_seq, said.boot) == ("a" * 64, 3, BOOT)
    assert published(effects, STATUS)[0].retained
    (presence,) = published(effects, PRESENCE)
    assert codec.decode(Presence, presence.payload, limit_bytes=1024).boot == BOOT


def test_the_status_follows_on_a_change_at_once_and_otherwise_every_few_seconds(
    car: Car, clock: SettableClock
) -> None:
    drive_runs(car)
    car.agent.handle(Connected())
    assert len(status(car.agent.tick())) == 1
    clock.now_us += SECOND
    assert status(car.agent.tick()) == []
    drive_runs(car, loaded="b" * 64)
    clock.now_us += SECOND
    assert len(status(car.agent.tick())) == 1
    clock.now_us += 6 * SECOND
    assert len(status(car.agent.tick())) == 1


def test_a_wish_is_kept_and_an_older_one_ignored(car: Car) -> None:
    car.wish(None, revision=5)
    assert car.journal.desired() == Desired(device=DEVICE, epoch=1, revision=5, deployment="beige")
    car.wish(None, revision=4, upload="none")
    car.wish(None, revision=9, epoch=0, upload="none")
    kept = car.journal.desired()
    assert kept is not None
    assert kept.upload == "pictures"
    car.wish(None, revision=1, epoch=2, upload="none")
    kept = car.journal.desired()
    assert kept is not None
    assert kept.upload == "none"


def test_a_wish_signed_for_another_topic_or_by_another_key_changes_nothing(car: Car) -> None:
    wish = Desired(device=DEVICE, epoch=9, revision=9, deployment="red")
    topic = DESIRED.topic(id=DEVICE)
    for payload in (
        seal(wish, topic=DESIRED.topic(id="car-2"), key=car.fleet.key),
        seal(wish, topic=topic, key=SigningKey(b"x" * 32)),
        codec.encode(wish),
        b"",
        b"\xc1" * 100,
    ):
        car.agent.handle(Received(topic=topic, payload=payload, qos=1, retained=True, mid=1))
    assert car.journal.desired() is None
    assert car.agent.refused == 5


def command(car: Car, **changes: object) -> Command:
    made = Command(
        device=DEVICE,
        actor="alice",
        boot=car.presences.boot,
        connection=car.presences.connection,
        number=1,
        verb="sync",
    )
    return msgspec.structs.replace(made, **changes)


def result(effects: list[Effect]) -> CommandResult:
    (said,) = published(effects, RESULT)
    return codec.decode(CommandResult, said.payload, limit_bytes=RESULT.limit_bytes)


def order(car: Car, made: Command, *, retained: bool = False) -> list[Effect]:
    return car.hear(COMMAND, made, retained=retained, id=DEVICE, actor=made.actor)


def test_sync_now_is_done_once(car: Car) -> None:
    car.agent.handle(Connected())
    car.agent.tick()
    log_pairs(car, 1)
    assert result(order(car, command(car))).outcome == "done"
    assert len(batches(car, car.agent.tick())) == 1
    again = result(order(car, command(car)))
    assert (again.outcome, again.reason) == ("refused", "number 1 was used already")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"boot": "00000001-00000001"}, "another boot or connection"),
        ({"connection": 99}, "another boot or connection"),
        ({"verb": "park"}, "driving process does not answer"),
        ({"verb": "identify"}, "driving process does not answer"),
        ({"verb": "pictures"}, "no pictures are named"),
    ],
)
def test_other_commands_are_refused_with_a_reason(
    car: Car, changes: dict[str, object], reason: str
) -> None:
    car.agent.handle(Connected())
    said = result(order(car, command(car, **changes)))
    assert said.outcome == "refused"
    assert reason in said.reason


def test_a_stored_command_is_not_obeyed(car: Car) -> None:
    assert result(order(car, command(car), retained=True)).outcome == "refused"


def test_stop_is_always_obeyed_however_old_or_often(car: Car) -> None:
    old = command(car, verb="stop", boot="00000001-00000001", connection=99)
    for _ in range(2):
        effects = order(car, old)
        assert effects[0] == ToDrive(what="stop")
        assert result(effects).outcome == "done"


def test_a_command_that_the_server_did_not_sign_is_nothing(car: Car) -> None:
    topic = COMMAND.topic(id=DEVICE, actor="mallory")
    stolen = seal(command(car), topic=COMMAND.topic(id=DEVICE, actor="alice"), key=car.fleet.key)
    renamed = seal(command(car), topic=topic, key=car.fleet.key)
    for payload in (stolen, renamed):
        message = Received(topic=topic, payload=payload, qos=1, retained=False, mid=1)
        assert car.agent.handle(message) == []
    assert car.agent.refused == 2


def test_unknown_topics_are_counted_and_change_nothing(car: Car) -> None:
    for topic in ("fleet/v1/device/car-2/desired", "else", STATUS.topic(id=DEVICE)):
        assert (
            car.agent.handle(Received(topic=topic, payload=b"", qos=1, retained=False, mid=1)) == []
        )
    car.agent.handle(Connected())
    (said,) = status(car.agent.tick())
    assert "messages refused: 3" in said.faults
