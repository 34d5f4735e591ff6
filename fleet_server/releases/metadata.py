"""Building and reading TUF metadata: pure functions, shared by the offline and the online half.

Laws:
- nothing here reads a file or a clock: `now` is handed in, in UTC;
- a version is never given out twice: the next one is one higher than the last;
- snapshot and timestamp name the exact bytes (length and SHA-256) of what they vouch for, so that
  files of two states of the repository cannot be mixed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from shared.errors import RefusedError
from shared.releases import SNAPSHOT_VALID, TIMESTAMP_VALID

S = TypeVar("S", Root, Snapshot, Targets, Timestamp)

ROLE_LIMIT_BYTES = 512 * 1024
"""The longest metadata file that fits `shared.messages.ReleaseMetadata`."""

_HASHES = ["sha256"]


def moment(utc_us: int) -> datetime:
    """Return microseconds since 1970 as python-tuf wants its moments: UTC, whole seconds."""
    return datetime.fromtimestamp(utc_us // 1_000_000, UTC)


def is_due(expires: datetime, valid: timedelta, now: datetime) -> bool:
    """Tell whether metadata that lives for `valid` has passed half of its life."""
    return now >= expires - valid / 2


def sign(signed: S, *signers: Signer) -> bytes:
    """Return `signed` as a metadata file with a signature by each of `signers`."""
    metadata = Metadata(signed)
    for each in signers:
        metadata.sign(each, append=True)
    return metadata.to_bytes()


def read(kind: type[S], data: bytes) -> Metadata[S]:
    """Return the metadata file in `data`, whose signatures are not looked at.

    Raises:
        RefusedError: too long, malformed, or of another kind.
    """
    if len(data) > ROLE_LIMIT_BYTES:
        raise RefusedError(f"{kind.type} metadata of {len(data)} bytes, limit {ROLE_LIMIT_BYTES}")
    try:
        metadata: Metadata[S] = Metadata.from_bytes(data)
    except DeserializationError:
        raise RefusedError(f"malformed {kind.type} metadata") from None
    if not isinstance(metadata.signed, kind):
        raise RefusedError(f"{metadata.signed.type} metadata where {kind.type} is wanted")
    return metadata


def verify(delegator: Root | Targets, role: str, metadata: Metadata[S]) -> None:
    """Return quietly where enough of `role`'s keys, as `delegator` names them, signed `metadata`.

    Raises:
        RefusedError: they did not, or `delegator` knows no such role.
    """
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, SerializationError, ValueError) as error:
        reason = str(error) or "the metadata has no canonical form"
        raise RefusedError(f"{role}: {reason}"[:200]) from None


def describe(version: int, data: bytes) -> MetaFile:
    """Return how snapshot and timestamp name the metadata file in `data`."""
    return MetaFile.from_data(version, data, _HASHES)


def next_snapshot(
    last: Snapshot | None, changed: Mapping[str, MetaFile], now: datetime
) -> Snapshot:
    """Return the snapshot after `last` (None: the first), with the `changed` files in it."""
    meta = dict(last.meta) if last else {}
    return Snapshot(
        version=last.version + 1 if last else 1,
        expires=now + SNAPSHOT_VALID,
        meta={**meta, **changed},
    )


def next_timestamp(last: Timestamp | None, snapshot: MetaFile, now: datetime) -> Timestamp:
    """Return the timestamp after `last` (None: the first), which vouches for `snapshot`."""
    return Timestamp(
        version=last.version + 1 if last else 1,
        expires=now + TIMESTAMP_VALID,
        snapshot_meta=snapshot,
    )
