"""The steps of a run, in one table: what each reads, what it makes, which settings it heeds.

Laws:
- a step reads files that earlier steps kept and the data set, and nothing else: run again alone it
  sees the very same;
- what it made is written down with the digests of what it read, so that a run that was cut short
  goes on at the first step that is not done, and anyone can tell what came of what;
- the drawing, the records and the command line are read from this table.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from shared.samples import Record
from trainer.settings import TrainingSettings

DATASET: Final = "dataset"
"""Stands for the data set among what a step reads; its digest names it."""

_OF_SPLIT: Final = ("seed", "validation_share", "test_share")
_OF_DATA: Final = ("most_pairs",)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step: `what` it does in a few words; names of files; `parameters` are settings' names.

    One that is `optional` is done only where it is asked for.
    """

    name: str
    what: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    optional: bool = False


class Done(Record, frozen=True):
    """A step that was done: digests by name, the settings it heeded, how long it took."""

    name: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    parameters: dict[str, str]
    seconds: float


def _rest() -> tuple[str, ...]:
    return tuple(
        name
        for name in TrainingSettings.__struct_fields__
        if name not in ("validation_share", "test_share", *_OF_DATA)
    )


STEPS: Final[tuple[Step, ...]] = (
    Step(
        name="split",
        what="hold out whole manoeuvres",
        reads=(DATASET,),
        makes=("split.json",),
        parameters=_OF_SPLIT,
    ),
    Step(
        name="search",
        what="try settings, stop the poor ones early, keep the best",
        reads=(DATASET, "split.json"),
        makes=("search.json", "settings.json"),
        parameters=("seed",),
        optional=True,
    ),
    Step(
        name="fit",
        what="train, stop early, calibrate sigma",
        reads=(DATASET, "split.json"),
        makes=("network.npz", "rounds.json"),
        parameters=_rest(),
    ),
    Step(
        name="quantise",
        what="convert to full int8",
        reads=(DATASET, "split.json", "network.npz"),
        makes=("model/model.tflite",),
        parameters=("seed",),
    ),
    Step(
        name="evaluate",
        what="measure in LiteRT, beside float and the model in service",
        reads=(DATASET, "split.json", "network.npz", "model/model.tflite"),
        makes=("evaluation.json", "answers.npz"),
    ),
    Step(
        name="manifest",
        what="say what the file is",
        reads=("run.json", "model/model.tflite", "evaluation.json"),
        makes=("model/manifest.json",),
    ),
    Step(
        name="gates",
        what="let through or refuse",
        reads=(DATASET, "split.json", "evaluation.json", "model/manifest.json"),
        makes=("gates.json",),
    ),
    Step(
        name="card",
        what="tell people, with plots",
        reads=(
            DATASET,
            "split.json",
            "rounds.json",
            "evaluation.json",
            "answers.npz",
            "gates.json",
            "model/manifest.json",
        ),
        makes=("model/card.md",),
    ),
)

NAMES: Final = tuple(step.name for step in STEPS)


def parameters(step: Step, settings: TrainingSettings) -> dict[str, str]:
    """Return the settings that `step` heeds, as text."""
    return {name: as_text(getattr(settings, name)) for name in step.parameters}


def as_text(value: object) -> str:
    """Return a setting as records have it."""
    return msgspec.json.encode(value).decode().strip('"')


def mermaid() -> str:
    """Return the steps as a graph in Mermaid's language: files are boxes, steps are rounded."""
    lines = ["flowchart TD", f"  {_id(DATASET)}[({DATASET})]"]
    for step in STEPS:
        asked = " (where asked for)" if step.optional else ""
        lines.append(f'  {step.name}("{step.name}: {step.what}{asked}")')
        lines += [f"  {_id(name)} --> {step.name}" for name in step.reads]
        lines += [f'  {step.name} --> {_id(name)}["{name}"]' for name in step.makes]
    return "\n".join(lines) + "\n"


def _id(name: str) -> str:
    return "f_" + "".join(letter if letter.isalnum() else "_" for letter in name)
