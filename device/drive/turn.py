"""One turn of the control loop: look, decide, drive, log.

Laws:
- a turn waits for nothing: it reads no disk while the car moves and writes none at all;
- within a turn the wheels follow the newest picture, before anything is logged;
- whatever is wrong is said: what stops the car ends its manoeuvre by name, what does not is among
  the faults.
"""

import logging

from device.calibration import NONE, load_newest
from device.drive.models import Models
from device.drive.pairs import Car, Pairs
from device.drive.recorder import Recorder
from device.drive.senses import Senses, View
from device.drive.wishes import Wishes
from device.hardware import Instruments
from device.home import Home
from device.journal import DriveState
from device.live import Live, LiveSocket, Nudge
from device.parking import (
    Observation,
    Parking,
    Rules,
    Step,
    buzzer_is_on,
    remaining_mm,
    step,
)
from device.settings import DeviceSettings
from device.wheel_control import WheelControl
from shared.errors import HardwareError
from shared.messages import Telemetry
from shared.samples import Source
from shared.task import Task

_log = logging.getLogger(__name__)

_OVERRUN_US = 150_000
_TELL_MOVING_US = 200_000
_TELL_STANDING_US = 1_000_000
_IDENTIFY_US = 5_000_000
_IDENTIFY_BEAT_US = 250_000


class Drive:
    """One boot of the driving process."""

    def __init__(
        self,
        *,
        home: Home,
        instruments: Instruments,
        settings: DeviceSettings,
        wishes: Wishes,
        recorder: Recorder,
        live: LiveSocket,
        boot: str,
        task: Task,
        rules: Rules,
    ) -> None:
        """Take everything that is open; the car stands and knows no model yet."""
        calibration = None if instruments.is_recorded else load_newest(home)
        self._settings, self._instruments = settings, instruments
        self._clock = instruments.clock
        self._wishes, self._recorder, self._live = wishes, recorder, live
        self._rules = rules
        self._wheels = WheelControl(settings.chassis)
        self._senses = Senses(
            self._clock,
            instruments.camera,
            instruments.range_sensor,
            self._wheels,
            task,
            correction_mm=calibration.correction_mm if calibration else 0.0,
        )
        self._models = Models(home, wishes, self._clock, task=task)
        self._driver, self._beside = self._models.model, self._models.shadow
        self._car = Car(
            identity=home.identity(settings),
            boot=boot,
            task=task,
            calibration=calibration.name if calibration else NONE,
        )
        self._pairs = Pairs(self._car, self._clock, settings.pair_hz)
        self._parking = Parking()
        self._wheel_fault = ""
        self._next_tell_us = 0
        self._armed_us: int | None = None
        self._identify_until_us = 0
        self._turned_us = 0
        self._stored = 0
        self._state = "idle"
        self._faults: tuple[str, ...] = ()
        self._models.start()
        self._report(self._models.refusal or "idle")
        _log.info("drive_started boot=%s device=%s", boot, self._car.identity.device)

    def turn(self) -> bool:
        """Do one turn; tell whether a manoeuvre is on."""
        now_us = self._clock.monotonic_us()
        start, stop = self._listen()
        if not self._parking.is_manoeuvring:
            self._stand()
        self._roll(now_us)
        self._senses.measure()
        view = self._look(now_us)
        overrun = self._parking.state == "reversing" and now_us - self._turned_us > _OVERRUN_US
        self._turned_us = now_us
        taken = step(
            self._parking,
            Observation(
                now_us=now_us,
                start=start,
                stop=stop,
                estimate=self._senses.estimate,
                reading=self._senses.reading,
                travelled_mm=self._wheels.travelled_mm,
                speed_mm_s=self._wheels.speed_mm_s,
                is_stalled=self._wheels.is_stalled,
                problem="overrun" if overrun else self._problem(),
            ),
            self._rules,
        )
        self._drive(taken)
        self._note(taken, view)
        self._signal(now_us)
        self._tell(now_us)
        return self._parking.is_manoeuvring

    def finish(self) -> None:
        """End the manoeuvre that is on, if any; the car stands, the process goes."""
        if self._pairs.manoeuvre is not None:
            self._end("shutdown")
        self._report("off")

    def _stand(self) -> None:
        """Do what there is time for while the car stands."""
        if self._models.follow():
            self._report(self._models.refusal or "idle")
        if self._faults != self._wrong():
            self._report(self._state)
        if self._recorder.stored != self._stored:
            self._stored = self._recorder.stored
            self._tell(self._clock.monotonic_us(), logged=True)

    def _wrong(self) -> tuple[str, ...]:
        """Return what is wrong and does not keep the car from driving, or did last time."""
        found = (
            f"pairs not stored: {self._recorder.fault}" if self._recorder.fault else "",
            self._models.refusal,
            self._senses.camera_fault,
            self._senses.range_fault,
            self._wheel_fault,
        )
        return tuple(fault[:200] for fault in found if fault)

    def _report(self, state: str) -> None:
        """Have the journal say what is loaded, what is wrong, and that the car is in `state`."""
        self._state, self._faults = state[:200], self._wrong()
        self._recorder.report(
            DriveState(
                boot=self._car.boot,
                loaded=self._models.digest,
                release_seq=self._models.release_seq,
                state=self._state,
                utc_us=self._clock.utc_us(),
                faults=self._faults,
            )
        )

    def _listen(self) -> tuple[Source | None, bool]:
        """Return what people asked for: what to park by, and whether to stop."""
        start: Source | None = None
        stop = False
        while (press := self._instruments.controls.pressed()) is not None:
            if press == "stop":
                start, stop = None, True
            else:
                start = "sensor" if press == "park_by_sensor" else self._source()
                self._armed_us = self._clock.monotonic_us()
        while (message := self._live.receive()) is not None:
            if isinstance(message, Nudge):
                if message.what == "model":
                    self._models.nudge()
                if message.what == "identify":
                    self._identify_until_us = self._clock.monotonic_us() + _IDENTIFY_US
                stop = stop or message.what == "stop"
                start = self._source() if message.what == "park" else start
        if stop:
            start = self._armed_us = None
        return start, stop

    def _source(self) -> Source:
        """Return what `park` goes by: the sensor until there is a model."""
        return "sensor" if self._models.model is None else self._settings.source

    def _roll(self, now_us: int) -> None:
        try:
            self._wheels.observe(self._instruments.wheels.edges(), now_us)
        except HardwareError as error:
            self._wheels_failed(error)

    def _look(self, now_us: int) -> View | None:
        """Look where there is a use for it, so that a standing car keeps its processor cool."""
        manoeuvre = self._pairs.manoeuvre
        if manoeuvre is None:
            return None
        by_model = manoeuvre.source == "model"
        from_us = manoeuvre.started_us if by_model else self._pairs.next_us
        return self._senses.look(self._driver, from_us) if now_us > from_us else None

    def _problem(self) -> str:
        by_model = self._parking.source == "model"
        fault = self._senses.camera_fault if by_model else self._senses.range_fault
        return self._wheel_fault or fault

    def _drive(self, taken: Step) -> None:
        duties = self._wheels.duties(taken.speed_mm_s)
        try:
            if taken.speed_mm_s > 0:
                self._instruments.wheels.set_duty(*duties)
            else:
                self._instruments.wheels.stop()
            self._wheel_fault = ""
        except HardwareError as error:
            self._wheels_failed(error)

    def _wheels_failed(self, error: HardwareError) -> None:
        if not self._wheel_fault:
            _log.warning("wheels_failed error=%s", error)
        self._wheel_fault = "wheels_failed"

    def _note(self, taken: Step, view: View | None) -> None:
        """Follow the state, and log what belongs to the manoeuvre."""
        began = taken.parking.is_manoeuvring and not self._parking.is_manoeuvring
        self._parking = taken.parking
        if began:
            self._senses.forget()
            self._pairs.begin(taken.parking.source, self._wishes.desired)
            self._driver, self._beside = self._models.pair(
                self._car.identity.device, self._car.boot, self._pairs.number
            )
            _log.info("manoeuvre_started source=%s", taken.parking.source)
        if view is not None and self._pairs.is_due(view.frame.exposed_us):
            view = self._senses.ask_beside(self._beside, view)
            self._senses.pairing.add_picture(view.frame.exposed_us, view)
        if self._pairs.manoeuvre is not None:
            for labelled, label in self._senses.pairing.due(self._clock.monotonic_us()):
                self._recorder.log(self._pairs.sample(labelled, label), labelled.picture)
        if taken.ended is not None:
            self._end(taken.ended)

    def _end(self, reason: str) -> None:
        for view, label in self._senses.pairing.rest():
            self._recorder.log(self._pairs.sample(view, label), view.picture)
        end = self._pairs.end(reason)
        self._recorder.end(end)
        self._report("idle" if reason == "target" else reason)
        _log.info("manoeuvre_ended reason=%s label=%s", reason, end.stop_label)

    def _signal(self, now_us: int) -> None:
        parking = self._parking
        left_mm = remaining_mm(parking, self._wheels.travelled_mm)
        beeps = parking.state in ("reversing", "holding") and left_mm is not None
        sounds = beeps and buzzer_is_on(left_mm or 0.0, now_us, self._rules)
        blinks = not parking.is_manoeuvring and self._is_identifying(now_us)
        try:
            self._instruments.signals.set_led(on=parking.is_manoeuvring or blinks)
            self._instruments.signals.set_buzzer(on=sounds or blinks)
        except HardwareError as error:
            _log.debug("signals_failed error=%s", error)

    def _is_identifying(self, now_us: int) -> bool:
        left_us = self._identify_until_us - now_us
        return left_us > 0 and left_us % (2 * _IDENTIFY_BEAT_US) >= _IDENTIFY_BEAT_US

    def _tell(self, now_us: int, *, logged: bool = False) -> None:
        """Send live values, now and then or because something was logged."""
        if now_us < self._next_tell_us and not logged:
            return
        moving = self._parking.is_manoeuvring
        self._next_tell_us = now_us + (_TELL_MOVING_US if moving else _TELL_STANDING_US)
        reading, estimate = self._senses.reading, self._senses.estimate
        telemetry = Telemetry(
            device=self._car.identity.device,
            boot=self._car.boot,
            utc_us=self._clock.utc_us(),
            state=self._parking.state,
            label=reading.distance_mm if reading else None,
            estimate=estimate.distance_mm if estimate else None,
            sigma=estimate.sigma_mm if estimate else None,
            speed_mm_s=self._wheels.speed_mm_s,
            manoeuvre=self._pairs.number,
        )
        self._live.send(
            Live(
                telemetry=telemetry,
                logged=logged,
                faults=self._wrong(),
                armed_age_us=None if self._armed_us is None else now_us - self._armed_us,
            )
        )
