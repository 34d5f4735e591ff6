"""Up to a hundred cars' agents in a process of their own, told what to do line by line.

    python -m tests.chaos.flock PORT SEED NAME=HOME...

A line on stdin is a number: so many manoeuvres each car logs, 0 for none; the end of stdin ends the
process. Each line on stdout is a `Count` in JSON, four times a second.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from device.home import Home
from shared import logs
from shared.clock import Clock, SystemClock
from tests.chaos.agents import MOST, Car, turn

_SAY_US: Final = 250_000


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many cars there are, are connected, and have nothing left to send; rows that wait."""

    cars: int = 0
    connected: int = 0
    synced: int = 0
    waiting: int = 0

    def plus(self, other: "Count") -> "Count":
        """Return the sum of each."""
        mine, its = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return Count(**{name: mine[name] + its[name] for name in mine})


class Flocks:
    """All cars in `homes`, by name, in as few processes as do. Use as a context."""

    def __init__(self, homes: Mapping[str, Home], *, port: int, seed: int) -> None:
        """Start them; each finds the broker at `port`."""
        named = [f"{name}={home.root}" for name, home in homes.items()]
        self._popens = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(port), str(seed), *named[at : at + MOST]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for at in range(0, len(named), MOST)
        ]
        self._counts = [Count() for _ in self._popens]
        self._unread = [b"" for _ in self._popens]
        for each in self._popens:
            os.set_blocking(_out(each), False)

    def __enter__(self) -> Self:
        """Return the flocks."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End them."""
        for each in self._popens:
            with each:
                each.terminate()

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return len(self._popens)

    def log(self, manoeuvres: int) -> None:
        """Have each car log so many."""
        for each in self._popens:
            os.write(_in(each), f"{manoeuvres}\n".encode())

    def count(self) -> Count:
        """Return how they stand, as they said last."""
        for number, each in enumerate(self._popens):
            self._hear(number, each)
        total = Count()
        for count in self._counts:
            total = total.plus(count)
        return total

    def _hear(self, number: int, popen: subprocess.Popen[bytes]) -> None:
        try:
            self._unread[number] += os.read(_out(popen), 1 << 20)
        except BlockingIOError:
            return
        *lines, self._unread[number] = self._unread[number].split(b"\n")
        if lines:
            self._counts[number] = msgspec.json.decode(lines[-1], type=Count)
        elif popen.poll() is not None:
            raise RuntimeError(f"a flock of cars ended with code {popen.returncode}")


def _in(popen: subprocess.Popen[bytes]) -> int:
    if popen.stdin is None:
        raise RuntimeError("no way to speak to a flock")
    return popen.stdin.fileno()


def _out(popen: subprocess.Popen[bytes]) -> int:
    if popen.stdout is None:
        raise RuntimeError("no way to hear a flock")
    return popen.stdout.fileno()


def _count(cars: Sequence[Car]) -> Count:
    waiting = [car.waiting for car in cars]
    return Count(
        cars=len(cars),
        connected=sum(car.is_connected for car in cars),
        synced=sum(each == 0 for each in waiting),
        waiting=sum(waiting),
    )


def _run(cars: Sequence[Car], clock: Clock) -> None:
    os.set_blocking(0, False)
    told, say_at_us = b"", 0
    while True:
        try:
            heard = os.read(0, 4096)
            if not heard:
                return
            told += heard
        except BlockingIOError:
            pass
        *orders, told = told.split(b"\n")
        for order in orders:
            for car in cars:
                car.log(int(order))
        turn(cars, clock)
        if clock.monotonic_us() >= say_at_us:
            say_at_us = clock.monotonic_us() + _SAY_US
            sys.stdout.buffer.write(msgspec.json.encode(_count(cars)) + b"\n")
            sys.stdout.buffer.flush()


def main(arguments: Sequence[str]) -> None:
    """Run the cars that `arguments` name until stdin ends."""
    port, seed, *named = arguments
    clock = SystemClock()
    cars = []
    for each in named:
        name, _, root = each.partition("=")
        cars.append(Car(name, Home(Path(root)), port=int(port), clock=clock, seed=int(seed)))
    _run(cars, clock)


if __name__ == "__main__":
    logs.configure("error")
    main(sys.argv[1:])
