"""From a change to the better model on every car: loops that close, and one that begins anew.

Laws:
- a step ends with what was measured or reported, never with time; but where nothing shall come of a
  change the server gets some of its own looks to decide otherwise;
- where a loop is not closed in time it says so, and the cars go on with what they run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hardware_sim.lab.evaluation.book import Book, Mark
from hardware_sim.lab.evaluation.crew import Crew
from hardware_sim.lab.evaluation.phases import Phase
from hardware_sim.lab.evaluation.stretches import Done, Tell
from hardware_sim.lab.processes import WaitTimeoutError
from hardware_sim.lab.rest import Server
from shared.clock import Clock

TRAIN_S: Final = 900.0
_ASK_S: Final = 240.0
_TRIAL_S: Final = 240.0
_LOOKS_S: Final = 5.0
"""Ten of the server's looks at what was committed."""


class Loops:
    """Closes loops with a `crew`, and answers `server` as an operator would."""

    def __init__(self, server: Server, crew: Crew, clock: Clock, tell: Tell) -> None:
        """Take the parts; nothing happens yet."""
        self._server, self._crew, self._clock, self._tell = server, crew, clock, tell
        self._book = Book(server)

    def close(self, done: Done, since: Mark) -> None:
        """Drive on until a training is asked for, wait for it, drive the trial of its model."""
        former, phase, crew = self._crew.model, done.phase, self._crew
        with self._in_time():
            self._tell.stage("a retraining is decided")
            if not self.is_asked_for(phase, since):
                asked = "a retraining"
                crew.drive_until(phase, asked, lambda: self.is_asked_for(phase, since), _ASK_S)
                crew.stand()
            self._tell.stage("trained, judged, signed")
            crew.wait("a new model", lambda: crew.observer.newest_model() != former, TRAIN_S)
            self._tell.stage("sent to the cars")
            crew.wait("the candidate on the cars", crew.all_try, _TRIAL_S)
            self._try(done)

    def begin_anew(self, done: Done, since: Mark, learn: int) -> None:
        """Move the cars, once each has its verdict, to a deployment of their own, and learn there.

        So does a person who finds what no model can serve beside what it knew: a camera that sits
        otherwise shows another distance by the same picture. `learn` manoeuvres a car are driven by
        range sensor.
        """
        phase, crew = done.phase, self._crew
        with self._in_time():
            self._tell.stage("the cause is named")
            if not self._all_named(since):
                named = "a verdict on each car"
                crew.drive_until(phase, named, lambda: self._all_named(since), _ASK_S)
                crew.stand()
            self._tell.stage("the cars are moved, and learn by range sensor")
            because = "the camera was mounted anew: what it showed before is over"
            self._server.post("deployments", {"name": phase.moves_to, "reason": because})
            crew.move(phase.moves_to, because)
            crew.drive("learn by range sensor", phase, learn, by="park_by_sensor")
            self._tell.stage("trained, judged, signed")
            crew.wait("a first model", crew.observer.newest_model, TRAIN_S)
            self._try(done)

    def look_on(self, phase: Phase, since: Mark) -> None:
        """Give the server the time to decide, also what it must not decide."""
        self._tell.stage("the server decides")
        if phase.expected == "check-sensor":
            try:
                self._crew.wait("a decision", lambda: self._is_suspected(since), _ASK_S / 4)
            except WaitTimeoutError as error:
                self._tell.stage(f"not decided: {error}")
        end_us = self._clock.monotonic_us() + int(_LOOKS_S * 1e6)
        self._crew.wait("looks", lambda: self._clock.monotonic_us() > end_us, 2 * _LOOKS_S)

    def is_asked_for(self, phase: Phase, since: Mark) -> bool:
        """Tell whether a retraining was decided; answer the server first, where a person would."""
        decisions = self._book.decisions(since)
        answered = {each["verdict"] for each in decisions if each["kind"] == "approve"}
        suspected = {each["verdict"] for each in decisions if each["kind"] == "check-sensor"}
        for verdict in suspected - answered if phase.is_attended else ():
            because = {"reason": "measured by hand: the range sensor is right"}
            self._server.post(f"drift/{verdict}/approve", because)
        return any(each["kind"] == "retrain" for each in decisions)

    def _is_suspected(self, since: Mark) -> bool:
        return any(each["kind"] == "check-sensor" for each in self._book.decisions(since))

    def _all_named(self, since: Mark) -> bool:
        """Tell whether every car has a new verdict that hurts and whose cause is named."""
        named = {
            each["device"]
            for each in self._book.verdicts(since)
            if each["hurts"] and each["cause"] != "unnamed"
        }
        return named >= set(self._crew.names)

    def _try(self, done: Done) -> None:
        """Drive the trial of the candidate until it is the cars' model, and note the times."""
        done.times_us["tried"] = self._clock.utc_us()
        self._tell.stage("on trial beside the former model")
        self._crew.drive_until_loaded(done.phase, _TRIAL_S)
        done.times_us["loaded"] = self._clock.utc_us()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Say what did not come in time, and have the cars rest in any case."""
        try:
            yield
        except WaitTimeoutError as error:
            self._tell.stage(f"not closed: {error}")
            self._crew.take_what_runs()
        self._crew.stand()
