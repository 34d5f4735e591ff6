"""The server's repository, seen by a car's own TUF client."""

from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from fleet_server.releases import metadata
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.store import FolderStore
from shared import codec
from shared.errors import RefusedError, UsageError
from shared.ids import sha256_hex
from shared.messages import ReleaseMetadata
from shared.releases import from_custom, split
from shared.topics import RELEASE_METADATA
from tests.fleet_server.releases.world import (
    DAY_US,
    DyingStore,
    Killed,
    SettableClock,
    World,
    manifest,
    target,
)

FIRST = b"the first model" * 10_000
SECOND = b"the second model" * 10_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_car_finds_every_release_by_its_path_and_can_check_each_piece(world: World) -> None:
    for number, model in enumerate((FIRST, SECOND), start=1):
        path = world.release(model, number)
        found = world.car().get_targetinfo(path)
        assert found is not None
        found.verify_length_and_hashes(model)
        release = from_custom(found.custom)
        assert [sha256_hex(piece) for piece in split(model)] == list(release.chunks)
        assert (release.release_seq, release.manifest.sha256) == (number, sha256_hex(model))


def test_a_car_finds_no_release_that_nobody_made(world: World) -> None:
    assert world.car().get_targetinfo("wall-distance/garage/nothing.tflite") is None


def test_the_files_are_named_as_tuf_asks_and_fit_one_message(world: World) -> None:
    world.release(FIRST, 1)
    files = world.repository.metadata_files()
    assert sorted(files) == [
        "1.root.json",
        "1.targets.json",
        "2.snapshot.json",
        "2.trainer-1.json",
        "timestamp.json",
    ]
    payload = codec.encode(ReleaseMetadata(files=files))
    assert codec.decode_on(RELEASE_METADATA, payload) == ReleaseMetadata(files=files)


def test_models_are_given_out_by_digest(world: World) -> None:
    world.release(FIRST, 1)
    assert world.repository.model(sha256_hex(FIRST)) == FIRST
    for wrong in (sha256_hex(SECOND), "../../keys/snapshot.key", ""):
        with pytest.raises(RefusedError, match="no release"):
            world.repository.model(wrong)


def test_a_model_damaged_on_the_disk_is_not_given_out(world: World) -> None:
    world.release(FIRST, 1)
    stored = world.state / "releases" / "models" / f"{sha256_hex(FIRST)}.tflite"
    stored.write_bytes(FIRST[:-1] + b"?")
    with pytest.raises(UsageError, match="damaged"):
        world.repository.model(sha256_hex(FIRST))


def test_releases_are_listed_oldest_first(world: World) -> None:
    paths = [world.release(FIRST, 1), world.release(SECOND, 2)]
    assert list(world.repository.targets()) == paths


def test_the_same_offer_again_changes_nothing(world: World) -> None:
    new = target(FIRST, manifest(FIRST, 1))
    signed = metadata.sign(world.proposal(new), world.trainer())
    first = world.repository.accept(role="trainer-1", role_metadata=signed, model=FIRST)
    before = world.repository.metadata_files()
    again = world.repository.accept(role="trainer-1", role_metadata=signed, model=FIRST)
    assert again == first
    assert world.repository.metadata_files() == before
    with pytest.raises(RefusedError, match="names no model"):
        world.repository.accept(role="trainer-1", role_metadata=signed, model=SECOND)


def test_before_init_there_is_no_repository_and_the_text_says_what_to_do(tmp_path: Path) -> None:
    repository = OnlineRepository.open(tmp_path, SettableClock(0))
    assert not repository.is_initialised
    with pytest.raises(UsageError, match="releases init"):
        repository.metadata_files()


@pytest.mark.parametrize(
    "lost", ["1.root.json", "1.targets.json", "1.trainer-1.json", "1.snapshot.json"]
)
def test_a_lost_file_is_named(world: World, lost: str) -> None:
    (world.state / "releases" / "metadata" / lost).unlink()
    with pytest.raises(UsageError, match="damaged"):
        world.repository.metadata_files()


def test_a_file_of_another_state_is_not_taken_for_this_one(world: World, tmp_path: Path) -> None:
    foreign = World(tmp_path / "foreign")
    wrong = foreign.state / "releases" / "metadata" / "1.trainer-1.json"
    (world.state / "releases" / "metadata" / "1.trainer-1.json").write_bytes(wrong.read_bytes())
    with pytest.raises(UsageError, match="damaged"):
        world.repository.targets()


def versions(world: World) -> tuple[int, int]:
    """The versions of (timestamp, snapshot) in force."""
    files = world.repository.metadata_files()
    timestamp: Metadata[Timestamp] = metadata.read(Timestamp, files["timestamp.json"])
    name = next(name for name in files if name.endswith("snapshot.json"))
    snapshot: Metadata[Snapshot] = metadata.read(Snapshot, files[name])
    return timestamp.signed.version, snapshot.signed.version


def test_the_timestamp_is_signed_anew_at_half_of_its_life(world: World) -> None:
    world.clock.now_us += DAY_US // 2 - 2_000_000
    assert not world.repository.refresh()
    assert versions(world) == (1, 1)
    world.clock.now_us += 2_000_000
    assert world.repository.refresh()
    assert versions(world) == (2, 1)
    assert not world.repository.refresh()


def test_the_snapshot_is_signed_anew_at_half_of_its_life(world: World) -> None:
    world.clock.now_us += DAY_US * 7 // 2
    assert world.repository.refresh()
    assert versions(world) == (2, 2)
    assert not world.repository.refresh()


def test_a_car_refuses_metadata_whose_timestamp_expired(tmp_path: Path) -> None:
    world = World(tmp_path, days_ago=1.5)
    with pytest.raises(ExpiredMetadataError):
        world.car().refresh()
    world.clock.now_us += DAY_US * 3 // 2
    assert world.repository.refresh()
    world.car().refresh()


def test_a_car_refuses_a_repository_set_back_to_an_older_state(world: World) -> None:
    before = world.repository.metadata_files()
    world.release(FIRST, 1)
    world.car().refresh()
    with pytest.raises(RepositoryError):
        world.car(published=before).refresh()


@pytest.mark.parametrize("after_writing", [False, True], ids=["during", "after"])
@pytest.mark.parametrize("step", range(4))
def test_a_kill_during_accept_leaves_a_repository_that_cars_take(
    world: World, step: int, *, after_writing: bool
) -> None:
    path = world.release(FIRST, 1)
    folder = world.state / "releases"
    dying = DyingStore(FolderStore(folder), dies_at=step, after_writing=after_writing)
    new = target(SECOND, manifest(SECOND, 2))
    signed = metadata.sign(world.proposal(new), world.trainer())
    with pytest.raises(Killed):
        OnlineRepository(dying, folder / "keys", world.clock).accept(
            role="trainer-1", role_metadata=signed, model=SECOND
        )

    world.repository = OnlineRepository.open(world.state, world.clock)
    was_accepted = new.path in world.repository.targets()
    assert was_accepted == (step == 3 and after_writing)
    assert world.car().get_targetinfo(path) is not None
    assert (world.car().get_targetinfo(new.path) is not None) == was_accepted

    # The trainer, who got no answer, asks again; whatever was left behind does not hinder it.
    world.repository.accept(role="trainer-1", role_metadata=signed, model=SECOND)
    assert world.car().get_targetinfo(new.path) is not None
    assert world.repository.model(sha256_hex(SECOND)) == SECOND


@pytest.mark.parametrize("after_writing", [False, True], ids=["during", "after"])
@pytest.mark.parametrize("step", range(3))
def test_what_a_kill_left_behind_does_not_hinder_another_release(
    world: World, step: int, *, after_writing: bool
) -> None:
    folder = world.state / "releases"
    dying = DyingStore(FolderStore(folder), dies_at=step, after_writing=after_writing)
    signed = metadata.sign(
        world.proposal(target(FIRST, manifest(FIRST, 1))),
        world.trainer(),
    )
    with pytest.raises(Killed):
        OnlineRepository(dying, folder / "keys", world.clock).accept(
            role="trainer-1", role_metadata=signed, model=FIRST
        )
    path = world.release(SECOND, 1)
    assert world.car().get_targetinfo(path) is not None
    assert list(world.repository.targets()) == [path]


@pytest.mark.parametrize("step", [0, 1])
def test_a_kill_during_refresh_leaves_a_repository_that_cars_take(world: World, step: int) -> None:
    path = world.release(FIRST, 1)
    world.clock.now_us += DAY_US * 4
    folder = world.state / "releases"
    dying = DyingStore(FolderStore(folder), dies_at=step, after_writing=False)
    with pytest.raises(Killed):
        OnlineRepository(dying, folder / "keys", world.clock).refresh()
    assert path in world.repository.targets()
    assert world.repository.refresh()
    assert world.car().get_targetinfo(path) is not None


def test_a_clock_beyond_what_the_owner_signed_for_signs_nothing_that_cars_would_remember(
    world: World,
) -> None:
    path = world.release(FIRST, 1)
    world.clock.now_us += 3650 * DAY_US
    assert not world.repository.refresh()
    world.clock.now_us -= 3650 * DAY_US
    assert world.car().get_targetinfo(path) is not None
    world.clock.now_us += DAY_US
    assert world.repository.refresh()
    assert world.car().get_targetinfo(path) is not None
