"""The golden pictures are the same everywhere and for ever."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import golden
from shared.task import WALL_DISTANCE
from tests.shared.golden_pictures import VIEWS, shots

RECORDED = Path(__file__).parents[1] / "golden" / "pictures.sha256"
SHIPPED = golden.pictures()


def test_the_shipped_set_is_the_recorded_one() -> None:
    assert golden.set_id(SHIPPED) == RECORDED.read_text().strip(), (
        "no model made so far can be compared on other pictures: was that meant?"
    )


def test_the_set_suits_the_task_and_no_other_size() -> None:
    assert golden.suits(SHIPPED, WALL_DISTANCE)
    assert not golden.suits(SHIPPED, msgspec.structs.replace(WALL_DISTANCE, picture_width=64))
    assert not golden.suits((), WALL_DISTANCE)


def test_every_picture_shows_something_of_its_own() -> None:
    assert len(SHIPPED) == len(VIEWS)
    assert len({picture.tobytes() for picture in SHIPPED}) == len(SHIPPED)
    assert all(picture.std() > 5 for picture in SHIPPED)


def test_the_script_renders_these_views() -> None:
    folder = Path(golden.__file__).parent / golden.FOLDER
    assert [shot.file_name for shot in shots()] == sorted(file.name for file in folder.iterdir())


@given(st.permutations(range(len(SHIPPED))))
def test_another_order_is_another_set(order: list[int]) -> None:
    shuffled = tuple(SHIPPED[place] for place in order)
    same = order == sorted(order)
    assert (golden.set_id(shuffled) == golden.set_id(SHIPPED)) == same


@pytest.mark.parametrize("picture", range(len(SHIPPED)))
def test_one_pixel_more_or_less_is_another_set(picture: int) -> None:
    changed = [np.copy(each) for each in SHIPPED]
    changed[picture][3, 4, 1] ^= 1
    assert golden.set_id(tuple(changed)) != golden.set_id(SHIPPED)
