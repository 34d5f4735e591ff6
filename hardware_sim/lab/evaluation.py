"""The reference evaluation as a protocol of the laboratory: changes, and what must not retrain.

The reference (M. B. Fassian, "End-to-End MLOps", 2025) measured some 500 pairs before and after
each change. Here the same is driven through the real path: cars, broker, server, trainer, signed
delivery, the cars' own swap. Nobody asks for a training: each comes of what the server finds out.

Laws:
- a phase is a row of `phases.PHASES`;
- the story waits for what was measured or reported, never for time to pass; but where nothing shall
  come of a change the server gets some of its own looks to decide otherwise;
- where a loop is not closed in time the phase says so, and the next one is driven all the same;
- after each phase what was done is kept: a run that was interrupted goes on with the next phase.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from hardware_sim.lab.crew import DRIVE_S, Crew
from hardware_sim.lab.fleet import Fleet
from hardware_sim.lab.observe import Observer
from hardware_sim.lab.phases import CARS, Phase, Plan
from hardware_sim.lab.processes import WaitTimeoutError
from hardware_sim.lab.stretches import Done, Measurement, Tell
from hardware_sim.scene import SCENES
from shared.clock import Clock
from shared.ids import sha256_hex
from shared.samples import Sample

POLICY: Final = frozenset(
    [
        "train-first",
        "retrain",
        "propose",
        "collect",
        "wait",
        "check-sensor",
        "check-model",
        "nothing",
        "approve",
    ]
)
"""What the policy decides, and people about it, of all that the log book has."""

_ASK_S: Final = 240.0
_TRAIN_S: Final = 900.0
_TRIAL_S: Final = 240.0
_LOOKS_S: Final = 5.0
"""Ten of the server's looks at what was committed."""


class Evaluation:
    """Drives the protocol on a started `Fleet`; `keep` takes what is done after each phase."""

    def __init__(
        self,
        fleet: Fleet,
        plan: Plan,
        clock: Clock,
        tell: Tell,
        keep: Callable[[str, Sequence[Done]], None] = lambda *_: None,
    ) -> None:
        """Take the parts; nothing happens yet."""
        self._fleet, self._plan, self._clock = fleet, plan, clock
        self._tell, self._keep = tell, keep
        self._model: str | None = None
        self.deployment = ""

    @property
    def observer(self) -> Observer:
        """What is seen of the deployment."""
        return Observer(self._fleet.server, self.deployment)

    def run(
        self, phases: Sequence[Phase], deployment: str = "", done: Sequence[Done] = ()
    ) -> list[Done]:
        """Drive the phases in their order, after those that are `done`; return what each left."""
        every = list(done)
        self._start(deployment)
        for phase in phases[len(every) :]:
            self._tell.phase(phase)
            begun_us = self._clock.monotonic_us()
            if phase.floors:
                each = self._mixed(phase)
            elif every:
                each = self._next(phase, every)
            else:
                each = self._first(phase)
            each.seconds = (self._clock.monotonic_us() - begun_us) / 1e6
            every.append(each)
            self._tell.done(each)
            self._keep(self.deployment, every)
        return every

    def _start(self, deployment: str) -> None:
        self._tell.stage("broker, server, trainer and cars start")
        self._fleet.start_broker()
        self._fleet.start_server()
        self.deployment = deployment or "evaluation"
        if not deployment:
            body = {"name": self.deployment, "reason": "an evaluation begins"}
            self._fleet.server.post("deployments", body)
        self._fleet.start_trainer()
        self._crew = Crew(self._fleet, self.deployment, self._tell, self._plan.seed)
        for name in CARS:
            self._crew.add(name)
        self._model = self.observer.newest_model()

    def _first(self, phase: Phase) -> Done:
        done = Done(phase=phase)
        self._drive("learn by range sensor", phase, self._plan.learn, by="park_by_sensor")
        self._tell.stage("the first model: decided, trained, signed, loaded")
        self._model = self._crew.loaded(None, _TRAIN_S)
        done.after = self._drive("after", phase, self._plan.measure)
        self._close(done, known=set(), since=0)
        return done

    def _next(self, phase: Phase, earlier: list[Done]) -> Done:
        done = Done(phase=phase)
        since = len(self._decisions())
        known = {each["id"] for each in self._verdicts()}
        first = self._last_manoeuvre() + 1
        done.times_us["changed"] = self._clock.utc_us()
        done.before = self._before(phase)
        if phase.moves_to:
            self._begin_anew(done, {*known})
        elif phase.expected == "retrain":
            self._close_the_loop(done, since)
        else:
            self._look_on(phase, since)
        done.verdicts = [each for each in self._verdicts() if each["id"] not in known]
        known |= {each["id"] for each in done.verdicts}
        done.manoeuvres = [each for each in self._manoeuvres() if each["id"] >= first]
        if phase.expected == "retrain":
            done.after = self._drive("after", phase, self._plan.measure)
            done.again = [
                self._drive("again", each.phase, self._plan.again)
                for each in earlier
                if each.phase.expected == "retrain" and not phase.moves_to
            ]
        elif phase.expected == "check-sensor":
            mended = next(each.phase for each in earlier if each.phase.number == _PLAIN)
            done.again = [self._drive("the sensor mended", mended, self._plan.calm)]
        self._close(done, known=known, since=since)
        return done

    def _before(self, phase: Phase) -> Measurement:
        if not phase.steps:
            return self._drive("before", phase, self._plan.measure)
        each = max(1, 2 * self._plan.measure // len(phase.steps))
        made = [self._drive("before", phase, each, extra=step) for step in phase.steps]
        runs = {name: [run for one in made for run in one.runs[name]] for name in made[0].runs}
        return Measurement(setting=phase.setting, runs=runs, model=self._model)

    def _mixed(self, phase: Phase) -> Done:
        """Drive each car of a larger fleet on a floor of its own, all by the same model."""
        done = Done(phase=phase)
        since = len(self._decisions())
        known = {each["id"] for each in self._verdicts()}
        crew = self._crew
        self._tell.stage(f"{len(phase.floors) - len(crew.names)} more cars join")
        for place in range(len(crew.names), len(phase.floors)):
            crew.add(f"car-{place + 1}")
        crew.wait("the model on every car", lambda: crew.all_run(self._model), DRIVE_S)
        first = self._last_manoeuvre() + 1
        scenes = dict(zip(crew.names, phase.floors, strict=True))
        what = f"on {len(set(phase.floors))} floors"
        manoeuvres = self._plan.measure
        whole = crew.order(what, phase.setting, scenes, manoeuvres, model=self._model)
        self._look_on(phase, since)
        done.before = whole
        for scene in dict.fromkeys(phase.floors):
            runs = {name: runs for name, runs in whole.runs.items() if scenes[name] == scene}
            setting = _SETTINGS[scene]
            done.again.append(Measurement(setting=setting, runs=runs, model=self._model))
        done.verdicts = [each for each in self._verdicts() if each["id"] not in known]
        done.manoeuvres = [each for each in self._manoeuvres() if each["id"] >= first]
        crew.retire(len(CARS))
        self._close(done, known=known | {each["id"] for each in done.verdicts}, since=since)
        return done

    def _close_the_loop(self, done: Done, since: int) -> None:
        """Drive on until a training is asked for, wait for it, drive the trial of its model."""
        former, phase, crew = self._model, done.phase, self._crew
        try:
            self._tell.stage("a retraining is decided")
            if not self.is_asked_for(phase, since):
                crew.on(self.scene(phase, phase.extra))
                crew.wait("a retraining", lambda: self.is_asked_for(phase, since), _ASK_S)
                crew.stand()
            self._tell.stage("trained, judged, signed")
            crew.wait("a new model", lambda: self.observer.newest_model() != former, _TRAIN_S)
            self._tell.stage("sent to the cars")
            crew.wait("the candidate on the cars", crew.all_try, _TRIAL_S)
            done.times_us["tried"] = self._clock.utc_us()
            self._tell.stage("on trial beside the former model")
            crew.on(self.scene(phase, phase.extra))
            self._model = self._crew.loaded(former, _TRIAL_S)
            done.times_us["loaded"] = self._clock.utc_us()
        except WaitTimeoutError as error:
            self._tell.stage(f"not closed: {error}")
            self._model = crew.newest_loaded() or former
        crew.stand()

    def _begin_anew(self, done: Done, known: set[int]) -> None:
        """Move the cars, once each has its verdict, to a deployment of their own, and learn there.

        So does a person who finds what no model can serve beside what it knew: a camera that sits
        otherwise shows another distance by the same picture.
        """
        phase, crew = done.phase, self._crew
        try:
            self._tell.stage("the cause is named")
            if not self._all_named(known):
                crew.on(self.scene(phase, phase.extra))
                crew.wait("a verdict on each car", lambda: self._all_named(known), _ASK_S)
                crew.stand()
            self._tell.stage("the cars are moved, and learn by range sensor")
            because = "the camera was mounted anew: what it showed before is over"
            self._fleet.server.post("deployments", {"name": phase.moves_to, "reason": because})
            crew.move(phase.moves_to, because)
            self.deployment = phase.moves_to
            self._drive("learn by range sensor", phase, self._plan.learn, by="park_by_sensor")
            self._tell.stage("trained, judged, signed")
            crew.wait("a first model", self.observer.newest_model, _TRAIN_S)
            done.times_us["tried"] = self._clock.utc_us()
            self._tell.stage("on trial beside the former model")
            crew.on(self.scene(phase, phase.extra))
            self._model = crew.loaded(None, _TRIAL_S)
            done.times_us["loaded"] = self._clock.utc_us()
        except WaitTimeoutError as error:
            self._tell.stage(f"not closed: {error}")
            self._model = crew.newest_loaded() or self._model
        crew.stand()

    def _all_named(self, known: set[int]) -> bool:
        """Tell whether every car has a new verdict that hurts and whose cause is named."""
        named = {
            each["device"]
            for each in self._verdicts()
            if each["id"] not in known and each["hurts"] and each["cause"] != "unnamed"
        }
        return named >= set(self._crew.names)

    def is_asked_for(self, phase: Phase, since: int) -> bool:
        """Tell whether a retraining was decided; answer the server first, where a person would."""
        decisions = self._decisions()[since:]
        answered = {each["verdict"] for each in decisions if each["kind"] == "approve"}
        suspected = {each["verdict"] for each in decisions if each["kind"] == "check-sensor"}
        for verdict in suspected - answered if phase.is_attended else ():
            because = {"reason": "measured by hand: the range sensor is right"}
            self._fleet.server.post(f"drift/{verdict}/approve", because)
        return any(each["kind"] == "retrain" for each in decisions)

    def _look_on(self, phase: Phase, since: int) -> None:
        """Give the server the time to decide, also what it must not decide."""
        self._tell.stage("the server decides")
        if phase.expected == "check-sensor":
            try:
                self._crew.wait(
                    "a decision", lambda: self._has_decided("check-sensor", since), _ASK_S / 4
                )
            except WaitTimeoutError as error:
                self._tell.stage(f"not decided: {error}")
        end_us = self._clock.monotonic_us() + int(_LOOKS_S * 1e6)
        self._crew.wait("looks", lambda: self._clock.monotonic_us() > end_us, 2 * _LOOKS_S)

    def _close(self, done: Done, *, known: set[int], since: int) -> None:
        """Note what came after the phase's own verdicts, and what was decided and made in it."""
        verdicts = {each["id"]: each for each in self._verdicts()}
        mine = {each["id"] for each in done.verdicts}
        done.verdicts = [verdicts[number] for number in sorted(mine)]
        done.strays = [each for number, each in verdicts.items() if number not in known]
        done.opened = sum(
            each["hurts"] and each["cleared_utc_us"] is None for each in done.verdicts
        )
        news = self._decisions()[since:]
        done.decisions = [each for each in news if each["kind"] in POLICY]
        if "loaded" not in done.times_us:
            return
        for item in self._fleet.server.all("models", deployment=self.deployment):
            if item["sha256"] == self._model:
                done.times_us["registered"] = item["registered_utc_us"]

    def _drive(
        self, what: str, phase: Phase, manoeuvres: int, *, by: str = "park", extra: str = ""
    ) -> Measurement:
        scene = self.scene(phase, extra or phase.extra)
        scenes = dict.fromkeys(self._crew.names, scene)
        what = f"{what}: {phase.title}"
        return self._crew.order(what, phase.setting, scenes, manoeuvres, model=self._model, by=by)

    def scene(self, phase: Phase, extra: str) -> str:
        """Return the name of a shipped scene, or the file of one with `extra` tables."""
        if not extra:
            return phase.scene
        # A scene's textures are named from its own folder.
        text = (SCENES / f"{phase.scene}.toml").read_text()
        text = text.replace('"textures/', f'"{SCENES}/textures/')
        path = self._fleet.folder / f"{phase.setting}-{sha256_hex(extra.encode())[:8]}.toml"
        path.write_text(f"{text}\n{extra}")
        return str(path)

    def _has_decided(self, kind: str, since: int) -> bool:
        return any(each["kind"] == kind for each in self._decisions()[since:])

    def samples(self, device: str) -> list[Sample]:
        """Return every stored sample of a car, in whichever deployment."""
        every = self._fleet.server.all("samples", device=device)
        return [msgspec.convert(item["record"], Sample) for item in every]

    def _decisions(self) -> list[dict[str, Any]]:
        return list(self._fleet.server.all("decisions"))

    def _verdicts(self) -> list[dict[str, Any]]:
        return list(self._fleet.server.all("drift"))

    def _manoeuvres(self) -> list[dict[str, Any]]:
        every = self._fleet.server.all("manoeuvres")
        names = ("id", "device", "boot", "manoeuvre", "mae")
        return [{name: each[name] for name in names} for each in every]

    def _last_manoeuvre(self) -> int:
        """Return the row id of the last manoeuvre that ended."""
        return max([int(item["id"]) for item in self._manoeuvres()], default=0)


_PLAIN: Final = 2
"""The phase whose setting is the plain one: beige, the whole range."""

_SETTINGS: Final = {"beige": "2-beige", "green": "3-green", "red": "5-red"}
"""The setting of each floor of the mixed fleet, as the phases before name them."""
