"""Setting up a release repository: makes the keys and writes the first metadata.

Laws:
- an existing repository is never touched;
- interrupted at any instant, the same call again finishes the work: keys are kept, and the server's
  `timestamp.json`, written last, is what makes a repository;
- the owner's keys do not lie where server or trainer can read them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet_server.releases import metadata
from fleet_server.releases.keys import load_or_create_signer
from fleet_server.releases.owner import OnlineKeys, OwnerKeys, Trainer, new_repository
from fleet_server.releases.store import FolderStore
from shared.clock import Clock
from shared.errors import UsageError
from shared.ids import is_name, sha256_hex

_OWNED = ("1.root.json", "1.targets.json")


@dataclass(frozen=True, kw_only=True)
class Initialised:
    """What `initialise` made, and where the keys lie."""

    trainer: str
    task: str
    root_sha256: str
    owner_keys: str
    server_keys: str
    trainer_key: str


def initialise(
    *,
    owner_dir: Path,
    server_state: Path,
    trainer_dir: Path,
    trainer_name: str,
    task: str,
    clock: Clock,
    deployments: Sequence[str] = ("*",),
) -> Initialised:
    """Create the repository of a fleet: owner's, server's and one training worker's part.

    Raises:
        UsageError: there is one already, a folder or name is unfit, or a key cannot be written.
        RetryLaterError: the disk is full.
    """
    if not is_name(task):
        raise UsageError(f"no task may be called {task!r}: letters, digits, '_', '.', '-'")
    for each in deployments:
        if not is_name(each.replace("*", "x")):
            raise UsageError(
                f"no deployment may be called {each!r}: as a name, or '*' for any part"
            )
    _check_folders(owner_dir, server_state, trainer_dir)
    folder = server_state / "releases"
    store = FolderStore(folder)
    if store.read("metadata/timestamp.json") is not None:
        raise UsageError(f"{folder} holds a release repository already; nothing was changed")
    key = trainer_dir / "keys" / "release.key"
    trainer_signer = load_or_create_signer(key)
    files = new_repository(
        owner=OwnerKeys(
            root=load_or_create_signer(owner_dir / "keys" / "root.key"),
            targets=load_or_create_signer(owner_dir / "keys" / "targets.key"),
        ),
        online=OnlineKeys(
            snapshot=load_or_create_signer(folder / "keys" / "snapshot.key"),
            timestamp=load_or_create_signer(folder / "keys" / "timestamp.key"),
        ),
        trainer=Trainer(
            name=trainer_name,
            key=trainer_signer.public_key,
            task=task,
            deployments=tuple(deployments),
        ),
        trainer_signer=trainer_signer,
        now=metadata.moment(clock.utc_us()),
    )
    for name in _OWNED:
        FolderStore(owner_dir).write(f"metadata/{name}", files[name])
    for name, data in files.items():
        store.write(f"metadata/{name}", data)
    return Initialised(
        trainer=trainer_name,
        task=task,
        root_sha256=sha256_hex(files["1.root.json"]),
        owner_keys=str(owner_dir / "keys"),
        server_keys=str(folder / "keys"),
        trainer_key=str(key),
    )


def _check_folders(owner_dir: Path, server_state: Path, trainer_dir: Path) -> None:
    owner = owner_dir.resolve()
    for other in (server_state, trainer_dir):
        place = other.resolve()
        if owner == place or owner.is_relative_to(place) or place.is_relative_to(owner):
            raise UsageError(
                f"the owner's folder {owner_dir} must not lie in or around {other}: "
                "its keys are to stay where no server or trainer can read them"
            )
