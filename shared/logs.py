"""Logging, configured by entry points only.

Laws:
- one line an event: time, level, module, `event key=value ...`, to standard error;
- modules log through their own logger with lazy arguments and never configure anything;
- nothing secret is ever an argument of a log call;
- who owns the whole screen has the events in a file meanwhile (`diverted`);
- what is `bound` is on every line that is logged meanwhile, in other threads too where they were
  handed the context: one request or batch can be followed through all rooms.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from shared.errors import UsageError

_STDERR = logging.StreamHandler

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"

_fields: ContextVar[str] = ContextVar("parkfleet_log_fields", default="")


class _Formatter(logging.Formatter):
    """Ends each line with the fields that are bound."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return super().formatMessage(record) + _fields.get()


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Put `key=value` for each of `fields` on every line that is logged inside the block."""
    token = _fields.set(_fields.get() + "".join(f" {key}={each}" for key, each in fields.items()))
    try:
        yield
    finally:
        _fields.reset(token)


@contextmanager
def diverted(path: Path) -> Iterator[None]:
    """Send the events inside the block to the end of the file at `path`, not to standard error.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    handlers = [each for each in logging.getLogger().handlers if type(each) is _STDERR]
    with file:
        before = [each.setStream(file) for each in handlers]
        try:
            yield
        finally:
            for each, stream in zip(handlers, before, strict=True):
                each.setStream(stream or sys.stderr)


def configure(level: str = "INFO") -> None:
    """Send the project's log events of at least `level` to standard error, times in UTC."""
    formatter = _Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("shared", "device", "fleet_server", "trainer", "hardware_sim"):
        logging.getLogger(room).setLevel(level.upper())
