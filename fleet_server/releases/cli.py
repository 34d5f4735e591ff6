"""The verb `releases`: the release owner's tool."""

from pathlib import Path

import click

from fleet_server.releases import owner
from fleet_server.releases.setup import Initialised, initialise
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.task import WALL_DISTANCE

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(epilog="Example: parkfleet releases init --help")
def releases() -> None:
    """Keep the signed release repository."""


@releases.command(
    epilog="Example: parkfleet releases init --owner var/owner --server-state var/server "
    "--trainer var/trainer"
)
@click.option("--owner", "owner_dir", type=_FOLDER, required=True, help="Offline keys go here.")
@click.option("--server-state", type=_FOLDER, required=True, help="The server's state folder.")
@click.option("--trainer", type=_FOLDER, required=True, help="The training worker's state folder.")
@click.option("--trainer-name", default="trainer-1", show_default=True, help="Its role's name.")
@click.option("--task", default=WALL_DISTANCE.name, show_default=True, help="What it may sign for.")
@json_option
def init(
    *,
    owner_dir: Path,
    server_state: Path,
    trainer: Path,
    trainer_name: str,
    task: str,
    as_json: bool,
) -> None:
    """Create keys and the first signed metadata of owner, server and one training worker."""
    owner.check_trainer_name(trainer_name)
    done = initialise(
        owner_dir=owner_dir,
        server_state=server_state,
        trainer_dir=trainer,
        trainer_name=trainer_name,
        task=task,
        clock=SystemClock(),
    )
    emit(done, as_json=as_json, text=_text(done))


def _text(done: Initialised) -> str:
    return (
        f"release repository created for {done.trainer} (task {done.task})\n"
        f"  root SHA-256   {done.root_sha256}\n"
        f"  owner's keys   {done.owner_keys}   take these offline\n"
        f"  server's keys  {done.server_keys}\n"
        f"  trainer's key  {done.trainer_key}"
    )
