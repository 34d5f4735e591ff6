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
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import MetaFile, Root, Timestamp

from fleet_server.releases import acceptance, metadata, state
from fleet_server.releases.keys import load_role_signer
from fleet_server.releases.owner import OnlineKeys
from fleet_server.releases.state import State
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
    withdrawn_in,
)

logger = logging.getLogger(__name__)


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
        return state.is_initialised(self._store)

    def accept(self, *, role: str, role_metadata: bytes, model: bytes) -> Release:
        """Take version n+1 of a trainer's `role` and the model that it adds; return the release.

        Raises:
            RefusedError: the metadata or the model breaks a law of `acceptance`.
            RetryLaterError: the disk is full.
            UsageError: the repository is not initialised, damaged, or a key is missing.
        """
        with self._store.lock():
            held = self._load()
            if role not in held.roles:
                raise RefusedError(f"the release owner delegated to no role {role[:64]!r}")
            current = held.roles[role]
            if role_metadata == held.files[f"{current.version}.{role}.json"]:
                return _newest(held, model)
            sent, target, release = acceptance.check(
                owner=held.targets,
                role=role,
                current=current,
                proposed=role_metadata,
                model=model,
                releases=held.releases(),
                now=self._now(),
            )
            self._store.write(_model_name(release.manifest.sha256), model)
            self._store.write(f"metadata/{sent.version}.{role}.json", role_metadata)
            changed = {f"{role}.json": metadata.describe(sent.version, role_metadata)}
            self._advance(held, changed)
        logger.info(
            "release_accepted role=%s version=%d path=%s release_seq=%d",
            *(role, sent.version, target.path, release.release_seq),
        )
        return release

    def refresh(self) -> bool:
        """Sign timestamp, and snapshot, anew where half of their life is over; tell whether so.

        Where the owner's metadata are expired nothing is signed: no car would believe it, and cars
        remember a signed moment, so that a clock which jumped ahead would end updates for years.

        Raises:
            RetryLaterError: the disk is full.
            UsageError: the repository is not initialised, damaged, or a key is missing.
        """
        with self._store.lock():
            held = self._load()
            now = self._now()
            if held.root.is_expired(now) or held.targets.is_expired(now):
                logger.warning("release_metadata_not_refreshed reason='the owner's are expired'")
                return False
            if metadata.is_due(held.snapshot.expires, SNAPSHOT_VALID, now):
                self._advance(held, {})
            elif metadata.is_due(held.timestamp.expires, TIMESTAMP_VALID, now):
                self._write_timestamp(
                    held.timestamp, held.timestamp.snapshot_meta, now, self._signers(held.root)
                )
            else:
                return False
        logger.info("release_metadata_refreshed")
        return True

    def accept_owner(self, *, root: bytes | None = None, targets: bytes | None = None) -> None:
        """Take version n+1 of what the release owner signs, and vouch for it.

        Keys that a new root gives to the server lie in its folder already (`keys.next_path`).

        Raises:
            RefusedError: it is not version n+1, not signed as it must be, or names keys that this
                server does not hold.
            RetryLaterError: the disk is full.
            UsageError: the repository is not initialised, damaged, or a key is missing.
        """
        with self._store.lock():
            held = self._load()
            rooted = held.root if root is None else acceptance.check_root(held.root, root)
            signers = self._signers(rooted)
            changed: dict[str, MetaFile] = {}
            if targets is not None:
                sent = acceptance.check_owner(rooted, held.targets, targets, self._now())
                self._store.write(f"metadata/{sent.version}.targets.json", targets)
                changed["targets.json"] = metadata.describe(sent.version, targets)
            if root is not None:
                self._store.write(f"metadata/{rooted.version}.root.json", root)
            self._advance(held, changed, signers)
        logger.info("owner_metadata_accepted root=%s targets=%s", bool(root), bool(targets))

    def metadata_files(self) -> dict[str, bytes]:
        """Return every metadata file a car may ask for, under the name by which TUF asks.

        Raises:
            UsageError: the repository is not initialised or damaged.
        """
        held = self._load()
        return {**held.roots, **held.files}

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
        held = self._load()
        roles = {"targets": held.targets, **held.roles}
        return {
            "root": (held.root.expires, ROOT_VALID),
            **{name: (role.expires, TARGETS_VALID) for name, role in roles.items()},
        }

    def withdrawn(self) -> Mapping[str, frozenset[int]]:
        """Return the numbers of withdrawn releases by "task/deployment"; none before `init`.

        Raises:
            UsageError: the repository is damaged.
        """
        if not self.is_initialised:
            return {}
        return withdrawn_in(self._load().targets.unrecognized_fields)

    def _now(self) -> datetime:
        return metadata.moment(self._clock.utc_us())

    def _load(self) -> State:
        return state.load(self._store)

    def _advance(
        self, held: State, changed: dict[str, MetaFile], signers: OnlineKeys | None = None
    ) -> None:
        """Write the next snapshot and, last, the timestamp that puts it in force."""
        now = self._now()
        signers = signers or self._signers(held.root)
        snapshot = metadata.next_snapshot(held.snapshot, changed, now)
        data = metadata.sign(snapshot, signers.snapshot)
        self._store.write(f"metadata/{snapshot.version}.snapshot.json", data)
        described = metadata.describe(snapshot.version, data)
        self._write_timestamp(held.timestamp, described, now, signers)

    def _write_timestamp(
        self, last: Timestamp, snapshot: MetaFile, now: datetime, signers: OnlineKeys
    ) -> None:
        timestamp = metadata.next_timestamp(last, snapshot, now)
        self._store.write(state.TIMESTAMP, metadata.sign(timestamp, signers.timestamp))

    def _signers(self, root: Root) -> OnlineKeys:
        return OnlineKeys(
            snapshot=load_role_signer(self._keys, "snapshot", root),
            timestamp=load_role_signer(self._keys, "timestamp", root),
        )


def _model_name(sha256: str) -> str:
    return f"models/{sha256}.tflite"


def _newest(held: State, model: bytes) -> Release:
    """Return the release that holds `model`, asked for a second time."""
    digest = sha256_hex(model)
    for release in held.releases().values():
        if release.manifest.sha256 == digest:
            return release
    raise RefusedError(f"the metadata in force names no model {digest}")
