"""The rules by which the server takes what others signed: all of it or nothing.

Laws:
- only version n+1 of a role is taken, signed by the key that the owner delegated to;
- every target of version n stands unchanged in n+1, and exactly one is new;
- the new target lies where its own manifest says, inside the paths of the delegation, and its
  length, digest and the digests of its pieces are those of the model at hand;
- `release_seq` rises with every release of a (task, deployment): a car refuses a lower one, so
  letting one pass would ship a model that no car takes;
- a role delegates to nobody: the owner alone says who may sign.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet_server.releases import metadata
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.releases import (
    MAX_MODEL_BYTES,
    Release,
    from_custom,
    split,
    target_path,
    withdrawn_in,
)


def check(
    *,
    owner: Targets,
    role: str,
    current: Targets,
    proposed: bytes,
    model: bytes,
    releases: Mapping[str, Release],
    now: datetime,
) -> tuple[Targets, TargetFile, Release]:
    """Return the role's new metadata, its new target and the release that this describes.

    `owner` is the verified top-level targets, `current` the role's metadata in force, `proposed`
    the file that a trainer sent with `model`, `releases` every release so far by path.

    Raises:
        RefusedError: a law above is broken; the text says which.
    """
    if not 0 < len(model) <= MAX_MODEL_BYTES:
        raise RefusedError(f"model of {len(model)} bytes, allowed 1 to {MAX_MODEL_BYTES}")
    sent: Metadata[Targets] = metadata.read(Targets, proposed)
    metadata.verify(owner, role, sent)
    _check_frame(role, current, sent.signed, now)
    new = _only_new(role, current, sent.signed)
    release = from_custom(new.custom)
    _check_place(owner, role, new, release)
    _check_bytes(new, release, model)
    _check_order(release, releases.values())
    return sent.signed, new, release


def check_root(current: Root, proposed: bytes) -> Root:
    """Return the owner's next root: version n+1, signed by its own keys and those of `current`.

    Raises:
        RefusedError: it is not.
    """
    sent: Metadata[Root] = metadata.read(Root, proposed)
    if sent.signed.version != current.version + 1:
        raise RefusedError(
            f"root: version {sent.signed.version}, but only {current.version + 1} is taken"
        )
    metadata.verify(current, Root.type, sent)
    metadata.verify(sent.signed, Root.type, sent)
    return sent.signed


def check_owner(root: Root, current: Targets, proposed: bytes, now: datetime) -> Targets:
    """Return the owner's next targets: version n+1, signed as `root` says, and naming no model.

    Raises:
        RefusedError: it is not.
    """
    sent: Metadata[Targets] = metadata.read(Targets, proposed)
    metadata.verify(root, Targets.type, sent)
    if sent.signed.version != current.version + 1:
        raise RefusedError(
            f"targets: version {sent.signed.version}, but only {current.version + 1} is taken"
        )
    if sent.signed.is_expired(now):
        raise RefusedError("targets: expired")
    if sent.signed.targets:
        raise RefusedError("targets: names models, which only its delegates may")
    withdrawn_in(sent.signed.unrecognized_fields)
    return sent.signed


def _check_frame(role: str, current: Targets, sent: Targets, now: datetime) -> None:
    if sent.version != current.version + 1:
        raise RefusedError(
            f"{role}: version {sent.version}, but {current.version} is in force "
            f"and only {current.version + 1} is taken"
        )
    if sent.is_expired(now):
        raise RefusedError(f"{role}: expired at {sent.expires:%Y-%m-%dT%H:%M:%SZ}")
    if sent.delegations is not None:
        raise RefusedError(f"{role}: delegates further, which only the release owner may")


def _only_new(role: str, current: Targets, sent: Targets) -> TargetFile:
    for path, target in current.targets.items():
        if sent.targets.get(path) != target:
            raise RefusedError(f"{role}: {path} was changed or left out")
    added = [target for path, target in sent.targets.items() if path not in current.targets]
    if len(added) != 1:
        raise RefusedError(f"{role}: {len(added)} new targets, expected exactly one")
    return added[0]


def _check_place(owner: Targets, role: str, target: TargetFile, release: Release) -> None:
    manifest = release.manifest
    expected = target_path(manifest.task.name, manifest.deployment, manifest.sha256)
    if target.path != expected:
        raise RefusedError(f"{role}: path {target.path[:200]}, but its manifest says {expected}")
    roles = (owner.delegations.roles if owner.delegations else None) or {}
    if role not in roles or not roles[role].is_delegated_path(target.path):
        raise RefusedError(f"{role}: may not sign for {target.path}")


def _check_bytes(target: TargetFile, release: Release, model: bytes) -> None:
    digest = sha256_hex(model)
    if set(target.hashes) != {"sha256"}:
        raise RefusedError(f"{target.path}: needs a SHA-256 and no other digest")
    try:
        target.verify_length_and_hashes(model)
    except RepositoryError as error:
        raise RefusedError(f"{target.path}: {error}"[:200]) from None
    if release.manifest.sha256 != digest or release.manifest.size_bytes != len(model):
        raise RefusedError(f"{target.path}: the manifest is another file's")
    if list(release.chunks) != [sha256_hex(piece) for piece in split(model, release.chunk_bytes)]:
        raise RefusedError(f"{target.path}: the digests of its pieces are wrong")


def _check_order(release: Release, earlier: Iterable[Release]) -> None:
    manifest = release.manifest
    if release.release_seq != manifest.release_seq:
        raise RefusedError(
            f"release {release.release_seq}, but its manifest says {manifest.release_seq}"
        )
    newest = max(
        (each.release_seq for each in earlier if _line(each) == _line(release)),
        default=0,
    )
    if release.release_seq <= newest:
        raise RefusedError(
            f"release {release.release_seq} of {manifest.deployment}: "
            f"must be higher than {newest}, its newest"
        )


def _line(release: Release) -> tuple[str, str]:
    return release.manifest.task.name, release.manifest.deployment
