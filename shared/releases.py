"""The layout of the release repository (TUF), as owner, trainer, server and car share it.

Laws:
- `root` and `targets` belong to the release owner, offline; `targets` delegates each trainer's own
  role, bound to the paths that it may sign; the server holds `snapshot` and `timestamp` alone, so a
  captured server can neither ship a model nor an older one;
- a target's path names its bytes, so that nothing is ever overwritten;
- the digests of all pieces stand in the signed metadata: each piece is checked as it arrives;
- pieces are small, so that a broken connection costs little, and few, so that metadata stay short;
- what the owner withdraws is named in `targets`, by number within its task and deployment: no
  target is ever taken out, since that would look like one that never was.

TUF's canonical JSON has no floats, so the manifest travels as JSON text inside `custom`; the
pieces' digests as one text in base64, a third shorter than in hexadecimal.
"""

import binascii
import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import msgspec

from shared.errors import RefusedError
from shared.ids import Sha256
from shared.manifest import Manifest
from shared.messages import ShortText
from shared.samples import Count, Record
from shared.topics import CHUNK_BYTES

ROOT_VALID = timedelta(days=365)
TARGETS_VALID = timedelta(days=90)
SNAPSHOT_VALID = timedelta(days=7)
TIMESTAMP_VALID = timedelta(days=1)

MAX_MODEL_BYTES = 16 * 1024 * 1024
"""The largest model that a car accepts."""


WITHDRAWN = "x-parkfleet-withdrawn"
"""The field of the owner's `targets` that withdraws releases."""

_Withdrawals = dict[ShortText, Annotated[frozenset[Count], msgspec.Meta(max_length=256)]]


_DIGEST_BYTES = hashlib.sha256().digest_size
_LEAST_CHUNK_BYTES = 8 * 1024
_MOST_CHUNKS = 256

ChunkBytes = Annotated[int, msgspec.Meta(ge=4 * 1024, le=CHUNK_BYTES)]


class Release(Record, frozen=True):
    """What the signed metadata says of one model beside its length and digest.

    `chunk_bytes` is the size of all pieces but the last; releases of before do not name it.
    """

    release_seq: Count
    chunks: tuple[Sha256, ...]
    manifest: Manifest
    chunk_bytes: ChunkBytes = CHUNK_BYTES


def target_path(task: str, deployment: str, sha256: str) -> str:
    """Return the path of a model in the release repository."""
    return f"{task}/{deployment}/{sha256}.tflite"


def series_of(target: str) -> str:
    """Return the "task/deployment" within which releases are numbered upwards."""
    return target.rpartition("/")[0]


def digest_in(target: str) -> str:
    """Return the digest that a target's path names."""
    return target.rpartition("/")[2].removesuffix(".tflite")


def delegated_paths(task: str, deployments: Sequence[str] = ("*",)) -> list[str]:
    """Return the path patterns that a trainer for `task` may sign (one `*` matches one segment).

    The task tells kinds of devices apart: what their camera shows and their sensor measures.
    """
    return [f"{task}/{deployment}/*.tflite" for deployment in deployments]


def withdrawn_in(fields: Mapping[str, Any]) -> Mapping[str, frozenset[int]]:
    """Return the numbers of withdrawn releases by "task/deployment".

    `fields` are those of the owner's `targets` that TUF itself does not know.

    Raises:
        RefusedError: the field is malformed.
    """
    try:
        return msgspec.convert(fields.get(WITHDRAWN, {}), _Withdrawals)
    except msgspec.ValidationError as error:
        raise RefusedError(f"withdrawn releases: {error}"[:200]) from None


def chunk_bytes_of(size_bytes: int) -> int:
    """Return the size of the pieces of a model: 8 KiB, of a long one more, at most 64 KiB."""
    chunk_bytes = _LEAST_CHUNK_BYTES
    while chunk_bytes < CHUNK_BYTES and size_bytes > chunk_bytes * _MOST_CHUNKS:
        chunk_bytes *= 2
    return chunk_bytes


def split(model: bytes, chunk_bytes: int | None = None) -> list[bytes]:
    """Return `model` in pieces of `chunk_bytes` (None: as a release made today has them)."""
    size = chunk_bytes or chunk_bytes_of(len(model))
    return [model[at : at + size] for at in range(0, len(model), size)]


def to_custom(manifest: Manifest, model: bytes) -> dict[str, Any]:
    """Return the `custom` field of the target that holds `model`."""
    return {
        "release_seq": manifest.release_seq,
        "chunks": _joined(split(model)),
        "chunk_bytes": chunk_bytes_of(len(model)),
        "manifest": manifest.to_json(),
    }


def from_custom(custom: object) -> Release:
    """Return the release that a target's `custom` field describes; older ones list the digests.

    Raises:
        RefusedError: the field is missing or malformed.
    """
    if not isinstance(custom, Mapping) or not isinstance(custom.get("manifest"), str):
        raise RefusedError("the release names no manifest")
    manifest = Manifest.from_json(custom["manifest"])
    fields = {
        "release_seq": custom.get("release_seq"),
        "chunks": _digests(custom.get("chunks")),
        "chunk_bytes": custom.get("chunk_bytes", CHUNK_BYTES),
    }
    try:
        return msgspec.convert({**fields, "manifest": manifest}, Release)
    except msgspec.ValidationError as error:
        raise RefusedError(f"release: {error}"[:200]) from None


def _joined(pieces: Sequence[bytes]) -> str:
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return binascii.b2a_base64(digests, newline=False).decode()


def _digests(chunks: object) -> object:
    """Return the hexadecimal digests that one text holds; anything else as it is."""
    if not isinstance(chunks, str):
        return chunks
    try:
        raw = binascii.a2b_base64(chunks, strict_mode=True)
    except ValueError:
        raise RefusedError("release: the digests of its pieces are no base64") from None
    if len(raw) % _DIGEST_BYTES:
        raise RefusedError("release: the digests of its pieces are cut short")
    return [raw[at : at + _DIGEST_BYTES].hex() for at in range(0, len(raw), _DIGEST_BYTES)]
