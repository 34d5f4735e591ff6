"""Numbers and moments as people say them.

Laws:
- a thousand has a comma, an error one digit after the point, and what is not known is a dash;
- how long ago something was is said no finer than it matters, so that the text seldom changes.
"""

from datetime import UTC, datetime

UNKNOWN = "\N{EN DASH}"

_SECOND_US = 1_000_000


def count(number: int | None) -> str:
    """Return a whole number with its thousands apart."""
    return UNKNOWN if number is None else f"{number:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """Return `number` with its noun: "1 car", "2 cars"."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def length(value: float | None, unit: str) -> str:
    """Return a measured value with its unit."""
    return UNKNOWN if value is None else f"{value:.1f} {unit}"


def version(number: int | None, digest: str | None = None) -> str:
    """Return a model's version, or the start of its digest where it has none here."""
    if number is not None:
        return f"v{number}"
    return digest[:8] if digest else UNKNOWN


def ago(moment_us: int | None, now_us: int) -> str:
    """Return how long ago a UTC moment was."""
    if moment_us is None:
        return "never"
    seconds = max(now_us - moment_us, 0) // _SECOND_US
    if seconds < 15:
        return "just now"
    if seconds < 60:
        return f"{seconds // 15 * 15} s ago"
    for size, limit, name in ((60, 3600, "min"), (3600, 86_400, "h")):
        if seconds < limit:
            return f"{seconds // size} {name} ago"
    return f"{counted(seconds // 86_400, 'day')} ago"


def date_time(moment_us: int) -> str:
    """Return a UTC moment as people write it."""
    return f"{datetime.fromtimestamp(moment_us // _SECOND_US, UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(number: int | None) -> str:
    """Return a number of bytes."""
    if number is None:
        return UNKNOWN
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def clock_time(moment_us: int) -> str:
    """Return the time of day of a UTC moment."""
    return f"{datetime.fromtimestamp(moment_us / _SECOND_US, UTC):%H:%M:%S}"


def iso_time(moment_us: int) -> str:
    """Return a UTC moment as a machine reads it."""
    return datetime.fromtimestamp(moment_us // _SECOND_US, UTC).isoformat()
