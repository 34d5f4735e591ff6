"""A model file answers in the task's unit, or is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.drivers.tflite import TfliteModel
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.picture import Pixels
from tests.device.fakes import DATA, TINY

TINY_FILE = DATA / "tiny.tflite"


def plain(red: int, green: int) -> Pixels:
    picture = np.zeros((75, 100, 3), dtype=np.uint8)
    picture[:] = [red, green, 0]
    return picture


@pytest.fixture(scope="module")
def model() -> TfliteModel:
    return TfliteModel(TINY_FILE, TINY)


@settings(deadline=None)
@given(st.integers(0, 255))
def test_every_byte_reaches_the_model_as_itself(model: TfliteModel, level: int) -> None:
    value, sigma = model.estimate(plain(level, level))
    # One int8 step of the output over 350 mm is 1.37 mm.
    assert value == pytest.approx(350.0 * level / 255, abs=1.4)
    assert sigma == pytest.approx(350.0 * np.exp(-4.0), rel=0.05)


def test_sigma_is_the_exponential_of_what_the_model_says(model: TfliteModel) -> None:
    _, sigma = model.estimate(plain(255, 128))
    assert sigma == pytest.approx(350.0 * np.exp(-4.0 + 4.0 * 127 / 255), rel=0.05)


def test_the_same_picture_gets_the_same_answer(model: TfliteModel) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (75, 100, 3), dtype=np.uint8) for _ in range(3)]
    first = [model.estimate(picture) for picture in pictures]
    assert [model.estimate(picture) for picture in pictures] == first


def test_a_picture_of_another_size_is_refused(model: TfliteModel) -> None:
    with pytest.raises(RefusedError, match="shape"):
        model.estimate(np.zeros((150, 200, 3), dtype=np.uint8))


def test_a_single_flipped_bit_is_refused(tmp_path: Path) -> None:
    content = bytearray(TINY_FILE.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "model.tflite"
    damaged.write_bytes(content)
    with pytest.raises(RefusedError, match="damaged"):
        TfliteModel(damaged, TINY)


def test_what_is_no_model_is_refused_though_its_digest_fits(tmp_path: Path) -> None:
    other = tmp_path / "model.tflite"
    other.write_bytes(b"this is no flatbuffer at all" * 10)
    manifest = msgspec.structs.replace(TINY, sha256=sha256_hex(other.read_bytes()))
    with pytest.raises(RefusedError, match="does not load"):
        TfliteModel(other, manifest)
    with pytest.raises(RefusedError, match="cannot read"):
        TfliteModel(tmp_path / "none.tflite", manifest)


replace = msgspec.structs.replace
WRONG = [
    replace(TINY, value=replace(TINY.value, name="value")),
    replace(TINY, value=replace(TINY.value, shape=(1, 2))),
    replace(TINY, value=replace(TINY.value, scale=TINY.value.scale * 1.01)),
    replace(TINY, log_sigma=replace(TINY.log_sigma, zero_point=0)),
    replace(TINY, input=replace(TINY.input, dtype="uint8")),
    replace(TINY, preprocessing="another"),
    replace(TINY, task=replace(TINY.task, picture_width=160)),
]


@pytest.mark.parametrize("manifest", WRONG)
def test_a_manifest_that_is_not_the_files_is_refused(manifest: Manifest) -> None:
    with pytest.raises(RefusedError):
        TfliteModel(TINY_FILE, manifest)
