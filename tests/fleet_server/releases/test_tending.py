"""The owner's later work: keys replaced, releases withdrawn, and every car follows."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Targets

from fleet_server.releases import metadata, tending
from fleet_server.releases.keys import next_path
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.store import FolderStore
from shared import cli
from shared.errors import RefusedError, UsageError
from shared.ids import sha256_hex
from shared.releases import ROOT_VALID, WITHDRAWN
from tests.fleet_server.releases.world import DAY_US, DyingStore, Killed, World

MODEL = b"a model"


def rotate(world: World, *roles: str) -> tending.Tended:
    return tending.rotate(
        owner_dir=world.folder / "owner",
        server_state=world.state,
        roles=roles,
        clock=world.clock,
    )


def withdraw(world: World, model: str) -> tending.Withdrawn:
    return tending.withdraw(
        owner_dir=world.folder / "owner",
        server_state=world.state,
        model=model,
        clock=world.clock,
    )


def keys(world: World) -> dict[str, bytes]:
    places = (world.folder / "owner" / "keys", world.state / "releases" / "keys")
    return {path.name: path.read_bytes() for folder in places for path in folder.iterdir()}


@pytest.mark.parametrize("roles", [(), *((role,) for role in tending.ROLES), tending.ROLES])
def test_a_car_follows_any_change_of_keys_and_takes_what_is_released_after_it(
    tmp_path: Path, roles: tuple[str, ...]
) -> None:
    world = World(tmp_path)
    world.car().refresh()
    before = keys(world)
    done = rotate(world, *roles)
    assert (done.root_version, done.targets_version) == (2, 2)
    after = keys(world)
    assert {name for name in before if before[name] != after[name]} == {f"{r}.key" for r in roles}
    assert set(after) == set(before)
    path = world.release(MODEL, 1)
    for name in ("car", "another car"):
        assert world.car(name).get_targetinfo(path) is not None


def test_what_stolen_keys_sign_after_their_change_is_worth_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    shutil.copytree(world.state, tmp_path / "stolen")
    stolen = OnlineRepository.open(tmp_path / "stolen", world.clock)
    rotate(world, "timestamp", "snapshot")
    world.car().refresh()
    world.clock.now_us += DAY_US * 2 // 3
    assert stolen.refresh()
    roots = {n: d for n, d in world.repository.metadata_files().items() if "root" in n}
    with pytest.raises(RepositoryError, match="timestamp was signed by 0/1 keys"):
        world.car(published={**stolen.metadata_files(), **roots}).refresh()


def test_root_and_targets_live_anew_without_new_keys(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = world.repository.lives()
    world.clock.now_us += 30 * DAY_US
    rotate(world)
    after = world.repository.lives()
    for role in ("root", "targets"):
        assert after[role][0] - before[role][0] == timedelta(days=30)
    assert after["root"][1] == ROOT_VALID


@pytest.mark.parametrize("after_writing", [False, True])
@pytest.mark.parametrize("dies_at", range(4))
def test_killed_at_any_write_the_same_call_again_ends_it(
    tmp_path: Path, dies_at: int, after_writing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    path = world.release(MODEL, 1)

    def dying(state_dir: Path, _clock: object) -> OnlineRepository:
        folder = state_dir / "releases"
        store = DyingStore(FolderStore(folder), dies_at, after_writing)
        return OnlineRepository(store, folder / "keys", world.clock)

    with monkeypatch.context() as patched:
        patched.setattr(OnlineRepository, "open", dying)
        with pytest.raises(Killed):
            rotate(world, *tending.ROLES)
    done = rotate(world, *tending.ROLES)
    assert done.root_version in (2, 3)
    assert world.car("new car").get_targetinfo(path) is not None
    world.clock.now_us += DAY_US
    assert world.repository.refresh()
    assert not next_path(world.folder / "owner" / "keys", "root").exists()


def test_a_withdrawn_release_is_named_in_what_the_owner_signed(tmp_path: Path) -> None:
    world = World(tmp_path)
    path = world.release(MODEL, 7)
    done = withdraw(world, sha256_hex(MODEL)[:12])
    assert (done.path, done.series, done.release_seq) == (path, "wall-distance/garage", 7)
    rotate(world, "targets")
    files = world.repository.metadata_files()
    newest = metadata.read(Targets, files["3.targets.json"]).signed
    assert newest.unrecognized_fields[WITHDRAWN] == {"wall-distance/garage": [7]}
    assert world.car().get_targetinfo(path) is not None


@pytest.mark.parametrize(
    ("model", "said"),
    [("", "at least 8 digits"), ("abc", "at least 8 digits"), ("0" * 64, "no release has a model")],
)
def test_a_release_that_is_not_clearly_meant_is_not_withdrawn(
    tmp_path: Path, model: str, said: str
) -> None:
    world = World(tmp_path)
    world.release(MODEL, 1)
    with pytest.raises(UsageError, match=said):
        withdraw(world, model)


def test_the_server_takes_no_owners_metadata_but_the_next(tmp_path: Path) -> None:
    world = World(tmp_path / "own")
    old = world.repository.metadata_files()
    with pytest.raises(RefusedError, match="only 2 is taken"):
        world.repository.accept_owner(root=old["1.root.json"])
    with pytest.raises(RefusedError, match="only 2 is taken"):
        world.repository.accept_owner(targets=old["1.targets.json"])
    stranger = World(tmp_path / "stranger")
    rotate(stranger, "root")
    foreign = stranger.repository.metadata_files()
    with pytest.raises(RefusedError, match="signed by 0/1 keys"):
        world.repository.accept_owner(root=foreign["2.root.json"])
    with pytest.raises(RefusedError, match="signed by 0/1 keys"):
        world.repository.accept_owner(targets=foreign["2.targets.json"])
    assert not world.repository.refresh()


def test_the_verbs_do_the_same_and_say_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    world.release(MODEL, 1)
    places = ["--owner", str(tmp_path / "owner"), "--server-state", str(world.state)]
    assert cli.run(["releases", "rotate", *places, "--role", "timestamp", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["roles"] == ["timestamp"]
    assert cli.run(["releases", "withdraw", sha256_hex(MODEL), *places]) == 0
    assert "withdrawn: release 1 of wall-distance/garage" in capsys.readouterr().out
    assert cli.run(["releases", "rotate", "--owner", "o", "--server-state", str(tmp_path)]) == 2
    assert "releases init" in capsys.readouterr().err
