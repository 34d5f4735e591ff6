"""The online half: takes trainers' releases and says which signed files are current.

Laws:
- `timestamp.json` alone says what the repository holds: every other file is written under a new
  name first and the timestamp last, so that a kill at any instant leaves the old state or the new
  one. What an interrupted `accept` left behind is reachable from nowhere and is written over by the
  next one;
- accepting again what was accepted last changes nothing, so that a trainer who never got the answer
  may ask again;
- nothing is kept in memory: any number of server processes may share one folder;
- the server holds the snapshot and timestamp keys alone: it can neither ship a model nor an older
  one.

The folder `releases/` of the server's state:
```
keys/snapshot.key, keys/timestamp.key            raw Ed25519, mode 0600
metadata/{n}.root.json, {n}.targets.json, {n}.{trainer}.json, {n}.snapshot.json, timestamp.json
models/{sha256}.tflite
```
"""

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets, Timestamp

from fleet_server.releases import acceptance, metadata
from fleet_server.releases.keys import load_signer
from fleet_server.releases.owner import OnlineKeys
from fleet_server.releases.store import FolderStore, Store
from shared.clock import Clock
from shared.errors import RefusedError, UsageError
from shared.ids import is_sha256, sha256_hex
from shared.releases import (
    ROOT_VALID,
    SNAPSHOT_VALID,
    TARGETS_VALID,
    TIMESTAMP_VALID,
    Release,
    from_custom,
)

logger = logging.getLogger(__name__)

_TIMESTAMP = "metadata/timestamp.json"
_TARGETS = "targets.json"


@dataclass(frozen=True, kw_only=True)
class _State:
    """What the timestamp in force vouches for; files by TUF's names, `roots` oldest first."""

    roots: dict[str, bytes]
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    roles: dict[str, Targets]
    files: dict[str, bytes]

    def releases(self) -> dict[str, Release]:
        return {
            path: from_custom(target.custom)
            for role in self.roles.values()
            for path, target in role.targets.items()
        }


class OnlineRepository:
    """The server's release repository."""

    def __init__(self, store: Store, keys: Path, clock: Clock) -> None:
        """Take the files' store, the folder of the online keys and a clock."""
        self._store = store
        self._keys = keys
        self._clock = clock

    @classmethod
    def open(cls, state_dir: Path, clock: Clock) -> "OnlineRepository":
        """Return the repository in a server's state folder; it need not be initialised yet."""
        folder = state_dir / "releases"
        return cls(FolderStore(folder), folder / "keys", clock)

    @property
    def is_initialised(self) -> bool:
        """Whether `parkfleet releases init` has been here."""
        return self._store.read(_TIMESTAMP) is not None

    def accept(self, *, role: str, role_metadata: bytes, model: bytes) -> Release:
        """Take version n+1 of a trainer's `role` and the model that it adds; return the release.

        Raises:
            RefusedError: the metadata or the model breaks a law of `acceptance`.
            RetryLaterError: the disk is full.
            UsageError: the repository is not initialised, damaged, or a key is missing.
        """
        with self._store.lock():
            state = self._load()
            if role not in state.roles:
                raise RefusedError(f"the release owner delegated to no role {role[:64]!r}")
            current = state.roles[role]
            if role_metadata == state.files[f"{current.version}.{role}.json"]:
                return _newest(state, model)
            sent, target, release = acceptance.check(
                owner=state.targets,
                role=role,
                current=current,
                proposed=role_metadata,
                model=model,
                releases=state.releases(),
                now=self._now(),
            )
            self._store.write(_model_name(release.manifest.sha256), model)
            self._store.write(f"metadata/{sent.version}.{role}.json", role_metadata)
            changed = {f"{role}.json": metadata.describe(sent.version, role_metadata)}
            self._advance(state, changed)
        logger.info(
            "release_accepted role=%s version=%d path=%s release_seq=%d",
            *(role, sent.version, target.path, release.release_seq),
        )
        return release

    def refresh(self) -> bool:
        """Sign timestamp, and snapshot, anew where half of their life is over; tell whether so.

        Raises:
            RetryLaterError: the disk is full.
            UsageError: the repository is not initialised, damaged, or a key is missing.
        """
        with self._store.lock():
            state = self._load()
            now = self._now()
            if metadata.is_due(state.snapshot.expires, SNAPSHOT_VALID, now):
                self._advance(state, {})
            elif metadata.is_due(state.timestamp.expires, TIMESTAMP_VALID, now):
                self._write_timestamp(state.timestamp, state.timestamp.snapshot_meta, now)
            else:
                return False
        logger.info("release_metadata_refreshed")
        return True

    def metadata_files(self) -> dict[str, bytes]:
        """Return every metadata file a car may ask for, under the name by which TUF asks.

        Raises:
            UsageError: the repository is not initialised or damaged.
        """
        state = self._load()
        return {**state.roots, **state.files}

    def targets(self) -> dict[str, Release]:
        """Return every release by its path, oldest first within a trainer's role.

        Raises:
            UsageError: the repository is not initialised or damaged.
        """
        found = self._load().releases()
        return dict(sorted(found.items(), key=lambda each: each[1].release_seq))

    def model(self, sha256: str) -> bytes:
        """Return the bytes of a released model, whose digest was checked once more.

        Raises:
            RefusedError: no release holds such a model.
            UsageError: the repository is not initialised or damaged.
        """
        known = {release.manifest.sha256 for release in self._load().releases().values()}
        if not is_sha256(sha256) or sha256 not in known:
            raise RefusedError(f"no release holds a model {sha256[:64]!r}")
        data = self._store.read(_model_name(sha256))
        if data is None or sha256_hex(data) != sha256:
            raise UsageError(f"the stored model {sha256} is damaged: restore it from a backup")
        return data

    def root(self) -> bytes:
        """Return the newest root, which a car is given at its enrolment.

        Raises:
            UsageError: the repository is not initialised.
        """
        return list(self._load().roots.values())[-1]

    def lives(self) -> dict[str, tuple[datetime, timedelta]]:
        """Return when the metadata of each role that people sign expires, and how long it is valid.

        Raises:
            UsageError: the repository is not initialised or damaged.
        """
        state = self._load()
        root = metadata.read(Root, list(state.roots.values())[-1]).signed
        roles = {"targets": state.targets, **state.roles}
        return {
            "root": (root.expires, ROOT_VALID),
            **{name: (role.expires, TARGETS_VALID) for name, role in roles.items()},
        }

    def _now(self) -> datetime:
        return metadata.moment(self._clock.utc_us())

    def _roots(self) -> dict[str, bytes]:
        """Return the roots by name, oldest first."""
        found = (re.fullmatch(r"(\d+)\.root\.json", name) for name in self._store.names("metadata"))
        versions = sorted(int(match[1]) for match in found if match)
        names = [f"{version}.root.json" for version in versions]
        return {name: self._read(name) for name in names}

    def _load(self) -> _State:
        if not self.is_initialised:
            raise UsageError(_MISSING)
        try:
            return self._follow()
        except (RefusedError, LookupError) as error:
            raise UsageError(
                f"the release repository is damaged, restore it from a backup: {error}"
            ) from None

    def _follow(self) -> _State:
        """Follow the timestamp to every file in force, checking each against what names it."""
        files: dict[str, bytes] = {"timestamp.json": self._read("timestamp.json")}

        def named(name: str, meta: MetaFile) -> bytes:
            data = self._read(f"{meta.version}.{name}")
            if metadata.describe(meta.version, data) != meta:
                raise RefusedError(f"{meta.version}.{name} is not the file that was signed for")
            files[f"{meta.version}.{name}"] = data
            return data

        roots = self._roots()
        root = metadata.read(Root, list(roots.values())[-1]).signed
        timestamp = metadata.read(Timestamp, files["timestamp.json"]).signed
        snapshot = metadata.read(Snapshot, named("snapshot.json", timestamp.snapshot_meta)).signed
        owner = metadata.read(Targets, named(_TARGETS, snapshot.meta[_TARGETS]))
        metadata.verify(root, Targets.type, owner)
        roles = {
            name.removesuffix(".json"): metadata.read(Targets, named(name, meta)).signed
            for name, meta in snapshot.meta.items()
            if name != _TARGETS
        }
        return _State(
            roots=roots,
            timestamp=timestamp,
            snapshot=snapshot,
            targets=owner.signed,
            roles=roles,
            files=files,
        )

    def _read(self, name: str) -> bytes:
        data = self._store.read(f"metadata/{name}")
        if data is None:
            raise RefusedError(f"{name} is missing")
        return data

    def _advance(self, state: _State, changed: dict[str, MetaFile]) -> None:
        """Write the next snapshot and, last, the timestamp that puts it in force."""
        now = self._now()
        snapshot = metadata.next_snapshot(state.snapshot, changed, now)
        data = metadata.sign(snapshot, self._signers().snapshot)
        self._store.write(f"metadata/{snapshot.version}.snapshot.json", data)
        self._write_timestamp(state.timestamp, metadata.describe(snapshot.version, data), now)

    def _write_timestamp(self, last: Timestamp, snapshot: MetaFile, now: datetime) -> None:
        timestamp = metadata.next_timestamp(last, snapshot, now)
        self._store.write(_TIMESTAMP, metadata.sign(timestamp, self._signers().timestamp))

    def _signers(self) -> OnlineKeys:
        return OnlineKeys(
            snapshot=load_signer(self._keys / "snapshot.key"),
            timestamp=load_signer(self._keys / "timestamp.key"),
        )


_MISSING = "there is no release repository yet: run `parkfleet releases init` first"


def _model_name(sha256: str) -> str:
    return f"models/{sha256}.tflite"


def _newest(state: _State, model: bytes) -> Release:
    """Return the release that holds `model`, asked for a second time."""
    digest = sha256_hex(model)
    for release in state.releases().values():
        if release.manifest.sha256 == digest:
            return release
    raise RefusedError(f"the metadata in force names no model {digest}")
