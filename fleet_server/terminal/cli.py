"""The verb `console`: the screen itself, and how a person comes by one and loses it.

Laws:
- `request` and `accept` belong to the console's machine, `admit`, `people` and `revoke` to the
  server's, whose libraries are loaded by these alone;
- the broker is reached before the screen is taken: a wrong secret or address is one line of text;
- the log goes into the console's folder while the screen is up.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from fleet_server.terminal import home as homes
from fleet_server.terminal.home import ConsoleHome
from fleet_server.terminal.papers import ROLES, Role, read_request
from shared import logs
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.signing import SigningKey, VerifyKey

DAYS = 90
"""How long an admission counts unless told otherwise."""

_HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/console"),
    show_default=True,
    help="The console's folder: its keys and what it was granted.",
)
_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/server"),
    show_default=True,
    help="The server's state folder.",
)
_NAME = click.option("--name", required=True, help="Your name at the broker and in the log book.")
_ROLE = click.option(
    "--role",
    type=click.Choice(ROLES),
    default="viewer",
    show_default=True,
    help="A viewer watches, an operator gives orders, too.",
)
_DAYS = click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=DAYS,
    show_default=True,
    help="How long cars obey the operator's key.",
)
_REASON = click.option(
    "--reason",
    default="made on the server's machine",
    show_default=True,
    help="Why, for the log book.",
)


@click.group(invoke_without_command=True, epilog="Example: parkfleet console --home var/console")
@_HOME
@click.option(
    "--broker", "place", help="Where the broker is, HOST:PORT; else where it was granted."
)
@click.pass_context
def console(context: click.Context, home: Path, place: str | None) -> int:
    """Watch the fleet in the terminal and give orders, straight over MQTT.

    It works with your own credentials (`console enrol` on the server's machine, elsewhere `console
    request` and `accept`) and needs the broker, not the fleet server. Keys are told by `?`.
    """
    if context.invoked_subcommand is not None:
        return 0
    access = homes.load(ConsoleHome(home))
    if place is not None:
        access = homes.elsewhere(access, place)
    from fleet_server.terminal.app import ConsoleApp
    from fleet_server.terminal.session import Session

    session = Session(access, SystemClock())
    with logs.diverted(home / "console.log"):
        session.start()
        try:
            if not sys.stdin.isatty() or not sys.stdout.isatty():
                raise UsageError("the console needs a terminal; over ssh, ask for one with ssh -t")
            app = ConsoleApp(session)
            app.run()
        finally:
            session.stop()
    return app.return_code or 0


@console.command(epilog="Example: parkfleet console enrol --name anna --role operator")
@_HOME
@_STATE
@_NAME
@_ROLE
@_DAYS
@_REASON
@json_option
def enrol(
    *, home: Path, state: Path, name: str, role: Role, days: int, reason: str, as_json: bool
) -> None:
    """Set a console up on the server's machine: request, admit and accept in one."""
    from fleet_server import people as register

    register.require_server(state)
    folder = ConsoleHome(home)
    said = _admit(state, homes.request(folder, name), role, days, reason)
    homes.accept(folder, said["grant"])
    shown = {each: said[each] for each in ("name", "role", "fingerprint", "until")}
    text = f"{name} is {role} until {said['until']}: parkfleet console --home {home}"
    emit(shown, as_json=as_json, text=text)


@console.command(epilog="Example: parkfleet console request --name anna")
@_HOME
@_NAME
@json_option
def request(*, home: Path, name: str, as_json: bool) -> None:
    """Make this console's keys and print a request for the server's keeper. It holds no secret."""
    line = homes.request(ConsoleHome(home), name)
    fingerprint = VerifyKey(read_request(line).public_key).fingerprint
    click.echo(f"fingerprint of this console's key: {fingerprint}", err=True)
    emit({"request": line, "fingerprint": fingerprint}, as_json=as_json, text=line)


@console.command(epilog="Example: parkfleet console admit --role operator REQUEST")
@click.argument("request_line", metavar="REQUEST")
@_STATE
@_ROLE
@_DAYS
@_REASON
@json_option
def admit(
    request_line: str, *, state: Path, role: Role, days: int, reason: str, as_json: bool
) -> None:
    """Let a console in, on the server's machine, and print the grant for it. It holds no secret.

    Compare the fingerprint with the one that `console request` showed.
    """
    said = _admit(state, request_line, role, days, reason)
    who = f"{said['name']} is {role} until {said['until']}"
    click.echo(f"{who}; fingerprint {said['fingerprint']}", err=True)
    emit(said, as_json=as_json, text=said["grant"])


@console.command(epilog="Example: parkfleet console accept GRANT")
@click.argument("grant_line", metavar="GRANT")
@_HOME
@json_option
def accept(grant_line: str, *, home: Path, as_json: bool) -> None:
    """Keep the server's grant; then `parkfleet console` works."""
    grant = homes.accept(ConsoleHome(home), grant_line)
    server = VerifyKey(grant.server_public_key).fingerprint
    text = f"{grant.name} is {grant.role} until {_day(grant.until_utc_us)}; server key {server}"
    shown = {"name": grant.name, "role": grant.role, "server_fingerprint": server}
    emit(shown, as_json=as_json, text=text)


@console.command(epilog="Example: parkfleet console people")
@_STATE
@json_option
def people(*, state: Path, as_json: bool) -> None:
    """List everybody who has a console, on the server's machine."""
    from fleet_server import people as register

    register.require_server(state)
    found = register.listed(state)
    lines = (
        f"{each.name}  {each.role}  until {_day(each.until_utc_us)}  {each.fingerprint}"
        for each in found
    )
    emit(found, as_json=as_json, text="\n".join(lines) or "nobody has a console")


@console.command(epilog="Example: parkfleet console revoke --name anna --reason 'has left'")
@_STATE
@_NAME
@_REASON
@json_option
def revoke(*, state: Path, name: str, reason: str, as_json: bool) -> None:
    """End a console's rights: the broker cuts it off, and cars are told that its key is void."""
    from fleet_server import people as register

    with register.opened(state) as (database, clock), database.write() as connection:
        register.revoke(
            connection,
            state,
            name=name,
            reason=register.checked_reason(reason),
            actor=register.ACTOR,
            utc_us=clock.utc_us(),
        )
    emit({"revoked": name}, as_json=as_json, text=f"{name} has no console any more")


def _admit(state: Path, line: str, role: Role, days: int, reason: str) -> dict[str, str]:
    from fleet_server import people as register
    from fleet_server import settings
    from fleet_server.terminal.papers import write_grant

    asked = read_request(line)
    register.require_server(state)
    key = SigningKey.load(state / "keys" / "server.key")
    chosen = settings.load(state, {})
    with register.opened(state) as (database, clock), database.write() as connection:
        now_us = clock.utc_us()
        person = register.admit(
            connection,
            state,
            asked,
            role=role,
            reason=register.checked_reason(reason),
            actor=register.ACTOR,
            utc_us=now_us,
            until_utc_us=now_us + days * 86_400_000_000,
        )
    grant = register.grant_of(person, asked, role, chosen, key.public)
    return {
        "name": person.name,
        "role": role,
        "fingerprint": person.fingerprint,
        "until": _day(person.until_utc_us),
        "grant": write_grant(grant, key),
    }


def _day(utc_us: int) -> str:
    return datetime.fromtimestamp(utc_us / 1e6, tz=UTC).date().isoformat()
