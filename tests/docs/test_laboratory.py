"""The laboratory's page names what there is, and its examples hold."""

import re
from pathlib import Path

import pytest

from hardware_sim import scene as scenes
from hardware_sim.faults import FAULT_NAMES, parse
from hardware_sim.script import Desk
from tests.docs import reference

_DOCS = reference.REPOSITORY / "docs"
_PAGE = (_DOCS / "laboratory.md").read_text(encoding="utf-8")


def _example(containing: str) -> str:
    found = re.findall(r"```toml\n(.*?)```", _PAGE, re.DOTALL)
    return str(next(each for each in found if containing in each))


@pytest.mark.parametrize("name", FAULT_NAMES)
def test_every_fault_is_explained(name: str) -> None:
    assert f"| `{name}` |" in _PAGE


@pytest.mark.parametrize("name", scenes.shipped())
def test_every_scene_is_sorted_into_known_or_unknown(name: str) -> None:
    assert f"`{name}`" in _PAGE.split("## Scenes")[1].split("## Faults")[0]


def test_the_example_scene_and_the_example_fault_make_a_scene(tmp_path: Path) -> None:
    file = tmp_path / "yard.toml"
    file.write_text(_example('name = "yard"') + _example("[[faults]]"))
    scene = scenes.load(str(file))
    assert scene.wall.pattern == "planks"
    assert scene.faults[0] == parse("i2c_error@5+2")


def test_the_example_script_is_an_order(tmp_path: Path) -> None:
    file = tmp_path / "script.toml"
    file.write_text(_example("manoeuvres = 12"))
    assert Desk(file).order().by == "park_by_sensor"


def test_the_faults_on_the_example_command_line_are_faults() -> None:
    told = re.findall(r"--fault (\S+)", _PAGE)
    assert len(told) >= 2
    for text in told:
        parse(text)


def test_the_gallery_is_small_enough_to_carry_along() -> None:
    assert (_DOCS / "images" / "scenes.png").stat().st_size < 300_000
