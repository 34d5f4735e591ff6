"""The verb `parkfleet broker`: thin shells over `run` and `mosquitto`."""

import grp
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

from fleet_server.broker import following, mosquitto
from fleet_server.broker import run as embedded
from fleet_server.broker.tls import check_listener, tls_of
from fleet_server.broker.users import ensure_server_user, read_all, users_path
from shared.cli import emit, json_option
from shared.errors import UsageError

_MOSQUITTO = "mosquitto"
_FILE = click.Path(dir_okay=False, path_type=Path)


def tls_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that give a listener TLS."""
    for option in (
        click.option(
            "--ca-file", type=_FILE, help="Authority of certificates that clients must show, too."
        ),
        click.option("--key-file", type=_FILE, help="The key of the broker's certificate."),
        click.option("--cert-file", type=_FILE, help="The broker's certificate."),
    ):
        function = option(function)
    return function


@click.group(epilog="Example: parkfleet broker run --state var/server")
def broker() -> None:
    """Run or configure the MQTT broker."""


@broker.command("run", epilog="Example: parkfleet broker run --state var/server --port 1883")
@click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/server"),
    show_default=True,
    help="The server's state folder, which holds the users file.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=1883,
    show_default=True,
    help="Port to listen on; 0 takes any free one and logs it.",
)
@tls_options
def run_command(
    *,
    state_dir: Path,
    host: str,
    port: int,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
) -> None:
    """Run the embedded broker until Ctrl-C or SIGTERM.

    It takes who may connect from the users file that the server writes; changes count within a
    second. It keeps nothing across a restart: cars and server say again what must be known.
    Without TLS it listens to this machine alone.
    """
    embedded.run(state_dir, host, port, tls_of(ca_file, cert_file, key_file))


@broker.command(
    "config", epilog="Example: parkfleet broker config --state var/server --out var/mosquitto"
)
@click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/server"),
    show_default=True,
    help="The server's state folder.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write mosquitto.conf, acl and passwords to.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=1883,
    show_default=True,
    help="Port to listen on.",
)
@tls_options
@click.option(
    "--group",
    help="Group whose members may read the files: mosquitto's own. Default: `mosquitto`, where "
    "root runs this, since a mosquitto that root starts becomes a user of that group.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Stay, and tell a running mosquitto within a second who joined and who was revoked.",
)
@json_option
def config_command(
    *,
    state_dir: Path,
    folder: Path,
    host: str,
    port: int,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    group: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Write a mosquitto configuration with our rights and limits."""
    tls = tls_of(ca_file, cert_file, key_file)
    check_listener(host, tls)
    place = mosquitto.Folder(path=folder.absolute(), group=_group(group))
    path = mosquitto.write_configuration(
        place,
        listener=mosquitto.Listener(host=host, port=port, tls=tls),
        server=ensure_server_user(state_dir),
        users=read_all(users_path(state_dir)),
    )
    emit({"configuration": str(path)}, as_json=as_json, text=f"start it with: mosquitto -c {path}")
    if follow:
        _follow(state_dir, place)


def _follow(state_dir: Path, folder: mosquitto.Folder) -> None:
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, end)
    try:
        following.follow(state_dir, folder, stop)
    finally:
        signal.signal(signal.SIGTERM, before)


def _group(name: str | None) -> int | None:
    if name is None and os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam(name or _MOSQUITTO).gr_gid
    except KeyError:
        if name is None:
            return None
        raise UsageError(f"--group {name!r}: there is no such group here") from None
