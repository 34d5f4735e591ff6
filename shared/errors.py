"""Errors, split by what the reader of them has to do.

Laws:
- a passing fault (`RetryLaterError`) is tried again by the rules that own the work, never by an
  adapter;
- foreign material that is wrong (`RefusedError`) is put aside with its reason and not tried again;
- a mistake of the person at the keyboard (`UsageError`) ends a command with one line and code 2;
- everything else is our bug and crashes.

Foreign exceptions are translated into these where they enter (at a port), and nowhere else.
"""


class ParkfleetError(Exception):
    """Base of every error that this project raises on purpose."""


class RetryLaterError(ParkfleetError, OSError):
    """A passing fault: network away, disk full, peer busy. The same call may succeed later."""


class RefusedError(ParkfleetError, ValueError):
    """Foreign bytes, a signature or a message broke the contract; the same bytes never succeed."""


class SignatureError(RefusedError):
    """Who sent this is not proven, so it proves nothing about its sender and is not answered."""


class UsageError(ParkfleetError, ValueError):
    """A command, path or setting given by a person is wrong; the text says what to do instead."""


class HardwareError(ParkfleetError, OSError):
    """An instrument did not answer or answered nonsense."""
