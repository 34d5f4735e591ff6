"""What the agent's rules ask of the shell around them; data only."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Hand a message to the broker; lost where there is no connection."""

    topic: str
    payload: bytes
    qos: int = 1
    retained: bool = False


@dataclass(frozen=True, kw_only=True)
class Subscribe:
    """Ask the broker for messages."""

    topic_filter: str


@dataclass(frozen=True, kw_only=True)
class Unsubscribe:
    """Ask the broker for no more messages."""

    topic_filter: str


@dataclass(frozen=True, kw_only=True)
class ToDrive:
    """Nudge the other process; lost where it is not there."""

    what: Literal["model", "stop", "park", "identify"]


@dataclass(frozen=True, kw_only=True)
class StartProbe:
    """Try the model `sha256` in a process of its own; `ProbeEnded` follows."""

    target: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StopProbe:
    """End the probe that runs, if one does; nothing follows."""


@dataclass(frozen=True, kw_only=True)
class StartSelftest:
    """Test the car in a process of its own for `actor`; `SelftestEnded` follows."""

    actor: str
    number: int


Effect = Publish | Subscribe | Unsubscribe | ToDrive | StartProbe | StopProbe | StartSelftest


@dataclass(frozen=True, kw_only=True)
class SelftestEnded:
    """The self-test that `actor` asked for under `number` came to its end."""

    actor: str
    number: int
    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProbeEnded:
    """A probe came to its end; `reason` is empty where the model passed."""

    target: str
    reason: str
    evidence: dict[str, float]
