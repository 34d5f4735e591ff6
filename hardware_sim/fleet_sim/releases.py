"""A release repository made on the spot, so that a simulated fleet has something to update to.

Laws:
- keys are made anew for each fleet and live no longer than it;
- the layout is that of `shared.releases`: root and targets, a delegated role for the trainer,
  snapshot and timestamp, each signed by a key of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from shared.manifest import Manifest
from shared.messages import ReleaseMetadata
from shared.releases import (
    ROOT_VALID,
    SNAPSHOT_VALID,
    TARGETS_VALID,
    TIMESTAMP_VALID,
    delegated_paths,
    split,
    target_path,
    to_custom,
)

S = TypeVar("S", Root, Snapshot, Targets, Timestamp)

_TRAINER: Final = "trainer-1"
_ROLES: Final = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True, kw_only=True)
class Release:
    """One model, released: all metadata, its pieces and its path; `root` is what cars trust."""

    root: bytes
    metadata: ReleaseMetadata
    pieces: list[bytes]
    target: str
    deployment: str


def make(model: bytes, manifest: Manifest, *, utc_us: int) -> Release:
    """Return a repository whose one release is `model`, signed at `utc_us`."""
    now = datetime.fromtimestamp(utc_us // 1_000_000, UTC)
    keys = {name: CryptoSigner.generate_ed25519() for name in (*_ROLES, _TRAINER)}
    target = target_path(manifest.task.name, manifest.deployment, manifest.sha256)
    file = TargetFile.from_data(target, model, ["sha256"])
    file.unrecognized_fields["custom"] = to_custom(manifest, model)
    trainer = Targets(expires=now + TARGETS_VALID, targets={target: file})
    targets = Targets(
        expires=now + TARGETS_VALID, delegations=_delegations(keys[_TRAINER], manifest.task.name)
    )
    files = {
        "1.root.json": _signed(_root(keys, now), keys["root"]),
        "1.targets.json": _signed(targets, keys["targets"]),
        f"1.{_TRAINER}.json": _signed(trainer, keys[_TRAINER]),
    }
    named = {name[2:]: _named(files[name]) for name in files if name != "1.root.json"}
    snapshot = Snapshot(expires=now + SNAPSHOT_VALID, meta=named)
    files["1.snapshot.json"] = _signed(snapshot, keys["snapshot"])
    timestamp = Timestamp(
        expires=now + TIMESTAMP_VALID, snapshot_meta=_named(files["1.snapshot.json"])
    )
    files["timestamp.json"] = _signed(timestamp, keys["timestamp"])
    return Release(
        root=files["1.root.json"],
        metadata=ReleaseMetadata(files=files),
        pieces=split(model),
        target=target,
        deployment=manifest.deployment,
    )


def _root(keys: Mapping[str, CryptoSigner], now: datetime) -> Root:
    root = Root(expires=now + ROOT_VALID, consistent_snapshot=True)
    for name in _ROLES:
        root.add_key(keys[name].public_key, name)
    return root


def _delegations(trainer: CryptoSigner, task: str) -> Delegations:
    key = trainer.public_key
    role = DelegatedRole(
        _TRAINER, [key.keyid], threshold=1, terminating=True, paths=delegated_paths(task)
    )
    return Delegations(keys={key.keyid: key}, roles={_TRAINER: role})


def _signed(signed: S, key: CryptoSigner) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(key)
    return metadata.to_bytes()


def _named(data: bytes) -> MetaFile:
    return MetaFile.from_data(1, data, ["sha256"])
