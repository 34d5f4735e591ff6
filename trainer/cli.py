"""The verb `trainer`: work on the server's training jobs, train from folders, and look back.

TensorFlow and MLflow are imported inside the commands: help and mistakes cost no seconds.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from shared import settings
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.ids import is_name
from trainer import options, runtime
from trainer.options import FILE, FOLDER
from trainer.settings import Limits, TrainingSettings

if TYPE_CHECKING:
    from trainer.data.selection import Query
    from trainer.offline import Wanted


@click.group(epilog="Example: parkfleet trainer run --data recordings --out out/model")
def trainer() -> None:
    """Train models, or work on the server's training jobs."""


@trainer.command(
    epilog="Example: parkfleet trainer work --server http://127.0.0.1:8080 "
    "--token-file var/trainer/token --state var/trainer"
)
@click.option("--server", "url", required=True, help="Address of the fleet server.")
@click.option("--token-file", type=FILE, required=True, help="File with a token of role trainer.")
@click.option(
    "--state",
    type=FOLDER,
    default=Path("var/trainer"),
    show_default=True,
    help="The worker's folder: keys, runs, data sets, MLflow.",
)
@click.option("--name", default="trainer-1", show_default=True, help="Its release role's name.")
@click.option(
    "--key",
    help="Where its private key is: a URI of securesystemslib, such as 'file2:...', 'hsm:...' or "
    "'awskms:...'.  [default: keys/release.key in the state folder]",
)
@click.option("--public-key", type=FILE, help="The public key to --key, as JSON of TUF metadata.")
@options.settings_file
@options.gates_file
@options.trials
@click.option("--once", is_flag=True, help="End after one job, or where there is none.")
def work(
    *,
    url: str,
    token_file: Path,
    state: Path,
    name: str,
    key: str | None,
    public_key: Path | None,
    settings_file: Path | None,
    gates_file: Path | None,
    trials: int,
    once: bool,
) -> None:
    """Claim training jobs from the server, train, sign and hand in, until interrupted.

    A job is one training with the given settings, or a search where the job or --trials asks for
    one. The key that signs is keys/release.key in the state folder (see 'parkfleet releases init').
    """
    from trainer.home import Home
    from trainer.worker import client, sign

    if not is_name(name):
        raise UsageError(f"{name!r} cannot name a trainer: use letters, digits, '.', '_' and '-'")
    if (key is None) != (public_key is None):
        raise UsageError("--key and --public-key belong together: give both or neither")
    token = options.token(token_file)
    chosen = settings.load(TrainingSettings, settings_file, prefix="PARKFLEET_TRAINER")
    limits = settings.load(Limits, gates_file, prefix="PARKFLEET_GATES")
    home = Home(state)
    with client.Server(url, token) as server, options.ends_on_sigterm():
        signer = (
            sign.open_signer(key, public_key) if key and public_key else sign.load_signer(home.key)
        )
        runtime.prepare(chosen.threads)
        from trainer.worker import worker

        options.writable(state)
        shop = worker.Workshop(
            name=name,
            server=server,
            signer=signer,
            studio=options.studio(home, SystemClock()),
            settings=chosen,
            limits=limits,
            trials=trials,
        )
        worker.work(shop, once=once)


@trainer.command(
    epilog="Example: parkfleet trainer run --data recorded/beige --out out/beige --deployment beige"
)
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    multiple=True,
    help="Folder with images/ and labels.csv; repeatable, each is a setting of its own.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder for the model and its records.")
@click.option(
    "--deployment",
    default="recorded",
    show_default=True,
    help="The deployment that the model is for.",
)
@click.option(
    "--task", "task_file", type=FILE, help="TOML file of the task (default: wall-distance)."
)
@options.how
@options.trials
@click.option(
    "--over",
    multiple=True,
    metavar="NAME=VALUE,VALUE...",
    help="What the search varies, in place of its own choice; repeatable.",
)
@options.which_pairs
@click.option(
    "--in-service",
    type=FILE,
    help="A model to compare with, its manifest.json beside it: no setting may get much worse.",
)
@json_option
def run(
    *,
    data: tuple[Path, ...],
    out: Path,
    deployment: str,
    task_file: Path | None,
    how: TrainingSettings,
    limits: Limits,
    trials: int,
    over: tuple[str, ...],
    query: "Query",
    in_service: Path | None,
    as_json: bool,
) -> int:
    """Train from recorded data, without a server, and print how good the model is.

    Exit code 1 where a gate refuses the model: it is kept in its run's folder, and nowhere else.
    """
    from trainer import offline
    from trainer.search import space

    if over and not trials:
        raise UsageError("--over says what a search varies: give --trials, too")
    wanted = offline.Wanted(
        folders=data,
        task=options.task(task_file),
        deployment=options.deployment(deployment),
        settings=how,
        query=query,
        limits=limits,
        trials=trials,
        space=dict(space.narrowed(over)),
        in_service=options.model(in_service),
    )
    options.can_be_made(out)
    return _trained(wanted, out, as_json=as_json)


def _trained(wanted: "Wanted", out: Path, *, as_json: bool) -> int:
    """Train what is wanted, tell what came of it, and return the exit code."""
    from trainer import offline

    collected = offline.collect(wanted)
    options.writable(out)
    with options.ends_on_sigterm(), options.bar(shows=not as_json) as tell:
        runtime.prepare(wanted.settings.threads)
        trained = offline.train(wanted, collected, out, tell=tell)
    emit(offline.result(trained), as_json=as_json, text=offline.text(trained))
    if trained.refusal:
        # In the last line of standard error too, where whoever started us looks for the reason.
        click.echo(f"refused by its gates: {trained.refusal}", err=True)
        return 1
    return 0


@trainer.command(epilog="Example: parkfleet trainer reproduce 0f3a... --state var/trainer")
@click.argument("run_id", metavar="RUN")
@options.state
@json_option
def reproduce(*, run_id: str, state: Path, as_json: bool) -> int:
    """Make the model of a run again from what was kept of it, and compare the bytes.

    Exit code 1 where they differ.
    """
    from trainer.home import Home

    home = Home(state)
    chosen = options.settings_of(home, run_id)
    with options.ends_on_sigterm(), options.bar(shows=not as_json) as tell:
        runtime.prepare(chosen.threads)
        from trainer.pipeline import reproduce as reproducing

        made = reproducing.reproduce(home, run_id, clock=SystemClock(), tell=tell)
    others = [f"{name} {now} (then {then})" for name, (then, now) in made.other_versions.items()]
    lines = [
        f"kept   {made.kept}",
        f"found  {made.found}",
        "identical, to the byte" if made.is_identical else "NOT the same file",
        *([f"other versions here: {', '.join(others)}"] if others else []),
    ]
    emit(
        {**msgspec.to_builtins(made), "identical": made.is_identical},
        as_json=as_json,
        text="\n".join(lines),
    )
    return 0 if made.is_identical else 1


@trainer.command(
    epilog="Example: parkfleet trainer again 0f3a... --step fit --set batch=32 --state var/trainer"
)
@click.argument("run_id", metavar="RUN")
@click.option("--step", required=True, help="Which step: split, fit, quantise, evaluate ...")
@options.changes
@click.option("--onward", is_flag=True, help="Do all later steps too.")
@options.state
@json_option
def again(
    *, run_id: str, step: str, changes: tuple[str, ...], onward: bool, state: Path, as_json: bool
) -> None:
    """Do one step of a run again, with other parameters, on identical inputs: a run of its own."""
    from trainer.home import Home
    from trainer.search import space

    home = Home(state)
    asked = options.parsed(changes)
    chosen = space.applied(options.settings_of(home, run_id), asked, source="--set")
    with options.ends_on_sigterm(), options.bar(shows=not as_json) as tell:
        runtime.prepare(chosen.threads)
        from trainer.pipeline import again as repeating
        from trainer.pipeline.run import done_steps

        folder = repeating.again(
            options.studio(home, SystemClock()), run_id, step, asked, onward=onward, tell=tell
        )
    done: list[dict[str, Any]] = msgspec.to_builtins(done_steps(folder))
    emit(
        {"run_id": folder.path.parent.name, "folder": str(folder.path), "steps": done},
        as_json=as_json,
        text=f"run      {folder.path.parent.name}\nkept in  {folder.path}",
    )
