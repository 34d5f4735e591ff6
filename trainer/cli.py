"""The verb `trainer`: work on the server's training jobs, or train from a folder.

TensorFlow and MLflow are imported inside the commands: help and mistakes cost no seconds.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from shared import settings
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.ids import is_name
from shared.task import WALL_DISTANCE, Task
from trainer import runtime
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from trainer.pipeline import Progress, Trained

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(epilog="Example: parkfleet trainer run --data recordings --out out/model")
def trainer() -> None:
    """Train models, or work on the server's training jobs."""


@trainer.command(
    epilog="Example: parkfleet trainer work --server http://127.0.0.1:8080 "
    "--token-file var/trainer/token --state var/trainer"
)
@click.option("--server", "url", required=True, help="Address of the fleet server.")
@click.option("--token-file", type=_FILE, required=True, help="File with a token of role trainer.")
@click.option(
    "--state",
    type=_FOLDER,
    default=Path("var/trainer"),
    show_default=True,
    help="The worker's folder: keys, runs, MLflow.",
)
@click.option("--name", default="trainer-1", show_default=True, help="Its release role's name.")
@click.option("--settings", "settings_file", type=_FILE, help="TOML file of training settings.")
@click.option("--once", is_flag=True, help="End after one job, or where there is none.")
def work(
    *, url: str, token_file: Path, state: Path, name: str, settings_file: Path | None, once: bool
) -> None:
    """Claim training jobs from the server, train, sign and hand in, until interrupted.

    The key that signs is keys/release.key in the state folder (see 'parkfleet releases init').
    """
    from trainer import client, sign

    if not is_name(name):
        raise UsageError(f"{name!r} cannot name a trainer: use letters, digits, '.', '_' and '-'")
    token = _token(token_file)
    chosen = settings.load(TrainingSettings, settings_file, prefix="PARKFLEET_TRAINER")
    with client.Server(url, token) as server, _ends_on_sigterm():
        signer = sign.load_signer(state / "keys" / "release.key")
        clock = SystemClock()
        runtime.prepare(chosen.threads)
        from trainer import worker
        from trainer.tracking import Notebook

        _writable(state)
        notebook = Notebook(state, clock)
        notebook.end_left_over()
        shop = worker.Workshop(
            name=name,
            server=server,
            signer=signer,
            notebook=notebook,
            runs=state / "runs",
            settings=chosen,
            clock=clock,
        )
        worker.work(shop, once=once)


@trainer.command(
    epilog="Example: parkfleet trainer run --data recorded/beige --out out/beige --deployment beige"
)
@click.option("--data", type=_FOLDER, required=True, help="Folder with images/ and labels.csv.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for the model and its records.")
@click.option(
    "--deployment",
    default="recorded",
    show_default=True,
    help="The deployment that the model is for.",
)
@click.option(
    "--task", "task_file", type=_FILE, help="TOML file of the task (default: wall-distance)."
)
@click.option("--settings", "settings_file", type=_FILE, help="TOML file of training settings.")
@json_option
def run(
    *,
    data: Path,
    out: Path,
    deployment: str,
    task_file: Path | None,
    settings_file: Path | None,
    as_json: bool,
) -> None:
    """Train from recorded data, without a server, and print how good the model is."""
    if not is_name(deployment):
        raise UsageError(f"{deployment!r} cannot name a deployment")
    chosen = settings.load(TrainingSettings, settings_file, prefix="PARKFLEET_TRAINER")
    task = _task(task_file)
    if not (data / "labels.csv").is_file():
        raise UsageError(f"{data} holds no labels.csv: give a folder with images/ and labels.csv")
    _writable(out)
    with _ends_on_sigterm():
        runtime.prepare(chosen.threads)
        trained = _run(data, out, deployment, task, chosen, shows=not as_json)
    emit(_result(trained), as_json=as_json, text=_text(trained, task))


def _run(
    data: Path, out: Path, deployment: str, task: Task, chosen: TrainingSettings, *, shows: bool
) -> "Trained":
    from trainer import dataset, pipeline, recorded
    from trainer.runs import RunFolder
    from trainer.tracking import Notebook

    clock = SystemClock()
    collected = dataset.assemble(recorded.read(data, task), task)
    order = pipeline.Order(deployment=deployment, release_seq=0, trainer="offline")
    with _bar(shows=shows) as tell:
        trained = pipeline.train(
            collected,
            order,
            chosen,
            notebook=Notebook(out, clock),
            runs=out / "runs",
            clock=clock,
            tell=tell,
        )
    folder = RunFolder(out)
    folder.keep("manifest.json", trained.manifest.to_json().encode())
    folder.keep("model.tflite", trained.model)
    return trained


@contextmanager
def _bar(*, shows: bool) -> Iterator[Any]:
    import sys

    with click.progressbar(
        length=1000,
        label="training",
        file=sys.stderr,
        hidden=not shows,
        item_show_func=lambda each: each,
    ) as bar:

        def tell(progress: "Progress") -> None:
            bar.update(round(progress.fraction * 1000) - bar.pos, progress.message)

        yield tell


def _result(trained: "Trained") -> dict[str, object]:
    return {
        "model": trained.manifest.sha256,
        "run_id": trained.manifest.run_id,
        "folder": str(trained.folder),
        "metrics": trained.manifest.metrics,
        "evaluation": msgspec.to_builtins(trained.judgement),
    }


def _text(trained: "Trained", task: Task) -> str:
    converted, original = trained.judgement.converted, trained.judgement.original
    lines = [
        f"model    {trained.manifest.sha256} ({trained.manifest.size_bytes} bytes)",
        f"kept in  {trained.folder}",
        f"error    {converted.mae:.2f} {task.unit} in LiteRT int8, {original.mae:.2f} in float",
        f"         95 % below {converted.p95:.1f}, on {converted.pictures} held-out pictures",
        f"sigma    one covers {converted.within_1_sigma:.0%}, two {converted.within_2_sigma:.0%}",
    ]
    lines += [
        f"  {each.low:6.0f} to {each.high:6.0f} {task.unit}   error {each.mae:6.2f}   "
        f"{each.pictures} pictures"
        for each in converted.bins
    ]
    return "\n".join(lines)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} holds no token") from None
    if not token or not token.isprintable() or " " in token:
        raise UsageError(
            f"{path} holds no token: 'parkfleet token create --role trainer' prints one"
        )
    return token


def _task(path: Path | None) -> Task:
    if path is None:
        return WALL_DISTANCE
    task = settings.convert(settings.read_toml(path), Task, source=str(path))
    if task.span <= 0 or not 16 <= min(task.picture_width, task.picture_height) <= 1024:
        raise UsageError(f"{path}: needs low < high and pictures of 16 to 1024 pixels a side")
    return task


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from None


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that an open run is ended in the notebook; exit code 0."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
