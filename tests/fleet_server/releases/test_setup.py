"""Setting up a repository, and the verb that does it."""

import json
import stat
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root, Targets

from fleet_server.releases import metadata
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.setup import Initialised, initialise
from shared import cli
from shared.errors import UsageError
from tests.fleet_server.releases.world import SettableClock, World

NOW_US = 1_700_000_000_000_000


def set_up(
    folder: Path, owner: str = "owner", trainer_name: str = "trainer-1", task: str = "wall-distance"
) -> Initialised:
    return initialise(
        owner_dir=folder / owner,
        server_state=folder / "server",
        trainer_dir=folder / "trainer",
        trainer_name=trainer_name,
        task=task,
        clock=SettableClock(NOW_US),
    )


def test_every_key_is_a_secret_file_of_its_own(tmp_path: Path) -> None:
    World(tmp_path)
    keys = sorted(tmp_path.rglob("*.key"))
    assert [key.relative_to(tmp_path).as_posix() for key in keys] == [
        "owner/keys/root.key",
        "owner/keys/targets.key",
        "server/releases/keys/snapshot.key",
        "server/releases/keys/timestamp.key",
        "trainer/keys/release.key",
    ]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert len({key.read_bytes() for key in keys}) == 5


def test_root_gives_each_role_one_key_and_asks_for_consistent_snapshots(tmp_path: Path) -> None:
    root: Metadata[Root] = metadata.read(Root, World(tmp_path).bootstrap)
    assert root.signed.consistent_snapshot
    assert {name: len(role.keyids) for name, role in root.signed.roles.items()} == {
        "root": 1,
        "targets": 1,
        "snapshot": 1,
        "timestamp": 1,
    }
    assert len(root.signed.keys) == 4


def test_a_second_init_changes_nothing_and_says_so(tmp_path: Path) -> None:
    set_up(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="nothing was changed"):
        set_up(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_interrupted_init_is_finished_by_the_next(tmp_path: Path) -> None:
    set_up(tmp_path)
    key = (tmp_path / "owner" / "keys" / "root.key").read_bytes()
    (tmp_path / "server" / "releases" / "metadata" / "timestamp.json").unlink()
    set_up(tmp_path)
    assert (tmp_path / "owner" / "keys" / "root.key").read_bytes() == key
    assert OnlineRepository.open(tmp_path / "server", SettableClock(NOW_US)).targets() == {}


@pytest.mark.parametrize("owner", ["server", "server/owner", "trainer/owner", "."])
def test_the_owners_keys_lie_apart(tmp_path: Path, owner: str) -> None:
    with pytest.raises(UsageError, match="must not lie in or around"):
        set_up(tmp_path, owner=owner)
    assert list(tmp_path.rglob("*.key")) == []


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "a/b", "", "ä"])
def test_a_name_that_cannot_be_a_role_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no trainer may be called"):
        set_up(tmp_path, trainer_name=name)


@pytest.mark.parametrize("task", ["*", "a/b", ""])
def test_a_task_that_would_widen_the_delegation_is_refused(tmp_path: Path, task: str) -> None:
    with pytest.raises(UsageError, match="no task may be called"):
        set_up(tmp_path, task=task)


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "trainer" / "keys").mkdir(parents=True)
    (tmp_path / "trainer" / "keys" / "release.key").write_bytes(b"short")
    with pytest.raises(UsageError, match=r"release\.key is not a key file: 5 bytes"):
        set_up(tmp_path)


def test_a_missing_online_key_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.state / "releases" / "keys" / "snapshot.key").unlink()
    with pytest.raises(UsageError, match=r"cannot read the key .*snapshot\.key"):
        world.release(b"model", 1)


def arguments(folder: Path) -> list[str]:
    return [
        *("releases", "init", "--owner", str(folder / "owner"), "--trainer", str(folder / "t")),
        *("--server-state", str(folder / "server"), "--json"),
    ]


def test_the_verb_prints_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments(tmp_path)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["trainer"], printed["task"]) == ("trainer-1", "wall-distance")
    assert Path(printed["trainer_key"]).is_file()
    assert cli.run(arguments(tmp_path)) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "nothing was changed" in refused


def test_the_verb_refuses_a_file_where_a_folder_belongs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "owner").write_text("")
    assert cli.run(arguments(tmp_path)) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_trainer_may_be_bound_to_deployments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--deployment", "garage", "--deployment", "demo-*"]
    assert cli.run([*arguments(tmp_path), *places]) == 0
    files = OnlineRepository.open(tmp_path / "server", SettableClock(NOW_US)).metadata_files()
    owner: Metadata[Targets] = metadata.read(Targets, files["1.targets.json"])
    assert owner.signed.delegations is not None
    (role,) = (owner.signed.delegations.roles or {}).values()
    for name, may in {"garage": True, "demo-7": True, "yard": False, "garage2": False}.items():
        assert role.is_delegated_path(f"wall-distance/{name}/{'a' * 64}.tflite") is may
    capsys.readouterr()
    other = tmp_path / "other"
    assert cli.run([*arguments(other), "--deployment", "a/b"]) == 2
    assert "no deployment may be called 'a/b'" in capsys.readouterr().err
