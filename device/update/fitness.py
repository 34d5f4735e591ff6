"""Which signed releases fit this car.

Laws:
- a release describes itself truly: its path, size, pieces and numbers agree with its manifest;
- no step back: within a task and deployment, where releases are numbered upwards, one older than
  the newest ever committed is refused, except for a model that still lies in a slot, and except
  where the release owner's signature withdraws every newer one that was committed;
- what the release owner withdrew is not taken, wherever it lies.
"""

from collections.abc import Collection, Mapping

from shared.errors import RefusedError
from shared.releases import MAX_MODEL_BYTES, Release, series_of, target_path
from shared.task import Task

MOST_COMMITTED = 16
"""How many releases of a series a car remembers to have committed."""


def check_release(
    release: Release,
    *,
    target: str,
    size_bytes: int,
    task: Task,
    committed: Mapping[str, Collection[int]],
    withdrawn: Mapping[str, Collection[int]],
    in_slots: Collection[str | None],
    device_version: str,
) -> None:
    """Return quietly where the release under `target`, of the signed size, fits this car.

    `committed` and `withdrawn` are numbers of releases by series, `in_slots` the digests of the
    models in the car's slots.

    Raises:
        RefusedError: it does not, and never will; the text says why.
    """
    manifest = release.manifest
    path = target_path(manifest.task.name, manifest.deployment, manifest.sha256)
    pieces = -(-size_bytes // release.chunk_bytes)
    rules = (
        (path == target, f"the manifest describes {path}"),
        (manifest.task == task, f"a model for another task than {task.name}"),
        (0 < size_bytes <= MAX_MODEL_BYTES, f"a model of {size_bytes} bytes"),
        (manifest.size_bytes == size_bytes, f"manifest says {manifest.size_bytes} bytes"),
        (len(release.chunks) == pieces, f"{len(release.chunks)} pieces instead of {pieces}"),
        (manifest.release_seq == release.release_seq, "manifest and release disagree in sequence"),
        (
            _version(manifest.minimum_device) <= _version(device_version),
            f"needs device software {manifest.minimum_device}, this is {device_version}",
        ),
    )
    for holds, reason in rules:
        if not holds:
            raise RefusedError(reason[:200])
    series = series_of(target)
    gone = withdrawn.get(series, ())
    if release.release_seq in gone:
        raise RefusedError(f"release_seq {release.release_seq} was withdrawn by its owner")
    floor = max((each for each in committed.get(series, ()) if each not in gone), default=0)
    if release.release_seq < floor and manifest.sha256 not in in_slots:
        raise RefusedError(
            f"release_seq {release.release_seq} is older than {floor}, which was committed"
        )


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        raise RefusedError(f"{text!r} is no version number")
    return tuple(int(part) for part in parts)
