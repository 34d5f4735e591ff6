"""What each step does: reads what earlier steps kept, makes its own files; `doing` calls it."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from trainer.data import split as splitting
from trainer.judging import baseline, evaluate, gates
from trainer.learning import calibrate, fit, network, quantise
from trainer.learning.rounds import Round
from trainer.notebook import card
from trainer.pipeline import kept
from trainer.pipeline import manifest as manifests
from trainer.pipeline.kept import Gates
from trainer.pipeline.progress import BEGINS, Progress
from trainer.pipeline.run import Run
from trainer.search import space, study
from trainer.search.plan import Plan


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
        Plan(
            dataset_sha256=run.dataset.sha256,
            snapshots=str(run.snapshots),
            task=run.dataset.task,
            base=run.begun.asked,
            trials=order.trials,
            workers=order.workers,
            pictures=len(kept.read_split(run.folder).train),
            space=order.space or dict(space.DEFAULT),
        ),
        clock=run.clock,
        on_progress=lambda share, message: run.tell(
            Progress(
                stage="search",
                fraction=BEGINS["search"] + (BEGINS["quantise"] - 0.1) * share,
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

    def on_round(each: Round) -> None:
        run.on_round(each)
        reach = BEGINS["quantise"] - BEGINS["fit"]
        run.tell(
            Progress(
                stage="fit",
                fraction=BEGINS["fit"] + reach * each.number / each.of,
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
    split = kept.read_split(run.folder)
    trained = kept.read_network(run.folder, run.dataset.task, run.settings)
    strata = run.dataset.strata(split.train)
    shown = split.train[quantise.representative(strata, seed=run.settings.seed)]
    pictures = run.dataset.pictures[shown]
    model = quantise.to_int8(trained, pictures, run.dataset.task, run.settings)
    # What int8 adds to the errors, the network's own sigma does not know.
    validation = run.dataset.part(split.validation)
    answers = evaluate.run(model, validation, clock=run.clock)
    errors, sigmas = answers.values - validation.labels, np.exp(answers.log_sigmas)
    network.scale_sigma(trained, calibrate.factor(errors, sigmas))
    model = quantise.to_int8(trained, pictures, run.dataset.task, run.settings)
    run.folder.keep("model/model.tflite", model)


def _evaluate(run: Run) -> None:
    split = kept.read_split(run.folder)
    rows = split.test
    held = evaluate.held_out(run.dataset, rows)
    model = run.folder.read("model/model.tflite")
    answers = evaluate.run(model, held.part, clock=run.clock)
    trained = kept.read_network(run.folder, run.dataset.task, run.settings)
    in_service = kept.read_in_service(run.folder, run.dataset.task)
    low, high = evaluate.value_range(evaluate.tensors(model)["value"], run.dataset.task)
    values, log_sigmas = fit.predict(trained, held.part)
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
            calibration=evaluate.judge_file(
                model, evaluate.held_out(run.dataset, split.validation), clock=run.clock
            ),
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


DOERS: Final[Mapping[str, Callable[[Run], None]]] = {
    "split": _split,
    "search": _search,
    "fit": _fit,
    "quantise": _quantise,
    "evaluate": _evaluate,
    "manifest": _manifest,
    "gates": _gates,
    "card": _card,
}
