"""Attacks on the way of a model into a car, each against the car's real client.

Whatever happens, the old model stays in service, and the car says why the new one does not come.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Snapshot, Targets, Timestamp

from device.agent.effects import Effect, ProbeEnded, StartProbe, Subscribe
from hardware_sim.fleet_sim.repository import TRAINER, Repository, new_key, sign
from shared import codec
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import ReleaseMetadata, Status
from shared.mqtt_events import Connected, Received
from shared.releases import WITHDRAWN, split
from shared.task import WALL_DISTANCE
from shared.topics import RELEASE_METADATA, RELEASE_TARGET, STATUS
from tests.device.agent.world import SECOND, Car, Fleet, SettableClock, enrolled_home, published
from tests.device.releases import manifest

OLD, NEW = b"old" * 4_000, b"new" * 7_000
DAYS = timedelta(days=1)


@dataclass
class Attacked:
    """A car that serves the model `OLD`, and the repository that it trusts."""

    car: Car
    repository: Repository

    def __post_init__(self) -> None:
        self.car.agent.handle(Connected())
        target = self.repository.add(OLD, manifest(OLD))
        self.offer(target, OLD, self.repository.step())
        assert self.serving == sha256_hex(OLD)
        self.new = self.repository.add(NEW, manifest(NEW, release_seq=2))
        self.revision = 1

    @property
    def serving(self) -> str | None:
        return self.car.journal.active_model()

    def offer(
        self, target: str, model: bytes, metadata: ReleaseMetadata, *, revision: int = 1
    ) -> None:
        """Let the car have all it asks for, and every probe pass."""
        effects = [*self.car.wish(target, revision=revision)]
        effects += self.car.hear(RELEASE_METADATA, metadata)
        pieces = dict(enumerate(split(model)))
        while effects:
            effect = effects.pop(0)
            if isinstance(effect, StartProbe):
                ended = ProbeEnded(target=effect.target, reason="", evidence={})
                effects += self.car.agent.handle(ended)
            if isinstance(effect, Subscribe):
                parts = RELEASE_TARGET.parts(effect.topic_filter)
                if parts and int(parts["n"]) in pieces:
                    effects += self.send(effect.topic_filter, pieces[int(parts["n"])])

    def send(self, topic: str, data: bytes) -> list[Effect]:
        message = Received(topic=topic, payload=data, qos=1, retained=True, mid=1)
        return self.car.agent.handle(message)

    def see(self, metadata: ReleaseMetadata) -> None:
        """Have the car verify metadata that do not name the new model, which it does for a wish."""
        self.revision += 1
        self.car.hear(RELEASE_METADATA, metadata)
        self.car.wish("wall-distance/beige/unknown.tflite", revision=self.revision)
        assert "no signed release" in self.car.agent.updating.trouble

    def without_new(self) -> None:
        """Take the new model out of what is published, until `with_new`."""
        self._file = self.repository.trainers[TRAINER].targets.pop(self.new)

    def with_new(self) -> None:
        self.repository.trainers[TRAINER].targets[self.new] = self._file
        self.repository.trainers[TRAINER].version += 1

    def attack(self, metadata: ReleaseMetadata, *, target: str = "", model: bytes = NEW) -> str:
        """Offer the new model; return what the car says about it, which goes on with the old."""
        self.revision += 1
        self.offer(target or self.new, model, metadata, revision=self.revision)
        return self.faults()

    def faults(self) -> str:
        assert self.serving == sha256_hex(OLD)
        assert self.car.home.model(sha256_hex(OLD)).read_bytes() == OLD
        self.car.clock.now_us += 10 * SECOND
        told = published(self.car.agent.tick(), STATUS)
        status = codec.decode(Status, told[-1].payload, limit_bytes=STATUS.limit_bytes)
        return " ".join(status.faults)

    def accepts(self, metadata: ReleaseMetadata) -> None:
        """See that the same car takes the new model from an honest repository."""
        self.revision += 1
        self.offer(self.new, NEW, metadata, revision=self.revision)
        assert self.serving == sha256_hex(NEW)


@pytest.fixture
def attacked(car: Car) -> Attacked:
    repository = Repository(utc_us=car.clock.utc_us())
    car.home.tuf_root.write_bytes(repository.roots[0])
    return Attacked(car, repository)


def test_without_an_attack_the_new_model_is_taken(attacked: Attacked) -> None:
    attacked.accepts(attacked.repository.step())


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", TRAINER])
def test_a_role_signed_by_a_wrong_key_ships_nothing(attacked: Attacked, role: str) -> None:
    repository = attacked.repository
    honest = repository.signers[role]
    repository.signers[role] = [new_key()]
    if role == "targets":
        repository.targets.version += 1
    assert "was signed by 0/1 keys" in attacked.attack(repository.step())
    repository.signers[role] = honest
    attacked.accepts(repository.step())


def test_a_root_signed_by_a_wrong_key_is_not_followed(attacked: Attacked) -> None:
    repository = attacked.repository
    honest = (list(repository.roots), dict(repository.signers))
    repository.root.version += 1
    stranger = [new_key()]
    repository.roots.append(sign(repository.root, stranger))
    assert "root was signed by 0/1 keys" in attacked.attack(repository.step())
    repository.roots, repository.signers = honest
    attacked.accepts(repository.step())


@pytest.mark.parametrize("role", ["timestamp", "targets"])
def test_a_threshold_that_is_not_met_ships_nothing(attacked: Attacked, role: str) -> None:
    repository = attacked.repository
    first, second = repository.signers[role][0], new_key()
    repository.root.add_key(second.public_key, role)
    repository.root.roles[role].threshold = 2
    repository.root.version += 1
    repository.publish_root()
    if role == "targets":
        repository.targets.version += 1
    # One key that signs twice is one.
    repository.signers[role] = [first, first]
    assert "was signed by 1/2 keys" in attacked.attack(repository.step())
    repository.signers[role] = [first, second]
    attacked.accepts(repository.step())


@pytest.mark.parametrize(
    ("paths", "reason"),
    [(["wall-distance/garage/*.tflite"], "another deployment"), (["lane/*/*.tflite"], "device")],
)
def test_a_workers_role_signs_for_no_other_deployment_or_kind_of_device(
    attacked: Attacked, paths: list[str], reason: str
) -> None:
    assert reason
    repository = attacked.repository
    repository.delegate("trainer-2", paths)
    repository.targets.version += 1
    worker_model = NEW + b"!"
    target = repository.add(worker_model, manifest(worker_model, release_seq=9), role="trainer-2")
    metadata = repository.step()
    assert "no signed release" in attacked.attack(metadata, target=target, model=worker_model)


def test_a_path_of_one_deployment_with_a_manifest_of_another_is_refused(
    attacked: Attacked,
) -> None:
    repository = attacked.repository
    model = NEW + b"!"
    path = f"wall-distance/garage/{sha256_hex(model)}.tflite"
    repository.add(model, manifest(model, release_seq=9), path=path)
    said = attacked.attack(repository.step(), target=path, model=model)
    assert "the manifest describes wall-distance/beige" in said


def test_a_model_for_another_camera_is_refused(attacked: Attacked) -> None:
    repository = attacked.repository
    task = msgspec.structs.replace(WALL_DISTANCE, picture_width=200)
    model = NEW + b"!"
    made = msgspec.structs.replace(manifest(model, release_seq=2), task=task)
    target = repository.add(model, made)
    assert "another task" in attacked.attack(repository.step(), target=target, model=model)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", TRAINER])
def test_no_role_is_rolled_back(attacked: Attacked, role: str) -> None:
    repository = attacked.repository
    files: dict[str, Snapshot | Timestamp | Targets] = {
        "timestamp": repository.timestamp,
        "snapshot": repository.snapshot,
        "targets": repository.targets,
        TRAINER: repository.trainers[TRAINER],
    }
    attacked.without_new()
    for each in files.values():
        each.version += 5
    attacked.see(repository.publish())
    attacked.with_new()
    for name, each in files.items():
        each.version += -3 if name == role else 1
    said = attacked.attack(repository.publish())
    assert "version" in said
    files[role].version += 10
    attacked.accepts(repository.step())


def test_no_root_is_rolled_back(attacked: Attacked) -> None:
    """A timestamp key that was stolen is of no use once the car has seen the root without it."""
    repository = attacked.repository
    old_roots, stolen = list(repository.roots), repository.signers["timestamp"]
    attacked.without_new()
    repository.rotate("timestamp")
    attacked.see(repository.step())
    attacked.with_new()
    new_roots, honest = repository.roots, repository.signers["timestamp"]
    repository.roots, repository.signers["timestamp"] = old_roots, stolen
    assert "timestamp was signed by 0/1 keys" in attacked.attack(repository.step())
    repository.roots, repository.signers["timestamp"] = new_roots, honest
    attacked.accepts(repository.step())


@pytest.mark.parametrize("is_1970", [False, True])
def test_frozen_metadata_are_found_out_by_the_latest_time_that_was_ever_certain(
    attacked: Attacked, is_1970: bool
) -> None:
    repository, clock = attacked.repository, attacked.car.clock
    frozen = repository.step()
    clock.now_us += 2 * DAYS // timedelta(microseconds=1)
    clock.synced = True
    if is_1970:
        # Certain once: from metadata that were signed then.
        repository.utc_us = clock.now_us
        repository.refresh()
        attacked.without_new()
        attacked.see(repository.step())
        attacked.with_new()
        clock.now_us, clock.synced = 60 * SECOND, False
        attacked.car.start()
        attacked.car.agent.handle(Connected())
    said = attacked.attack(frozen)
    assert "expired" in said or "version" in said
    repository.utc_us += 0 if is_1970 else 2 * DAYS // timedelta(microseconds=1)
    repository.refresh()
    attacked.accepts(repository.step())


@pytest.mark.parametrize("role", ["snapshot", "targets", TRAINER])
def test_expired_metadata_of_any_role_stop_updates(attacked: Attacked, role: str) -> None:
    repository = attacked.repository
    signed = {
        "snapshot": repository.snapshot,
        "targets": repository.targets,
        TRAINER: repository.trainers[TRAINER],
    }[role]
    signed.expires = repository.now - DAYS
    if role == "targets":
        repository.targets.version += 1
    assert "expired" in attacked.attack(repository.step())
    signed.expires = repository.now + DAYS
    signed.version += 1
    attacked.accepts(repository.step())


@pytest.mark.parametrize("stolen", ["timestamp", "snapshot"])
def test_a_fast_forward_by_a_stolen_key_ends_with_the_key(attacked: Attacked, stolen: str) -> None:
    """Versions and moments far ahead are believed until the owner replaces the keys."""
    repository = attacked.repository
    honest = (repository.snapshot.version, repository.timestamp.version)
    repository.timestamp.version = 2**30
    if stolen == "snapshot":
        repository.snapshot.version = 2**30
    repository.timestamp.expires = repository.now + 20 * 365 * DAYS
    attacked.without_new()
    attacked.see(repository.publish())
    attacked.with_new()
    repository.snapshot.version, repository.timestamp.version = honest
    repository.refresh()
    assert attacked.attack(repository.step())
    repository.rotate("timestamp", "snapshot")
    repository.refresh()
    attacked.accepts(repository.step())


@pytest.mark.parametrize("mixed", ["snapshot", "targets", TRAINER])
def test_files_of_two_states_of_the_repository_do_not_mix(attacked: Attacked, mixed: str) -> None:
    repository = attacked.repository
    repository.targets.version += 1
    first = dict(repository.step().files)
    versions = {
        "snapshot": repository.snapshot.version,
        "targets": repository.targets.version,
        TRAINER: repository.trainers[TRAINER].version,
    }
    repository.trainers[TRAINER].unrecognized_fields["x"] = 1
    repository.targets.unrecognized_fields["x"] = 1
    repository.snapshot.unrecognized_fields["x"] = 1
    second = dict(repository.publish().files)
    name = f"{versions[mixed]}.{mixed}.json"
    assert first[name] != second[name]
    assert attacked.attack(ReleaseMetadata(files={**first, name: second[name]}))
    attacked.accepts(repository.step())


@pytest.mark.parametrize("missing", ["timestamp.json", "snapshot.json", f"{TRAINER}.json"])
def test_a_file_that_is_missing_is_known_to_be_missing(attacked: Attacked, missing: str) -> None:
    files = dict(attacked.repository.step().files)
    rest = {name: data for name, data in files.items() if not name.endswith(missing)}
    assert "holds no" in attacked.attack(ReleaseMetadata(files=rest))


def test_metadata_without_an_end_are_not_read_to_the_end(attacked: Attacked) -> None:
    files = dict(attacked.repository.step().files)
    endless = {**files, "timestamp.json": files["timestamp.json"] + b" " * 200_000}
    assert "exceeding" in attacked.attack(ReleaseMetadata(files=endless))
    with pytest.raises(RefusedError):
        codec.decode(ReleaseMetadata, bytes(5 << 20), limit_bytes=RELEASE_METADATA.limit_bytes)


def pieces_of(attacked: Attacked, metadata: ReleaseMetadata) -> list[bytes]:
    attacked.revision += 1
    attacked.car.wish(attacked.new, revision=attacked.revision)
    attacked.car.hear(RELEASE_METADATA, metadata)
    return split(NEW)


def topic(number: int) -> str:
    return RELEASE_TARGET.topic(sha256=sha256_hex(NEW), n=number)


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "arbitrary": lambda pieces: [b"?" * len(each) for each in pieces],
    "swapped": lambda pieces: [pieces[1], pieces[0], *pieces[2:]],
    "flipped bit": lambda pieces: [bytes([each[0] ^ 1]) + each[1:] for each in pieces],
    "truncated": lambda pieces: [each[:-1] for each in pieces],
    "longer": lambda pieces: [each + b"!" for each in pieces],
    "empty": lambda pieces: [b"" for _ in pieces],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_piece_that_is_not_the_signed_one_is_thrown_away(attacked: Attacked, change: str) -> None:
    pieces = pieces_of(attacked, attacked.repository.step())
    sent = CHANGES[change](pieces)
    for number, data in enumerate(sent):
        if data != pieces[number]:
            attacked.send(topic(number), data)
    assert attacked.car.agent.refused == sum(a != b for a, b in zip(sent, pieces, strict=True))
    assert "messages refused" in attacked.faults()
    incoming = attacked.car.home.incoming / f"{sha256_hex(NEW)}.part"
    assert not incoming.exists() or incoming.stat().st_size == 0
    effects = [e for n, piece in enumerate(pieces) for e in attacked.send(topic(n), piece)]
    assert any(isinstance(effect, StartProbe) for effect in effects)


def test_pieces_without_an_end_never_take_more_than_the_declared_size(attacked: Attacked) -> None:
    pieces = pieces_of(attacked, attacked.repository.step())
    attacked.send(topic(0), pieces[0])
    for number in range(len(pieces), len(pieces) + 50):
        attacked.send(topic(number), bytes(65_536))
        attacked.send(topic(0), bytes(65_536))
    kept = sum(each.stat().st_size for each in attacked.car.home.incoming.glob("*.part"))
    assert kept == len(pieces[0])
    assert "messages refused: 100" in attacked.faults()


def test_more_than_the_space_budget_is_not_begun(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.agent.chunks._RESERVE_BYTES", 1 << 62)
    assert "bytes are free" in attacked.attack(attacked.repository.step())


def test_a_signed_length_that_lies_about_its_pieces_ends_in_a_refusal(attacked: Attacked) -> None:
    """A worker that signs another whole than its pieces: caught after three tries, for good."""
    repository = attacked.repository
    model = NEW[:-1] + b"!"
    target = repository.add(model, manifest(model, release_seq=3))
    custom = repository.trainers[TRAINER].targets[target].unrecognized_fields["custom"]
    custom["chunks"] = [sha256_hex(each) for each in split(NEW)]
    metadata = repository.step()
    for _ in range(3):
        attacked.attack(metadata, target=target, model=NEW)
    assert "not the signed one" in attacked.faults()
    assert attacked.car.agent.updating.progress.state.state == "refused"


def test_an_older_release_offered_by_the_servers_own_keys_is_refused(attacked: Attacked) -> None:
    repository = attacked.repository
    older = b"older" * 1000
    target = repository.add(older, manifest(older, release_seq=0))
    metadata = repository.step()
    assert "older than 1" in attacked.attack(metadata, target=target, model=older)


def test_what_the_owner_withdrew_is_not_taken_and_lets_an_older_one_in(attacked: Attacked) -> None:
    repository = attacked.repository
    between = b"between" * 1000
    older = repository.add(between, manifest(between, release_seq=1))
    attacked.accepts(repository.step())
    repository.targets.unrecognized_fields[WITHDRAWN] = {"wall-distance/beige": [2]}
    repository.targets.version += 1
    metadata = repository.step()
    attacked.car.hear(RELEASE_METADATA, metadata)
    attacked.offer(older, between, metadata, revision=10)
    assert attacked.serving == sha256_hex(between)
    attacked.offer(attacked.new, NEW, metadata, revision=11)
    assert attacked.serving == sha256_hex(between)
    assert "withdrawn by its owner" in attacked.car.agent.updating.progress.state.reason


def test_expired_metadata_keep_no_car_from_driving(tmp_path: Path) -> None:
    """Drive knows nothing of metadata: it parks by what lies in the slot."""
    from tests.device.fakes import Car as DrivenCar

    car = DrivenCar(tmp_path)
    car.install()
    car.home.tuf_metadata.mkdir(parents=True)
    for name in ("root.json", "timestamp.json", "snapshot.json", "targets.json"):
        (car.home.tuf_metadata / name).write_bytes(b"expired, and nonsense too")
    car.drive(9.0, {0.2: "park"})
    assert [(end.reason, end.source) for end in car.ends()] == [("target", "model")]


def test_the_fleet_fixture_is_trusted_like_the_simulated_repository(
    tmp_path: Path, fleet: Fleet, clock: SettableClock
) -> None:
    """The simulator signs as the product does: either car takes from its own, not the other's."""
    other = Car(home=enrolled_home(tmp_path / "other", fleet), fleet=fleet, clock=clock)
    repository = Repository(utc_us=clock.utc_us())
    target = repository.add(NEW, manifest(NEW))
    other.agent.handle(Connected())
    other.wish(target)
    other.hear(RELEASE_METADATA, repository.step())
    assert "timestamp was signed by 0/1 keys" in other.agent.updating.trouble
    other.journal.close()
