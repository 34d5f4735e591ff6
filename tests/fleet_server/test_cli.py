"""The verb `token`: what it makes is in the log book."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from fleet_server.cli import token
from fleet_server.storage.database import Database
from fleet_server.storage.tables import decisions
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
