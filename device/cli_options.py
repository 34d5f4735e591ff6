"""What the commands of the verb `device` have in common: options, and how they end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

_HOME = "var/device"


def home_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--home`, the car's home folder."""
    return click.option(
        "--home",
        "home_folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=_HOME,
        show_default=True,
        help="The car's home folder.",
    )(function)


def backend_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--backend`, the hardware backend if not the settings' own."""
    return click.option(
        "--backend", help="Hardware backend; the settings' `backend` unless given."
    )(function)


@contextmanager
def until_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM or Ctrl-C asked this process to end."""
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
