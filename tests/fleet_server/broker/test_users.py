import stat
from pathlib import Path

import pytest

from fleet_server.broker import users
from shared.errors import UsageError
from shared.ids import sha256_hex

DIGEST = sha256_hex(b"secret")


def test_a_user_that_was_added_is_read_back_and_removed(tmp_path: Path) -> None:
    users.add_user(tmp_path, "car-1", role="device", secret_sha256=DIGEST)
    path = users.users_path(tmp_path)

    assert users.read_users(path) == {"car-1": users.User(role="device", secret_sha256=DIGEST)}
    assert users.remove_user(tmp_path, "car-1")
    assert not users.remove_user(tmp_path, "car-1")
    assert users.read_users(path) == {}


def test_files_are_readable_by_their_owner_only_and_hold_no_secret(tmp_path: Path) -> None:
    own = users.ensure_server_user(tmp_path)
    path = users.users_path(tmp_path)

    assert own.secret not in path.read_text()
    assert own.secret not in repr(own)
    for file in (path, users.server_secret_path(tmp_path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_servers_secret_stays_the_same(tmp_path: Path) -> None:
    first = users.ensure_server_user(tmp_path)
    before = users.users_path(tmp_path).stat().st_mtime_ns

    assert users.ensure_server_user(tmp_path) == first
    assert users.users_path(tmp_path).stat().st_mtime_ns == before


def test_a_kill_between_secret_and_users_file_is_repaired(tmp_path: Path) -> None:
    own = users.ensure_server_user(tmp_path)
    users.users_path(tmp_path).unlink()

    assert users.ensure_server_user(tmp_path) == own
    assert users.is_secret_of(users.read_users(users.users_path(tmp_path))["server"], own.secret)


def test_only_the_right_secret_is_the_users() -> None:
    user = users.User(role="device", secret_sha256=DIGEST)

    assert users.is_secret_of(user, "secret")
    assert not users.is_secret_of(user, "Secret")
    assert not users.is_secret_of(user, DIGEST)
    assert not users.is_secret_of(user, "\ud800")


@pytest.mark.parametrize("name", ["server", "server-2", "Car", "a/b", "+", "", "-x"])
def test_a_car_cannot_be_entered_under_a_foreign_or_malformed_name(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError):
        users.add_user(tmp_path, name, role="device", secret_sha256=DIGEST)


def test_a_digest_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64"):
        users.add_user(tmp_path, "car-1", role="device", secret_sha256="secret")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"users": {"a": 1}}', b"\xff", b"[" * 100_000])
def test_a_broken_users_file_is_named(tmp_path: Path, body: bytes) -> None:
    path = users.users_path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(body)

    with pytest.raises(UsageError, match=r"users\.json"):
        users.read_users(path)


def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    with pytest.raises(UsageError, match="state folder"):
        users.ensure_server_user(tmp_path / "state")


def test_a_broken_server_secret_is_named(tmp_path: Path) -> None:
    users.ensure_server_user(tmp_path)
    users.server_secret_path(tmp_path).write_text("short")

    with pytest.raises(UsageError, match=r"server\.secret"):
        users.ensure_server_user(tmp_path)
