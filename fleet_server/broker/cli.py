"""The verb `parkfleet broker`: thin shells over `run` and `mosquitto`."""

from pathlib import Path

import click

from fleet_server.broker import mosquitto
from fleet_server.broker import run as embedded
from fleet_server.broker.users import ensure_server_user, read_users, users_path
from shared.cli import emit, json_option
from shared.errors import UsageError

_EXISTING = click.Path(dir_okay=False, path_type=Path)


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
def run_command(state_dir: Path, host: str, port: int) -> None:
    """Run the embedded broker until Ctrl-C or SIGTERM.

    It takes who may connect from the users file that the server writes; changes count within a
    second. It keeps nothing across a restart: cars and server say again what must be known.
    """
    embedded.run(state_dir, host, port)


@broker.command(
    "config", epilog="Example: parkfleet broker config --state var/server --out deploy/mosquitto"
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
@click.option("--ca-file", type=_EXISTING, help="Authority of the clients' certificates.")
@click.option("--cert-file", type=_EXISTING, help="The broker's certificate.")
@click.option("--key-file", type=_EXISTING, help="The key of the broker's certificate.")
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
    as_json: bool,
) -> None:
    """Write a mosquitto configuration with our rights and limits."""
    path = mosquitto.write_configuration(
        folder,
        listener=mosquitto.Listener(host=host, port=port, tls=_tls(ca_file, cert_file, key_file)),
        server=ensure_server_user(state_dir),
        users=dict(read_users(users_path(state_dir))),
    )
    emit({"configuration": str(path)}, as_json=as_json, text=f"start it with: mosquitto -c {path}")


def _tls(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> mosquitto.Tls | None:
    if ca_file and cert_file and key_file:
        return mosquitto.Tls(ca_file=ca_file, cert_file=cert_file, key_file=key_file)
    if ca_file or cert_file or key_file:
        raise UsageError("TLS needs all of --ca-file, --cert-file and --key-file")
    return None
