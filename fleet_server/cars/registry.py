"""Which of a car's reports count: pure rules.

Laws:
- what a car says of itself is ordered by its boot and its connection number, never by time: its
  clock may be wrong, and a retained message or a last will may be late;
- the server believes the digest that a car reports as *loaded*, not the one it was told to load;
- a car speaks for itself alone;
- a connected car reports all the time, and who does not is silent: a broker may take long to find
  out that a connection is dead, and a hung agent keeps its connection.
"""

from dataclasses import dataclass
from typing import Literal

from shared.errors import RefusedError
from shared.messages import Presence, Status, UpdateEvent


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a car's connection and model; `boot` is None before its first report."""

    boot: str | None = None
    connection: int = 0
    online: bool = False
    loaded: str | None = None


PresenceName = Literal["online", "silent", "offline"]


def presence(*, online: bool, is_silent: bool) -> PresenceName:
    """Return how a car is shown."""
    if not online:
        return "offline"
    return "silent" if is_silent else "online"


def falls_silent(
    *, online: bool, is_silent: bool, last_seen_utc_us: int | None, now_utc_us: int, after_us: int
) -> bool:
    """Tell whether a connected car counts as silent from now on."""
    if not online or is_silent or last_seen_utc_us is None:
        return False
    return now_utc_us - last_seen_utc_us > after_us


def check_speaker(message: Presence | Status | UpdateEvent, device: str) -> None:
    """Return quietly where `message`, received on a topic of `device`, speaks for that car.

    Raises:
        RefusedError: it names another car.
    """
    if message.device != device:
        raise RefusedError(f"a report of {message.device} on a topic of {device}")


def accepts_presence(known: Known, said: Presence) -> bool:
    """Tell whether `said` is news: of the connection known or a later one.

    A connection is named by its number alone where the boots differ: the last will of a connection
    was written before a restart of drive that the car has reported since.
    """
    if said.connection == known.connection and not said.online:
        return True
    return (said.boot, said.connection) >= (known.boot or "", known.connection)


def accepts_status(known: Known, said: Status) -> bool:
    """Tell whether `said` is of the boot known or a later one."""
    return said.boot >= (known.boot or "")


def is_model_change(known: Known, said: Status) -> bool:
    """Tell whether the car began to run another model."""
    return said.loaded is not None and said.loaded != known.loaded
