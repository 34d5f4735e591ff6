"""Samples and ends of manoeuvres, put together from what a turn of the loop saw.

Laws:
- a sample's moment is that of its picture's exposure, on both clocks;
- pictures are taken at constant intervals during a manoeuvre, standing at its end included; one
  exposed before the manoeuvre is none of its pictures;
- the model that steers comes first among the estimates, the one beside it after it;
- sequences count up within a boot and are never used twice.
"""

from dataclasses import dataclass

from device.drive.senses import View
from device.home import Identity
from device.pairing import Label
from shared.clock import Clock
from shared.messages import Desired
from shared.samples import ManoeuvreEnd, Sample, Source
from shared.task import Task


@dataclass(frozen=True, kw_only=True)
class Car:
    """What all samples of one boot have in common."""

    identity: Identity
    boot: str
    task: Task
    calibration: str


@dataclass(frozen=True, kw_only=True)
class Manoeuvre:
    """What all samples of one manoeuvre have in common."""

    number: int
    source: Source
    deployment: str
    desired_revision: int
    started_us: int
    started_utc_us: int


class Pairs:
    """The samples of one boot, in order."""

    def __init__(self, car: Car, clock: Clock, pair_hz: float) -> None:
        """Start before the first manoeuvre."""
        self._car, self._clock = car, clock
        self._every_us = round(1_000_000 / pair_hz)
        self._sequence = 0
        self._number = 0
        self._next_us = 0
        self.manoeuvre: Manoeuvre | None = None
        self.last: Sample | None = None
        self._last_estimate: float | None = None

    def begin(self, source: Source, desired: Desired | None) -> None:
        """Start a manoeuvre under what the server wants now."""
        now_us = self._clock.monotonic_us()
        self._number += 1
        self._next_us = now_us
        self.last = self._last_estimate = None
        self.manoeuvre = Manoeuvre(
            number=self._number,
            source=source,
            deployment=desired.deployment if desired else self._car.identity.deployment,
            desired_revision=desired.revision if desired else 0,
            started_us=now_us,
            started_utc_us=self._clock.utc_us(),
        )

    @property
    def next_us(self) -> int:
        """From when on a picture must be exposed to be the next one logged."""
        return self._next_us

    @property
    def number(self) -> int:
        """The number of the manoeuvre that is on or was last; 0 before the first."""
        return self._number

    def is_due(self, moment_us: int) -> bool:
        """Tell whether a picture exposed at `moment_us` is one to log, which counts it."""
        if self.manoeuvre is None or moment_us < self._next_us:
            return False
        # From the plan, not from the picture: jitter of the camera must not add up.
        while self._next_us <= moment_us:
            self._next_us += self._every_us
        return True

    def sample(self, view: View, label: Label) -> Sample:
        """Return the sample of a labelled picture of the manoeuvre that is on."""
        if self.manoeuvre is None:
            raise RuntimeError("a sample outside of a manoeuvre")
        ago_us = self._clock.monotonic_us() - view.frame.exposed_us
        sample = Sample(
            task=self._car.task.name,
            device=self._car.identity.device,
            boot=self._car.boot,
            sequence=self._sequence,
            monotonic_us=view.frame.exposed_us,
            utc_us=max(0, self._clock.utc_us() - ago_us),
            clock_synced=self._clock.is_synced(),
            manoeuvre=self.manoeuvre.number,
            source=self.manoeuvre.source,
            deployment=self.manoeuvre.deployment,
            desired_revision=self.manoeuvre.desired_revision,
            camera=view.frame.camera,
            calibration=self._car.calibration,
            label=label.value,
            label_unit=self._car.task.unit,
            sensor_status=label.status,
            skew_us=label.skew_us,
            estimates=tuple(each for each in (view.estimate, view.shadow) if each is not None),
            characteristics=None,
            latency=view.latency,
            picture_sha256=None,
        )
        self._sequence += 1
        self.last = sample
        self._last_estimate = view.estimate.value if view.estimate else None
        return sample

    def end(self, reason: str) -> ManoeuvreEnd:
        """Return the end of the manoeuvre that is on; its `pairs` is the recorder's to fill in."""
        if self.manoeuvre is None:
            raise RuntimeError("an end outside of a manoeuvre")
        manoeuvre, self.manoeuvre = self.manoeuvre, None
        return ManoeuvreEnd(
            task=self._car.task.name,
            device=self._car.identity.device,
            boot=self._car.boot,
            manoeuvre=manoeuvre.number,
            deployment=manoeuvre.deployment,
            source=manoeuvre.source,
            started_utc_us=manoeuvre.started_utc_us,
            ended_utc_us=self._clock.utc_us(),
            clock_synced=self._clock.is_synced(),
            pairs=0,
            reason=reason,
            stop_label=self.last.label if self.last else None,
            stop_estimate=self._last_estimate,
        )
