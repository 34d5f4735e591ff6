"""What each car is to run: pure rules.

Laws:
- a car belongs to one deployment and runs its `latest`, the newest version promoted in it;
- every change of a car's desired state has a higher revision than the one before; where nothing
  changes, nothing is said;
- `latest` never goes back by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.messages import Draw, UploadLevel

_EPOCH_S = 60


@dataclass(frozen=True)
class Split:
    """How a car's two models share its driving: how to draw, and the candidate's share."""

    draw: Draw
    share: float


@dataclass(frozen=True, kw_only=True)
class DesiredState:
    """A car's desired state, as far as the server decides it."""

    epoch: int
    revision: int
    deployment: str
    target: str | None
    upload: UploadLevel
    candidate: str | None = None
    harm: bool = False
    split: Split | None = None


@dataclass(frozen=True, kw_only=True)
class Version:
    """One registered model of a deployment."""

    sha256: str
    version: int
    path: str


def to_promote(latest: str | None, versions: Sequence[Version]) -> Version | None:
    """Return the version that shall become `latest` instead of the digest given, or None."""
    newest = max(versions, key=lambda each: each.version, default=None)
    return None if newest is None or newest.sha256 == latest else newest


def epoch_after(held: tuple[int, int], current: DesiredState | None, *, utc_us: int) -> int | None:
    """Return the epoch of a wish that a car takes which holds the (epoch, revision) `held`.

    None where `current` is no older than that, or no such epoch is at hand: an epoch is the UTC
    second of its start, so that a report, which nobody signed, cannot use them up; one a minute, so
    that it cannot fill the log book.
    """
    own = (current.epoch, current.revision) if current else (0, 0)
    epoch = utc_us // 1_000_000
    if held <= own or epoch <= held[0] or epoch < own[0] + _EPOCH_S:
        return None
    return epoch


def next_state(
    current: DesiredState | None,
    *,
    epoch: int,
    deployment: str,
    target: str | None,
    upload: UploadLevel = "pictures",
    candidate: str | None = None,
    harm: bool = False,
    split: Split | None = None,
    again: bool = False,
) -> DesiredState | None:
    """Return the state to set on a car in `deployment` whose latest model is at `target`.

    None where `current` says so already, unless it is to be said `again`. A car that holds a later
    wish than a database restored from an older copy is given a higher `epoch`, so that revisions
    count again.
    """
    same = current is not None and (
        (current.epoch, current.deployment, current.target, current.upload)
        == (epoch, deployment, target, upload)
        and (current.candidate, current.harm, current.split) == (candidate, harm, split)
    )
    if same and not again:
        return None
    revision = current.revision if current is not None and current.epoch == epoch else 0
    return DesiredState(
        epoch=epoch,
        revision=revision + 1,
        deployment=deployment,
        target=target,
        upload=upload,
        candidate=candidate,
        harm=harm,
        split=split,
    )
