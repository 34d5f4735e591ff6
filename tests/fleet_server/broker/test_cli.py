"""`parkfleet broker` as a person meets it."""

import grp
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fleet_server.broker import users
from shared.cli import run

PARKFLEET = [sys.executable, "-c", "from shared.cli import main; main()"]


@pytest.mark.parametrize("verb", [["run"], ["config"]])
def test_help_shows_an_example(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["broker", *verb, "--help"]) == 0
    assert "Example: parkfleet broker" in capsys.readouterr().out


def test_a_port_in_use_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status = run(["broker", "run", "--state", str(tmp_path), "--port", str(port)])

    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert "--port" in error


def test_a_broken_users_file_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = users.users_path(tmp_path)
    path.parent.mkdir()
    path.write_text("{}}")

    assert run(["broker", "run", "--state", str(tmp_path), "--port", "0"]) == 2
    assert str(path) in capsys.readouterr().err


def test_config_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mosquitto"

    assert run(["broker", "config", "--state", str(tmp_path), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"configuration": str(out / "mosquitto.conf")}


@pytest.mark.parametrize("verb", [["run"], ["config", "--out", "x"]])
def test_without_tls_no_broker_is_heard_beyond_this_machine(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--state", str(tmp_path), "--host", "0.0.0.0"]  # noqa: S104 - is refused

    assert run(["broker", *verb, *arguments]) == 2
    assert "--cert-file" in capsys.readouterr().err


def test_a_certificate_that_is_none_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.pem"
    file.write_text("no certificate")
    arguments = ["--state", str(tmp_path), "--cert-file", str(file), "--key-file", str(file)]

    assert run(["broker", "run", *arguments]) == 2
    error = capsys.readouterr().err
    assert (error.count("\n"), str(file) in error) == (1, True)


def test_an_unknown_group_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--state", str(tmp_path), "--out", str(tmp_path / "out"), "--group", "nobody-here"]

    assert run(["broker", "config", *arguments]) == 2
    assert "nobody-here" in capsys.readouterr().err


def test_half_a_certificate_set_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--state", str(tmp_path), "--out", str(tmp_path), "--ca-file", "ca.pem"]

    assert run(["broker", "config", *arguments]) == 2
    assert "--key-file" in capsys.readouterr().err


@pytest.mark.e2e
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_broker_cleanly(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with subprocess.Popen(
        [*PARKFLEET, "broker", "run", "--state", str(tmp_path), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()

    assert process.returncode == status
    assert f"nobody may connect yet: no server has its state in {tmp_path}" in rest
    assert "broker stopped" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(("user", "mode"), [(0, 0o640), (1000, 0o600)])
def test_what_root_writes_may_be_read_by_the_mosquitto_that_root_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int
) -> None:
    own = grp.getgrgid(os.getgid())
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(grp, "getgrnam", lambda _name: own)
    out = tmp_path / "mosquitto"
    assert run(["broker", "config", "--state", str(tmp_path), "--out", str(out)]) == 0
    assert (out / "passwords").stat().st_mode & 0o777 == mode
