"""A release made on the spot, so that a simulated fleet has something to update to."""

from dataclasses import dataclass

from hardware_sim.fleet_sim.repository import Repository
from shared.manifest import Manifest
from shared.messages import ReleaseMetadata
from shared.releases import split


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
    repository = Repository(utc_us, task=manifest.task.name)
    target = repository.add(model, manifest)
    return Release(
        root=repository.roots[0],
        metadata=repository.publish(),
        pieces=split(model),
        target=target,
        deployment=manifest.deployment,
    )
