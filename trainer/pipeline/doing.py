"""Does the steps of the table, one by one, in a run's folder.

Laws:
- a step is done once: where the record says so, its outputs are whole and its inputs and settings
  are the same, it is passed over, so that a run that was cut short is gone on with;
- a step's outputs are on the disk before the record that names them;
- whoever is told may end the run by raising.
"""

from collections.abc import Mapping

from trainer.pipeline.doers import DOERS
from trainer.pipeline.progress import BEGINS, Progress
from trainer.pipeline.run import Run
from trainer.pipeline.steps import DATASET, STEPS, Done, Step, parameters


def do_all(run: Run) -> None:
    """Do every step of `run` that is not done.

    Raises:
        RefusedError: training diverged, or the converted file is not what it must be.
        RetryLaterError: the run's folder cannot be written.
    """
    for step in STEPS:
        if run.begun.order.trials or not step.optional:
            do(run, step)


def do(run: Run, step: Step) -> None:
    """Do `step` of `run`, unless it is done already.

    Raises:
        UsageError: a step before it has not been done.
        RefusedError: training diverged, or the converted file is not what it must be.
        RetryLaterError: the run's folder cannot be written.
    """
    inputs = {name: _digest(run, name) for name in step.reads}
    heeded = parameters(step, run.settings)
    if _is_done(run, step, inputs, heeded):
        return
    message = step.what if step.name != "split" else f"{len(run.dataset)} pairs"
    run.tell(Progress(stage=step.name, fraction=BEGINS[step.name], message=message))
    begun_us = run.clock.monotonic_us()
    DOERS[step.name](run)
    _record(
        run,
        Done(
            name=step.name,
            inputs=inputs,
            outputs={name: _digest(run, name) for name in step.makes},
            parameters=heeded,
            seconds=(run.clock.monotonic_us() - begun_us) / 1e6,
        ),
    )


def _digest(run: Run, name: str) -> str:
    return run.dataset.sha256 if name == DATASET else run.folder.digest(name)


def _is_done(run: Run, step: Step, inputs: Mapping[str, str], heeded: Mapping[str, str]) -> bool:
    done = {each.name: each for each in run.done()}.get(step.name)
    if done is None or (done.inputs, done.parameters) != (inputs, heeded):
        return False
    return all(
        run.folder.has(name) and run.folder.digest(name) == digest
        for name, digest in done.outputs.items()
    )


def _record(run: Run, done: Done) -> None:
    earlier = [each for each in run.done() if each.name != done.name]
    run.folder.keep_json("steps.json", [*earlier, done])
