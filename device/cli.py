"""The verb `device`: a car, from the command line.

Laws:
- each command is a thin shell over one library call;
- SIGTERM and Ctrl-C end a running process between two turns, with the motors cut and the journal
  flushed;
- driving loads no network code, syncing no instrument.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from device.cli_care import calibrate, export, selftest
from device.cli_enrol import enrol
from device.cli_options import backend_option, home_option, until_signal
from device.home import Home
from device.journal import DriveState, Journal, JournalCounts, SlotRow
from device.settings import DeviceSettings
from shared.cli import emit, json_option
from shared.errors import UsageError
from shared.messages import Desired


@click.group(epilog="Example: parkfleet device status --home var/device")
def device() -> None:
    """The car: enrol, drive, sync, look at its state."""


@device.command(epilog="Example: parkfleet device drive --home var/device --backend pi")
@home_option
@backend_option
@click.option(
    "--heartbeat",
    type=click.IntRange(min=0),
    hidden=True,
    help="Drive under a supervisor that listens at the other end of this descriptor.",
)
def drive(home_folder: Path, *, backend: str | None, heartbeat: int | None) -> int:
    """Drive: park when a button is pressed, log pairs. Needs no network and no enrolment.

    The process that drives is another one, under a supervisor that cuts the motors if it dies.
    """
    home = Home(home_folder)
    settings = home.settings()
    chosen = backend or settings.backend
    if heartbeat is None:
        return _supervise(home, chosen, home.hardware(settings))
    _drive(home, settings, chosen, heartbeat)
    return 0


def _supervise(home: Home, backend: str, configuration: Path | None) -> int:
    import os

    from device.hardware import open_cutoff
    from device.supervisor import supervise
    from device.systemd import ServiceManager
    from shared.clock import SystemClock

    level = logging.getLevelName(logging.getLogger("device").getEffectiveLevel()).lower()
    command = [sys.executable, "-m", "shared", "--log-level", level, "device", "drive"]
    command += ["--home", str(home.root), "--backend", backend]
    cutoff = open_cutoff(backend, configuration)
    manager = ServiceManager(os.environ.get("NOTIFY_SOCKET"))
    with until_signal() as stop:
        try:
            home.create()
            return supervise(command, cutoff, SystemClock(), manager, stop=stop)
        finally:
            cutoff.close()
            manager.close()


def _drive(home: Home, settings: DeviceSettings, backend: str, heartbeat: int) -> None:
    from device.drive.loop import SWITCH_S, run
    from device.hardware import open_instruments
    from device.supervisor import Heart
    from device.task import task_of

    sys.setswitchinterval(SWITCH_S)
    heart = Heart(heartbeat)
    with until_signal() as stop:
        instruments = open_instruments(backend, home.hardware(settings))
        try:
            run(
                home,
                instruments,
                settings,
                stop=lambda: stop() or not heart.is_heard,
                task=task_of(home),
                turned=lambda is_moving: heart.beat(is_moving=is_moving),
            )
        finally:
            instruments.close()


@device.command(
    "stop-motors", epilog="Example: parkfleet device stop-motors --home var/device --backend pi"
)
@home_option
@backend_option
def stop_motors(home_folder: Path, *, backend: str | None) -> None:
    """Force the motors' pins low, when nothing drives. The service manager's last resort."""
    from device.hardware import open_cutoff

    home = Home(home_folder)
    settings = home.settings()
    cutoff = open_cutoff(backend or settings.backend, home.hardware(settings))
    try:
        cutoff.cut()
    finally:
        cutoff.close()
    click.echo("motors cut")


def broker_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--broker`, where the broker is reached if not where the server said at enrolment."""
    return click.option(
        "--broker",
        metavar="HOST:PORT",
        help="Where the broker is, if not where the server said at enrolment.",
    )(function)


@device.command(epilog="Example: parkfleet device agent --home var/device")
@home_option
@broker_option
def agent(home_folder: Path, broker: str | None) -> None:
    """Sync the journal, fetch updates and report, whenever there is a network."""
    from device.agent.enrolment import BrokerPlace
    from device.agent.main import run

    place = BrokerPlace.parse(broker) if broker else None
    with until_signal() as stop:
        run(Home(home_folder), stop=stop, place=place)


@device.command("sync-once", epilog="Example: parkfleet device sync-once --home var/device")
@home_option
@broker_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds after which what is left stays in the journal.",
)
@json_option
def sync_once(home_folder: Path, *, broker: str | None, timeout_s: float, as_json: bool) -> int:
    """Send what waits in the journal, then end; exit code 1 where something still waits."""
    from device.agent.enrolment import BrokerPlace
    from device.agent.main import sync_once as run_once

    place = BrokerPlace.parse(broker) if broker else None
    with until_signal() as stop:
        result = run_once(Home(home_folder), timeout_s=timeout_s, stop=stop, place=place)
    sent, waiting = result.pairs_sent, result.pairs_waiting
    emit(result, as_json=as_json, text=f"{sent} pairs sent, {waiting} waiting")
    return 0 if result.is_complete else 1


class CarStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `device status` tells."""

    device: str
    deployment: str
    enrolled: bool
    fingerprint: str | None
    drive: DriveState | None
    slots: tuple[SlotRow, ...]
    desired: Desired | None
    journal: JournalCounts


@device.command(epilog="Example: parkfleet device status --home var/device --json")
@home_option
@json_option
def status(home_folder: Path, *, as_json: bool) -> None:
    """Show the journal's counts, the loaded model and what the server wants."""
    found = look(Home(home_folder))
    emit(found, as_json=as_json, text=_text(found))


def look(home: Home) -> CarStatus:
    """Return the state of the car in `home`, as its journal has it.

    Raises:
        UsageError: no car has driven there yet.
    """
    if not home.journal.exists():
        raise UsageError(f"no car in {home.root}: start one with `parkfleet device drive`")
    identity = home.identity(home.settings())
    journal = Journal.open_to_look(home.journal)
    try:
        desired = journal.desired()
        return CarStatus(
            device=identity.device,
            deployment=desired.deployment if desired else identity.deployment,
            enrolled=home.enrolment.exists(),
            fingerprint=_fingerprint(home),
            drive=journal.drive_state(),
            slots=journal.slots(),
            desired=desired,
            journal=journal.counts(),
        )
    finally:
        journal.close()


def _fingerprint(home: Home) -> str | None:
    from shared.signing import SigningKey

    if not home.signing_key.exists():
        return None
    return SigningKey.load(home.signing_key).public.fingerprint


def _text(found: CarStatus) -> str:
    counts, driving = found.journal, found.drive
    slots = ", ".join(f"{s.name} {s.state} {(s.sha256 or '-')[:12]}" for s in found.slots)
    target = found.desired.target if found.desired else None
    pairs = (
        f"{counts.pairs_logged} logged, {counts.pairs_sent} sent, {counts.queue_depth} waiting, "
        f"{counts.pairs_rejected} rejected, {counts.pairs_withheld} withheld, "
        f"{counts.pairs_dropped} dropped"
    )
    dropped = [f"{pairs} {reason}" for reason, pairs in counts.dropped.items()]
    if counts.pictures_dropped:
        dropped.append(f"{counts.pictures_dropped} pictures of pairs that were sent")
    rows = (
        ("device", f"{found.device} ({'enrolled' if found.enrolled else 'not enrolled'})"),
        ("fingerprint", found.fingerprint or "no key yet"),
        ("deployment", found.deployment),
        ("state", driving.state if driving else "never driven"),
        ("loaded", (driving.loaded if driving else None) or "no model"),
        ("slots", slots),
        ("desired", target or "nothing"),
        ("pairs", pairs),
        ("dropped", ", ".join(dropped) or "nothing"),
        ("faults", "; ".join(driving.faults if driving else ()) or "none"),
    )
    return "\n".join(f"{name:<11} {value}" for name, value in rows)


for _command in (calibrate, enrol, export, selftest):
    device.add_command(_command)
