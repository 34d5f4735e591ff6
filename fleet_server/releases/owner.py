"""The offline half: what the release owner decides, signed with keys that no server holds.

Laws:
- root names the keys of the four top-level roles; targets delegates to each trainer's own role,
  bound to the paths that it may sign, and names no model itself;
- a delegation is terminating: what one trainer's role says of its paths is final;
- pure functions of keys and a moment; the shell (`cli`) writes what they return, in their order.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Root,
    Targets,
)

from fleet_server.releases.metadata import describe, next_snapshot, next_timestamp, sign
from shared.errors import UsageError
from shared.ids import is_name
from shared.releases import (
    ROOT_VALID,
    TARGETS_VALID,
    WITHDRAWN,
    delegated_paths,
    withdrawn_in,
)


@dataclass(frozen=True, kw_only=True)
class OwnerKeys:
    """What stays offline."""

    root: CryptoSigner
    targets: CryptoSigner


@dataclass(frozen=True, kw_only=True)
class OnlineKeys:
    """What the server holds: enough to say which signed files are current, not to sign a model."""

    snapshot: CryptoSigner
    timestamp: CryptoSigner


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A training worker's role: its name, its key, and what it may sign models for.

    `deployments` are names, or patterns in which `*` stands for any.
    """

    name: str
    key: Key
    task: str
    deployments: tuple[str, ...] = ("*",)


def check_trainer_name(name: str) -> None:
    """Return quietly where `name` may name a trainer's role.

    Raises:
        UsageError: it may not; the text says what is allowed.
    """
    if not is_name(name) or name in TOP_LEVEL_ROLE_NAMES:
        raise UsageError(
            f"no trainer may be called {name!r}: letters, digits, '_', '.', '-', at most 64, "
            f"and none of {', '.join(sorted(TOP_LEVEL_ROLE_NAMES))}"
        )


def new_root(owner: OwnerKeys, online: OnlineKeys, now: datetime) -> Root:
    """Return the first root: one key for each top-level role, consistent snapshots."""
    root = Root(expires=now + ROOT_VALID, consistent_snapshot=True)
    root.add_key(owner.root.public_key, Root.type)
    root.add_key(owner.targets.public_key, Targets.type)
    root.add_key(online.snapshot.public_key, "snapshot")
    root.add_key(online.timestamp.public_key, "timestamp")
    return root


def new_targets(trainers: Sequence[Trainer], now: datetime) -> Targets:
    """Return the first targets, which names no file and delegates to `trainers`.

    Raises:
        UsageError: a trainer's name may not name a role.
    """
    for trainer in trainers:
        check_trainer_name(trainer.name)
    roles = {trainer.name: _role(trainer) for trainer in trainers}
    keys = {trainer.key.keyid: trainer.key for trainer in trainers}
    return Targets(expires=now + TARGETS_VALID, delegations=Delegations(keys=keys, roles=roles))


def next_root(current: Root, keys: Mapping[str, Key], now: datetime) -> Root:
    """Return the root after `current`, valid anew, with `keys` in the place of those of a role."""
    root = Root.from_dict(current.to_dict())
    for role, key in keys.items():
        for former in list(root.roles[role].keyids):
            root.revoke_key(former, role)
        root.add_key(key, role)
    root.version += 1
    root.expires = now + ROOT_VALID
    return root


def next_targets(
    current: Targets, now: datetime, *, withdrawn: Mapping[str, Collection[int]] | None = None
) -> Targets:
    """Return the targets after `current`, valid anew, that withdraw those in `withdrawn` too."""
    targets = Targets.from_dict(current.to_dict())
    before = withdrawn_in(targets.unrecognized_fields)
    known = {series: set(numbers) for series, numbers in before.items()}
    for series, numbers in (withdrawn or {}).items():
        known.setdefault(series, set()).update(numbers)
    if known:
        targets.unrecognized_fields[WITHDRAWN] = {
            series: sorted(numbers) for series, numbers in sorted(known.items())
        }
    targets.version += 1
    targets.expires = now + TARGETS_VALID
    return targets


def new_repository(
    *,
    owner: OwnerKeys,
    online: OnlineKeys,
    trainer: Trainer,
    trainer_signer: CryptoSigner,
    now: datetime,
) -> dict[str, bytes]:
    """Return all files of a new repository by name, in the order in which they must be written.

    `timestamp.json` is the last: a repository exists from the moment it does.

    Raises:
        UsageError: the trainer's name may not name a role.
    """
    targets = sign(new_targets([trainer], now), owner.targets)
    role = sign(Targets(expires=now + TARGETS_VALID), trainer_signer)
    meta = {"targets.json": describe(1, targets), f"{trainer.name}.json": describe(1, role)}
    snapshot = sign(next_snapshot(None, meta, now), online.snapshot)
    return {
        "1.root.json": sign(new_root(owner, online, now), owner.root),
        "1.targets.json": targets,
        f"1.{trainer.name}.json": role,
        "1.snapshot.json": snapshot,
        "timestamp.json": sign(next_timestamp(None, describe(1, snapshot), now), online.timestamp),
    }


def _role(trainer: Trainer) -> DelegatedRole:
    return DelegatedRole(
        name=trainer.name,
        keyids=[trainer.key.keyid],
        threshold=1,
        terminating=True,
        paths=delegated_paths(trainer.task, trainer.deployments),
    )
