"""What the repository holds: follows the timestamp in force to every file that it vouches for.

Laws:
- each file is checked against what names it, down from the newest root;
- nothing is read that the timestamp does not lead to.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from fleet_server.releases import metadata
from fleet_server.releases.store import Store
from shared.errors import RefusedError, UsageError
from shared.releases import Release, from_custom

TIMESTAMP = "metadata/timestamp.json"
_TARGETS = "targets.json"
_MISSING = "there is no release repository yet: run `parkfleet releases init` first"


@dataclass(frozen=True, kw_only=True)
class State:
    """What the timestamp in force vouches for; files by TUF's names, `roots` oldest first."""

    roots: dict[str, bytes]
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    roles: dict[str, Targets]
    files: dict[str, bytes]

    def releases(self) -> dict[str, Release]:
        """Return every release by its path."""
        return {
            path: from_custom(target.custom)
            for role in self.roles.values()
            for path, target in role.targets.items()
        }


def is_initialised(store: Store) -> bool:
    """Tell whether there is a repository."""
    return store.read(TIMESTAMP) is not None


def load(store: Store) -> State:
    """Return what `store` holds.

    Raises:
        UsageError: there is no repository, or it is damaged.
    """
    if not is_initialised(store):
        raise UsageError(_MISSING)
    try:
        return _follow(store)
    except (RefusedError, LookupError) as error:
        raise UsageError(
            f"the release repository is damaged, restore it from a backup: {error}"
        ) from None


def _follow(store: Store) -> State:
    files: dict[str, bytes] = {"timestamp.json": _read(store, "timestamp.json")}

    def named(name: str, meta: MetaFile) -> bytes:
        data = _read(store, f"{meta.version}.{name}")
        if metadata.describe(meta.version, data) != meta:
            raise RefusedError(f"{meta.version}.{name} is not the file that was signed for")
        files[f"{meta.version}.{name}"] = data
        return data

    roots = _roots(store)
    newest = [metadata.read(Root, data).signed for data in list(roots.values())[-2:]]
    timestamp = metadata.read(Timestamp, files["timestamp.json"]).signed
    snapshot = metadata.read(Snapshot, named("snapshot.json", timestamp.snapshot_meta)).signed
    owner = metadata.read(Targets, named(_TARGETS, snapshot.meta[_TARGETS]))
    _verify(newest, owner)
    roles = {
        name.removesuffix(".json"): metadata.read(Targets, named(name, meta)).signed
        for name, meta in snapshot.meta.items()
        if name != _TARGETS
    }
    return State(
        roots=roots,
        root=newest[-1],
        timestamp=timestamp,
        snapshot=snapshot,
        targets=owner.signed,
        roles=roles,
        files=files,
    )


def _verify(newest: Sequence[Root], owner: Metadata[Targets]) -> None:
    """Check the owner's targets: a kill may have left them one root behind."""
    try:
        metadata.verify(newest[-1], Targets.type, owner)
    except RefusedError:
        metadata.verify(newest[0], Targets.type, owner)


def _roots(store: Store) -> dict[str, bytes]:
    """Return the roots by name, oldest first."""
    found = (re.fullmatch(r"(\d+)\.root\.json", name) for name in store.names("metadata"))
    versions = sorted(int(match[1]) for match in found if match)
    names = [f"{version}.root.json" for version in versions]
    return {name: _read(store, name) for name in names}


def _read(store: Store, name: str) -> bytes:
    data = store.read(f"metadata/{name}")
    if data is None:
        raise RefusedError(f"{name} is missing")
    return data
