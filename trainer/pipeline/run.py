"""A run: does the steps of the table, one by one, in its folder.

Laws:
- a step is done once: where the record says so, its outputs are whole and its inputs and settings
  are the same, it is passed over, so that a run that was cut short is gone on with;
- a step's outputs are on the disk before the record that names them;
- whoever is told may end the run by raising.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from shared.clock import Clock
from shared.errors import UsageError
from shared.samples import Record
from trainer.data import split as splitting
from trainer.data.dataset import Dataset
from trainer.judging import baseline, evaluate, gates
from trainer.learning import fit, quantise
from trainer.notebook import card
from trainer.pipeline import kept
from trainer.pipeline import manifest as manifests
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun, Gates
from trainer.pipeline.steps import DATASET, STEPS, Done, Step, parameters
from trainer.search import space, study
from trainer.settings import TrainingSettings

_BEGINS: Mapping[str, float] = {
    "split": 0.0,
    "search": 0.02,
    "fit": 0.05,
    "quantise": 0.9,
    "evaluate": 0.95,
    "manifest": 0.97,
    "gates": 0.98,
    "card": 0.98,
}


class Progress(Record, frozen=True):
    """How far a run is: the stage's name, 0..1 over the whole run, one line for people."""

    stage: str
    fraction: float
    message: str


Tell = Callable[[Progress], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """One run: its folder, its data, how it began, and who is told.

    `callbacks` are Keras's, `on_round` hears of each round; both watch the fit.
    """

    folder: RunFolder
    dataset: Dataset
    begun: Begun
    clock: Clock
    tell: Tell
    on_round: Callable[[fit.Round], None]
    snapshots: Path
    callbacks: Sequence[keras.callbacks.Callback] = ()

    def done(self) -> list[Done]:
        """Return the steps that were done, in order."""
        return done_steps(self.folder)

    @property
    def settings(self) -> TrainingSettings:
        """The settings in force: those asked for, or those that a search has found."""
        return self.folder.read_json("settings.json", TrainingSettings)

    def do_all(self) -> None:
        """Do every step that is not done.

        Raises:
            RefusedError: training diverged, or the converted file is not what it must be.
            RetryLaterError: the run's folder cannot be written.
        """
        for step in STEPS:
            if self.begun.order.trials or not step.optional:
                self.do(step)

    def do(self, step: Step) -> None:
        """Do `step`, unless it is done already.

        Raises:
            UsageError: a step before it has not been done.
            RefusedError: training diverged, or the converted file is not what it must be.
            RetryLaterError: the run's folder cannot be written.
        """
        inputs = {name: self._digest(name) for name in step.reads}
        heeded = parameters(step, self.settings)
        if self._is_done(step, inputs, heeded):
            return
        message = step.what if step.name != "split" else f"{len(self.dataset)} pairs"
        self.tell(Progress(stage=step.name, fraction=_BEGINS[step.name], message=message))
        begun_us = self.clock.monotonic_us()
        _DOERS[step.name](self)
        self._record(
            Done(
                name=step.name,
                inputs=inputs,
                outputs={name: self._digest(name) for name in step.makes},
                parameters=heeded,
                seconds=(self.clock.monotonic_us() - begun_us) / 1e6,
            )
        )

    def _digest(self, name: str) -> str:
        return self.dataset.sha256 if name == DATASET else self.folder.digest(name)

    def _is_done(self, step: Step, inputs: Mapping[str, str], heeded: Mapping[str, str]) -> bool:
        done = {each.name: each for each in done_steps(self.folder)}.get(step.name)
        if done is None or (done.inputs, done.parameters) != (inputs, heeded):
            return False
        return all(
            self.folder.has(name) and self.folder.digest(name) == digest
            for name, digest in done.outputs.items()
        )

    def _record(self, done: Done) -> None:
        earlier = [each for each in done_steps(self.folder) if each.name != done.name]
        self.folder.keep_json("steps.json", [*earlier, done])


def done_steps(folder: RunFolder) -> list[Done]:
    """Return the steps that were done, in order.

    Raises:
        RefusedError: the record is damaged.
    """
    return folder.read_json("steps.json", list[Done]) if folder.has("steps.json") else []


def find(name: str) -> Step:
    """Return the step called `name`.

    Raises:
        UsageError: there is none.
    """
    for step in STEPS:
        if step.name == name:
            return step
    raise UsageError(f"there is no step {name!r}: {', '.join(step.name for step in STEPS)}")


def _split(run: Run) -> None:
    chosen = run.settings
    made = splitting.split(
        run.dataset,
        seed=chosen.seed,
        validation_share=chosen.validation_share,
        test_share=chosen.test_share,
    )
    kept.keep_split(run.folder, made, run.dataset)


def _search(run: Run) -> None:
    order = run.begun.order
    found = study.search(
        run.folder,
        study.Plan(
            dataset_sha256=run.dataset.sha256,
            snapshots=str(run.snapshots),
            task=run.dataset.task,
            base=run.begun.asked,
            trials=order.trials,
            workers=order.workers,
            space=order.space or dict(space.DEFAULT),
        ),
        clock=run.clock,
        on_progress=lambda share, message: run.tell(
            Progress(
                stage="search",
                fraction=_BEGINS["search"] + (_BEGINS["quantise"] - 0.1) * share,
                message=message,
            )
        ),
    )
    run.folder.keep_json("search.json", found)
    run.folder.keep_json("settings.json", found.settings)


def _fit(run: Run) -> None:
    if study.take_winner(run.folder, run.settings):
        return
    unit = run.dataset.task.unit

    def on_round(each: fit.Round) -> None:
        run.on_round(each)
        reach = _BEGINS["quantise"] - _BEGINS["fit"]
        run.tell(
            Progress(
                stage="fit",
                fraction=_BEGINS["fit"] + reach * each.number / each.of,
                message=f"round {each.number}/{each.of}, validation error "
                f"{each.validation_mae:.1f} {unit}",
            )
        )

    split = kept.read_split(run.folder)
    fitted = fit.fit(
        run.dataset.part(split.train),
        run.dataset.part(split.validation),
        run.dataset.task,
        run.settings,
        clock=run.clock,
        on_round=on_round,
        callbacks=run.callbacks,
    )
    kept.keep_fitted(run.folder, fitted)


def _quantise(run: Run) -> None:
    train = kept.read_split(run.folder).train
    network = kept.read_network(run.folder, run.dataset.task, run.settings)
    shown = train[quantise.representative(run.dataset.strata(train), seed=run.settings.seed)]
    pictures = run.dataset.pictures[shown]
    model = quantise.to_int8(network, pictures, run.dataset.task, run.settings)
    run.folder.keep("model/model.tflite", model)


def _evaluate(run: Run) -> None:
    split = kept.read_split(run.folder)
    rows = split.test
    held = evaluate.held_out(run.dataset, rows)
    model = run.folder.read("model/model.tflite")
    answers = evaluate.run(model, held.part, clock=run.clock)
    network = kept.read_network(run.folder, run.dataset.task, run.settings)
    in_service = kept.read_in_service(run.folder, run.dataset.task)
    low, high = evaluate.value_range(evaluate.tensors(model)["value"], run.dataset.task)
    values, log_sigmas = fit.predict(network, held.part)
    lost = np.abs(answers.values - held.part.labels) - np.abs(values - held.part.labels)
    kept.keep_answers(run.folder, rows, answers.values, answers.log_sigmas)
    run.folder.keep_json(
        "evaluation.json",
        evaluate.Judgement(
            converted=evaluate.judge(answers.values, answers.log_sigmas, held),
            original=evaluate.judge(values, log_sigmas, held),
            lost_error=evaluate.standard_error(lost, held.manoeuvres) * run.dataset.task.span,
            in_service=evaluate.judge_file(in_service, held, clock=run.clock)
            if in_service
            else None,
            baseline_mae=float(
                np.mean(np.abs(baseline.answers(run.dataset, split) - held.part.labels))
            )
            * run.dataset.task.span,
            latency_us=answers.latency_us,
            size_bytes=len(model),
            value_low=low,
            value_high=high,
        ),
    )


def _manifest(run: Run) -> None:
    judged, order = kept.read_judgement(run.folder), run.begun.order
    manifest = manifests.build(
        run.folder.read("model/model.tflite"),
        task=run.dataset.task,
        deployment=order.deployment,
        release_seq=order.release_seq,
        metrics=manifests.metrics(judged),
        run_id=run.begun.run_id,
        dataset_sha256=run.dataset.sha256,
        created_utc_us=run.clock.utc_us(),
        trainer=order.trainer,
    )
    run.folder.keep("model/manifest.json", manifest.to_json().encode())


def _gates(run: Run) -> None:
    task, manifest = run.dataset.task, kept.read_manifest(run.folder)
    labels = run.dataset.labels[kept.read_split(run.folder).test] * task.span + task.low
    findings = gates.ask_all(
        gates.Evidence(
            judgement=kept.read_judgement(run.folder),
            span=task.span,
            unit=task.unit,
            label_low=float(labels.min()),
            label_high=float(labels.max()),
            golden=manifest.golden is not None if evaluate.has_golden(task) else None,
        ),
        run.begun.order.limits,
    )
    run.folder.keep_json("gates.json", Gates(refusal=gates.refusal(findings), findings=findings))


def _card(run: Run) -> None:
    told = card.Told(
        begun=run.begun,
        settings=run.settings,
        dataset=run.dataset,
        split=kept.read_split(run.folder),
        rounds=kept.read_rounds(run.folder),
        judgement=kept.read_judgement(run.folder),
        answers=kept.read_answers(run.folder),
        gates=run.folder.read_json("gates.json", Gates),
        manifest=kept.read_manifest(run.folder),
    )
    for name, body in card.write(told):
        run.folder.keep(f"model/{name}", body)


_DOERS: Mapping[str, Callable[[Run], None]] = {
    "split": _split,
    "search": _search,
    "fit": _fit,
    "quantise": _quantise,
    "evaluate": _evaluate,
    "manifest": _manifest,
    "gates": _gates,
    "card": _card,
}
