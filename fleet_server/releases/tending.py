"""The release owner's later work: keys replaced, dates renewed, releases withdrawn.

Laws:
- what the owner signs is kept beside its keys first, then handed to the server, which takes version
  n+1 and nothing else;
- interrupted at any instant, the same call again finishes the work or begins it anew: prepared keys
  are kept, and count from the root that names them on;
- a new root is signed by the keys before it and by its own, so that every car can follow.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Root, Targets

from fleet_server.releases import metadata, owner, state
from fleet_server.releases.keys import adopt, load_or_create_signer, load_role_signer, next_path
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.store import FolderStore
from shared.clock import Clock
from shared.errors import UsageError
from shared.releases import Release, series_of

OWNED = ("root", "targets")
ONLINE = ("snapshot", "timestamp")
ROLES = (*OWNED, *ONLINE)
_LEAST_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Tended:
    """What is in force now; `roles` got new keys."""

    root_version: int
    targets_version: int
    roles: tuple[str, ...]
    root_expires: str
    targets_expires: str


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """The release that no car takes any more."""

    path: str
    series: str
    release_seq: int
    targets_version: int


def rotate(*, owner_dir: Path, server_state: Path, roles: Collection[str], clock: Clock) -> Tended:
    """Give `roles` new keys, and root and targets new dates.

    Raises:
        UsageError: the owner's or the server's folder is not that of a repository.
        RetryLaterError: the disk is full.
    """
    folder = server_state / "releases"
    held = state.load(FolderStore(folder))
    now = metadata.moment(clock.utc_us())
    places = {role: _keys_of(role, owner_dir, folder) for role in ROLES}
    _settle(places, held.root)
    before = load_role_signer(places["root"], "root", held.root)
    new = {role: load_or_create_signer(next_path(places[role], role)) for role in sorted(roles)}
    root = owner.next_root(held.root, {role: each.public_key for role, each in new.items()}, now)
    signers = [before, new["root"]] if "root" in new else [before]
    targets = owner.next_targets(held.targets, now)
    targets_signer = new.get("targets") or load_role_signer(places["targets"], "targets", held.root)
    files = {
        f"{root.version}.root.json": metadata.sign(root, *signers),
        f"{targets.version}.targets.json": metadata.sign(targets, targets_signer),
    }
    _keep(owner_dir, files)
    OnlineRepository.open(server_state, clock).accept_owner(
        root=files[f"{root.version}.root.json"],
        targets=files[f"{targets.version}.targets.json"],
    )
    _settle(places, root)
    return _tended(root, targets, tuple(sorted(roles)))


def withdraw(*, owner_dir: Path, server_state: Path, model: str, clock: Clock) -> Withdrawn:
    """Withdraw the release whose model's digest begins with `model`.

    Raises:
        UsageError: no release, or more than one, is meant, or a folder is not that of a repository.
        RetryLaterError: the disk is full.
    """
    folder = server_state / "releases"
    held = state.load(FolderStore(folder))
    path, release = _meant(held, model)
    series = series_of(path)
    now = metadata.moment(clock.utc_us())
    signer = load_role_signer(owner_dir / "keys", "targets", held.root)
    targets = owner.next_targets(held.targets, now, withdrawn={series: {release.release_seq}})
    data = metadata.sign(targets, signer)
    _keep(owner_dir, {f"{targets.version}.targets.json": data})
    OnlineRepository.open(server_state, clock).accept_owner(targets=data)
    return Withdrawn(
        path=path,
        series=series,
        release_seq=release.release_seq,
        targets_version=targets.version,
    )


def _keys_of(role: str, owner_dir: Path, folder: Path) -> Path:
    return (owner_dir if role in OWNED else folder) / "keys"


def _settle(places: dict[str, Path], root: Root) -> None:
    """Let prepared keys that `root` names take the place of those before."""
    for role, folder in places.items():
        prepared = next_path(folder, role)
        if (
            prepared.exists()
            and load_or_create_signer(prepared).public_key.keyid in root.roles[role].keyids
        ):
            adopt(folder, role)


def _keep(owner_dir: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        FolderStore(owner_dir).write(f"metadata/{name}", data)


def _tended(root: Root, targets: Targets, roles: tuple[str, ...]) -> Tended:
    return Tended(
        root_version=root.version,
        targets_version=targets.version,
        roles=roles,
        root_expires=f"{root.expires:%Y-%m-%dT%H:%M:%SZ}",
        targets_expires=f"{targets.expires:%Y-%m-%dT%H:%M:%SZ}",
    )


def _meant(held: state.State, model: str) -> tuple[str, Release]:
    """Return path and release of the one model whose digest begins with `model`.

    Raises:
        UsageError: there is none, there are several, or too little of a digest is given.
    """
    if len(model) < _LEAST_DIGITS:
        raise UsageError(f"{model!r}: give at least {_LEAST_DIGITS} digits of the model's digest")
    found = [
        (path, release)
        for path, release in held.releases().items()
        if release.manifest.sha256.startswith(model)
    ]
    if not found:
        raise UsageError(f"no release has a model whose digest begins with {model!r}")
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} releases have a model whose digest begins with {model!r}: give more"
        )
    return found[0]
