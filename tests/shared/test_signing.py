"""Envelopes: who said this, on which topic, unchanged."""

import stat
from pathlib import Path

import pytest
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import codec, messages
from shared.errors import RefusedError, UsageError
from shared.ids import sha256_hex
from shared.signing import (
    SigningKey,
    VerifyKey,
    open_envelope,
    payload_budget,
    seal,
    write_secret,
)
from shared.topics import BATCH, COMMAND, DESIRED, OPERATORS, RECEIPT, TABLE, Topic
from tests.shared.examples import EXAMPLES, example

KEY = SigningKey(b"\x01" * 32)
OTHER = SigningKey(b"\x02" * 32)
SIGNED = [row for row in TABLE if row.signed]
TOPIC = DESIRED.topic(id="car-1")
SEALED = seal(example(messages.Desired), topic=TOPIC, key=KEY)


def opened(
    sealed: bytes, *, row: Topic = DESIRED, topic: str = TOPIC, key: VerifyKey = KEY.public
) -> messages.Message:
    return open_envelope(row, sealed, topic=topic, message_type=row.message, key=key)


def test_what_orders_or_proves_something_is_signed() -> None:
    assert SIGNED == [BATCH, RECEIPT, DESIRED, COMMAND, OPERATORS]


@pytest.mark.parametrize("row", SIGNED, ids=lambda row: row.name)
def test_what_was_sealed_is_opened(row: Topic) -> None:
    topic = row.topic(id="car-1", actor="alex")
    message = example(row.message)
    assert opened(seal(message, topic=topic, key=KEY), row=row, topic=topic) == message


def test_sealing_again_gives_the_same_bytes() -> None:
    assert seal(example(messages.Desired), topic=TOPIC, key=KEY) == SEALED


def test_an_envelope_proves_nothing_on_another_topic() -> None:
    with pytest.raises(RefusedError, match="bad signature"):
        opened(SEALED, topic=DESIRED.topic(id="car-2"))


def test_an_envelope_of_another_key_is_refused() -> None:
    with pytest.raises(RefusedError, match="signed by key"):
        opened(seal(example(messages.Desired), topic=TOPIC, key=OTHER))


def test_a_foreign_signature_under_our_key_id_is_refused() -> None:
    forged = seal(example(messages.Desired), topic=TOPIC, key=OTHER).replace(
        OTHER.public.key_id.encode(), KEY.public.key_id.encode()
    )
    with pytest.raises(RefusedError, match="bad signature"):
        opened(forged)


def test_a_signed_message_of_another_type_is_refused() -> None:
    with pytest.raises(RefusedError):
        opened(seal(example(messages.Presence), topic=TOPIC, key=KEY))


@settings(deadline=None)
@given(at=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(at: int, bit: int) -> None:
    flipped = bytearray(SEALED)
    flipped[at] ^= 1 << bit
    with pytest.raises(RefusedError):
        opened(bytes(flipped))


@settings(deadline=None)
@given(received=st.binary(max_size=300))
@with_example(received=b"\x81\xa6key_id\xa2\xff\xfe")
@with_example(received=b"\x81\xa2\xff\xfe\x01")
@with_example(received=b"\x91" * 5000)
def test_any_bytes_are_refused(received: bytes) -> None:
    with pytest.raises(RefusedError):
        opened(received)


def test_a_payload_over_the_limit_is_refused_before_its_signature_is_looked_at() -> None:
    with pytest.raises(RefusedError, match="limit"):
        opened(SEALED + bytes(DESIRED.limit_bytes))


@pytest.mark.parametrize("row", SIGNED, ids=lambda row: row.name)
def test_the_budget_leaves_room_for_the_envelope(row: Topic) -> None:
    message = next(each for each in EXAMPLES if type(each) is row.message)
    topic = row.topic(id="a" * 48, actor="b" * 64)
    overhead = len(seal(message, topic=topic, key=KEY)) - len(codec.encode(message))
    # A longer payload needs at most four more bytes for its length.
    assert overhead + 4 <= row.limit_bytes - payload_budget(row)


def test_no_bytes_but_a_public_key_are_one() -> None:
    for wrong in (b"", b"\x01" * 31, b"\x01" * 33):
        with pytest.raises(RefusedError, match="not an Ed25519 public key"):
            VerifyKey(wrong)


def test_a_fingerprint_is_half_of_the_keys_digest_in_groups_of_four() -> None:
    digest = sha256_hex(KEY.public.raw)
    groups = KEY.public.fingerprint.split(" ")
    assert {len(group) for group in groups} == {4}
    assert "".join(groups) == digest[:32]
    assert KEY.public.key_id == digest[:16]


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.key"
    made = SigningKey.load_or_create(path)
    again = SigningKey.load_or_create(path)
    assert made.public.raw == again.public.raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.generate().public.raw != SigningKey.generate().public.raw


def test_a_secret_replaces_a_readable_file_by_an_unreadable_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_secret(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_missing_or_damaged_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the key"):
        SigningKey.load(tmp_path / "none")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(UsageError, match="1 bytes instead of 32"):
        SigningKey.load(tmp_path / "short")


def test_a_key_shows_nothing_of_its_secret() -> None:
    secret = bytes(range(32))
    shown = repr(SigningKey(secret)) + str(vars(SigningKey(secret).public))
    assert secret.hex() not in shown
