"""A data set that was kept comes back the same, or not at all."""

import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.ids import sha256_hex
from shared.task import Task
from trainer.data import recorded
from trainer.data.dataset import Dataset, assemble
from trainer.data.examples import from_pair
from trainer.data.selection import Query
from trainer.data.snapshot import Snapshots, contents
from trainer.worker.client import Pair


@pytest.fixture(scope="module")
def dataset(pairs: list[Pair], task: Task) -> Dataset:
    return assemble(
        ["no_label", *(from_pair(each.sample, each.jpeg, task) for each in pairs)], task
    )


@pytest.fixture
def kept(tmp_path: Path, dataset: Dataset) -> Path:
    return Snapshots(tmp_path).keep(dataset, contents(dataset, Query(), most=500))


def test_it_comes_back_the_same(kept: Path, dataset: Dataset, task: Task) -> None:
    loaded = Snapshots(kept.parent).load(dataset.sha256, task)
    assert loaded.sha256 == dataset.sha256
    assert loaded.examples == dataset.examples
    assert np.array_equal(loaded.pictures, dataset.pictures)
    assert np.array_equal(loaded.labels, dataset.labels)
    assert np.array_equal(loaded.manoeuvres, dataset.manoeuvres)
    assert loaded.skipped == {"no_label": 1}


def test_its_name_is_the_digest_of_its_table(kept: Path) -> None:
    assert sha256_hex((kept / "labels.csv").read_bytes()) == kept.name


def test_its_manifest_tells_people_what_is_in(tmp_path: Path, kept: Path, dataset: Dataset) -> None:
    told = Snapshots(tmp_path).about(dataset.sha256)
    assert (told.pairs, told.manoeuvres, told.most_pairs) == (140, 10, 500)
    assert told.settings == {"bench": 140}
    assert told.devices == {"car-a": 140}
    assert sum(each.pairs for each in told.bins) == 140
    assert told.left_out == {"no_label": 1}
    assert b'\n  "bins"' in (kept / "manifest.json").read_bytes()


def test_unpacked_it_is_a_folder_of_recordings(kept: Path, dataset: Dataset, task: Task) -> None:
    with zipfile.ZipFile(kept / "images.zip") as packed:
        packed.extractall(kept)
    again = assemble(recorded.read(kept, task), task)
    assert np.array_equal(again.pictures, dataset.pictures)
    assert again.setting_names == dataset.setting_names


def test_keeping_it_twice_writes_it_once(tmp_path: Path, kept: Path, dataset: Dataset) -> None:
    written = (kept / "images.zip").stat().st_mtime_ns
    assert Snapshots(tmp_path).keep(dataset, contents(dataset, Query(), most=500)) == kept
    assert (kept / "images.zip").stat().st_mtime_ns == written
    assert [each.name for each in tmp_path.iterdir()] == [dataset.sha256]


@pytest.mark.parametrize("name", ["labels.csv", "images.zip"])
def test_a_changed_byte_is_found(
    tmp_path: Path, kept: Path, dataset: Dataset, task: Task, name: str
) -> None:
    body = bytearray((kept / name).read_bytes())
    body[len(body) // 2] ^= 1
    (kept / name).write_bytes(bytes(body))
    with pytest.raises(RefusedError, match="damaged"):
        Snapshots(tmp_path).load(dataset.sha256, task)


def test_a_damaged_manifest_is_named(tmp_path: Path, kept: Path, dataset: Dataset) -> None:
    (kept / "manifest.json").write_bytes(b"{")
    with pytest.raises(RefusedError, match=r"manifest\.json"):
        Snapshots(tmp_path).about(dataset.sha256)


def test_one_that_was_never_kept_is_named(tmp_path: Path, task: Task) -> None:
    with pytest.raises(UsageError, match="deleted, or made elsewhere"):
        Snapshots(tmp_path).load("1" * 64, task)


def test_where_nothing_can_be_written_nothing_is_half_there(
    tmp_path: Path, dataset: Dataset
) -> None:
    (tmp_path / "datasets").write_text("a file in the way")
    with pytest.raises(RetryLaterError, match="cannot write"):
        Snapshots(tmp_path / "datasets").keep(dataset, contents(dataset, Query(), most=1))


def test_contents_are_json_that_anybody_reads(dataset: Dataset) -> None:
    text = msgspec.json.encode(contents(dataset, Query(devices=("car-a",)), most=9))
    assert msgspec.json.decode(text)["query"]["devices"] == ["car-a"]
