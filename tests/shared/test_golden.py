"""The wire as it was: what was once sent can be read for ever."""

from pathlib import Path

import pytest

from shared import codec, messages
from shared.signing import open_envelope
from shared.topics import BATCH, DESIRED, Topic
from tests.shared import golden
from tests.shared.examples import DEVICE, EXAMPLES, example

OLD = [
    (folder, kind)
    for folder in golden.versions()
    for kind in golden.kinds()
    if (folder / golden.file_name(kind)).exists()  # Earlier versions knew fewer messages.
]


@pytest.mark.parametrize("name", sorted(golden.payloads()))
def test_todays_bytes_are_the_newest_golden_ones(name: str) -> None:
    written = (golden.versions()[-1] / name).read_bytes()
    assert golden.payloads()[name] == written, (
        "the wire changed: write a new version with `python -m tests.shared.golden v<n>`"
    )


@pytest.mark.parametrize(("folder", "kind"), OLD, ids=lambda each: getattr(each, "name", None))
def test_what_any_version_sent_is_still_read(folder: Path, kind: type[messages.Message]) -> None:
    file = folder / golden.file_name(kind)
    read = codec.decode(kind, file.read_bytes(), limit_bytes=1024 * 1024)
    # A field that came later has its default; each that was there has its value.
    if folder == golden.versions()[-1]:
        assert read in EXAMPLES


@pytest.mark.parametrize("row", [BATCH, DESIRED], ids=lambda row: row.name)
@pytest.mark.parametrize("folder", golden.versions(), ids=lambda folder: folder.name)
def test_what_any_version_signed_still_holds(folder: Path, row: Topic) -> None:
    sealed = (folder / f"sealed_{row.name}.bin").read_bytes()
    opened = open_envelope(
        row,
        sealed,
        topic=row.topic(id=DEVICE),
        message_type=row.message,
        key=golden.KEY.public,
    )
    assert type(opened) is type(example(row.message))
