"""Logging, configured by entry points only.

Laws:
- one line an event: time, level, module, `event key=value ...`, to standard error;
- modules log through their own logger with lazy arguments and never configure anything;
- nothing secret is ever an argument of a log call.
"""

import logging
import time

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"


def configure(level: str = "INFO") -> None:
    """Send the project's log events of at least `level` to standard error, times in UTC."""
    formatter = logging.Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("shared", "device", "fleet_server", "trainer", "hardware_sim"):
        logging.getLogger(room).setLevel(level.upper())
