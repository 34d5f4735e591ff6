"""Progress on stderr, so that what a command prints stays for whoever reads it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click


@contextmanager
def bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Yield what takes how much of `length` is done; shown from then on.

    So whatever is wrong before anything was done is the one line that a person sees.
    """
    shown = click.progressbar(length=length, label=label, file=sys.stderr)
    with ExitStack() as held:
        is_shown = False

        def tell(so_far: int) -> None:
            nonlocal is_shown
            if not is_shown:
                held.enter_context(shown)
                is_shown = True
            shown.update(so_far - shown.pos)

        yield tell
