from pathlib import Path

import cv2
import pytest

from hardware_sim import gallery
from hardware_sim import scene as scenes
from shared.errors import UsageError

pytestmark = pytest.mark.slow


def _shots() -> list[gallery.Shot]:
    chosen = [scenes.load("beige"), scenes.load("red")]
    return list(gallery.shoot(chosen, [50.0, 300.0], [0.0, -10.0], count=2, seed=1))


def test_every_scene_angle_and_distance_is_shot_as_often_as_asked() -> None:
    shots = _shots()
    assert len(shots) == 2 * 2 * 2 * 2
    assert len({shot.file_name for shot in shots}) == len(shots)


def test_without_an_angle_a_scene_is_shot_as_it_is_approached() -> None:
    chosen = [scenes.load("beige"), scenes.load("angled-30")]
    shots = list(gallery.shoot(chosen, [200.0], None, count=1, seed=1))
    assert [shot.angle_deg for shot in shots] == [0.0, 30.0]


def test_a_sheet_holds_all_pictures_in_columns(tmp_path: Path) -> None:
    file = gallery.write_sheet(_shots(), tmp_path / "deep" / "sheet.png", columns=2)
    sheet = cv2.imread(str(file))
    assert sheet is not None
    assert sheet.shape[0] > 8 * 75 * 3
    assert sheet.shape[1] > 2 * 300


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    files = [gallery.write_sheet(_shots(), tmp_path / f"{n}.png", columns=2) for n in (1, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_single_pictures_keep_every_pixel(tmp_path: Path) -> None:
    shots = _shots()
    files = gallery.write_each(shots, tmp_path / "pictures")
    read = cv2.imread(str(files[0]))
    assert read is not None
    assert (read[..., ::-1] == shots[0].picture).all()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        gallery.write_each(_shots(), tmp_path / "file")
    with pytest.raises(UsageError, match="file"):
        gallery.write_sheet(_shots(), tmp_path / "file" / "a.png", columns=2)
