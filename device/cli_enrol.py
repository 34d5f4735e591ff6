"""The verb `device enrol`: how a car joins a fleet, and how it changes its keys.

Laws:
- a thin shell over `device.agent.enrol` and `device.agent.rotation`;
- what it prints is for two people to compare: the fingerprint, never a key.
"""

import sys
from pathlib import Path

import click

from device.cli_options import home_option
from device.home import Home
from shared.cli import emit, json_option
from shared.errors import UsageError


@click.command(epilog="Example: parkfleet device enrol --server http://127.0.0.1:8080 --code CODE")
@home_option
@click.option("--server", "server_url", help="Address of the fleet server.")
@click.option(
    "--code",
    help="The code that the server issued for this car; `-` reads it from standard input, where "
    "no list of processes shows it.",
)
@click.option("--name", help="The car's name; the settings' `name` unless given.")
@click.option("--force", is_flag=True, help="Enrol anew, under new keys.")
@click.option(
    "--rotate", is_flag=True, help="Change the keys of a car that is enrolled; needs no code."
)
@json_option
def enrol(
    home_folder: Path,
    *,
    server_url: str | None,
    code: str | None,
    name: str | None,
    force: bool,
    rotate: bool,
    as_json: bool,
) -> None:
    """Make the car's keys and introduce it to a fleet server.

    Compare the fingerprint with the one that the server shows, and confirm the car there.
    """
    from device.agent.enrolment import load_enrolment, load_signing_key

    home = Home(home_folder)
    if rotate:
        if server_url or code or name or force:
            raise UsageError("--rotate asks the server that the car knows: give it alone")
        from device.agent.rotation import rotate as change_keys

        change_keys(home)
    else:
        _claim(home, server_url, code, name, force=force)
    enrolment = load_enrolment(home)
    fingerprint = load_signing_key(home).public.fingerprint
    shown = {
        "device": enrolment.device,
        "deployment": enrolment.deployment,
        "fingerprint": fingerprint,
    }
    text = f"{enrolment.device} is enrolled in {enrolment.deployment}; fingerprint {fingerprint}"
    emit(shown, as_json=as_json, text=text)


def _claim(
    home: Home, server_url: str | None, code: str | None, name: str | None, *, force: bool
) -> None:
    from device.agent.enrol import enrol as claim

    if not server_url or not code:
        raise UsageError("to enrol, give --server and --code; a fleet's operator makes the code")
    if code == "-":
        code = sys.stdin.readline().strip()
    claim(home, server_url=server_url, code=code, device=name, force=force)
