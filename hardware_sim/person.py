"""A person with a simulated car: puts it before the wall, presses the button, looks at the lamp.

Laws:
- the person does what a person can: lifts the car, presses buttons, sees the lamp and where the
  car stands; nothing of the car's software is reached into;
- where the car is put is drawn from the seed, the run and the manoeuvre's number, so that a
  repeated order starts from the same places;
- orders are read between manoeuvres only; a broken one ends the work with its reason.

States: `resting` (no order, or all done) -> `placed` -> `pressed` -> `watching` (the lamp is lit)
-> `resting`. A press that lights no lamp is repeated; it counts as refused.

That a manoeuvre went wrong the person sees by where the car stands: farther than `PARKED_MM` from
where the scene says it should.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import numpy as np

from device.drivers.gpio import Pins
from hardware_sim import scene as scenes
from hardware_sim.pins import WorldPinFactory
from hardware_sim.script import Desk, Progress, Truth, Way
from hardware_sim.world import Placement, World

_log = logging.getLogger(__name__)

PARKED_MM: Final = 25.0
_SETTLE_US: Final = 400_000
_PRESS_US: Final = 120_000
_ANSWER_US: Final = 1_500_000
_REST_US: Final = 700_000
_LOOK_US: Final = 250_000

_State = Literal["resting", "placed", "pressed", "watching"]


@dataclass
class _Manoeuvre:
    """What the person knows of the manoeuvre under way."""

    way: Way
    contacts_before: int
    truth: list[Truth] = field(default_factory=list)


class Person:
    """Follows the orders on a desk; acts whenever the world ticks."""

    def __init__(
        self,
        world: World,
        factory: WorldPinFactory,
        pins: Pins,
        desk: Desk,
        *,
        seed: int,
        loaded: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Stand beside the car in `world`.

        `loaded` tells which model the car has in service, as its display would; after a failed
        manoeuvre a new model is tried at once.

        Raises:
            UsageError: the script or its scene is missing or wrong.
        """
        self.manoeuvres = 0
        self._world = world
        self._factory = factory
        self._pins = pins
        self._desk = desk
        self._seed = seed
        self._loaded = loaded
        self._state: _State = "resting"
        self._since_us = world.now_us
        self._order = desk.order()
        self._progress = desk.progress(self._order.run)
        self._scene_name = ""
        self._manoeuvre: _Manoeuvre | None = None
        self._sensor_turns = 0
        self._distrusted: str | None = None
        self._enter_scene()
        desk.tell(self._progress)
        world.actors.append(self)

    @property
    def has_finished(self) -> bool:
        """Tell whether the present order is done."""
        return self._progress.done >= self._order.manoeuvres

    def exposed(self, exposed_us: int) -> None:
        """Take note of a frame's exposure; the camera's observer."""
        if self._manoeuvre is not None:
            true_mm = self._world.true_mm_at(exposed_us)
            self._manoeuvre.truth.append(Truth(exposed_us=exposed_us, true_mm=true_mm))

    def tick(self, now_us: int) -> None:
        """Do what is due at `now_us`; called by the world.

        Raises:
            UsageError: an order is wrong, or progress cannot be written.
        """
        waited_us = now_us - self._since_us
        if self._state == "resting":
            if waited_us >= (_LOOK_US if self._manoeuvre is None else _REST_US):
                self._rested(now_us)
        elif self._state == "placed":
            if waited_us >= _SETTLE_US:
                self._factory.press(self._button())
                self._go("pressed", now_us)
        elif self._state == "pressed":
            self._await_answer(waited_us, now_us)
        elif not self._lamp_is_lit():
            self._go("resting", now_us)

    def _rested(self, now_us: int) -> None:
        """Between two manoeuvres: write down the last one, read the order, set up the next."""
        if self._manoeuvre is not None:
            self._record(self._manoeuvre)
            self._manoeuvre = None
        order = self._desk.order()
        if order != self._order:
            if order.run != self._order.run:
                self._progress = self._desk.progress(order.run)
                self._sensor_turns = 0
            self._order = order
            self._enter_scene()
            self._desk.tell(self._progress)
        self._world.rests = self.has_finished
        if self.has_finished:
            self._go("resting", now_us)
            return
        self._place()
        self._go("placed", now_us)

    def _await_answer(self, waited_us: int, now_us: int) -> None:
        if waited_us >= _PRESS_US:
            self._factory.let_go(self._button())
        if self._lamp_is_lit():
            self._factory.let_go(self._button())
            self._go("watching", now_us)
        elif waited_us >= _ANSWER_US:
            self._progress = msgspec.structs.replace(
                self._progress, refused=self._progress.refused + 1
            )
            self._desk.tell(self._progress)
            self._go("placed", now_us)

    def _place(self) -> None:
        approach = self._world.scene.approach
        rng = np.random.default_rng((self._seed, self._order.run, self._progress.done))
        heading_deg = float(rng.uniform(*approach.angle_deg))
        distance_mm = float(rng.uniform(*approach.start_mm))
        placement = Placement(
            x_mm=float(rng.uniform(*approach.lateral_mm)),
            z_mm=distance_mm * float(np.cos(np.radians(heading_deg))),
            heading_deg=heading_deg,
        )
        self._world.place(placement)
        self._manoeuvre = _Manoeuvre(way=self._way(), contacts_before=self._world.contacts)

    def _way(self) -> Way:
        if self._sensor_turns == 0 or self._loaded() != self._distrusted:
            self._sensor_turns = 0
            return self._order.by
        self._sensor_turns -= 1
        return "park_by_sensor"

    def _record(self, manoeuvre: _Manoeuvre) -> None:
        approach = self._world.scene.approach
        parked = abs(self._world.distance_mm - approach.stop_mm) <= PARKED_MM
        if not parked and manoeuvre.way == "park" and self._order.retry_by_sensor:
            self._sensor_turns = self._order.sensor_turns
            self._distrusted = self._loaded()
        former = self._progress
        done = former.done + 1
        self.manoeuvres += 1
        self._progress = Progress(
            run=former.run,
            done=done,
            parked=former.parked + int(parked),
            contacts=former.contacts + self._world.contacts - manoeuvre.contacts_before,
            refused=former.refused,
            state="finished" if done >= self._order.manoeuvres else "driving",
        )
        # Truth first: what progress counts as driven can then be joined with its pairs.
        self._desk.add_truth(manoeuvre.truth, former.run)
        self._desk.tell(self._progress)
        if self.has_finished:
            _log.info(
                "order_finished run=%d parked=%d of=%d contacts=%d; another run in %s starts anew",
                *(former.run, self._progress.parked, done, self._progress.contacts),
                self._desk.script,
            )

    def _enter_scene(self) -> None:
        if self._order.scene != self._scene_name:
            self._world.change_scene(scenes.load(self._order.scene))
            self._scene_name = self._order.scene

    def _button(self) -> int:
        way = self._manoeuvre.way if self._manoeuvre else self._order.by
        return self._pins.button_park if way == "park" else self._pins.button_park_by_sensor

    def _lamp_is_lit(self) -> bool:
        return self._factory.level(self._pins.led) > 0.0

    def _go(self, state: _State, now_us: int) -> None:
        self._state = state
        self._since_us = now_us
