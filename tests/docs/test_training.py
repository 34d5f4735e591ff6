"""The page on training says what the code does."""

from pathlib import Path

import pytest

from trainer.pipeline import steps
from trainer.settings import TrainingSettings

_PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_drawing_is_the_table_of_steps() -> None:
    assert f"```mermaid\n{steps.mermaid()}```" in _PAGE


@pytest.mark.parametrize(
    "tool", ["MLflow", "TensorBoard", "ML Metadata", "Neptune, Comet", "Optuna", "DVC", "Kedro"]
)
def test_what_users_of_other_tools_look_for_is_placed(tool: str) -> None:
    assert f"\n| {tool}: " in _PAGE


def test_every_step_reads_what_an_earlier_one_made() -> None:
    made = {steps.DATASET, "settings.json", "run.json"}
    for step in steps.STEPS:
        assert set(step.reads) <= made, step.name
        made |= set(step.makes)


def test_every_setting_is_heeded_by_a_step() -> None:
    heeded = {name for step in steps.STEPS for name in step.parameters}
    assert heeded | {"most_pairs"} == set(TrainingSettings.__struct_fields__)
