"""The model that is being fetched: its signed description and the pieces that are here.

Laws:
- a piece is believed for its digest alone: nothing records which are here, the file is hashed anew
  after a start, so that no kill and no torn write can make a wrong piece pass for a right one;
- only missing pieces are asked for, and again with growing, jittered patience; one at a time, since
  what a broken connection had under way is lost with it;
- one model at a time, within a bound of the disk; what is left of another one is thrown away;
- a model reaches `models/` whole and hashed, its manifest before it.
"""

import logging
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from device.agent.releases import SignedRelease
from device.home import Home
from shared.errors import RefusedError, RetryLaterError
from shared.ids import is_sha256, sha256_hex
from shared.manifest import Manifest
from shared.releases import Release
from shared.signing import write_secret

logger = logging.getLogger(__name__)

_RESERVE_BYTES = 64 * 1024 * 1024
"""Left free for the journal, whatever comes."""


class ChunkStore:
    """The pieces of one release under the folder `incoming` of a home."""

    def __init__(self, home: Home, signed: SignedRelease) -> None:
        """Open what is here of `signed`, and throw away what is here of others.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        self.signed = signed
        self._home = home
        self._digests = signed.release.chunks
        self._part = home.incoming / f"{self.sha256}.part"
        try:
            self._make_room()
            self.missing = self._find_missing()
        except RetryLaterError:
            raise
        except OSError as error:
            raise RetryLaterError(f"cannot keep the model's pieces: {error.strerror}") from None

    @classmethod
    def resume(cls, home: Home, sha256: str) -> "ChunkStore | None":
        """Return the store of the release `sha256` as it was left, or None where it is lost.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        try:
            body = _description(home, sha256).read_bytes()
            release = msgspec.json.decode(body, type=Release)
        except (OSError, msgspec.MsgspecError):
            return None
        return cls(home, SignedRelease(release=release, size_bytes=release.manifest.size_bytes))

    @property
    def sha256(self) -> str:
        """The model's digest."""
        return self.signed.release.manifest.sha256

    def put(self, number: int, data: bytes) -> bool:
        """Keep the piece `number`; tell whether it was missing.

        Raises:
            RefusedError: there is no such piece, or `data` is not it.
            RetryLaterError: the disk is full or fails.
        """
        if not 0 <= number < len(self._digests):
            raise RefusedError(f"no piece {number} of {len(self._digests)}")
        if sha256_hex(data) != self._digests[number]:
            raise RefusedError(f"piece {number} is not the signed one")
        if number not in self.missing:
            return False
        try:
            # Not `open(..., "ab")`, which writes at the end wherever one seeks.
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                file.seek(number * self.signed.release.chunk_bytes)
                file.write(data)
        except OSError as error:
            raise RetryLaterError(f"cannot keep a piece: {error.strerror}") from None
        self.missing.remove(number)
        return True

    def install(self) -> None:
        """Put the whole model and its manifest where drive finds them; again does no harm.

        Raises:
            RefusedError: the pieces together are not the model.
            RetryLaterError: the disk is full or fails.
        """
        manifest = self.signed.release.manifest
        place = self._home.model(self.sha256)
        try:
            source = place if place.exists() else self._part
            with source.open("rb") as file:
                content = file.read(self.signed.size_bytes + 1)
                os.fsync(file.fileno())
            if len(content) != self.signed.size_bytes or sha256_hex(content) != self.sha256:
                source.unlink()
                raise RefusedError("the file is not the signed one")
            write_secret(self._home.manifest(self.sha256), manifest.to_json().encode())
            source.replace(place)
            _sync_folder(place.parent)
        except FileNotFoundError:
            raise RefusedError("the file is gone") from None
        except OSError as error:
            raise RetryLaterError(f"cannot keep the model: {error.strerror}") from None

    def _make_room(self) -> None:
        self._home.incoming.mkdir(mode=0o700, exist_ok=True)
        kept = {self._part, _description(self._home, self.sha256)}
        for other in self._home.incoming.iterdir():
            if other not in kept:
                other.unlink()
        free = shutil.disk_usage(self._home.incoming).free
        if free < self.signed.size_bytes + _RESERVE_BYTES:
            raise RetryLaterError(f"only {free} bytes are free for {self.signed.size_bytes} more")
        write_secret(
            _description(self._home, self.sha256), msgspec.json.encode(self.signed.release)
        )

    def _find_missing(self) -> set[int]:
        missing = set(range(len(self._digests)))
        if not self._part.exists():
            return missing
        with self._part.open("rb") as file:
            for number, digest in enumerate(self._digests):
                if sha256_hex(file.read(self.signed.release.chunk_bytes)) == digest:
                    missing.remove(number)
        return missing


class Requests:
    """Which pieces to ask for, and when to ask again."""

    def __init__(self, rng: random.Random, *, window: int = 1, answer_us: int = 5_000_000) -> None:
        """Keep `window` pieces asked for; each may take `answer_us` at first."""
        self._rng = rng
        self._window = window
        self._answer_us = answer_us
        self._deadlines_us: dict[int, int] = {}
        self._tries: dict[int, int] = {}

    def ask(self, missing: set[int], now_us: int) -> list[int]:
        """Return the pieces to ask for now, in their order."""
        late = [n for n, deadline_us in self._deadlines_us.items() if now_us >= deadline_us]
        fresh = [n for n in sorted(missing) if n not in self._deadlines_us]
        room = self._window - (len(self._deadlines_us) - len(late))
        chosen = [n for n in (*late, *fresh) if n in missing][: max(room, 0)]
        for number in chosen:
            self._tries[number] = tries = self._tries.get(number, 0) + 1
            patience_us = self._answer_us << min(tries - 1, 5)
            self._deadlines_us[number] = now_us + self._rng.randint(patience_us // 2, patience_us)
        return chosen

    def answered(self, number: int) -> None:
        """Free the piece's place in the window."""
        self._deadlines_us.pop(number, None)

    @property
    def asked(self) -> Sequence[int]:
        """The pieces asked for and not yet here."""
        return tuple(self._deadlines_us)

    def restart(self) -> None:
        """Forget what was asked: the connection that would bring it is gone."""
        self._deadlines_us.clear()
        self._tries.clear()


def is_damaged(home: Home, sha256: str) -> bool:
    """Tell whether the installed model is not, or not any more, what its name and manifest say."""
    try:
        manifest = Manifest.from_json(home.manifest(sha256).read_bytes())
        content = home.model(sha256).read_bytes()
    except (FileNotFoundError, RefusedError):
        return True
    except OSError as error:
        logger.warning("model_not_looked_at model=%s reason=%s", sha256[:12], error.strerror)
        return False
    return manifest.sha256 != sha256 or sha256_hex(content) != sha256


def is_of_series(home: Home, sha256: str, series: str) -> bool:
    """Tell whether the installed model was made for the task and deployment of `series`."""
    try:
        manifest = Manifest.from_json(home.manifest(sha256).read_bytes())
    except (OSError, RefusedError):
        return False
    return f"{manifest.task.name}/{manifest.deployment}" == series


def discard(home: Home, sha256: str) -> None:
    """Throw away an installed model.

    Raises:
        RetryLaterError: the disk fails.
    """
    try:
        home.model(sha256).unlink(missing_ok=True)
    except OSError as error:
        raise RetryLaterError(f"cannot remove a damaged model: {error.strerror}") from None


def sweep(home: Home, keep: set[str]) -> None:
    """Throw away the models whose digests are not in `keep`, and everything incoming.

    Raises:
        RetryLaterError: the disk fails.
    """
    try:
        for path in home.models.iterdir():
            digest = path.name.split(".")[0]
            if is_sha256(digest) and digest not in keep:
                path.unlink()
        if home.incoming.exists():
            shutil.rmtree(home.incoming)
    except OSError as error:
        raise RetryLaterError(f"cannot tidy {home.models}: {error.strerror}") from None


def _description(home: Home, sha256: str) -> Path:
    return home.incoming / f"{sha256}.json"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
