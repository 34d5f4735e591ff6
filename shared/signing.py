"""Ed25519 envelopes: who said this, on which topic, unchanged.

Laws:
- the signature covers the full topic and the payload, so that what one car signed for one topic
  proves nothing on another topic or for another car;
- Ed25519 is deterministic: sealing the same message again gives the same bytes, so a repeated batch
  keeps its digest;
- private keys live in files of mode 0600 and are never printed, logged or sent.

Measured on the design machine: sign 22 us, verify 63 us.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared import codec, messages
from shared.errors import RefusedError, SignatureError, UsageError
from shared.ids import sha256_hex
from shared.topics import Topic

M = TypeVar("M", bound=messages.Message)

_DOMAIN = b"parkfleet-envelope-v1\n"
_OVERHEAD_BYTES = 256

PublicKeyBytes = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed payload as it travels."""

    key_id: Annotated[str, msgspec.Meta(min_length=16, max_length=16)]
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
    payload: bytes


class VerifyKey:
    """The public half of a key pair."""

    def __init__(self, raw: bytes) -> None:
        """Take the 32 raw bytes of an Ed25519 public key.

        Raises:
            RefusedError: `raw` is no public key.
        """
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise RefusedError("not an Ed25519 public key of 32 bytes") from None
        self.raw = raw
        self.key_id = sha256_hex(raw)[:16]

    @property
    def fingerprint(self) -> str:
        """What two people compare: the first 128 bits of the key's SHA-256, in groups of four."""
        digest = sha256_hex(self.raw)[:32]
        return " ".join(digest[i : i + 4] for i in range(0, 32, 4))

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return quietly where `signature` is this key's over `data`.

        Raises:
            SignatureError: it is not.
        """
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            raise SignatureError(f"bad signature for key {self.key_id}") from None


class SigningKey:
    """A private key with its public half."""

    def __init__(self, raw: bytes) -> None:
        """Take the 32 secret bytes of an Ed25519 private key."""
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.public = VerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new key from the operating system's randomness."""
        return cls(os.urandom(32))

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Return the key stored in `path`.

        Raises:
            UsageError: there is no readable key of 32 bytes.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the key {path}: {error.strerror}") from None
        if len(raw) != 32:
            raise UsageError(f"{path} is not a key file: {len(raw)} bytes instead of 32")
        return cls(raw)

    @classmethod
    def load_or_create(cls, path: Path) -> "SigningKey":
        """Return the key in `path`, which is created with mode 0600 where it is missing."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_secret(path, os.urandom(32))
        return cls.load(path)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        return self._key.sign(data)


def write_secret(path: Path, data: bytes) -> None:
    """Write `data` to `path`: whole after a power cut, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


_envelopes = msgspec.msgpack.Decoder(Envelope)


def seal(message: messages.Message, *, topic: str, key: SigningKey) -> bytes:
    """Return `message` signed for the full `topic`, as bytes to publish."""
    payload = codec.encode(message)
    envelope = Envelope(
        key_id=key.public.key_id,
        signature=key.sign(_signed_bytes(topic, payload)),
        payload=payload,
    )
    return msgspec.msgpack.encode(envelope)


def open_envelope(
    row: Topic, received: bytes, *, topic: str, message_type: type[M], key: VerifyKey
) -> M:
    """Return the message in `received`, whose signature by `key` for `topic` holds.

    Raises:
        SignatureError: signed by another key or for another topic.
        RefusedError: too long or malformed.
    """
    opened, _ = open_envelope_of(row, received, topic=topic, message_type=message_type, keys=(key,))
    return opened


def open_envelope_of(
    row: Topic, received: bytes, *, topic: str, message_type: type[M], keys: Collection[VerifyKey]
) -> tuple[M, VerifyKey]:
    """Return the message in `received`, and which of `keys` signed it for `topic`.

    Raises:
        SignatureError: signed by none of them or for another topic.
        RefusedError: too long or malformed.
    """
    if len(received) > row.limit_bytes:
        raise RefusedError(f"{row.name}: {len(received)} bytes, limit {row.limit_bytes}")
    try:
        envelope = _envelopes.decode(received)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError(f"{row.name}: no envelope: {error}"[:200]) from None
    key = next((each for each in keys if each.key_id == envelope.key_id), None)
    if key is None:
        expected = " or ".join(each.key_id for each in keys)
        raise SignatureError(f"{row.name}: signed by key {envelope.key_id!r}, expected {expected}")
    key.verify(envelope.signature, _signed_bytes(topic, envelope.payload))
    return codec.decode(message_type, envelope.payload, limit_bytes=row.limit_bytes), key


def payload_budget(row: Topic) -> int:
    """Return how many payload bytes fit into `row`'s limit beside the envelope."""
    return row.limit_bytes - _OVERHEAD_BYTES


def _signed_bytes(topic: str, payload: bytes) -> bytes:
    return _DOMAIN + topic.encode() + b"\n" + payload
