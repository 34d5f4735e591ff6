"""What the service manager is told, by systemd's `sd_notify` protocol.

Laws:
- without a service manager nothing is sent and nothing fails;
- a manager that does not listen costs its own watchdog, never the drive.

The protocol is one datagram a state to the socket that `NOTIFY_SOCKET` names (sd_notify(3)); an
address that begins with "@" is in the abstract namespace.
"""

import logging
import socket

_log = logging.getLogger(__name__)


class ServiceManager:
    """The manager that started this process, if one did."""

    def __init__(self, address: str | None) -> None:
        """Take the value of `NOTIFY_SOCKET`; None or empty means that there is no manager."""
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def tell(self, what: str) -> None:
        """Send one state, such as "READY=1"."""
        if not self._address:
            return
        try:
            self._socket.sendto(what.encode(), self._address)
        except OSError as error:
            _log.debug("service_manager_not_told error=%s", error)

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()
