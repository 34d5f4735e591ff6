"""What the trainer's commands have in common: options, and how their texts are read.

Law: whatever a person typed wrong is named in one line, before anything heavy is imported.
"""

import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from shared import settings
from shared.clock import Clock
from shared.errors import RefusedError, UsageError
from shared.ids import is_name, sha256_hex
from shared.manifest import Manifest
from shared.task import WALL_DISTANCE, Task
from trainer.settings import Limits, TrainingSettings

if TYPE_CHECKING:
    from trainer.home import Home
    from trainer.pipeline.pipeline import Studio
    from trainer.pipeline.progress import Progress

FOLDER: Final = click.Path(file_okay=False, path_type=Path)
FILE: Final = click.Path(dir_okay=False, path_type=Path)

_RUN_ID = re.compile(r"[0-9a-f]{32}")

settings_file = click.option(
    "--settings", "settings_file", type=FILE, help="TOML file of training settings."
)
gates_file = click.option(
    "--gates", "gates_file", type=FILE, help="TOML file of what the gates ask."
)
changes = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="One training setting in place of the file's; repeatable.",
)
trials = click.option(
    "--trials",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    help="How many settings a search tries; 0: train once with the given ones.",
)
state = click.option(
    "--state",
    type=FOLDER,
    default=Path("var/trainer"),
    show_default=True,
    help="The folder that the run was made in.",
)


def how(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` the training settings and the gates' limits, as `how` and `limits`."""

    @settings_file
    @gates_file
    @changes
    @functools.wraps(command)
    def with_settings(
        *,
        settings_file: Path | None,
        gates_file: Path | None,
        changes: tuple[str, ...],
        **others: Any,
    ) -> int:
        from trainer.search import space

        chosen = space.applied(
            settings.load(TrainingSettings, settings_file, prefix="PARKFLEET_TRAINER"),
            parsed(changes),
            source="--set",
        )
        limits = settings.load(Limits, gates_file, prefix="PARKFLEET_GATES")
        return command(how=chosen, limits=limits, **others)

    return with_settings


def which_pairs(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` what says which pairs are asked for, as `query`."""

    @click.option(
        "--from-deployment", multiple=True, help="Only pairs of this deployment; repeatable."
    )
    @click.option("--from-device", multiple=True, help="Only pairs of this device; repeatable.")
    @click.option(
        "--since", help="Only pairs from this time on: ISO 8601, UTC unless it says otherwise."
    )
    @click.option("--until", help="Only pairs from before this time.")
    @functools.wraps(command)
    def with_query(
        *,
        from_deployment: tuple[str, ...],
        from_device: tuple[str, ...],
        since: str | None,
        until: str | None,
        **others: Any,
    ) -> int:
        from trainer.data.selection import Query

        query = Query(
            deployments=from_deployment,
            devices=from_device,
            since_utc_us=moment(since, "--since"),
            until_utc_us=moment(until, "--until"),
        )
        return command(query=query, **others)

    return with_query


def deployment(name: str) -> str:
    """Return `name`, which can name a deployment.

    Raises:
        UsageError: it cannot.
    """
    if not is_name(name):
        raise UsageError(f"{name!r} cannot name a deployment")
    return name


def parsed(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return `NAME=VALUE` texts by name; a value is JSON, else text.

    Raises:
        UsageError: one is not of that form.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise UsageError(f"--set {text!r}: give NAME=VALUE")
        found[name] = value
    return found


def settings_of(home: "Home", run_id: str) -> TrainingSettings:
    """Return the settings that a run was trained with.

    Raises:
        UsageError: there is no such run.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"{run_id!r} is no run: its id is 32 hexadecimal digits, as manifests have it"
        )
    folder = home.run(run_id)
    if not folder.path.is_dir():
        raise UsageError(f"there is no run {run_id} in {home.runs}")
    return folder.read_json("settings.json", TrainingSettings)


def moment(text: str | None, option: str) -> int | None:
    """Return a time as UTC in microseconds.

    Raises:
        UsageError: it is not ISO 8601.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r}: give a time such as 2026-05-01T12:00") from None
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return max(0, round(aware.timestamp() * 1e6))


def token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        UsageError: there is none.
    """
    try:
        found = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} holds no token") from None
    if not found or not found.isprintable() or " " in found:
        raise UsageError(
            f"{path} holds no token: 'parkfleet token create --role trainer' prints one"
        )
    return found


def task(path: Path | None) -> Task:
    """Return the task in a TOML file, wall-distance without one.

    Raises:
        UsageError: it is malformed or makes no sense.
    """
    if path is None:
        return WALL_DISTANCE
    from trainer.data.dataset import require_sensible

    found = settings.convert(settings.read_toml(path), Task, source=str(path))
    try:
        require_sensible(found)
    except RefusedError as error:
        raise UsageError(f"{path}: {error}") from None
    return found


def model(path: Path | None) -> tuple[bytes, Manifest] | None:
    """Return a model and its manifest, which lies beside it.

    Raises:
        UsageError: a file is missing, or the manifest is another model's.
    """
    if path is None:
        return None
    beside = path.with_name("manifest.json")
    try:
        body, manifest = path.read_bytes(), Manifest.from_json(beside.read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read {error.filename}: {error.strerror}; "
            "give a model with its manifest.json beside it"
        ) from None
    except RefusedError as error:
        raise UsageError(f"{beside}: {error}") from None
    if sha256_hex(body) != manifest.sha256:
        raise UsageError(f"{beside} describes another file than {path}")
    return body, manifest


def can_be_made(folder: Path) -> None:
    """Make sure that `folder` is there or could be, and make nothing yet.

    Raises:
        UsageError: it could not.
    """
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(f"cannot write into {folder}: {nearest} is no folder that can be written")


def writable(folder: Path) -> None:
    """Make sure that `folder` is there and can be written.

    Raises:
        UsageError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from None


def studio(home: "Home", clock: Clock) -> "Studio":
    """Return what runs are made with, in `home`."""
    from trainer.notebook.tracking import Notebook
    from trainer.pipeline.pipeline import Studio

    return Studio(home=home, notebook=Notebook(home, clock), clock=clock)


@contextmanager
def bar(*, shows: bool) -> Iterator[Callable[["Progress"], None]]:
    """Show progress on standard error while it lasts."""
    with click.progressbar(
        length=1000,
        label="training",
        file=sys.stderr,
        hidden=not shows,
        item_show_func=lambda each: each,
    ) as shown:

        def tell(progress: "Progress") -> None:
            shown.update(round(progress.fraction * 1000) - shown.pos, progress.message)

        yield tell


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that an open run is ended in the notebook; exit code 0."""

    def stop(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
