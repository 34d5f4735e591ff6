import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hardware_sim.cli import sim
from shared.errors import UsageError


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(sim, ["fleet", *arguments], catch_exceptions=False)


@pytest.mark.slow
def test_the_command_prints_what_became_of_every_pair() -> None:
    done = _run("--cars", "3", "--minutes", "1", "--every-minutes", "1", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["outcome"]["manoeuvres"] == 3
    assert told["outcome"]["stored"] == told["outcome"]["pairs"] > 0
    assert told["server"]["receipts"] >= 3


@pytest.mark.slow
def test_the_text_names_lost_and_doubled() -> None:
    done = _run("--cars", "2", "--minutes", "1", "--every-minutes", "1", "--loss", "0.2")
    assert done.exit_code == 0
    assert "lost                 0" in done.stdout
    assert "doubled              0" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--server", "http://127.0.0.1:1"], "belong together"),
        (["--deployment", "a b"], "cannot name a deployment"),
        (["--server", "http://127.0.0.1:1", "--token-file", "t", "--loss", "0"], "in memory"),
        (["--server", "http://127.0.0.1:1", "--token-file", "nosuch"], "nosuch"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        _run(*arguments)


def test_a_token_file_that_holds_no_text_is_told(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="holds no token"):
        _run("--server", "http://127.0.0.1:1", "--token-file", str(token))


def test_help_shows_an_example() -> None:
    assert "Example: parkfleet sim fleet" in _run("--help").stdout
