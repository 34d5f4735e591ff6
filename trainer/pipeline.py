"""From labelled pictures to a model with its manifest: each step a function, each result frozen.

    data set -> split -> fit -> quantise -> evaluate -> manifest -> notebook

Laws:
- what a step produced is kept in the run's folder before the next one starts;
- a run that fails leaves its reason in the notebook, and no model behind;
- progress is told at every step and round; whoever is told may end the run by raising.

A run's folder holds `settings.json`, `dataset.json`, `split.json`, `rounds.json`, `evaluation.json`
and, in `model/`, the file and its manifest, both named by the file's digest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import msgspec

from shared.clock import Clock
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.samples import Record
from trainer import dataset as data
from trainer import evaluate, fit, quantise
from trainer import manifest as manifests
from trainer.dataset import Dataset, Split
from trainer.evaluate import Evaluation
from trainer.runs import RunFolder
from trainer.settings import TrainingSettings
from trainer.tracking import Notebook

_FIT_FROM, _FIT_TO = 0.05, 0.9


class Order(Record, frozen=True):
    """What is to be made: for which deployment, as which release, by whom, asked for by what.

    `tags` go into the notebook: the job and the decision that asked for the model.
    """

    deployment: str
    release_seq: int
    trainer: str
    tags: dict[str, str] = {}  # noqa: RUF012 - a Struct copies its default


class Progress(Record, frozen=True):
    """How far a run is: the stage's name, 0..1 over the whole run, one line for people."""

    stage: str
    fraction: float
    message: str


class Judgement(Record, frozen=True):
    """The converted file beside the float network, on the same held-out manoeuvres."""

    converted: Evaluation
    original: Evaluation
    latency_us: float


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run."""

    model: bytes
    manifest: Manifest
    judgement: Judgement
    version: str
    folder: Path


Tell = Callable[[Progress], None]


def train(
    dataset: Dataset,
    order: Order,
    settings: TrainingSettings,
    *,
    notebook: Notebook,
    runs: Path,
    clock: Clock,
    tell: Tell,
) -> Trained:
    """Return a model trained on `dataset`, kept under `runs` and registered in `notebook`.

    Raises:
        RefusedError: training diverged or the converted file is not what it must be.
        RetryLaterError: the run's folder cannot be written.
    """
    run_id = notebook.begin(dataset.task.name, order.tags, msgspec.structs.asdict(settings))
    folder = RunFolder(runs / run_id)
    try:
        trained = _run(
            run_id=run_id,
            dataset=dataset,
            order=order,
            settings=settings,
            notebook=notebook,
            folder=folder,
            clock=clock,
            tell=tell,
        )
    except BaseException as error:
        notebook.end(run_id, failed=f"{type(error).__name__}: {error}")
        raise
    notebook.end(run_id)
    return trained


def _run(
    *,
    run_id: str,
    dataset: Dataset,
    order: Order,
    settings: TrainingSettings,
    notebook: Notebook,
    folder: RunFolder,
    clock: Clock,
    tell: Tell,
) -> Trained:
    tell(Progress(stage="split", fraction=0.0, message=f"{len(dataset)} pairs"))
    split = _split(dataset, settings, folder)
    notebook.log_dataset(run_id, dataset)
    fitted = _fit(dataset, split, settings, folder=folder, clock=clock, tell=tell)
    notebook.log_rounds(run_id, fitted.rounds)
    tell(Progress(stage="quantise", fraction=_FIT_TO, message="converting to int8"))
    train_part = dataset.part(split.train)
    model = quantise.to_int8(fitted.network, train_part, dataset.task, settings)
    tell(Progress(stage="evaluate", fraction=0.96, message=f"{len(model)} bytes in LiteRT"))
    judgement = _judge(model, fitted.network, dataset, split, clock)
    folder.keep_json("evaluation.json", judgement)
    manifest = manifests.build(
        model,
        task=dataset.task,
        deployment=order.deployment,
        release_seq=order.release_seq,
        metrics=manifests.metrics(judgement.converted, judgement.original),
        run_id=run_id,
        dataset_sha256=dataset.sha256,
        created_utc_us=clock.utc_us(),
        trainer=order.trainer,
    )
    place = _keep_model(model, manifest, folder)
    version = notebook.register(manifest, place, order.tags)
    tell(Progress(stage="registered", fraction=1.0, message=_summary(judgement, dataset.task.unit)))
    return Trained(model, manifest, judgement, version, folder.path)


def _split(dataset: Dataset, settings: TrainingSettings, folder: RunFolder) -> Split:
    split = data.split(
        dataset,
        seed=settings.seed,
        validation_share=settings.validation_share,
        test_share=settings.test_share,
    )
    folder.keep_json("settings.json", settings)
    folder.keep_json(
        "dataset.json",
        {"sha256": dataset.sha256, "pairs": len(dataset), "left_out": dict(dataset.skipped)},
    )
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    folder.keep_json("split.json", {name: rows.tolist() for name, rows in parts.items()})
    return split


def _fit(
    dataset: Dataset,
    split: Split,
    settings: TrainingSettings,
    *,
    folder: RunFolder,
    clock: Clock,
    tell: Tell,
) -> fit.Fitted:
    def on_round(each: fit.Round) -> None:
        share = each.number / each.of
        tell(
            Progress(
                stage="fit",
                fraction=_FIT_FROM + (_FIT_TO - _FIT_FROM) * share,
                message=f"round {each.number}/{each.of}, validation error "
                f"{each.validation_mae:.1f} {dataset.task.unit}",
            )
        )

    fitted = fit.fit(
        dataset.part(split.train),
        dataset.part(split.validation),
        dataset.task,
        settings,
        clock=clock,
        on_round=on_round,
    )
    kept: Mapping[str, object] = {
        "rounds": fitted.rounds,
        "best_round": fitted.best_round,
        "sigma_factor": fitted.sigma_factor,
        "seconds": fitted.seconds,
    }
    folder.keep_json("rounds.json", kept)
    return fitted


def _judge(
    model: bytes, network: keras.Model, dataset: Dataset, split: Split, clock: Clock
) -> Judgement:
    test = dataset.part(split.test)
    answers = evaluate.run(model, test, clock=clock)
    values, log_sigmas = fit.predict(network, test)
    return Judgement(
        converted=evaluate.judge(answers.values, answers.log_sigmas, test.labels, dataset.task),
        original=evaluate.judge(values, log_sigmas, test.labels, dataset.task),
        latency_us=answers.latency_us,
    )


def _keep_model(model: bytes, manifest: Manifest, folder: RunFolder) -> Path:
    digest = sha256_hex(model)
    folder.keep(f"model/{digest}.json", manifest.to_json().encode())
    return folder.keep(f"model/{digest}.tflite", model).parent


def _summary(judgement: Judgement, unit: str) -> str:
    converted, original = judgement.converted, judgement.original
    return (
        f"error {converted.mae:.2f} {unit} in LiteRT int8, {original.mae:.2f} {unit} in float, "
        f"on {converted.pictures} held-out pictures"
    )
