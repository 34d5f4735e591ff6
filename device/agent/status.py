"""What a car reports of itself, put together from the journal and the machine, and when.

Laws:
- it is said every few seconds, and at once where there is news;
- `loaded` is what drive says it has in memory, never what a slot or a wish names;
- a report says what is wrong: dropped messages, an update that waits, a refused model.
"""

import platform
import shutil
from pathlib import Path

import msgspec

from device.agent.effects import Effect, Publish
from device.journal import Journal, JournalCounts
from shared import __version__, codec
from shared.clock import Clock
from shared.errors import RetryLaterError
from shared.messages import Slot, Status, UploadLevel
from shared.topics import STATUS

NO_BOOT = "00000000-00000000"
"""The boot of a car whose drive never ran."""

PICTURES = "pictures"
"""Under which reason pictures are counted that were given up after their pairs were sent."""

_AGAIN_US = 5_000_000
_THERMOMETER = Path("/sys/class/thermal/thermal_zone0/temp")


class Statuses:
    """The status reports of one car."""

    def __init__(
        self, journal: Journal, *, device: str, deployment: str, clock: Clock, folder: Path
    ) -> None:
        """Have said nothing yet; `deployment` holds until the server has named one."""
        self._journal = journal
        self._device = device
        self._deployment = deployment
        self._clock = clock
        self._folder = folder
        self._last: Status | None = None
        self._at_us = 0

    def connected(self) -> None:
        """Say it anew: nobody may have heard the last one."""
        self._last = None

    def due(self, now_us: int, upload: UploadLevel, faults: tuple[str, ...]) -> list[Effect]:
        """Return the report that is due at `now_us` (monotonic), if one is.

        Raises:
            RetryLaterError: the journal or the disk does not answer now.
        """
        status = self._status(upload, faults)
        if now_us < self._at_us and not _is_news(self._last, status):
            return []
        self._at_us = now_us + _AGAIN_US
        self._last = status
        topic = STATUS.topic(id=self._device)
        return [Publish(topic=topic, payload=codec.encode(status), retained=True)]

    def _status(self, upload: UploadLevel, faults: tuple[str, ...]) -> Status:
        drive, desired = self._journal.drive_state(), self._journal.desired()
        counts = self._journal.counts()
        return Status(
            device=self._device,
            boot=drive.boot if drive else NO_BOOT,
            utc_us=self._clock.utc_us(),
            clock_synced=self._clock.is_synced(),
            loaded=drive.loaded if drive else None,
            loaded_release_seq=drive.release_seq if drive else 0,
            slots=tuple(
                Slot(name=row.name, model=row.sha256, release_seq=row.release_seq, state=row.state)
                for row in self._journal.slots()
            ),
            deployment=desired.deployment if desired else self._deployment,
            desired_epoch=desired.epoch if desired else 0,
            desired_revision=desired.revision if desired else 0,
            upload=upload,
            queue_depth=counts.queue_depth,
            pairs_logged=counts.pairs_logged,
            pairs_dropped=counts.pairs_dropped,
            dropped=_dropped(counts),
            disk_free_bytes=_disk_free_bytes(self._folder),
            temperature_c=_temperature_c(),
            versions={"parkfleet": __version__, "python": platform.python_version()},
            faults=tuple(fault[:200] for fault in faults[:16]),
        )


def _dropped(counts: JournalCounts) -> dict[str, int]:
    pictures = counts.pictures_dropped
    return {**counts.dropped, **({PICTURES: pictures} if pictures else {})}


def _is_news(last: Status | None, now: Status) -> bool:
    """Tell whether `now` differs in more than what changes all the time."""
    if last is None:
        return True
    calm = {"utc_us": 0, "disk_free_bytes": 0, "temperature_c": None}
    moving = {"queue_depth": 0, "pairs_logged": 0}
    return msgspec.structs.replace(last, **calm, **moving) != msgspec.structs.replace(
        now, **calm, **moving
    )


def _disk_free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise RetryLaterError(f"cannot look at {folder}: {error.strerror}") from None


def _temperature_c() -> float | None:
    """Return the processor's temperature where the machine shows one (sysfs, millidegrees)."""
    try:
        return int(_THERMOMETER.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
