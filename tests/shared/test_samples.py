"""A recorded pair and its content hash."""

from typing import Any

import msgspec
import pytest

from shared.samples import ManoeuvreEnd, Sample, content_hash
from tests.shared.examples import MANOEUVRE, PICTURE, SAMPLE


def altered(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        others = {"ok": "error", "model": "sensor", SAMPLE.boot: "00000008-0badcafe"}
        return others.get(value, value[:-1] + "0")
    if isinstance(value, list | tuple):
        return value[:-1]
    return {**value, next(iter(value)): altered(next(iter(value.values())))}


@pytest.mark.parametrize("record", [SAMPLE, MANOEUVRE], ids=lambda each: type(each).__name__)
def test_the_content_hash_ignores_no_field(record: Sample | ManoeuvreEnd) -> None:
    plain = msgspec.to_builtins(record)
    for name, value in plain.items():
        other = msgspec.convert({**plain, name: altered(value)}, type(record))
        assert content_hash(other) != content_hash(record), name


def test_the_content_hash_is_that_of_what_was_stored_and_read_back() -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(SAMPLE), type=Sample)
    assert content_hash(again) == content_hash(SAMPLE)


def test_a_picture_that_comes_later_is_no_conflict() -> None:
    """The picture is another record with the same key: no byte of it is in the sample."""
    fields = {field.name for field in msgspec.structs.fields(Sample)}
    assert "jpeg" not in fields
    assert (PICTURE.device, PICTURE.boot, PICTURE.sequence) == SAMPLE.key


def test_a_sample_never_changes() -> None:
    with pytest.raises(AttributeError):
        SAMPLE.label = 1.0  # type: ignore[misc]  # this is what must fail
