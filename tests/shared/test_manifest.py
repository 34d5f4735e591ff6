"""A model's identity and the release that carries it."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import releases
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.manifest import Golden, Manifest, Tensor, to_label, to_sigma
from shared.messages import TargetPath
from shared.task import WALL_DISTANCE
from shared.topics import CHUNK_BYTES

MODEL = bytes(range(256)) * 700
MODELS = Path(__file__).parents[1] / "golden" / "models"
TENSOR = Tensor(name="serving_default:0", shape=(1, 75, 100, 3), dtype="int8", scale=1 / 255)
MANIFEST = Manifest(
    sha256=sha256_hex(MODEL),
    size_bytes=len(MODEL),
    task=WALL_DISTANCE,
    deployment="garage",
    release_seq=3,
    input=TENSOR,
    value=TENSOR,
    log_sigma=TENSOR,
    preprocessing="rgb-area-v1",
    metrics={"test_mae": 3.85},
    run_id="run-1",
    dataset_sha256="0" * 64,
    minimum_device="0.1.0",
    created_utc_us=1_700_000_000_000_000,
    trainer="trainer-1",
)


def test_a_manifest_survives_as_text_and_always_has_the_same_text() -> None:
    text = MANIFEST.to_json()
    assert Manifest.from_json(text) == MANIFEST
    assert Manifest.from_json(text.encode()) == MANIFEST
    assert Manifest.from_json(text).to_json() == text


@pytest.mark.parametrize("shape", ["two-floors.json", "two-floors.golden.json"])
def test_a_manifest_of_any_shape_is_read_and_keeps_its_text(shape: str) -> None:
    text = (MODELS / shape).read_text().strip()
    read = Manifest.from_json(text)
    assert (read.golden is None) == (shape == "two-floors.json")
    assert read.to_json() == text


def test_golden_answers_survive_and_are_left_out_where_there_are_none() -> None:
    told = Golden(pictures="a" * 64, value=(-128, 127), log_sigma=(0, 5))
    manifest = msgspec.structs.replace(MANIFEST, golden=told)
    assert Manifest.from_json(manifest.to_json()).golden == told
    assert "golden" not in MANIFEST.to_json()


@pytest.mark.parametrize(
    "answers", ["[1]", "[1,2,3]", "[1,400]", "[1,null]", "[" + "1," * 64 + "1]"]
)
def test_golden_answers_come_in_pairs_of_bytes(answers: str) -> None:
    told = Golden(pictures="a" * 64, value=(7, 7), log_sigma=(0, 5))
    text = msgspec.structs.replace(MANIFEST, golden=told).to_json()
    with pytest.raises(RefusedError):
        Manifest.from_json(text.replace("[7,7]", answers))


@given(text=st.text(st.characters(), max_size=200) | st.binary(max_size=200))
def test_any_text_is_refused_and_nothing_else(text: str | bytes) -> None:
    with pytest.raises(RefusedError):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    "text",
    ["\ud800", '{"a":"\ud800"}', "[" * 100_000, "9" * 70_000, b"\xff\xfe", '{"sha256": 1e999}'],
    ids=["surrogate", "inner-surrogate", "deep", "long", "no-utf8", "infinite"],
)
def test_text_that_is_meant_to_hurt_is_refused(text: str | bytes) -> None:
    with pytest.raises(RefusedError):
        Manifest.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_metric_is_finite(number: str) -> None:
    with pytest.raises(RefusedError):
        Manifest.from_json(MANIFEST.to_json().replace("3.85", number))


@given(value=st.floats(0, 1))
def test_a_models_value_covers_the_tasks_range(value: float) -> None:
    assert WALL_DISTANCE.low <= to_label(value, WALL_DISTANCE) <= WALL_DISTANCE.high


@given(log_sigma=st.floats(allow_nan=False))
def test_sigma_is_never_negative_and_never_overflows(log_sigma: float) -> None:
    sigma = to_sigma(log_sigma, WALL_DISTANCE)
    assert sigma >= 0
    assert math.isfinite(sigma)


def test_sigma_of_0_is_the_whole_range() -> None:
    assert to_sigma(0.0, WALL_DISTANCE) == WALL_DISTANCE.span == 350.0


@given(size=st.integers(0, releases.MAX_MODEL_BYTES))
def test_the_pieces_of_a_model_are_the_model_and_neither_long_nor_many(size: int) -> None:
    model = bytes(size)
    pieces = releases.split(model)
    assert b"".join(pieces) == model
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)
    assert len(pieces) == -(-size // releases.chunk_bytes_of(size)) <= 256


def test_a_release_of_before_has_pieces_of_64_kib() -> None:
    custom = releases.to_custom(MANIFEST, MODEL)
    del custom["chunk_bytes"]
    digests = list(releases.from_custom(custom).chunks)
    release = releases.from_custom(custom | {"chunks": digests})
    assert release.chunk_bytes == CHUNK_BYTES
    assert list(release.chunks) == digests


def test_a_release_survives_in_the_custom_field() -> None:
    custom = msgspec.json.decode(msgspec.json.encode(releases.to_custom(MANIFEST, MODEL)))
    release = releases.from_custom(custom)
    assert release.manifest == MANIFEST
    assert release.release_seq == 3
    assert [sha256_hex(piece) for piece in releases.split(MODEL)] == list(release.chunks)


@pytest.mark.parametrize(
    "custom",
    [
        None,
        [],
        "text",
        7,
        {},
        {"manifest": None},
        {"manifest": "{}"},
        {"manifest": MANIFEST.to_json()},
        {"manifest": MANIFEST.to_json(), "release_seq": -1, "chunks": []},
        {"manifest": MANIFEST.to_json(), "release_seq": "1", "chunks": []},
        {"manifest": MANIFEST.to_json(), "release_seq": 1, "chunks": "abc"},
        {"manifest": MANIFEST.to_json(), "release_seq": 1, "chunks": "YWJj"},
        {"manifest": MANIFEST.to_json(), "release_seq": 1, "chunks": ["../x"]},
        {"manifest": MANIFEST.to_json(), "release_seq": 1, "chunks": [], "chunk_bytes": 1},
        {"manifest": MANIFEST.to_json(), "release_seq": 1, "chunks": [], "chunk_bytes": 65537},
    ],
)
def test_a_custom_field_that_describes_no_release_is_refused(custom: Any) -> None:
    with pytest.raises(RefusedError):
        releases.from_custom(custom)


def test_a_target_path_fits_a_message_and_its_delegation() -> None:
    path = releases.target_path("wall-distance", "garage", MANIFEST.sha256)
    assert msgspec.convert(path, TargetPath) == path
    longest = releases.target_path("t" * 64, "d" * 64, "0" * 64)
    assert msgspec.convert(longest, TargetPath) == longest
    (pattern,) = releases.delegated_paths("wall-distance")
    assert [part == "*" for part in pattern.split("/")] == [False, True, False]


def test_a_target_path_names_its_series_and_its_bytes() -> None:
    path = releases.target_path("wall-distance", "garage", MANIFEST.sha256)
    assert releases.series_of(path) == "wall-distance/garage"
    assert releases.digest_in(path) == MANIFEST.sha256
