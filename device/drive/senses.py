"""What the car perceives in one turn: a range, a picture, what the model makes of it.

Laws:
- a picture is looked at once; an old one is not looked at again;
- a picture stamped later than now is none: its age would never tell that it has become old;
- every perception carries the odometer's reading of its own moment, so that it can be used later;
- an instrument that fails is named, and the turn goes on.
"""

import logging
from dataclasses import dataclass, replace

from device.belief import Fix
from device.drivers.tflite import TfliteModel
from device.hardware import Camera, Frame, RangeReading, RangeSensor
from device.pairing import Pairing
from device.wheel_control import WheelControl
from shared.clock import Clock
from shared.errors import HardwareError, RefusedError
from shared.picture import Pixels, prepare
from shared.samples import Estimate, Latency
from shared.task import Task

_log = logging.getLogger(__name__)

_AHEAD_US = 5_000
"""How far a stamp may lie ahead: two clocks of one machine differ by less."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture, prepared, with the model's answer where it was asked.

    `shadow` is what the model beside it answered, which steers nothing.
    """

    frame: Frame
    picture: Pixels
    estimate: Estimate | None
    latency: Latency
    shadow: Estimate | None = None


class Senses:
    """Range sensor and camera; what each saw last."""

    def __init__(
        self,
        clock: Clock,
        camera: Camera,
        range_sensor: RangeSensor | None,
        wheels: WheelControl,
        task: Task,
        *,
        correction_mm: float = 0.0,
    ) -> None:
        """Start having seen nothing; `correction_mm` is taken off each range."""
        self._clock, self._camera, self._range_sensor = clock, camera, range_sensor
        self._wheels, self._task = wheels, task
        self._correction_mm = correction_mm
        self._last_exposed_us = -1
        self.pairing: Pairing[View] = Pairing(is_fitted=range_sensor is not None)
        self.reading: Fix | None = None
        self.estimate: Fix | None = None
        self.camera_fault = ""
        self.range_fault = ""

    def measure(self) -> None:
        """Take the range sensor's newest measurement, if there is one."""
        if self._range_sensor is None:
            return
        try:
            reading = self._range_sensor.poll()
        except HardwareError as error:
            if not self.range_fault:
                _log.warning("range_sensor_failed error=%s", error)
            self.range_fault = "range_sensor_failed"
            now_us = self._clock.monotonic_us()
            self.pairing.add_reading(
                RangeReading(range_mm=None, status="error", measured_us=now_us)
            )
            return
        if reading is None:
            return
        self.range_fault = ""
        if reading.range_mm is not None:
            reading = replace(reading, range_mm=reading.range_mm - self._correction_mm)
        self.pairing.add_reading(reading)
        if reading.range_mm is not None:
            self.reading = self._fix(reading.range_mm, reading.measured_us, None)

    def look(self, model: TfliteModel | None, from_us: int) -> View | None:
        """Return a picture exposed at `from_us` or later that was not seen before, or None.

        The model answers where there is one.
        """
        try:
            frame = self._camera.newest()
        except HardwareError as error:
            self._camera_failed(str(error))
            return None
        ahead_us = frame.exposed_us - self._clock.monotonic_us() if frame else 0
        if ahead_us > _AHEAD_US:
            # A machine that was suspended: libcamera stamps by a clock that went on meanwhile.
            self._camera_failed(f"a picture {ahead_us // 1000} ms from the future")
            return None
        self.camera_fault = ""
        if frame is None or frame.exposed_us < max(from_us, self._last_exposed_us + 1):
            return None
        self._last_exposed_us = frame.exposed_us
        return self._view(frame, model)

    def ask_beside(self, model: TfliteModel | None, view: View) -> View:
        """Return `view` with what `model` answers to its picture, where there is one."""
        if model is None:
            return view
        return replace(view, shadow=_answer(model, view.picture))

    def forget(self) -> None:
        """Drop what was perceived of the place the car was in before."""
        self.reading = self.estimate = None

    def _camera_failed(self, why: str) -> None:
        if not self.camera_fault:
            _log.warning("camera_failed error=%s", why)
        self.camera_fault = "camera_failed"

    def _view(self, frame: Frame, model: TfliteModel | None) -> View:
        begun_us = self._clock.monotonic_us()
        picture = prepare(frame.pixels, self._task)
        prepared_us = self._clock.monotonic_us()
        estimate = self._ask(model, picture, frame) if model else None
        latency = Latency(
            frame_age_us=max(0, begun_us - frame.exposed_us),
            preprocess_us=prepared_us - begun_us,
            inference_us=self._clock.monotonic_us() - prepared_us,
        )
        return View(frame=frame, picture=picture, estimate=estimate, latency=latency)

    def _ask(self, model: TfliteModel, picture: Pixels, frame: Frame) -> Estimate | None:
        answer = _answer(model, picture)
        if answer is not None:
            self.estimate = self._fix(answer.value, frame.exposed_us, answer.sigma)
        return answer

    def _fix(self, distance_mm: float, at_us: int, sigma_mm: float | None) -> Fix:
        return Fix(distance_mm, at_us, self._wheels.travelled_at(at_us), sigma_mm)


def _answer(model: TfliteModel, picture: Pixels) -> Estimate | None:
    try:
        value, sigma = model.estimate(picture)
    except RefusedError as error:
        _log.warning("model_failed error=%s", error)
        return None
    return Estimate(model=model.manifest.sha256, value=value, sigma=sigma)
