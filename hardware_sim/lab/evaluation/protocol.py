"""The reference evaluation as a protocol of the laboratory: changes, and what must not retrain.

The reference (M. B. Fassian, "End-to-End MLOps", 2025) measured some 500 pairs before and after
each change. Here the same is driven through the real path: cars, broker, server, trainer, signed
delivery, the cars' own swap. Nobody asks for a training: each comes of what the server finds out.

Laws:
- a phase is a row of `phases.PHASES`, how a loop is closed stands in `loops`;
- a phase leaves what was driven, and what the server wrote while it went on;
- after each phase what was done is kept: a run that was interrupted goes on with the next phase.
"""

from collections.abc import Callable, Sequence
from typing import Final

from hardware_sim.lab.evaluation.book import START, Book, Mark
from hardware_sim.lab.evaluation.crew import DRIVE_S, Crew
from hardware_sim.lab.evaluation.loops import TRAIN_S, Loops
from hardware_sim.lab.evaluation.phases import CARS, Phase, Plan
from hardware_sim.lab.evaluation.stretches import Done, Measurement, Tell
from hardware_sim.lab.fleet import Fleet
from shared.clock import Clock

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

_BEGUN: Final = {"reason": "an evaluation begins"}


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
            self._keep(self._crew.deployment, every)
        return every

    def _start(self, deployment: str) -> None:
        self._tell.stage("broker, server, trainer and cars start")
        self._fleet.start_broker()
        self._fleet.start_server()
        if not deployment:
            deployment = "evaluation"
            self._fleet.server.post("deployments", {"name": deployment, **_BEGUN})
        self._fleet.start_trainer()
        self._crew = Crew(self._fleet, deployment, self._tell, self._plan.seed)
        self.book = Book(self._fleet.server)
        self._loops = Loops(self._fleet.server, self._crew, self._clock, self._tell)
        for name in CARS:
            self._crew.add(name)

    def _first(self, phase: Phase) -> Done:
        done = Done(phase=phase)
        self._crew.drive("learn by range sensor", phase, self._plan.learn, by="park_by_sensor")
        self._tell.stage("the first model: decided, trained, signed, loaded")
        self._crew.wait_for_first(TRAIN_S)
        done.after = self._crew.drive("after", phase, self._plan.measure)
        self._close(done, START)
        return done

    def _next(self, phase: Phase, earlier: list[Done]) -> Done:
        done = Done(phase=phase)
        since = self.book.mark()
        done.times_us["changed"] = self._clock.utc_us()
        done.before = self._before(phase)
        if phase.moves_to:
            self._loops.begin_anew(done, since, self._plan.learn)
        elif phase.expected == "retrain":
            self._loops.close(done, since)
        else:
            self._loops.look_on(phase, since)
        done.verdicts = self.book.verdicts(since)
        done.manoeuvres = self.book.manoeuvres(since)
        self._look_back(done, earlier)
        self._close(done, since)
        return done

    def _look_back(self, done: Done, earlier: list[Done]) -> None:
        """Measure what became of the change, and of what was learned before."""
        phase, crew = done.phase, self._crew
        if phase.expected == "retrain":
            done.after = crew.drive("after", phase, self._plan.measure)
            done.again = [
                crew.drive("again", each.phase, self._plan.again)
                for each in earlier
                if each.phase.expected == "retrain" and not phase.moves_to
            ]
        elif phase.expected == "check-sensor":
            mended = next(each.phase for each in earlier if each.phase.number == _PLAIN)
            done.again = [crew.drive("the sensor mended", mended, self._plan.calm)]

    def _before(self, phase: Phase) -> Measurement:
        if not phase.steps:
            return self._crew.drive("before", phase, self._plan.measure)
        each = max(1, 2 * self._plan.measure // len(phase.steps))
        made = [self._crew.drive("before", phase, each, extra=step) for step in phase.steps]
        runs = {name: [run for one in made for run in one.runs[name]] for name in made[0].runs}
        return Measurement(setting=phase.setting, runs=runs, model=self._crew.model)

    def _mixed(self, phase: Phase) -> Done:
        """Drive each car of a larger fleet on a floor of its own, all by the same model."""
        done = Done(phase=phase)
        crew = self._crew
        self._tell.stage(f"{len(phase.floors) - len(crew.names)} more cars join")
        for place in range(len(crew.names), len(phase.floors)):
            crew.add(f"car-{place + 1}")
        crew.wait("the model on every car", lambda: crew.all_run(crew.model), DRIVE_S)
        since = self.book.mark()
        scenes = dict(zip(crew.names, phase.floors, strict=True))
        what = f"on {len(set(phase.floors))} floors"
        manoeuvres = self._plan.measure
        whole = crew.order(what, phase.setting, scenes, manoeuvres)
        self._loops.look_on(phase, since)
        done.before = whole
        for scene in dict.fromkeys(phase.floors):
            runs = {name: runs for name, runs in whole.runs.items() if scenes[name] == scene}
            setting = _SETTINGS[scene]
            done.again.append(Measurement(setting=setting, runs=runs, model=self._crew.model))
        done.verdicts = self.book.verdicts(since)
        done.manoeuvres = self.book.manoeuvres(since)
        crew.retire(len(CARS))
        self._close(done, since)
        return done

    def _close(self, done: Done, since: Mark) -> None:
        """Note what came after the phase's own verdicts, and what was decided and made in it."""
        mine = {each["id"] for each in done.verdicts}
        verdicts = self.book.verdicts(since)
        done.verdicts = [each for each in verdicts if each["id"] in mine]
        done.strays = [each for each in verdicts if each["id"] not in mine]
        done.opened = sum(
            each["hurts"] and each["cleared_utc_us"] is None for each in done.verdicts
        )
        done.decisions = [each for each in self.book.decisions(since) if each["kind"] in POLICY]
        if "loaded" not in done.times_us:
            return
        for item in self._fleet.server.all("models", deployment=self._crew.deployment):
            if item["sha256"] == self._crew.model:
                done.times_us["registered"] = item["registered_utc_us"]


_PLAIN: Final = 2
"""The phase whose setting is the plain one: beige, the whole range."""

_SETTINGS: Final = {"beige": "2-beige", "green": "3-green", "red": "5-red"}
"""The setting of each floor of the mixed fleet, as the phases before name them."""
