"""The verbs `server` and `token`: thin shells over `running.service` and `tokens`.

Laws:
- a mistake in the settings, or a question for help, is answered before the web server is loaded.
"""

from pathlib import Path

import click

from fleet_server import logbook, people, settings, tokens
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import RetryLaterError, UsageError
from shared.ids import is_name

_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/server"),
    show_default=True,
    help="The server's state folder.",
)


_PORT = click.IntRange(1, 65535)


@click.command(epilog="Example: parkfleet server --state var/server --port 8080 --broker-port 1883")
@_STATE
@click.option(
    "--role",
    type=click.Choice(["all", "api", "ingest", "control"]),
    default="all",
    show_default=True,
    help="Which parts run in this process.",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=_PORT, help="Port for REST and the web pages.  [default: 8080]")
@click.option(
    "--probe-port",
    type=_PORT,
    help="Port for health and metrics alone, in the roles ingest and control.  [default: none]",
)
@click.option("--broker-host", help="Where the broker is.  [default: 127.0.0.1]")
@click.option("--broker-port", type=_PORT, help="The broker's port.  [default: 1883]")
def server(
    *,
    state: Path,
    role: settings.Role,
    host: str | None,
    port: int | None,
    probe_port: int | None,
    broker_host: str | None,
    broker_port: int | None,
) -> None:
    """Run the fleet server: REST, web pages, MQTT and the control loop.

    Options overrule the environment (PARKFLEET_SERVER_...), which overrules server.toml in the
    state folder.
    """
    given = {
        "host": host,
        "port": port,
        "probe_port": probe_port,
        "broker_host": broker_host,
        "broker_port": broker_port,
    }
    chosen = settings.load(state, {name: each for name, each in given.items() if each is not None})
    from fleet_server.running import service

    service.require_address(chosen, role)
    with service.opened(state, chosen, SystemClock(), role) as parts:
        if not service.serve(parts):
            raise RetryLaterError("a part of the server died; its log says of what")


@click.group(epilog="Example: parkfleet token create --role operator --name demo")
def token() -> None:
    """Create access tokens for the REST API."""


@token.command(epilog="Example: parkfleet token create --role operator --name demo")
@_STATE
@click.option(
    "--role",
    type=click.Choice(tokens.ROLES),
    required=True,
    help="What the token allows; trainer stands apart from the others.",
)
@click.option("--name", required=True, help="Whom the token is for; the log book shows it.")
@click.option(
    "--reason",
    default="made on the server's machine",
    show_default=True,
    help="Why, for the log book.",
)
@json_option
def create(*, state: Path, role: tokens.Role, name: str, reason: str, as_json: bool) -> None:
    """Create a token and print it, this once: only its SHA-256 is kept."""
    if not is_name(name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, hyphens and underscores")
    why = people.checked_reason(reason)
    with people.opened(state) as (database, clock), database.write() as connection:
        now = clock.utc_us()
        made = tokens.create(connection, name=name, role=role, utc_us=now)
        logbook.write(
            connection,
            utc_us=now,
            deployment="",
            kind="create-token",
            reason=why,
            actor=people.ACTOR,
            evidence={"token": made.id, "name": name, "role": role},
        )
    emit({"name": name, "role": role, "token": made.secret}, as_json=as_json, text=made.secret)
