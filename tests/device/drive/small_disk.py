"""A car on a disk that takes nothing, told as one JSON object: run in a mount namespace of its own.

    python -m tests.device.drive.small_disk SCENARIO FOLDER

`FOLDER` is a mount point of a small tmpfs.
"""

import json
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from device.drive.wishes import Wishes
from device.journal import Journal
from device.live import Live, LiveSocket
from device.settings import DeviceSettings
from shared import cli
from tests.device.fakes import TINY, Car

MANOEUVRES = 36
"""Enough pairs for the room that `less_and_less_room` leaves them, about a megabyte, and more."""


def fill(folder: Path) -> Path:
    """Fill the disk to the last byte; return the file that does it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


def park(car: Car) -> float:
    """Park from 330 mm; return where the car stands."""
    car.world.distance_mm = 330.0
    car.drive(9.0, {0.2: "park"})
    return car.world.distance_mm


def full_at_the_start(folder: Path) -> dict[str, object]:
    car = Car(folder)
    agent = LiveSocket(car.home.agent_socket, car.home.drive_socket)
    filler = fill(folder)
    said: set[str] = set()

    def listen(_is_moving: bool) -> None:
        while isinstance(live := agent.receive(), Live):
            said.update(live.faults)

    car.drive(9.0, {0.2: "park"}, listen)
    stood_mm = car.world.distance_mm
    agent.close()
    filler.unlink()
    return {
        "stood_mm": [stood_mm, park(car)],
        "said": sorted(said),
        "boots": [end.boot[:8] for end in car.ends()],
    }


def ends_while_full(folder: Path) -> dict[str, object]:
    car = Car(folder)
    stood_mm = [park(car)]
    filler = fill(folder)
    stood_mm.append(park(car))
    filler.unlink()
    stood_mm.append(park(car))
    journal = Journal.open(car.home.journal)
    counts = journal.counts()
    journal.close()
    return {"stood_mm": stood_mm, "logged": counts.pairs_logged, "dropped": counts.dropped}


def less_and_less_room(folder: Path) -> dict[str, object]:
    car = Car(folder, settings=DeviceSettings(disk_spare_mb=5))
    stood_mm = [park(car) for _ in range(MANOEUVRES)]
    journal = Journal.open(car.home.journal)
    counts = journal.counts()
    journal.close()
    return {
        "stood_mm": stood_mm,
        "ends": len(car.ends()),
        "logged": counts.pairs_logged,
        "waiting": counts.queue_depth,
        "dropped": counts.dropped,
    }


def read_only(folder: Path) -> dict[str, object]:
    car = Car(folder)
    car.install()
    stood_mm = [park(car)]
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    wishes = Wishes(car.home, None)
    wishes.look()
    stood_mm.append(park(car))
    home = ["--home", str(folder)]
    with TemporaryDirectory() as elsewhere, redirect_stdout(StringIO()) as told:
        looks = [
            cli.run(["device", *command, *home])
            for command in (["status"], ["export", "--out", elsewhere])
        ]
    return {
        "stood_mm": stood_mm,
        "knows_model": wishes.model == TINY.sha256,
        "looks": looks,
        "told": told.getvalue(),
    }


if __name__ == "__main__":
    every = (full_at_the_start, ends_while_full, less_and_less_room, read_only)
    scenarios = {each.__name__: each for each in every}
    sys.stdout.write(json.dumps(scenarios[sys.argv[1]](Path(sys.argv[2]))))
