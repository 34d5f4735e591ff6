"""The car's half of the release repository: python-tuf, fed from one MQTT message.

Laws:
- what python-tuf has not verified is not believed; this module only feeds it and asks it;
- all metadata arrive at once, so a file that is not there does not exist: 404, without waiting;
- expiry is judged by the later of the clock and the newest moment that was ever certain, since a Pi
  without a battery wakes in 1970 and would find everything fresh. That moment is kept only from
  signed metadata and from a clock that followed a time server: a wild clock must not poison it.
  What was signed counts for as long as its signer is trusted: a stolen timestamp key that signed
  for the year 2100 is forgotten with the key;
- expired or broken metadata stop updates (`RetryLaterError`, newer metadata may heal it), and never
  anything else; a release that is signed but malformed is refused for good.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from device.home import Home
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from shared.messages import ReleaseMetadata
from shared.releases import TIMESTAMP_VALID, Release, digest_in, from_custom, withdrawn_in
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
    """What verified metadata say of a target; `size_bytes` is its signed length.

    `withdrawn` are the numbers of the releases that the owner withdrew, by task and deployment.
    """

    release: Release
    size_bytes: int
    withdrawn: Mapping[str, frozenset[int]] = field(default_factory=dict)


class _MessageFetcher(FetcherInterface):
    """Answers python-tuf from the files of one message."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_BASE)
        if name not in self._files:
            raise DownloadHTTPError(f"the message holds no {name}", 404)
        return iter((self._files[name],))


class _Moments(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of time: microseconds of UTC.

    `clock_us` comes from a clock that followed a time server, `signed_us` from a timestamp that the
    keys `signers` signed.
    """

    clock_us: int = 0
    signed_us: int = 0
    signers: tuple[str, ...] = ()


class KnownTime:
    """The newest moment that was ever certain, in a file of its own."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Keep it at `path`, beside what `clock` says."""
        self._path = path
        self._clock = clock

    @property
    def signers(self) -> tuple[str, ...]:
        """The keys that signed for the newest signed moment."""
        return self._saved().signers

    def now(self, *, trusts_signers: bool = True) -> datetime:
        """Return the later of the clock and the newest certain moment.

        `trusts_signers` tells whether `signers` still sign for the time.
        """
        saved = self._saved()
        signed_us = saved.signed_us if trusts_signers else 0
        return _moment(max(self._clock.utc_us(), saved.clock_us, signed_us))

    def learn(self, signed_at: datetime, signers: Iterable[str] = ()) -> None:
        """Keep `signed_at`, and the clock where it is synchronised, if they are news."""
        saved, keys = self._saved(), tuple(sorted(signers))
        synced_us = self._clock.utc_us() if self._clock.is_synced() else 0
        signed_us = (signed_at - _EPOCH) // timedelta(microseconds=1)
        same = keys == saved.signers
        news = _Moments(
            clock_us=max(saved.clock_us, synced_us),
            signed_us=max(saved.signed_us, signed_us) if same else signed_us,
            signers=keys,
        )
        grown_us = max(news.clock_us, news.signed_us) - max(saved.clock_us, saved.signed_us)
        # An hour's grain: nothing expires faster, and flash wears.
        if grown_us > 3_600_000_000 or not same:
            write_secret(self._path, msgspec.json.encode(news))

    def _saved(self) -> _Moments:
        try:
            body = self._path.read_bytes()
        except OSError:
            return _Moments()
        if body.isdigit() and len(body) < 18:
            return _Moments(clock_us=int(body))  # As earlier versions kept it.
        try:
            return msgspec.json.decode(body, type=_Moments)
        except msgspec.MsgspecError:
            return _Moments()


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
            found, withdrawn = self._verified(metadata, target)
        except (RepositoryError, DownloadError, ValueError) as error:
            raise RetryLaterError(f"release metadata: {error}"[:200]) from None
        except OSError as error:
            raise RetryLaterError(f"cannot keep release metadata: {error.strerror}") from None
        if found is None:
            raise RetryLaterError(f"no signed release is called {target}")
        release = from_custom(found.custom)
        if len({found.hashes.get("sha256"), digest_in(target), release.manifest.sha256}) != 1:
            raise RefusedError("path, manifest and signed digest differ")
        return SignedRelease(release=release, size_bytes=found.length, withdrawn=withdrawn)

    def _verified(
        self, metadata: ReleaseMetadata, target: str
    ) -> tuple[TargetFile | None, Mapping[str, frozenset[int]]]:
        folder = self._home.tuf_metadata
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        updater = self._refreshed(folder, _MessageFetcher(metadata.files))
        found = updater.get_targetinfo(target)
        owner = Metadata[Targets].from_file(str(folder / "targets.json")).signed
        return found, withdrawn_in(owner.unrecognized_fields)

    def _refreshed(self, folder: Path, fetcher: FetcherInterface) -> Updater:
        """Return an updater whose metadata are verified, and keep the time that they prove.

        The time that a key signed for counts until the key is replaced; which keys sign now is only
        known once the new roots were read, which python-tuf does before it looks at the time.
        """
        for trusts in (True, False):
            updater = Updater(
                metadata_dir=str(folder),
                metadata_base_url=_BASE,
                fetcher=fetcher,
                config=_CONFIG,
                bootstrap=self._home.tuf_root.read_bytes(),
            )
            # python-tuf 7 takes the clock's time in a constructor that it calls itself, and offers
            # no other way to say what time it is. Were the attribute gone, this would fail loudly.
            trusted = updater._trusted_set  # noqa: SLF001 - see above
            trusted.reference_time = self._time.now(trusts_signers=trusts)
            try:
                updater.refresh()
            except ExpiredMetadataError:
                keys = tuple(sorted(trusted.root.roles[Timestamp.type].keyids))
                if not trusts or keys == self._time.signers:
                    raise
                continue
            break
        timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json")).signed
        self._time.learn(
            timestamp.expires - TIMESTAMP_VALID, trusted.root.roles[Timestamp.type].keyids
        )
        return updater


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
