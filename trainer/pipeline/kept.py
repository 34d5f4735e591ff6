"""What steps hand to each other, as files: the one place that knows their form.

Law: what is read back equals what was kept.
"""

import io
import zipfile
from typing import Annotated, Final

import keras
import msgspec
import numpy as np

from shared.errors import RefusedError, UsageError
from shared.ids import Name
from shared.manifest import Manifest
from shared.samples import Count, Record
from shared.task import Task
from trainer.data.dataset import Dataset, Floats, Indices
from trainer.data.selection import Query
from trainer.data.split import Split
from trainer.judging.evaluate import Judgement
from trainer.judging.gates import Finding
from trainer.learning import network
from trainer.learning.fit import Fitted, Standing
from trainer.learning.rounds import Round, numbered
from trainer.pipeline.folder import RunFolder
from trainer.search.space import Choice, LogRange
from trainer.settings import Limits, TrainingSettings

STANDING: Final = "standing.npz"

_PARTS: Final = ("live", "other", "optimizer", "best")
"""The arrays of a `Standing`."""


class Order(Record, frozen=True):
    """What is to be made: for which deployment, as which release, by whom, asked for by what.

    `query` says which pairs were asked for, `limits` what the gates ask, `trials` how many settings
    a search tries (0: none), `workers` by how many processes, `space` what it varies (empty: its
    own choice); `tags` go into the notebook: the
    job and the decision that asked for the model.
    """

    deployment: Name
    release_seq: Count
    trainer: Name
    query: Query = Query()
    limits: Limits = Limits()
    trials: Count = 0
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    space: dict[str, Choice | LogRange] = {}  # noqa: RUF012 - a Struct copies its default
    tags: dict[str, str] = {}  # noqa: RUF012 - a Struct copies its default


class Begun(Record, frozen=True):
    """What a run begins with: `run.json`."""

    run_id: str
    task: Task
    dataset_sha256: str
    order: Order
    asked: TrainingSettings
    parent: str = ""


class Rounds(Record, frozen=True):
    """`rounds.json`: how training went; `sigma_factor` is what sigma was multiplied by."""

    rounds: tuple[Round, ...]
    best_round: int
    sigma_factor: float
    seconds: float

    @property
    def best(self) -> Round:
        """Return the round whose weights were kept."""
        return numbered(self.rounds, self.best_round)


class Gates(Record, frozen=True):
    """`gates.json`: what each gate said; `refusal` is empty where all are open."""

    refusal: str
    findings: tuple[Finding, ...]


def keep_split(folder: RunFolder, split: Split, dataset: Dataset) -> None:
    """Keep `split`: rows for machines, manoeuvres for people."""
    folder.keep_json(
        "split.json",
        {
            "rows": {name: rows.tolist() for name, rows in split.parts().items()},
            "manoeuvres": {
                name: sorted(
                    {dataset.manoeuvre_names[each] for each in dataset.manoeuvres[rows].tolist()}
                )
                for name, rows in split.parts().items()
            },
        },
    )


def read_split(folder: RunFolder) -> Split:
    """Return the kept split.

    Raises:
        UsageError: there is none.
        RefusedError: it is damaged.
    """
    parts = folder.read_json("split.json", dict[str, dict[str, list[int | str]]])
    try:
        rows = parts["rows"]
        train, validation, test = (
            np.asarray(rows[name], dtype=np.int64) for name in ("train", "validation", "test")
        )
    except (KeyError, ValueError) as error:
        raise RefusedError(f"{folder.path}/split.json is damaged: {error}") from None
    return Split(train, validation, test)


def keep_fitted(folder: RunFolder, fitted: Fitted) -> None:
    """Keep a trained network's weights, and how it was trained."""
    weights = {f"{number:03d}": each for number, each in enumerate(fitted.network.get_weights())}
    folder.keep("network.npz", _npz(weights))
    folder.keep_json(
        "rounds.json",
        Rounds(
            rounds=fitted.rounds,
            best_round=fitted.best_round,
            sigma_factor=fitted.sigma_factor,
            seconds=fitted.seconds,
        ),
    )


def read_network(folder: RunFolder, task: Task, settings: TrainingSettings) -> keras.Model:
    """Return the kept network.

    Raises:
        UsageError: there is none.
        RefusedError: it is damaged, or of other settings.
    """
    made = network.build(task, settings)
    arrays = _read_npz(folder, "network.npz")
    try:
        made.set_weights([arrays[name] for name in sorted(arrays)])
    except ValueError as error:
        raise RefusedError(
            f"{folder.path}/network.npz is of other settings: {error}"[:300]
        ) from None
    return made


def read_rounds(folder: RunFolder) -> Rounds:
    """Return how the run was trained.

    Raises:
        UsageError: it was not.
        RefusedError: the record is damaged.
    """
    return folder.read_json("rounds.json", Rounds)


def keep_standing(folder: RunFolder, standing: Standing) -> None:
    """Keep what a training stands at."""
    parts = {name: getattr(standing, name) for name in _PARTS}
    arrays = {
        f"{name}-{number:03d}": each
        for name, values in parts.items()
        for number, each in enumerate(values)
    }
    told = msgspec.json.encode((standing.done, standing.rounds, standing.best_round))
    folder.keep(STANDING, _npz({"told": np.frombuffer(told, dtype=np.uint8), **arrays}))


def read_standing(folder: RunFolder) -> Standing | None:
    """Return what a training stood at; None where that was not kept, or is damaged."""
    try:
        arrays = _read_npz(folder, STANDING)
        done, rounds, best_round = msgspec.json.decode(
            arrays.pop("told").tobytes(), type=tuple[int, tuple[Round, ...], int]
        )
    except (UsageError, RefusedError, KeyError, msgspec.MsgspecError):
        return None
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _PARTS}
    for name in sorted(arrays):
        parts[name.partition("-")[0]].append(arrays[name])
    return Standing(done=done, rounds=rounds, best_round=best_round, **parts)


def keep_answers(folder: RunFolder, rows: Indices, values: Floats, log_sigmas: Floats) -> None:
    """Keep what the file answered to each of `rows`."""
    folder.keep("answers.npz", _npz({"rows": rows, "values": values, "log_sigmas": log_sigmas}))


def read_answers(folder: RunFolder) -> tuple[Indices, Floats, Floats]:
    """Return rows, values and log sigmas as kept.

    Raises:
        UsageError: there are none.
        RefusedError: they are damaged.
    """
    arrays = _read_npz(folder, "answers.npz")
    return arrays["rows"], arrays["values"], arrays["log_sigmas"]


def read_judgement(folder: RunFolder) -> Judgement:
    """Return the kept judgement.

    Raises:
        UsageError: there is none.
        RefusedError: it is damaged.
    """
    return folder.read_json("evaluation.json", Judgement)


def read_manifest(folder: RunFolder) -> Manifest:
    """Return the model's manifest.

    Raises:
        UsageError: there is none.
        RefusedError: it is damaged.
    """
    return Manifest.from_json(folder.read("model/manifest.json"))


def read_in_service(folder: RunFolder, task: Task) -> bytes | None:
    """Return the model in service that the run is compared with; None without one for `task`.

    Raises:
        RefusedError: its manifest is damaged.
    """
    if not folder.has("in_service/model.tflite"):
        return None
    manifest = Manifest.from_json(folder.read("in_service/manifest.json"))
    return folder.read("in_service/model.tflite") if manifest.task == task else None


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _read_npz(folder: RunFolder, name: str) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(folder.read(name)), allow_pickle=False) as arrays:
            return {each: arrays[each] for each in arrays.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise RefusedError(f"{folder.path / name} is damaged: {error}"[:300]) from None
