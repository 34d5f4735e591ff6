"""The verbs `server` and `token`: what they make, and that a mistake makes nothing."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from fleet_server.cli import token
from fleet_server.storage.database import Database
from fleet_server.storage.tables import decisions
from shared import cli
from shared.clock import SystemClock
from shared.errors import UsageError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Database.open(tmp_path / "server.sqlite", SystemClock()).close()
    return tmp_path


def _create(state: Path, *more: str) -> str:
    arguments = ["create", "--state", str(state), "--role", "admin", "--name", "me", *more]
    return CliRunner().invoke(token, arguments, catch_exceptions=False).output.strip()


def test_a_token_made_at_the_command_line_is_in_the_log_book_without_its_secret(
    state: Path,
) -> None:
    secret = _create(state, "--reason", "the first one")
    database = Database.open(state / "server.sqlite", SystemClock())
    with database.read() as connection:
        (row,) = connection.execute(select(decisions)).all()
    database.close()
    assert (row.kind, row.actor, row.reason) == ("create-token", "command-line", "the first one")
    assert secret
    assert secret not in row.evidence


@pytest.mark.parametrize("reason", ["", "  a  ", "two\nlines", "x" * 201])
def test_a_reason_that_is_none_is_refused(state: Path, reason: str) -> None:
    with pytest.raises(UsageError, match="--reason"):
        _create(state, "--reason", reason)


@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        ('broker_ca_file = "nowhere.pem"', [], "cannot read nowhere.pem"),
        ('broker_cert_file = "own.pem"', [], "broker_cert_file and broker_key_file go together"),
        ("", ["--host", "no.such.host.invalid", "--probe-port", "9"], "choose another --host"),
        ("prt = 1", [], "unknown key prt"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line_and_makes_nothing(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: str,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "server.toml"
    file.write_text(settings)
    asked = ["server", "--state", str(tmp_path), "--role", "ingest", *arguments]
    assert cli.run(asked) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == [file]


def test_no_token_is_made_in_a_folder_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("something else")
    asked = ["--state", str(tmp_path), "--role", "admin", "--name", "me"]
    assert cli.run(["token", "create", *asked]) == 2
    assert "no server keeps its state" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [other]
