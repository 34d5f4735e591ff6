"""A whole release repository in memory, all keys at hand: for fleets, and for tests of attacks.

Its form is that of python-tuf's own `RepositorySimulator`: whoever wants another one changes
`root`, `targets`, `trainers`, `snapshot` and `timestamp`, or who signs them; `publish` signs what
stands there.

Laws:
- keys are made anew for each repository and live no longer than it;
- the layout is that of `shared.releases`: root and targets, a delegated role for each trainer,
  snapshot and timestamp, each signed by a key of its own.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

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
    target_path,
    to_custom,
)
from shared.task import WALL_DISTANCE

S = TypeVar("S", Root, Snapshot, Targets, Timestamp)

TRAINER = "trainer-1"
ROLES = ("root", "targets", "snapshot", "timestamp")


def new_key() -> CryptoSigner:
    """Return a key that nobody had before."""
    return CryptoSigner.generate_ed25519()


@dataclass
class Repository:
    """What an owner, a server and trainers sign, at `now`; trainers sign for `task`."""

    utc_us: int
    task: str = WALL_DISTANCE.name
    signers: dict[str, list[CryptoSigner]] = field(default_factory=dict)
    roots: list[bytes] = field(default_factory=list)
    trainers: dict[str, Targets] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signers = {name: [new_key()] for name in (*ROLES, TRAINER)}
        self.root = Root(expires=self.now + ROOT_VALID, consistent_snapshot=True)
        for name in ROLES:
            self.root.add_key(self.signers[name][0].public_key, name)
        self.roles: dict[str, DelegatedRole] = {}
        self.targets = Targets(
            expires=self.now + TARGETS_VALID, delegations=Delegations(keys={}, roles=self.roles)
        )
        self.snapshot = Snapshot(expires=self.now + SNAPSHOT_VALID)
        self.timestamp = Timestamp(expires=self.now + TIMESTAMP_VALID)
        self.delegate(TRAINER, delegated_paths(self.task))
        self.publish_root()

    @property
    def now(self) -> datetime:
        """The moment of all that is signed."""
        return datetime.fromtimestamp(self.utc_us // 1_000_000, UTC)

    def delegate(self, name: str, paths: list[str]) -> None:
        """Have the role `name` sign for `paths`."""
        signers = self.signers.setdefault(name, [new_key()])
        self.roles[name] = DelegatedRole(name, [], threshold=1, terminating=True, paths=paths)
        for each in signers:
            self.targets.add_key(each.public_key, name)
        self.trainers[name] = Targets(expires=self.now + TARGETS_VALID)

    def add(
        self, model: bytes, manifest: Manifest, *, role: str = TRAINER, path: str | None = None
    ) -> str:
        """Add a release to a trainer's role; return its path."""
        target = path or target_path(manifest.task.name, manifest.deployment, manifest.sha256)
        file = TargetFile.from_data(target, model, ["sha256"])
        file.unrecognized_fields["custom"] = to_custom(manifest, model)
        self.trainers[role].targets[target] = file
        self.trainers[role].version += 1
        return target

    def publish_root(self) -> None:
        """Sign the root as it stands with its keys, and those of the one before."""
        self.roots.append(self.signed(self.root, "root"))

    def rotate(self, *roles: str) -> None:
        """Replace the keys of `roles` by new ones, in a new root."""
        old = list(self.signers["root"])
        for role in roles:
            for key in list(self.root.roles[role].keyids):
                self.root.revoke_key(key, role)
            self.signers[role] = [new_key()]
            self.root.add_key(self.signers[role][0].public_key, role)
        self.root.version += 1
        signers = [*old, *(each for each in self.signers["root"] if each not in old)]
        self.roots.append(sign(self.root, signers))

    def step(self) -> ReleaseMetadata:
        """Publish the next version of snapshot and timestamp."""
        self.snapshot.version += 1
        self.timestamp.version += 1
        return self.publish()

    def publish(self) -> ReleaseMetadata:
        """Sign what stands here, each file naming the exact bytes of the next, and hand it out."""
        files = {f"{n}.root.json": data for n, data in enumerate(self.roots, 1)}
        named = {"targets": self.targets, **self.trainers}
        for name, signed in named.items():
            data = self.signed(signed, name)
            files[f"{signed.version}.{name}.json"] = data
            self.snapshot.meta[f"{name}.json"] = described(signed.version, data)
        data = self.signed(self.snapshot, "snapshot")
        files[f"{self.snapshot.version}.snapshot.json"] = data
        self.timestamp.snapshot_meta = described(self.snapshot.version, data)
        files["timestamp.json"] = self.signed(self.timestamp, "timestamp")
        return ReleaseMetadata(files=files)

    def signed(self, signed: S, role: str) -> bytes:
        """Return `signed` with the signatures of the keys of `role`."""
        return sign(signed, self.signers[role])

    def refresh(self) -> None:
        """Let snapshot and timestamp live from `now` on."""
        self.snapshot.expires = self.now + SNAPSHOT_VALID
        self.timestamp.expires = self.now + TIMESTAMP_VALID

    def pass_time(self, span: timedelta) -> None:
        """Sign later by `span` from now on."""
        self.utc_us += span // timedelta(microseconds=1)


def sign(signed: S, signers: list[CryptoSigner]) -> bytes:
    """Return `signed` with the signatures of `signers`."""
    metadata = Metadata(signed)
    for each in signers:
        metadata.sign(each, append=True)
    return metadata.to_bytes()


def described(version: int, data: bytes) -> MetaFile:
    """Return what names the exact bytes of a metadata file."""
    return MetaFile.from_data(version, data, ["sha256"])
