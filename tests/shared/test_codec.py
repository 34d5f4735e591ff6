"""The only door for foreign bytes: what comes in, and that nothing else does."""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import codec, messages, topics
from shared.errors import RefusedError
from tests.shared.examples import EXAMPLES, drawn, example
from tests.shared.golden import kinds

LIMIT_BYTES = 1024 * 1024

everything = st.sampled_from(kinds()).flatmap(drawn)


def decode(kind: type[messages.Message], payload: bytes) -> messages.Message:
    return codec.decode(kind, payload, limit_bytes=LIMIT_BYTES)


def test_there_is_an_example_of_every_message() -> None:
    assert {type(each) for each in EXAMPLES} == set(kinds()) == set(messages.Message.__args__)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda each: type(each).__name__)
def test_an_example_survives_the_wire(message: messages.Message) -> None:
    assert decode(type(message), codec.encode(message)) == message


@pytest.mark.slow
@settings(deadline=None)
@given(message=everything)
def test_any_message_survives_the_wire_and_always_has_the_same_bytes(
    message: messages.Message,
) -> None:
    payload = codec.encode(message)
    received = decode(type(message), payload)
    assert received == message
    assert codec.encode(received) == payload


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(kinds()), payload=st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(kind: type[messages.Message], payload: bytes) -> None:
    assert_message_or_refused(kind, payload)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(data=st.data(), message=st.sampled_from(EXAMPLES))
def test_any_damage_to_a_message_is_a_message_or_refused(
    data: st.DataObject, message: messages.Message
) -> None:
    payload = bytearray(codec.encode(message))
    at = data.draw(st.integers(0, len(payload) - 1))
    until = data.draw(st.integers(at, min(len(payload), at + 8)))
    payload[at:until] = data.draw(st.binary(max_size=8))
    assert_message_or_refused(type(message), bytes(payload))


def assert_message_or_refused(kind: type[messages.Message], payload: bytes) -> None:
    try:
        message = decode(kind, payload)
    except RefusedError:
        return
    assert type(message) is kind
    assert codec.is_finite(message)


def floats(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Every float in plain data, with the path that leads to it."""
    if isinstance(value, float):
        yield path, value
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, each in items:
        yield from floats(each, (*path, key))


FLOATS = [
    (type(message), ".".join(map(str, path)), number)
    for message in EXAMPLES
    if not isinstance(message, messages.Chunk)
    for path, number in floats(msgspec.msgpack.decode(codec.encode(message)))
]


def test_the_examples_cover_every_float_of_every_message() -> None:
    """Guards the test below against a new float that stays unset in its example."""

    def declared(kind: Any) -> int:
        if isinstance(kind, msgspec.inspect.StructType):
            return sum(declared(field.type) for field in kind.fields)
        if isinstance(kind, msgspec.inspect.UnionType):
            return max(map(declared, kind.types))
        if isinstance(kind, msgspec.inspect.VarTupleType):
            return declared(kind.item_type)
        if isinstance(kind, msgspec.inspect.DictType):
            return declared(kind.value_type)
        return int(isinstance(kind, msgspec.inspect.FloatType))

    for kind in kinds():
        found = sum(1 for owner, *_ in FLOATS if owner is kind)
        assert found >= declared(msgspec.inspect.type_info(kind)), kind


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("width", ["float64", "float32"])
@pytest.mark.parametrize(("kind", "path", "number"), FLOATS)
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(
    kind: type[messages.Message], path: str, number: float, width: str, bad: float
) -> None:
    payload = codec.encode(example(kind))
    there = b"\xcb" + struct.pack(">d", number)
    assert payload.count(there) == 1, path
    put = (
        b"\xcb" + struct.pack(">d", bad) if width == "float64" else b"\xca" + struct.pack(">f", bad)
    )
    with pytest.raises(RefusedError, match="not finite"):
        decode(kind, payload.replace(there, put))


@given(bits=st.integers(0, 2**52 - 1), sign=st.booleans())
def test_every_nan_there_is_is_refused(bits: int, *, sign: bool) -> None:
    telemetry = codec.encode(example(messages.Telemetry))
    there = b"\xcb" + struct.pack(">d", 95.5)
    put = b"\xcb" + struct.pack(">Q", (sign << 63) | (0x7FF << 52) | bits)
    with pytest.raises(RefusedError, match="not finite"):
        decode(messages.Telemetry, telemetry.replace(there, put))


@given(
    place=st.integers(0, 39),
    put=st.one_of(
        st.builds(
            lambda bits, sign: b"\xcb" + struct.pack(">Q", (sign << 63) | (0x7FF << 52) | bits),
            st.integers(0, 2**52 - 1),
            st.booleans(),
        ),
        st.builds(
            lambda bits, sign: b"\xca" + struct.pack(">I", (sign << 31) | (0xFF << 23) | bits),
            st.integers(0, 2**23 - 1),
            st.booleans(),
        ),
    ),
)
def test_every_nan_is_refused_in_a_long_message_too(place: int, put: bytes) -> None:
    batch = example(messages.Batch)
    assert isinstance(batch, messages.Batch)
    many = msgspec.structs.replace(batch, samples=batch.samples * 40)
    payload = codec.encode(many)
    assert len(payload) > 8192
    assert decode(messages.Batch, payload) == many
    there = b"\xcb" + struct.pack(">d", batch.samples[0].label)
    parts = payload.split(there)
    assert len(parts) == 41
    spoilt = there.join(parts[: place + 1]) + put + there.join(parts[place + 1 :])
    with pytest.raises(RefusedError, match="not finite"):
        decode(messages.Batch, spoilt)


def test_bytes_that_look_like_nan_inside_a_picture_are_no_nan() -> None:
    batch = example(messages.Batch)
    assert isinstance(batch, messages.Batch)
    jpeg = b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xca\xff\xff\xff\xff"
    picture = msgspec.structs.replace(batch.pictures[0], jpeg=jpeg)
    batch = msgspec.structs.replace(batch, pictures=(picture,))
    assert decode(messages.Batch, codec.encode(batch)) == batch


@pytest.mark.parametrize("nesting", [b"\x91", b"\x81\xa1a", b"\x81\xa7samples\x91"])
@pytest.mark.parametrize("kind", kinds()[:-1])
def test_deep_nesting_is_refused(kind: type[messages.Message], nesting: bytes) -> None:
    with pytest.raises(RefusedError):
        decode(kind, nesting * 50_000 + b"\xc0")


@pytest.mark.parametrize("row", topics.TABLE, ids=lambda row: row.name)
def test_a_payload_over_its_topics_limit_is_refused_unread(row: topics.Topic) -> None:
    with pytest.raises(RefusedError, match="limit"):
        codec.decode(row.message, bytes(row.limit_bytes + 1), limit_bytes=row.limit_bytes)


@pytest.mark.parametrize("kind", kinds()[:-1])
def test_an_unknown_field_is_refused(kind: type[messages.Message]) -> None:
    fields = msgspec.msgpack.decode(codec.encode(example(kind)))
    with pytest.raises(RefusedError, match="unknown field"):
        decode(kind, msgspec.msgpack.encode({**fields, "surprise": 1}))


@pytest.mark.parametrize("kind", kinds()[:-1])
def test_every_field_without_a_default_must_be_there(kind: type[messages.Message]) -> None:
    for field in msgspec.structs.fields(kind):
        if field.required:
            fields = msgspec.msgpack.decode(codec.encode(example(kind)))
            del fields[field.name]
            with pytest.raises(RefusedError, match="missing"):
                decode(kind, msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(
    "name", ["car-1\n", "Car", "c", "a/b", "+", "#", "-car", "car-", "a" * 49, "", "../x", "ça"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    fields = msgspec.msgpack.decode(codec.encode(example(messages.Presence)))
    with pytest.raises(RefusedError):
        decode(messages.Presence, msgspec.msgpack.encode({**fields, "device": name}))


def test_a_message_of_another_topic_is_refused() -> None:
    for kind in kinds()[:-1]:
        for other in kinds()[:-1]:
            if other is not kind:
                with pytest.raises(RefusedError):
                    decode(kind, codec.encode(example(other)))


@pytest.mark.parametrize("row", topics.TABLE, ids=lambda row: row.name)
def test_a_signed_topic_is_only_opened_by_its_envelope(row: topics.Topic) -> None:
    payload = codec.encode(example(row.message))
    if row.signed:
        with pytest.raises(RefusedError, match="envelope"):
            codec.decode_on(row, payload)
    else:
        assert codec.decode_on(row, payload) == example(row.message)


def test_a_piece_of_a_model_goes_bare() -> None:
    chunk = messages.Chunk(data=b"\x00\xc1 anything")
    assert codec.encode(chunk) == chunk.data
    assert codec.CHUNK_LIMIT_BYTES == 64 * 1024
