"""The verb `releases`: the release owner's tool."""

from pathlib import Path

import click

from fleet_server.releases import owner, tending
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
@click.option(
    "--deployment",
    "deployments",
    multiple=True,
    default=("*",),
    show_default=True,
    help="Where its models may go: a name, or a pattern with `*`; several times for several.",
)
@json_option
def init(
    *,
    owner_dir: Path,
    server_state: Path,
    trainer: Path,
    trainer_name: str,
    task: str,
    deployments: tuple[str, ...],
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
        deployments=deployments,
        clock=SystemClock(),
    )
    emit(done, as_json=as_json, text=_text(done))


@releases.command(
    epilog="Example: parkfleet releases rotate --owner var/owner --server-state var/server "
    "--role timestamp --role snapshot"
)
@click.option("--owner", "owner_dir", type=_FOLDER, required=True, help="Where its keys lie.")
@click.option("--server-state", type=_FOLDER, required=True, help="The server's state folder.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(tending.ROLES),
    multiple=True,
    help="Whose key is replaced; several times for several. Without it all keys stay.",
)
@json_option
def rotate(*, owner_dir: Path, server_state: Path, roles: tuple[str, ...], as_json: bool) -> None:
    """Replace keys, and let root and targets live anew; cars follow by themselves."""
    done = tending.rotate(
        owner_dir=owner_dir, server_state=server_state, roles=set(roles), clock=SystemClock()
    )
    keys = ", ".join(done.roles) or "none"
    text = (
        f"new keys: {keys}\n"
        f"  root     version {done.root_version}, until {done.root_expires}\n"
        f"  targets  version {done.targets_version}, until {done.targets_expires}"
    )
    emit(done, as_json=as_json, text=text)


@releases.command(
    epilog="Example: parkfleet releases withdraw 3fa2b41c --owner var/owner "
    "--server-state var/server"
)
@click.argument("model")
@click.option("--owner", "owner_dir", type=_FOLDER, required=True, help="Where its keys lie.")
@click.option("--server-state", type=_FOLDER, required=True, help="The server's state folder.")
@json_option
def withdraw(*, model: str, owner_dir: Path, server_state: Path, as_json: bool) -> None:
    """Withdraw the release of MODEL (the first digits of its digest): no car takes it any more.

    Cars that committed it may then go back to an older one; pin the deployment to that.
    """
    done = tending.withdraw(
        owner_dir=owner_dir, server_state=server_state, model=model, clock=SystemClock()
    )
    text = (
        f"withdrawn: release {done.release_seq} of {done.series} (targets {done.targets_version})"
    )
    emit(done, as_json=as_json, text=text)


def _text(done: Initialised) -> str:
    return (
        f"release repository created for {done.trainer} (task {done.task})\n"
        f"  root SHA-256   {done.root_sha256}\n"
        f"  owner's keys   {done.owner_keys}   take these offline\n"
        f"  server's keys  {done.server_keys}\n"
        f"  trainer's key  {done.trainer_key}"
    )
