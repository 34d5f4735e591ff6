from pathlib import Path

import pytest

from hardware_sim import scene as scenes
from shared.errors import UsageError

_SCENE = """
name = "yard"
summary = "A yard."
[floor]
colour = [10, 20, 30]
[wall]
colour = [200, 200, 200]
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "yard.toml"
    path.write_text(text)
    return path


def test_the_shipped_scenes_load_under_their_own_names() -> None:
    assert set(scenes.shipped()) >= {"beige", "green", "red"}
    for name in scenes.shipped():
        assert scenes.load(name).name == name


def test_any_file_is_a_scene_and_what_it_leaves_out_has_a_default(tmp_path: Path) -> None:
    scene = scenes.load(str(_file(tmp_path, _SCENE)))
    assert scene.floor.colour == (10, 20, 30)
    assert scene.approach.stop_mm == 40.0


def test_a_texture_is_found_beside_its_scene(tmp_path: Path) -> None:
    picture = (scenes.SCENES / "textures" / "Carpet_001.png").read_bytes()
    (tmp_path / "mat.png").write_bytes(picture)
    text = _SCENE.replace("[10, 20, 30]", '[10, 20, 30]\ntexture = "mat.png"')
    assert scenes.load(str(_file(tmp_path, text))).floor.texture == str(tmp_path / "mat.png")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("no = toml = at all", "not valid TOML"),
        (_SCENE.replace("[10, 20, 30]", "'red'"), "floor.colour"),
        (_SCENE.replace("[10, 20, 30]", "[10, 20, 300]"), "floor.colour"),
        (_SCENE.replace("colour = [10", "color = [10"), "color"),
        (_SCENE.replace("[10, 20, 30]", '[10, 20, 30]\ntexture = "gone.png"'), "gone.png"),
        (_SCENE + "[approach]\nstart_mm = [300, 200]", "approach.start_mm"),
        (_SCENE + "[approach]\nstart_mm = [30, 200]", "approach.stop_mm"),
        (_SCENE + "[[faults]]\nname = 'gremlins'", "faults"),
        (_SCENE + "[camera]\nframe_hz = 0", "camera.frame_hz"),
    ],
)
def test_a_broken_scene_is_named_with_its_file_and_key(
    tmp_path: Path, text: str, named: str
) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(UsageError, match=r"yard\.toml") as raised:
        scenes.load(str(path))
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_scene_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no scene 'pink'.*beige"):
        scenes.load("pink")
