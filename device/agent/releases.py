"""The car's half of the release repository: python-tuf, fed from one MQTT message.

Laws:
- what python-tuf has not verified is not believed; this module only feeds it and asks it;
- all metadata arrive at once, so a file that is not there does not exist: 404, without waiting;
- expiry is judged by the later of the clock and the newest moment that was ever certain, since a Pi
  without a battery wakes in 1970 and would find everything fresh. That moment is kept only from
  signed metadata and from a clock that followed a time server: a wild clock must not poison it;
- expired or broken metadata stop updates (`RetryLaterError`, newer metadata may heal it), and never
  anything else; a release that is signed but malformed is refused for good.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from device.home import Home
from device.update import digest_in
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from shared.messages import ReleaseMetadata
from shared.releases import TIMESTAMP_VALID, Release, from_custom
from shared.signing import write_secret

logger = logging.getLogger(__name__)

_BASE = "mqtt:///"
_FILE_LIMIT_BYTES = 512 * 1024
_CONFIG = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=32,
    root_max_length=_FILE_LIMIT_BYTES,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=_FILE_LIMIT_BYTES,
    targets_max_length=_FILE_LIMIT_BYTES,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class SignedRelease:
    """What verified metadata say of a target; `size_bytes` is its signed length."""

    release: Release
    size_bytes: int


class _MessageFetcher(FetcherInterface):
    """Answers python-tuf from the files of one message."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_BASE)
        if name not in self._files:
            raise DownloadHTTPError(f"the message holds no {name}", 404)
        return iter((self._files[name],))


class KnownTime:
    """The newest moment that was ever certain, in a file of its own."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Keep it at `path`, beside what `clock` says."""
        self._path = path
        self._clock = clock

    def now(self) -> datetime:
        """Return the later of the clock and the newest certain moment."""
        return _moment(max(self._clock.utc_us(), self._saved_us()))

    def learn(self, signed_at: datetime) -> None:
        """Keep `signed_at`, and the clock where it is synchronised, if they are news."""
        saved_us = self._saved_us()
        moments = [saved_us, (signed_at - _EPOCH) // timedelta(microseconds=1)]
        if self._clock.is_synced():
            moments.append(self._clock.utc_us())
        # An hour's grain: nothing expires faster, and flash wears.
        if max(moments) - saved_us > 3_600_000_000:
            write_secret(self._path, str(max(moments)).encode())

    def _saved_us(self) -> int:
        try:
            text = self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if text.isdecimal() and len(text) < 18 else 0


class ReleaseClient:
    """Finds targets in the fleet's release metadata."""

    def __init__(self, home: Home, clock: Clock) -> None:
        """Use the trusted root of `home` and keep verified metadata beside it."""
        self._home = home
        self._time = KnownTime(home.known_time, clock)

    def find(self, metadata: ReleaseMetadata, target: str) -> SignedRelease:
        """Return what `metadata`, once verified, say of `target`.

        Raises:
            RetryLaterError: they do not verify, are expired or do not (yet) name the target.
            RefusedError: they name it in a form that cannot be used.
        """
        try:
            found = self._verified(metadata, target)
        except (RepositoryError, DownloadError, ValueError) as error:
            raise RetryLaterError(f"release metadata: {error}"[:200]) from None
        except OSError as error:
            raise RetryLaterError(f"cannot keep release metadata: {error.strerror}") from None
        if found is None:
            raise RetryLaterError(f"no signed release is called {target}")
        release = from_custom(found.custom)
        if len({found.hashes.get("sha256"), digest_in(target), release.manifest.sha256}) != 1:
            raise RefusedError("path, manifest and signed digest differ")
        return SignedRelease(release=release, size_bytes=found.length)

    def _verified(self, metadata: ReleaseMetadata, target: str) -> TargetFile | None:
        folder = self._home.tuf_metadata
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        updater = Updater(
            metadata_dir=str(folder),
            metadata_base_url=_BASE,
            fetcher=_MessageFetcher(metadata.files),
            config=_CONFIG,
            bootstrap=self._home.tuf_root.read_bytes(),
        )
        # python-tuf 7 takes the clock's time in a constructor that it calls itself, and offers no
        # other way to say what time it is. Were the attribute gone, this would fail loudly.
        updater._trusted_set.reference_time = self._time.now()  # noqa: SLF001 - see above
        updater.refresh()
        found = updater.get_targetinfo(target)
        timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json")).signed
        self._time.learn(timestamp.expires - TIMESTAMP_VALID)
        return found


def check_root(data: bytes) -> None:
    """Return quietly where `data` is root metadata that vouches for itself.

    Raises:
        RefusedError: it is not.
    """
    if len(data) > _FILE_LIMIT_BYTES:
        raise RefusedError(f"root metadata of {len(data)} bytes, limit {_FILE_LIMIT_BYTES}")
    try:
        root = Metadata[Root].from_bytes(data)
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (RepositoryError, ValueError, AttributeError) as error:
        raise RefusedError(f"not a trusted root: {error}"[:200]) from None


def _moment(utc_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=utc_us)


def _sweep(folder: Path) -> None:
    # python-tuf names its unfinished files so, and a kill leaves them behind.
    for left in folder.glob("tmp*"):
        left.unlink(missing_ok=True)
