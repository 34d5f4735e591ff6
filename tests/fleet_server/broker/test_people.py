"""People in the users file: consoles that watch or order, and the keys that cars are told of."""

from pathlib import Path

import pytest

from fleet_server.broker import users
from shared.errors import UsageError
from shared.ids import sha256_hex

DIGEST = sha256_hex(b"secret")


def person(role: users.Role = "operator", key: bytes = b"k" * 32, until: int = 99) -> users.User:
    return users.User(role=role, secret_sha256=DIGEST, public_key=key, until_utc_us=until)


def read(state: Path) -> users.Users:
    return users.read_all(users.users_path(state))


def test_cars_are_told_the_keys_of_operators_and_of_nobody_else(tmp_path: Path) -> None:
    users.ensure_server_user(tmp_path)
    users.add_user(tmp_path, "car-1", role="device", secret_sha256=DIGEST)
    users.add_person(tmp_path, "vera", person("viewer"), utc_us=5)
    users.add_person(tmp_path, "bert", person(key=b"b" * 32), utc_us=6)
    users.add_person(tmp_path, "anna", person(key=b"a" * 32), utc_us=7)
    keys = read(tmp_path).operator_keys
    assert [(each.name, each.public_key[:1]) for each in keys] == [("anna", b"a"), ("bert", b"b")]


def test_each_change_of_keys_has_a_later_revision_also_after_a_restore(tmp_path: Path) -> None:
    revisions: list[int] = []
    for utc_us in (1_000, 1_000, 900):
        users.add_person(tmp_path, "anna", person(until=utc_us + len(revisions)), utc_us=utc_us)
        revisions.append(read(tmp_path).keys_revision)
    users.remove_user(tmp_path, "anna", keys_utc_us=5_000)
    revisions.append(read(tmp_path).keys_revision)
    assert revisions == [1_000, 1_001, 1_002, 5_000]
    users.add_user(tmp_path, "car-1", role="device", secret_sha256=DIGEST)
    users.ensure_server_user(tmp_path)
    assert read(tmp_path).keys_revision == 5_000
    assert read(tmp_path).operator_keys == ()


def test_a_name_is_a_cars_or_a_persons_and_never_both(tmp_path: Path) -> None:
    users.add_user(tmp_path, "car-1", role="device", secret_sha256=DIGEST)
    users.add_person(tmp_path, "anna", person(), utc_us=1)
    with pytest.raises(UsageError, match="a car is called car-1"):
        users.add_person(tmp_path, "car-1", person(), utc_us=1)
    with pytest.raises(UsageError, match="a person is called anna"):
        users.add_user(tmp_path, "anna", role="device", secret_sha256=DIGEST)
    for name in ("server", "server-control", "a/b", ""):
        with pytest.raises(UsageError, match="no name"):
            users.add_person(tmp_path, name, person(), utc_us=1)
    users.add_person(tmp_path, "anna", person("viewer"), utc_us=2)
    assert read(tmp_path).known["anna"].role == "viewer"


def test_operators_are_as_many_as_fit_into_what_cars_are_told(tmp_path: Path) -> None:
    for number in range(users.OPERATORS):
        users.add_person(tmp_path, f"anna-{number}", person(), utc_us=1)
    with pytest.raises(UsageError, match="64 operators at the most"):
        users.add_person(tmp_path, "one-more", person(), utc_us=1)
    users.add_person(tmp_path, "vera", person("viewer"), utc_us=1)
