"""Progress on stderr, so that what a command prints stays for whoever reads it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show a bar; yield what takes how much of `length` is done."""
    with click.progressbar(length=length, label=label, file=sys.stderr) as shown:
        yield lambda so_far: shown.update(so_far - shown.pos)
