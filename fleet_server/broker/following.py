"""Keeps a mosquitto that runs up to date with who may connect.

Laws:
- the files are whole before mosquitto is told to read them again (SIGHUP);
- mosquitto ends the connections of those it no longer knows when it reads them;
- a mosquitto that is not there reads them when it starts, so that is no fault.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from fleet_server.broker.mosquitto import Folder, write_rights
from fleet_server.broker.stamp import Stamp
from fleet_server.broker.users import ensure_server_user, read_all, users_path
from shared.errors import UsageError

logger = logging.getLogger(__name__)

LOOK_S = 1.0


def follow(state_dir: Path, folder: Folder, stop: threading.Event) -> None:
    """Bring mosquitto up to date whenever the users of `state_dir` change, until `stop` is set.

    Raises:
        UsageError: the files cannot be written.
    """
    server = ensure_server_user(state_dir)
    stamp = Stamp(users_path(state_dir))
    while not stop.is_set():
        if stamp.is_new():
            try:
                users = read_all(users_path(state_dir))
            except UsageError as error:
                logger.warning("the last good users stay in force: %s", error)
            else:
                if write_rights(folder, server=server, users=users):
                    reload(folder)
        stop.wait(LOOK_S)


def reload(folder: Folder, kill: Callable[[int, int], None] = os.kill) -> bool:
    """Tell the mosquitto of `folder` to read its files again; tell whether there is one."""
    try:
        number = int((folder.path / "data" / "mosquitto.pid").read_text(encoding="ascii"))
        kill(number, signal.SIGHUP)
    except (OSError, ValueError) as error:
        logger.info("mosquitto_not_told reason=%s", error)
        return False
    logger.info("mosquitto_told pid=%d", number)
    return True
