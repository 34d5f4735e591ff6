"""Bytes outside the database: objects named by the SHA-256 of what they hold; obstore's importer.

Laws:
- an object never changes: its name is its content's digest, so writing it twice is the same;
- it is written before the row that names it is committed, and deleted after the row is gone: an
  object without a row is harmless, a row without its object would be a loss;
- no retries here: who stores a batch is asked again by its car.

Where the store is and who may use it (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_ALLOW_HTTP` ...) is read from the environment, as by every S3 tool.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from shared.errors import RetryLaterError, UsageError
from shared.ids import is_sha256, sha256_hex

if TYPE_CHECKING:  # obstore is wanted by some servers only.
    from obstore.store import S3Store

_TIMEOUT_S = 20


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An object: its digest, and when it was written by the store's clock (UTC microseconds)."""

    sha256: str
    written_utc_us: int


class Objects(Protocol):
    """Where bytes lie under their digest."""

    def put(self, bodies: Mapping[str, bytes]) -> None:
        """Write `bodies`, each under its digest.

        Raises:
            RetryLaterError: not all of them are written.
        """

    def get(self, sha256: str) -> bytes:
        """Return the bytes of an object.

        Raises:
            RetryLaterError: they cannot be had now, or are not those of the digest.
        """

    def get_range(self, sha256: str, offset: int, size_bytes: int) -> bytes:
        """Return `size_bytes` of an object from `offset` on.

        Raises:
            RetryLaterError: they cannot be had now.
        """

    def delete(self, digests: Sequence[str]) -> None:
        """Delete objects; one that is not there is deleted already.

        Raises:
            RetryLaterError: not all of them are deleted.
        """

    def every(self) -> Iterator[Sequence[Listed]]:
        """Give all objects, some at a time.

        Raises:
            RetryLaterError: they cannot be listed now.
        """


class S3Objects:
    """Objects in a bucket of S3 or of what speaks its protocol."""

    def __init__(self, store: "S3Store") -> None:
        """Use a store, whose prefix holds nothing else; see `open_objects`."""
        self._store = store

    def put(self, bodies: Mapping[str, bytes]) -> None:
        """Write `bodies` side by side."""
        import obstore

        async def put_all() -> None:
            await asyncio.gather(
                *(
                    obstore.put_async(self._store, sha256, body, use_multipart=False)
                    for sha256, body in bodies.items()
                )
            )

        with _translated():
            asyncio.run(put_all())

    def get(self, sha256: str) -> bytes:
        """Return an object's bytes, compared with its digest."""
        import obstore

        with _translated():
            body = bytes(obstore.get(self._store, sha256).bytes())
        if sha256_hex(body) != sha256:
            raise RetryLaterError(f"object {sha256[:12]}: its bytes are not those of its digest")
        return body

    def get_range(self, sha256: str, offset: int, size_bytes: int) -> bytes:
        """Return a part of an object."""
        import obstore

        with _translated():
            return bytes(obstore.get_range(self._store, sha256, start=offset, length=size_bytes))

    def delete(self, digests: Sequence[str]) -> None:
        """Delete objects."""
        import obstore

        with _translated():
            obstore.delete(self._store, list(digests))

    def every(self) -> Iterator[Sequence[Listed]]:
        """Give all objects, a thousand at a time; what is no object of ours is passed over."""
        import obstore

        with _translated():
            for found in obstore.list(self._store, chunk_size=1000):
                yield [
                    Listed(
                        sha256=each["path"],
                        written_utc_us=round(each["last_modified"].timestamp() * 1e6),
                    )
                    for each in found
                    if is_sha256(each["path"])
                ]


def open_objects(url: str) -> S3Objects:
    """Return the objects at `url`, which reads `s3://bucket/prefix`.

    Raises:
        UsageError: `url` is none of S3's, obstore is missing, or the bucket cannot be read.
    """
    if not url.startswith("s3://") or "@" in url:
        raise UsageError("objects: an address reads s3://bucket/prefix")
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError:
        raise UsageError("objects: S3 needs its library: pip install 'parkfleet[s3]'") from None
    # obstore reads every other variable by itself.
    allow_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    patience = timedelta(seconds=_TIMEOUT_S)
    try:
        store = S3Store.from_url(
            url,
            client_options={"timeout": patience, "allow_http": allow_http},
            retry_config={"max_retries": 0, "retry_timeout": patience},
        )
    except (BaseError, ValueError) as error:
        raise UsageError(f"objects: {_line(error)}") from None
    objects = S3Objects(store)
    try:
        next(objects.every(), None)
    except RetryLaterError as error:
        raise UsageError(f"cannot use {url}: {error}") from None
    return objects


@contextmanager
def _translated() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise RetryLaterError(f"objects: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
