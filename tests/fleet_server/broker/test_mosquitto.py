"""The written configuration, read back; tests/contracts runs a real mosquitto with it."""

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from fleet_server.broker import following, mosquitto, users
from fleet_server.broker.mosquitto import Folder, Listener
from fleet_server.broker.tls import Tls
from shared import topics
from shared.credentials import make_verifier
from shared.errors import UsageError
from shared.ids import sha256_hex

ANNA = users.User(role="operator", secret_sha256="0" * 64)
VERIFIER = make_verifier("secret", b"salt" * 3)


def write(folder: Path, known: dict[str, users.User] | None = None, **changes: object) -> Folder:
    """Write a configuration for `known` and return where."""
    out = Folder(path=folder / "mosquitto")
    mosquitto.write_configuration(
        out,
        listener=Listener(host="127.0.0.1", port=1883, **changes),  # type: ignore[arg-type]  # by name
        server=users.ensure_server_user(folder),
        users=users.Users(known=known or {}),
    )
    return out


def add_car(folder: Path, name: str = "car-1") -> None:
    users.add_user(
        folder, name, role="device", secret_sha256=sha256_hex(b"secret"), verifier=VERIFIER
    )


def follow_once(folder: Path, out: Folder) -> bool:
    return mosquitto.write_rights(
        out,
        server=users.ensure_server_user(folder),
        users=users.read_all(users.users_path(folder)),
    )


def passwords(out: Folder) -> str:
    return (out.path / "passwords").read_text()


def test_rights_follow_the_topic_table() -> None:
    lines = list(mosquitto.acl_lines({"anna": ANNA}))
    anna = lines[lines.index("user anna") :]
    control = lines[lines.index("user server-control") : lines.index("user server-ingest-1")]

    assert "pattern write fleet/v1/device/%u/batch" in lines
    assert "pattern read fleet/v1/device/%u/receipt" in lines
    assert "topic write fleet/v1/device/+/desired" in lines[: lines.index("user server-control")]
    assert "topic write fleet/v1/device/+/desired" in control
    assert "topic write fleet/v1/device/+/command/anna" in anna
    assert "topic read fleet/v1/device/+/presence" in anna
    assert not any("write" in line and "desired" in line for line in anna)
    assert not any(line.endswith("#") for line in lines)


def test_limits_fit_the_largest_message_of_the_table(tmp_path: Path) -> None:
    lines = write(tmp_path).configuration.read_text().splitlines()
    largest = max(row.limit_bytes for row in topics.TABLE)

    assert f"message_size_limit {largest}" in lines
    (queued,) = (int(line.split()[1]) for line in lines if line.startswith("max_queued_bytes"))
    assert queued > 2 * largest


def test_pieces_of_a_model_are_sent_at_once(tmp_path: Path) -> None:
    assert "set_tcp_nodelay true" in write(tmp_path).configuration.read_text().splitlines()


def test_files_are_readable_by_their_owner_only_unless_a_group_is_named(tmp_path: Path) -> None:
    out = write(tmp_path)
    assert stat.S_IMODE((out.path / "passwords").stat().st_mode) == 0o600
    grouped = Folder(path=out.path, group=os.getgid())
    add_car(tmp_path)
    assert follow_once(tmp_path, grouped)
    assert stat.S_IMODE((out.path / "passwords").stat().st_mode) == 0o640


def test_no_secret_is_written(tmp_path: Path) -> None:
    out = write(tmp_path, {"anna": ANNA})
    secret = users.ensure_server_user(tmp_path).secret
    for file in ("passwords", "acl", "mosquitto.conf"):
        assert secret not in (out.path / file).read_text()


def test_a_car_that_joined_is_entered_and_one_that_was_revoked_is_taken_out(
    tmp_path: Path,
) -> None:
    add_car(tmp_path)
    out = write(tmp_path)
    assert follow_once(tmp_path, out)
    assert f"car-1:{VERIFIER}" in passwords(out).splitlines()
    users.remove_user(tmp_path, "car-1")
    assert follow_once(tmp_path, out)
    assert "car-1" not in passwords(out)


def test_entries_made_by_hand_stay(tmp_path: Path) -> None:
    out = write(tmp_path)
    path = out.path / "passwords"
    path.write_text(passwords(out) + "old-car:entered by hand\n")
    add_car(tmp_path)
    follow_once(tmp_path, out)
    follow_once(tmp_path, out)
    assert passwords(out).count("old-car:entered by hand") == 1
    assert passwords(out).count("server:") == 1


def test_the_same_users_give_the_same_bytes(tmp_path: Path) -> None:
    add_car(tmp_path)
    out = write(tmp_path)
    follow_once(tmp_path, out)
    before = (out.path / "passwords").stat().st_mtime_ns
    assert not follow_once(tmp_path, out)
    assert (out.path / "passwords").stat().st_mtime_ns == before


def test_certificates_come_before_passwords_and_not_in_their_place(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    tls = Tls(cert_file=file, key_file=file, ca_file=file)
    lines = write(tmp_path, tls=tls).configuration.read_text().splitlines()
    assert {"require_certificate true", f"cafile {file}"} <= set(lines)
    assert any(line.startswith("password_file") for line in lines)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").write_text("")
    with pytest.raises(UsageError, match="mosquitto"):
        write(tmp_path)


def test_mosquitto_is_told_after_the_files_are_whole(tmp_path: Path) -> None:
    out = write(tmp_path)
    told: list[tuple[int, int]] = []
    assert not following.reload(out, lambda *how: told.append(how))
    (out.path / "data" / "mosquitto.pid").write_text("4711\n")
    assert following.reload(out, lambda *how: told.append(how))
    assert told == [(4711, signal.SIGHUP)]


def test_a_mosquitto_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    def kill(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    out = write(tmp_path)
    (out.path / "data" / "mosquitto.pid").write_text("4711\n")
    assert not following.reload(out, kill)


@pytest.mark.e2e
def test_following_takes_over_who_joins_and_outlives_a_broken_users_file(tmp_path: Path) -> None:
    out = write(tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=following.follow, args=(tmp_path, out, stop))
    thread.start()
    try:
        add_car(tmp_path, "car-0")
        wait_until_known(out, "car-0")
        users.users_path(tmp_path).write_text("{}}")
        time.sleep(1.5 * following.LOOK_S)
        assert "car-0" in passwords(out)
        users.users_path(tmp_path).unlink()
        add_car(tmp_path)
        wait_until_known(out, "car-1")
    finally:
        stop.set()
        thread.join()


def wait_until_known(out: Folder, name: str) -> None:
    deadline = time.monotonic() + 5.0
    while name not in passwords(out):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_group_that_is_named_later_may_read_what_was_written_before(tmp_path: Path) -> None:
    out = write(tmp_path)
    follow_once(tmp_path, Folder(path=out.path, group=os.getgid()))
    for name in ("passwords", "acl"):
        assert stat.S_IMODE((out.path / name).stat().st_mode) == 0o640
