"""The chapter of the killed training worker: at random moments, a job each time.

The promise: however its worker dies, a job ends once, in one registered model, and the worker's own
notebook says the same.

A simulated car drives a little more before each job, so that each learns another data set. The
worker is killed (SIGKILL) at a moment drawn between its start and the time that an unharmed job
took, and started again; the server hands the job on once its lease has run out. The first job is
left alone: it says how long one takes.

Laws:
- what decides is read from the server over REST and from MLflow's records, not from the worker;
- a kill that fell after the job's end put nothing at stake, and is counted.
"""

import random
from collections import Counter
from typing import Any, Final

import msgspec

from hardware_sim.lab.fleet import Car, Fleet, Floor
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from shared.clock import Clock
from tests.chaos.chapter import Chapter, Stage, Told
from tests.chaos.kills import NO_TRAINING
from tests.chaos.ledger import read
from trainer.runtime import quiet

CYCLES: Final = 20
QUICK_CYCLES: Final = 2

_DEPLOYMENT: Final = "yard"
_SPEED: Final = 20.0
_FIRST_MANOEUVRES: Final = 9
_BETWEEN: Final = 3
"""At most two manoeuvres that follow each other are held out for judging: one of three is learnt
from, so that no job makes the very model of the one before, which would be refused."""

_WAIT_S: Final = 300.0
_ENDED: Final = ("done", "failed")

_SETTINGS: Final = {
    **NO_TRAINING,
    "PARKFLEET_SERVER_LEASE_S": "4",
    "PARKFLEET_SERVER_JOB_CLAIMS": "20",
    "PARKFLEET_TRAINER_STEPS": "150",
    "PARKFLEET_TRAINER_PASSES": "1",
    # It learns too little to pass strict gates; what is tried here is how its worker dies.
    "PARKFLEET_GATES_STANDARD_ERRORS": "100",
    "PARKFLEET_GATES_UNSAID_SHARE": "1",
    "PARKFLEET_GATES_SETTING_WORSE_OF_ITSELF": "1",
    "PARKFLEET_GATES_SETTING_WORSE_SHARE": "1",
}


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One job: after how long its worker was killed, in which stage, and how the job ended."""

    after_s: float
    stage: str
    was_open: bool
    state: str
    attempts: int
    models: int


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole experiment found; `unharmed_s` is how long an undisturbed job takes."""

    unharmed_s: float
    kills: list[Kill]
    versions: int
    versions_of_no_job: int
    finished_runs: int
    open_runs: int
    seconds: float


class Killing:
    """The experiment, on a fleet whose broker, server and car run."""

    def __init__(self, fleet: Fleet, car: Car, *, seed: int, clock: Clock) -> None:
        """Take the parts; no worker runs yet."""
        self._fleet, self._car, self._clock = fleet, car, clock
        self._rng = random.Random(seed)
        self._begun_us = clock.monotonic_us()

    def run(self, cycles: int, tell: Any) -> Killed:
        """Do one job unharmed and `cycles` with a kill each.

        Raises:
            ProcessDiedError: a process ended that nobody had killed.
            WaitTimeoutError: a job did not end in time.
        """
        self._drive(_FIRST_MANOEUVRES)
        begun = self._second()
        self._fleet.start_trainer()
        self._ended(self._ask())
        unharmed_s = self._second() - begun
        self._fleet.processes.stop("trainer")
        kills = []
        for done in range(cycles):
            kills.append(self._cycle(unharmed_s))
            tell(done + 1)
        return self._found(unharmed_s, kills)

    def _cycle(self, unharmed_s: float) -> Kill:
        self._drive(_BETWEEN)
        job = self._ask()
        after_s = self._rng.uniform(0.0, unharmed_s)
        self._fleet.start_trainer()
        self._wait(after_s)
        before = self._job(job)
        self._fleet.processes.kill("trainer")
        self._fleet.start_trainer()
        ended = self._ended(job)
        # Whatever is left to be tidied up is tidied before the worker asks for work again.
        self._fleet.processes.stop("trainer")
        return Kill(
            after_s=round(after_s, 2),
            stage=str(before["stage"]),
            was_open=before["state"] not in _ENDED,
            state=str(ended["state"]),
            attempts=int(ended["attempt"]),
            models=sum(each["job"] == job for each in self._fleet.server.all("models")),
        )

    def _drive(self, manoeuvres: int) -> None:
        """Have the car drive so many manoeuvres, and everything arrive."""
        self._car.tell(Floor(scene="beige", manoeuvres=manoeuvres, by="park_by_sensor"))
        wait = self._fleet.processes.wait_for

        def is_done() -> bool:
            return int(self._car.progress()["done"]) >= manoeuvres

        def is_sent() -> bool:
            return read(self._car.home / "journal.sqlite").rows_left == 0

        wait("the car to drive", is_done, timeout_s=_WAIT_S, each_s=0.2)
        wait("an empty queue", is_sent, timeout_s=_WAIT_S, each_s=0.5)

    def _ask(self) -> int:
        made = self._fleet.server.post(
            "training-jobs", {"deployment": _DEPLOYMENT, "reason": "chaos"}
        )
        return int(made["id"])

    def _job(self, number: int) -> dict[str, Any]:
        told: dict[str, Any] = self._fleet.server.get(f"training-jobs/{number}")
        return told

    def _ended(self, number: int) -> dict[str, Any]:
        self._fleet.processes.wait_for(
            "the job to end",
            lambda: self._job(number)["state"] in _ENDED,
            timeout_s=_WAIT_S,
            each_s=0.2,
        )
        return self._job(number)

    def _wait(self, seconds: float) -> None:
        end_us = self._clock.monotonic_us() + int(seconds * 1e6)
        while self._clock.monotonic_us() < end_us:
            self._fleet.processes.check()
            self._clock.sleep_until_us(min(end_us, self._clock.monotonic_us() + 100_000))

    def _found(self, unharmed_s: float, kills: list[Kill]) -> Killed:
        # A last start tidies up what the last kill left.
        self._fleet.start_trainer()
        self._wait(unharmed_s)
        self._fleet.processes.stop("trainer")
        uri = f"sqlite:///{self._fleet.trainer_state / 'mlflow.sqlite'}"
        with quiet():
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            versions = client.search_model_versions()
            experiments = [each.experiment_id for each in client.search_experiments()]
            runs = client.search_runs(experiments)
        jobs = Counter(each.tags["job"] for each in versions)
        known = {each["sha256"] for each in self._fleet.server.all("models")}
        status = Counter(run.info.status for run in runs)
        return Killed(
            unharmed_s=round(unharmed_s, 1),
            kills=kills,
            versions=len(jobs) if max(jobs.values(), default=0) == 1 else sum(jobs.values()),
            versions_of_no_job=sum(each.tags["digest"] not in known for each in versions),
            finished_runs=status["FINISHED"],
            open_runs=status["RUNNING"],
            seconds=round(self._second(), 1),
        )

    def _second(self) -> float:
        return (self._clock.monotonic_us() - self._begun_us) / 1e6


def run(stage: Stage) -> Told:
    """Kill a training worker again and again, and tell what was found."""
    cycles = stage.cycles or (QUICK_CYCLES if stage.is_quick else CYCLES)
    with Fleet(stage.folder, stage.clock, settings=_SETTINGS, log_level="info") as fleet:
        fleet.start_broker()
        fleet.start_server()
        fleet.server.post("deployments", {"name": _DEPLOYMENT, "reason": "chaos"})
        car = fleet.add_car("car-1", _DEPLOYMENT)
        fleet.start_drive(car, speed=_SPEED, seed=stage.seed)
        fleet.start_agent(car)
        killing = Killing(fleet, car, seed=stage.seed, clock=stage.clock)
        with bar(f"kill -9 of a training worker, {cycles} jobs", cycles) as tell:
            found = killing.run(cycles, tell)
    made = checks(found)
    return Told(checks=made, body=msgspec.to_builtins(found), text=_text(found, made))


CHAPTER: Final = Chapter(name="trainer-kills", title="A training worker killed at random", run=run)


def checks(found: Killed) -> list[Check]:
    """Return what decides; the last one tells whether enough was at stake."""
    jobs = len(found.kills) + 1
    faults = {
        "jobs that did not end in exactly one registered model": sum(
            (each.state, each.models) != ("done", 1) for each in found.kills
        ),
        "registered versions of the notebook, beyond one a job": abs(found.versions - jobs),
        "versions of the notebook that the server does not know": found.versions_of_no_job,
        "finished runs of the notebook, beyond one a job": abs(found.finished_runs - jobs),
        "runs that a kill left open": found.open_runs,
    }
    at_stake = sum(each.was_open for each in found.kills)
    return [
        *(
            Check(name=name, value=value, unit="", limit=0, better="lower")
            for name, value in faults.items()
        ),
        Check(
            name="training workers killed at work",
            value=at_stake,
            unit="",
            limit=(len(found.kills) + 1) // 2,
            better="higher",
        ),
    ]


def _text(found: Killed, made: list[Check]) -> str:
    rows = [
        f"| {each.after_s:.1f} | {each.stage or '-'} | {each.state} | {each.attempts} |"
        for each in found.kills
    ]
    said = (
        f"An unharmed job takes {found.unharmed_s:.1f} s, the start of its worker included; "
        f"{len(found.kills)} were killed at a random moment of that."
    )
    heads = ["| killed after, s | in stage | job | claims |", "|---|---|---|---|"]
    return "\n\n".join([said, checks_table(made), "\n".join([*heads, *rows])])
