"""Silence where misfortune is meant: thousands of complaints would hide the one that counts."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def without_log() -> Iterator[None]:
    """Keep our own log quiet."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def silence() -> Iterator[None]:
    """Keep quiet all that writes to stderr: our log, and libraries such as libjpeg on their own."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        with without_log():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
