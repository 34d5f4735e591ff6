"""The two folders of an experiment, its state and its reports, held for one run alone."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from shared.errors import UsageError


@contextlib.contextmanager
def held(state: Path, out: Path, what: str) -> Iterator[None]:
    """Hold `state` for this run of `what` alone and see that `out` can be written.

    Raises:
        UsageError: a folder cannot be made, or another run holds the state.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise UsageError(
            f"cannot write to {error.filename}: {error.strerror}; choose others with --state, --out"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another {what} is running on {state}: end it, or choose another --state"
            ) from None
        yield
