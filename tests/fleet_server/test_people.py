"""People's consoles: asked for, let in, told to cars, written down, and taken away again."""

import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import select

from fleet_server import people
from fleet_server.broker import users
from fleet_server.running.consoles import REASON, Consoles
from fleet_server.running.herald import Herald
from fleet_server.storage.tables import decisions
from fleet_server.terminal import home as homes
from fleet_server.terminal.home import ConsoleHome
from fleet_server.terminal.papers import Grant, read_grant, read_request, write_grant
from shared import cli, codec
from shared.errors import UsageError
from shared.messages import Command, CommandResult, Operators
from shared.mqtt_events import Received
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import COMMAND, OPERATORS, RESULT
from tests.fleet_server.fleet import BOOT, Fleet
from tests.fleet_server.releases.world import World
from tests.fleet_server.running.test_herald import herald_of

DAY_US = 86_400_000_000


def admit(fleet: Fleet, console: ConsoleHome, name: str = "anna", role: str = "operator") -> Grant:
    """Let a console in, as the server's keeper does."""
    asked = read_request(homes.request(console, name))
    with fleet.database.write() as connection:
        people.admit(
            connection,
            fleet.state,
            asked,
            role="operator" if role == "operator" else "viewer",
            reason="a test",
            actor="keeper",
            utc_us=fleet.clock.now_us,
            until_utc_us=fleet.clock.now_us + DAY_US,
        )
    return Grant(
        name=name,
        role="operator" if role == "operator" else "viewer",
        public_key=asked.public_key,
        until_utc_us=fleet.clock.now_us + DAY_US,
        server_public_key=fleet.server_key.public.raw,
        broker_host="broker",
        broker_port=1883,
    )


def consoles(fleet: Fleet) -> Consoles:
    return Consoles(fleet.state, fleet.database, fleet.server_key, fleet.clock)


def told(fleet: Fleet, made: Consoles) -> list[str] | None:
    """Return whom cars are told to obey, None where nothing new is said."""
    said = list(made.news())
    if not said:
        return None
    (message,) = said
    assert message.retained
    opened = open_envelope(
        OPERATORS,
        message.body,
        topic=message.topic,
        message_type=Operators,
        key=fleet.server_key.public,
    )
    return [each.name for each in opened.keys]


def entries(fleet: Fleet) -> list[tuple[str, str, str]]:
    """Return actor, kind and reason of what the log book holds."""
    with fleet.database.read() as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.id)).all()
    return [(row.actor, row.kind, row.reason) for row in rows]


@pytest.fixture
def console(tmp_path: Path) -> ConsoleHome:
    return ConsoleHome(tmp_path / "console")


def test_keys_are_made_on_the_console_and_no_secret_leaves_it(
    fleet: Fleet, console: ConsoleHome
) -> None:
    grant = admit(fleet, console)
    secret, key = console.mqtt_secret.read_bytes(), console.signing_key.read_bytes()
    seen = users.users_path(fleet.state).read_bytes() + homes.request(console, "anna").encode()
    assert secret not in seen
    assert key not in seen
    assert key.hex().encode() not in seen
    assert grant.public_key == SigningKey.load(console.signing_key).public.raw
    for file in console.root.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(console.root.stat().st_mode) == 0o700


def test_cars_are_told_of_an_operator_at_once_and_of_its_end(
    fleet: Fleet, console: ConsoleHome, tmp_path: Path
) -> None:
    made = consoles(fleet)
    assert told(fleet, made) is None
    admit(fleet, console)
    admit(fleet, ConsoleHome(tmp_path / "other"), "vera", "viewer")
    assert told(fleet, made) == ["anna"]
    made.forget_published()
    assert told(fleet, made) == ["anna"]
    with fleet.database.write() as connection:
        people.revoke(
            connection, fleet.state, name="anna", reason="has left", actor="keeper", utc_us=9
        )
    assert told(fleet, made) == []
    assert [each.name for each in people.listed(fleet.state)] == ["vera"]
    assert [each[1] for each in entries(fleet)[-3:]] == [
        *("admit-console", "admit-console", "revoke-console")
    ]
    with fleet.database.write() as connection, pytest.raises(UsageError, match="nobody called"):
        people.revoke(
            connection, fleet.state, name="anna", reason="has left", actor="keeper", utc_us=9
        )


def order(key: SigningKey, *, number: int = 7, actor: str = "anna") -> Received:
    command = Command(
        device="car-1", actor=actor, boot=BOOT, connection=1, number=number, verb="sync"
    )
    topic = COMMAND.topic(id="car-1", actor=actor)
    body = seal(command, topic=topic, key=key)
    return Received(topic=topic, payload=body, qos=1, retained=False, mid=1)


def test_what_a_console_orders_is_in_the_log_book_once(
    fleet: Fleet, console: ConsoleHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fleet_server")
    admit(fleet, console)
    herald: Herald = herald_of(fleet, World(tmp_path / "world"))
    list(herald.subscriptions())
    list(herald.news())
    before = len(entries(fleet))
    mine = order(SigningKey.load(console.signing_key))
    herald.take([mine, mine, order(fleet.server_key, number=8)])
    assert entries(fleet)[before:] == [("anna", "command", REASON)]
    forger = SigningKey(b"f" * 32)
    herald.take([order(forger, number=9), order(forger, actor="eve")])
    assert len(entries(fleet)) == before + 1
    answer = CommandResult(device="car-1", actor="anna", number=7, outcome="done")
    topic = RESULT.topic(id="car-1", actor="anna")
    herald.take([Received(topic=topic, payload=codec.encode(answer), qos=1, retained=False, mid=2)])
    assert "console_order_answered device=car-1 actor=anna verb=sync outcome=done" in caplog.text
    assert caplog.text.count("refused topic") == 2


def test_an_order_counts_until_its_key_ends(fleet: Fleet, console: ConsoleHome) -> None:
    admit(fleet, console)
    made = consoles(fleet)
    list(made.news())
    fleet.clock.now_us += DAY_US
    with pytest.raises(ValueError, match="signed by key"):
        made.heard(order(SigningKey.load(console.signing_key)))


def run(*arguments: str) -> int:
    return cli.run(["console", *arguments])


def test_a_console_is_set_up_by_one_command_or_by_two_lines_that_pass_between_machines(
    tmp_path: Path, fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    SigningKey.load_or_create(fleet.state / "keys" / "server.key")
    state, own = ("--state", str(fleet.state)), ("--home", str(tmp_path / "anna"))
    assert run("enrol", "--name", "anna", "--role", "operator", *state, *own) == 0
    assert capsys.readouterr().out.startswith("anna is operator until ")
    assert homes.load(ConsoleHome(tmp_path / "anna")).role == "operator"

    there = ("--home", str(tmp_path / "vera"))
    assert run("request", "--name", "vera", *there, "--json") == 0
    asked = json.loads(capsys.readouterr().out)
    assert run("admit", asked["request"], *state, "--json") == 0
    given = json.loads(capsys.readouterr().out)
    assert (given["role"], given["fingerprint"]) == ("viewer", asked["fingerprint"])
    assert run("accept", given["grant"], *there) == 0
    access = homes.load(ConsoleHome(tmp_path / "vera"))
    assert (access.name, access.role) == ("vera", "viewer")
    assert homes.elsewhere(access, "[::1]:1").address.port == 1

    assert run("people", *state) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[-2:]] == [
        ["anna", "operator"],
        ["vera", "viewer"],
    ]
    assert run("revoke", "--name", "vera", "--reason", "has left", *state) == 0
    assert [each.name for each in people.listed(fleet.state)] == ["anna"]


def test_a_line_that_is_not_whole_or_was_changed_or_is_for_another_is_refused(
    fleet: Fleet, console: ConsoleHome, tmp_path: Path
) -> None:
    grant = write_grant(admit(fleet, console), fleet.server_key)
    assert read_grant(f"  {grant[:80]}\n {grant[80:]}\n") == read_grant(grant)
    for wrong in ("", "x", grant[:-20], grant + "AAAA", grant[:40] + "?" + grant[41:]):
        with pytest.raises(UsageError, match=r"grant|copy all"):
            read_grant(wrong)
    at = len(grant) // 2
    swapped = "A" if grant[at] != "A" else "B"
    with pytest.raises(UsageError):
        read_grant(grant[:at] + swapped + grant[at + 1 :])
    other = ConsoleHome(tmp_path / "other")
    homes.request(other, "anna")
    with pytest.raises(UsageError, match="for another key"):
        homes.accept(other, grant)
    with pytest.raises(UsageError, match="no request"):
        read_request(grant)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no console is set up in"),
        (["request", "--name", "a/b"], "--name 'a/b'"),
        (["admit", "nonsense"], "this is no request"),
        (["accept", "nonsense"], "this is no grant"),
        (["revoke", "--name", "anna"], "no server keeps its state"),
        (["enrol", "--name", "anna"], "no server keeps its state"),
        (["people"], "no server keeps its state"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []
