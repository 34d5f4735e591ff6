"""One step of a run done again, with other parameters, on identical inputs.

Laws:
- it is a run of its own, which names the one that it comes from: the first is never changed;
- the files that the step reads are those of the first run, to the byte;
- a parameter that the step does not heed is refused: it would change nothing.
"""

from collections.abc import Mapping, Sequence

import msgspec

from shared.errors import UsageError
from trainer.data.dataset import Dataset
from trainer.learning.rounds import Round
from trainer.notebook.board import Board
from trainer.notebook.live import Live
from trainer.pipeline import kept
from trainer.pipeline.doing import do
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun, Rounds
from trainer.pipeline.pipeline import Studio
from trainer.pipeline.progress import Tell
from trainer.pipeline.run import Run, done_steps, find
from trainer.pipeline.steps import DATASET, STEPS, Step
from trainer.search.space import Value, applied
from trainer.settings import TrainingSettings

_ALWAYS = ("dataset.json", "requirements.txt", "pipeline.mmd")
_IN_SERVICE = ("in_service/model.tflite", "in_service/manifest.json")


def again(
    studio: Studio,
    run_id: str,
    step: str,
    changes: Mapping[str, Value],
    *,
    onward: bool,
    tell: Tell,
) -> RunFolder:
    """Do `step` of a run again with `changes` to its settings; with `onward` all later ones too.

    Raises:
        UsageError: there is no such run or step, its data set is gone, or a change is not heeded.
        RefusedError: training diverged, or what is kept is damaged.
    """
    first = studio.home.run(run_id)
    begun = first.read_json("run.json", Begun)
    todo = _todo(find(step), onward=onward)
    settings = applied(first.read_json("settings.json", TrainingSettings), changes)
    _require_heeded(todo, changes)
    dataset = studio.home.snapshots.load(begun.dataset_sha256, begun.task)
    tags = {"step": step, "again_of": run_id}
    number = studio.notebook.begin(
        begun.task.name, tags, msgspec.structs.asdict(settings), parent=run_id, name=f"{step} again"
    )
    folder = studio.home.run(number)
    order = msgspec.structs.replace(begun.order, trials=0, tags={**begun.order.tags, **tags})
    now = msgspec.structs.replace(begun, run_id=number, order=order, asked=settings, parent=run_id)
    try:
        _bring(first, folder, todo)
        folder.keep_json("settings.json", settings)
        folder.keep_json("run.json", now)
        _do(studio, folder, dataset, now, todo=todo, tell=tell)
    except BaseException as error:
        studio.notebook.end(number, failed=f"{type(error).__name__}: {error}")
        raise
    studio.notebook.log_results(number, _results(folder))
    studio.notebook.end(number)
    return folder


def _do(
    studio: Studio,
    folder: RunFolder,
    dataset: Dataset,
    begun: Begun,
    *,
    todo: Sequence[Step],
    tell: Tell,
) -> None:
    live = Live(studio.notebook, begun.run_id, studio.clock)
    board = Board(folder.path / "tensorboard" / "fit")

    def on_round(each: Round) -> None:
        live.on_round(each)
        board.on_round(each)

    run = Run(
        folder=folder,
        dataset=dataset,
        begun=begun,
        clock=studio.clock,
        tell=tell,
        on_round=on_round,
        callbacks=(board.callback(),),
        snapshots=studio.home.folder / "datasets",
    )
    for each in todo:
        do(run, each)
    board.told(begun.asked, _results(folder))
    board.close()


def _todo(step: Step, *, onward: bool) -> Sequence[Step]:
    later = STEPS[STEPS.index(step) :]
    return [each for each in later if not each.optional] if onward else [step]


def _require_heeded(todo: Sequence[Step], changes: Mapping[str, Value]) -> None:
    heeded = {name for step in todo for name in step.parameters}
    for name in changes:
        if name not in heeded:
            names = ", ".join(step.name for step in todo)
            raise UsageError(f"{name} changes nothing in {names}: {', '.join(sorted(heeded))} do")


def _bring(first: RunFolder, folder: RunFolder, todo: Sequence[Step]) -> None:
    """Copy what `todo` reads and does not make itself."""
    made = {name for step in todo for name in step.makes}
    read = {name for step in todo for name in step.reads} - made - {DATASET}
    for name in sorted({*read, *_ALWAYS}):
        folder.keep(name, first.read(name))
    for name in _IN_SERVICE:
        if first.has(name):
            folder.keep(name, first.read(name))
    names = {step.name for step in todo}
    earlier = [
        each for each in done_steps(first) if each.name not in names and set(each.outputs) & read
    ]
    folder.keep_json("steps.json", earlier)


def _results(folder: RunFolder) -> dict[str, float]:
    """Return the figures that the steps made."""
    found: dict[str, float] = {}
    if folder.has("rounds.json"):
        rounds = folder.read_json("rounds.json", Rounds)
        found["best_validation_mae"] = rounds.best.validation_mae
    if folder.has("model/manifest.json"):
        found |= kept.read_manifest(folder).metrics
    return found
