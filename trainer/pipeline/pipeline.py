"""From labelled pictures to a judged model: a run from its beginning to its end.

Laws:
- everything is captured without being asked: settings, rounds, load, source, environment, data set,
  what each step made; whoever calls this cannot forget it;
- a run that fails leaves its reason in the notebook, and no model behind;
- `make` makes a model, `conclude` registers it: between the two it is handed in, so that what the
  notebook calls registered is registered.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from shared.clock import Clock
from shared.manifest import Manifest
from trainer.data.dataset import Dataset
from trainer.data.snapshot import contents
from trainer.home import Home
from trainer.judging.evaluate import Judgement
from trainer.learning.rounds import Round
from trainer.notebook import card, environment
from trainer.notebook.board import EXAMPLES, Board
from trainer.notebook.live import Live
from trainer.notebook.tracking import Notebook
from trainer.pipeline import kept, steps
from trainer.pipeline.doing import do_all
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun, Gates, Order
from trainer.pipeline.progress import Progress, Tell
from trainer.pipeline.run import Run
from trainer.search.found import Found
from trainer.settings import TrainingSettings

__all__ = ["InService", "Order", "Progress", "Tell", "Trained", "conclude", "make", "resume"]


@dataclass(frozen=True)
class InService:
    """The model in service: its file and what it is."""

    model: bytes
    manifest: Manifest


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """A finished run; `refusal` is why its model goes nowhere, empty where it may."""

    folder: RunFolder
    manifest: Manifest
    judgement: Judgement
    refusal: str

    @property
    def model(self) -> bytes:
        """The converted file."""
        return self.folder.read("model/model.tflite")


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What runs are made with."""

    home: Home
    notebook: Notebook
    clock: Clock


def make(
    studio: Studio,
    dataset: Dataset,
    order: Order,
    settings: TrainingSettings,
    *,
    tell: Tell,
    in_service: InService | None = None,
) -> Trained:
    """Return a model trained on `dataset`, judged, and kept with everything behind it.

    Raises:
        RefusedError: training diverged or the converted file is not what it must be.
        RetryLaterError: something cannot be written.
    """
    about = contents(dataset, order.query, most=settings.most_pairs)
    place = studio.home.snapshots.keep(dataset, about)
    name = f"{order.deployment} {dataset.sha256[:8]}"
    run_id = studio.notebook.begin(dataset.task.name, order.tags, {}, name=name)
    folder = studio.home.run(run_id)
    begun = Begun(
        run_id=run_id,
        task=dataset.task,
        dataset_sha256=dataset.sha256,
        order=order,
        asked=settings,
    )

    def prepare() -> None:
        studio.notebook.log_dataset(run_id, about, place.resolve().as_uri())
        folder.keep_json("dataset.json", about)
        folder.keep("requirements.txt", environment.requirements().encode())
        folder.keep("pipeline.mmd", steps.mermaid().encode())
        if in_service is not None:
            folder.keep("in_service/model.tflite", in_service.model)
            folder.keep("in_service/manifest.json", in_service.manifest.to_json().encode())
        folder.keep_json("settings.json", settings)
        folder.keep_json("run.json", begun)

    def work() -> Trained:
        prepare()
        return _do(studio, begun, dataset, tell)

    return _guarded(studio, run_id, work)


def resume(studio: Studio, begun: Begun, dataset: Dataset, *, tell: Tell) -> Trained:
    """Go on with a run that was cut short after it had begun; `dataset` must be its own.

    Raises:
        RefusedError: training diverged or the converted file is not what it must be.
        RetryLaterError: something cannot be written.
    """
    folder = studio.home.run(begun.run_id)
    folder.keep_json("run.json", begun)
    return _guarded(studio, begun.run_id, lambda: _do(studio, begun, dataset, tell))


def conclude(studio: Studio, trained: Trained) -> str:
    """Register a run's model, as refused where it is, and end the run; return its version."""
    begun = trained.folder.read_json("run.json", Begun)
    version = studio.notebook.register(
        trained.manifest,
        refusal=trained.refusal,
        card=_card(trained.folder),
        tags={name: value for name, value in begun.order.tags.items() if value},
    )
    studio.notebook.end(begun.run_id)
    return version


def finished(folder: RunFolder) -> Trained:
    """Return what the run in `folder` has made.

    Raises:
        UsageError: it has not come so far.
        RefusedError: something in it is damaged.
    """
    return Trained(
        folder=folder,
        manifest=kept.read_manifest(folder),
        judgement=kept.read_judgement(folder),
        refusal=folder.read_json("gates.json", Gates).refusal,
    )


def _guarded(studio: Studio, run_id: str, work: Callable[[], Trained]) -> Trained:
    try:
        return work()
    except BaseException as error:
        studio.notebook.end(run_id, failed=f"{type(error).__name__}: {error}")
        raise


def _do(studio: Studio, begun: Begun, dataset: Dataset, tell: Tell) -> Trained:
    folder = studio.home.run(begun.run_id)
    live = Live(studio.notebook, begun.run_id, studio.clock)
    board = Board(folder.path / "tensorboard" / "fit")

    def on_round(each: Round) -> None:
        live.on_round(each)
        board.on_round(each)

    def heard(progress: Progress) -> None:
        live.on_progress()
        tell(progress)

    run = Run(
        folder=folder,
        dataset=dataset,
        begun=begun,
        clock=studio.clock,
        tell=heard,
        on_round=on_round,
        callbacks=(board.callback(),),
        snapshots=studio.home.folder / "datasets",
    )
    do_all(run)
    trained = finished(folder)
    _note(studio.notebook, run, trained, board)
    return trained


def _note(notebook: Notebook, run: Run, trained: Trained, board: Board) -> None:
    """Write the results where people look for them."""
    run_id, settings = run.begun.run_id, run.settings
    rounds = kept.read_rounds(run.folder)
    notebook.log_parameters(run_id, msgspec.structs.asdict(settings))
    notebook.log_results(run_id, trained.manifest.metrics)
    notebook.log_results(
        run_id,
        {f"seconds.{each.name}": each.seconds for each in run.done()}
        | {"best_round": rounds.best_round},
    )
    notebook.tag(
        run_id,
        {
            "digest": trained.manifest.sha256,
            "gates": "refused" if trained.refusal else "passed",
            "refusal": trained.refusal,
            "mlflow.note.content": _card(run.folder)[:5000],
        },
    )
    _note_trials(notebook, run)
    board.graph(kept.read_network(run.folder, run.dataset.task, settings))
    _show(run, board)
    board.told(settings, trained.manifest.metrics)
    board.close()


def _card(folder: RunFolder) -> str:
    return card.without_pictures(folder.read(f"model/{card.FILE}").decode())


def _note_trials(notebook: Notebook, run: Run) -> None:
    if not run.folder.has("search.json"):
        return
    found = run.folder.read_json("search.json", Found)
    # The winner's rounds: its own process had no notebook.
    notebook.log_rounds(run.begun.run_id, kept.read_rounds(run.folder).rounds)
    for each in found.trials:
        number = notebook.begin(
            run.dataset.task.name,
            {"trial": str(each.number), "state": each.state},
            each.parameters,
            parent=run.begun.run_id,
            name=f"trial-{each.number}",
        )
        if each.validation_mae is not None:
            notebook.log_results(number, {"validation_mae": each.validation_mae})
        notebook.end(number)
    notebook.log_results(
        run.begun.run_id, {f"importance.{name}": share for name, share in found.importance.items()}
    )


def _show(run: Run, board: Board) -> None:
    """Show some held-out pictures, evenly over the label, with what the model says of them."""
    rows, values, log_sigmas = kept.read_answers(run.folder)
    task = run.dataset.task
    order = np.argsort(run.dataset.labels[rows], kind="stable")
    at = order[np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).astype(int)]
    said = values[at] * task.span + task.low
    sigmas = np.exp(log_sigmas[at]) * task.span
    labels = run.dataset.labels[rows[at]] * task.span + task.low
    texts = [
        f"{caption}, sigma {sigma:.1f}"
        for caption, sigma in zip(card.captions(labels, said, task), sigmas.tolist(), strict=True)
    ]
    board.examples(run.dataset.pictures[rows[at]], texts)
