"""An update that can be begun, and gone on with, on any home: to cut the power at any instant."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from device.agent.effects import Effect, ProbeEnded, StartProbe
from device.drive.models import load
from device.home import Home
from device.journal import DriveState, Journal
from device.update import saved
from device.update.saved import Saved
from shared.ids import sha256_hex
from shared.mqtt_events import Connected
from shared.samples import Estimate
from shared.task import WALL_DISTANCE
from tests.device.agent.world import SECOND, Car, Fleet, SettableClock, enrolled_home
from tests.device.fakes import DATA, TINY
from tests.device.records import manoeuvre_end, sample
from tests.device.update.power_cuts import Cuts, watched

OLD = (DATA / "tiny.tflite").read_bytes()
NEW = OLD + bytes(20_000)
"""The same model in three pieces: what follows a flatbuffer is passed over."""

SHA_OLD, SHA_NEW = TINY.sha256, sha256_hex(NEW)
MANIFEST = msgspec.structs.replace(TINY, sha256=SHA_NEW, size_bytes=len(NEW), release_seq=2)
BOOT = "00000001-00000000"

Way = Literal["first", "trial", "arms"]
"""How the model comes: as the first one, tried beside another, or sharing the driving with it."""

OWN: dict[Way, set[str]] = {"first": set(), "trial": {"shadowing"}, "arms": {"choosing"}}
"""States of its own that the update passes through."""


@dataclass
class Update:
    """An update, to be begun or gone on with on any home, however often."""

    fleet: Fleet
    clock: SettableClock
    way: Way
    target: str = ""

    def __post_init__(self) -> None:
        if self.way != "first":
            self.old = self.fleet.release(OLD, made=TINY)
        self.target = self.fleet.release(NEW, made=MANIFEST)

    def car(self, home: Home) -> Car:
        return Car(home=home, fleet=self.fleet, clock=self.clock)

    def prepare(self, root: Path) -> Car:
        car = self.car(enrolled_home(root, self.fleet))
        if self.way != "first":
            shutil.copy(DATA / "tiny.tflite", car.home.model(SHA_OLD))
            car.home.manifest(SHA_OLD).write_text(TINY.to_json())
            car.journal.commit_slot(SHA_OLD, 1)
        car.journal.set_drive_state(
            DriveState(
                boot=BOOT, loaded=car.journal.active_model(), release_seq=1, state="", utc_us=1
            )
        )
        return car

    def go_on(self, car: Car) -> None:
        """Do what is left of the update: let its server speak, send pieces, probe, drive."""
        effects = [*car.agent.handle(Connected()), *car.metadata()]
        # A server that was restarted says its first wish again, which changes nothing then.
        self._pass_probes(car, [*effects, *self._wish(car)])
        for piece in car.pieces(NEW):
            self._pass_probes(car, car.agent.handle(piece))
        for number in range(1, 12):
            if state(car).state in ("shadowing", "choosing"):
                self._drive(car, number)
        if self.way == "arms":
            self._pass_probes(car, car.wish(self.target, revision=2))

    def _wish(self, car: Car) -> list[Effect]:
        """Say what the server wants first."""
        if self.way == "first":
            return car.wish(self.target)
        arms = {self.target: 0.5} if self.way == "arms" else {}
        return car.wish(None, candidate=self.target, harm=True, arms=arms)

    def _pass_probes(self, car: Car, effects: list[Effect]) -> None:
        # After a start the probe was begun before anybody looked.
        begun = any(isinstance(each, StartProbe) for each in effects)
        if begun or state(car).state == "probing":
            car.agent.handle(ProbeEnded(target=self.target, reason="", evidence={}))

    def _drive(self, car: Car, number: int) -> None:
        estimates = (Estimate(model=SHA_OLD, value=150.0), Estimate(model=SHA_NEW, value=106.0))
        samples = [
            sample(100 * number + n, boot=BOOT, manoeuvre=number, estimates=estimates)
            for n in range(3)
        ]
        car.journal.append(
            samples=[(each, None) for each in samples],
            manoeuvres=[manoeuvre_end(number, boot=BOOT, pairs=3)],
        )
        self.clock.now_us += SECOND
        car.agent.tick()


def state(car: Car) -> Saved:
    return saved.load(car.journal.update_state())


def left_in(home: Home) -> str:
    """Return the state in which the cut found the update."""
    journal = Journal.open(home.journal)
    found = saved.load(journal.update_state()).state
    journal.close()
    return found


def cuts_of(update: Update, folder: Path) -> Cuts:
    car = update.prepare(folder / "car")
    with watched(car.home.root, folder / "cuts", car.journal.db.conn) as cuts:
        update.go_on(car)
    assert car.journal.active_model() == SHA_NEW
    assert state(car).state == "idle"
    car.journal.close()
    return cuts


def serves(home: Home, car: Car) -> str | None:
    """Return the committed model, which loads in the runtime, or None where there is none."""
    active = car.journal.active_model()
    return None if active is None else load(home, active, WALL_DISTANCE).manifest.sha256
