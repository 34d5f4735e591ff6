"""The recorded set in an evaluation: what somebody's own pictures and labels teach, through a car.

Laws:
- it is split by manoeuvre, never by picture: neighbours are near-twins;
- one part is driven through a car, synced, learned and signed as in any deployment; the other part
  meets the model in service on that car, and nobody learned from it;
- what it is held against is the best constant answer: the median label of what was learned;
- a recording holds few manoeuvres, too few to calibrate a sigma by or to learn the ends of the
  range from: its trainer is told to let the shares within sigma be off by `COVERAGE_POINTS`, and
  `UNSAID_SHARE` of the range unsaid at either end. All other gates ask what they always ask.
"""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import msgspec
import numpy as np

from hardware_sim.lab.fleet import Car, Fleet
from hardware_sim.lab.observe import Observer
from hardware_sim.lab.report import Check
from shared.clock import Clock
from shared.errors import ParkfleetError, UsageError
from shared.task import WALL_DISTANCE, Task

DEPLOYMENT: Final = "recorded"
COVERAGE_POINTS: Final = 0.3
UNSAID_SHARE: Final = 0.3
_CAR: Final = "car-recorded"
_COLUMNS: Final = ("file", "distance_mm", "manoeuvre", "t_ms")
_FEWEST: Final = 4
_JUDGED_SHARE: Final = 0.3
_STEP_MM: Final = 500.0
_SYNC_S: Final = 300.0
_TRAIN_S: Final = 600.0

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The rows of a recording to learn from, and those to judge by."""

    learn: list[Row]
    judge: list[Row]

    @property
    def constant_mm(self) -> float:
        """The mean error of the best constant answer over what is judged."""
        answer = median(float(row["distance_mm"]) for row in self.learn)
        return fmean(abs(float(row["distance_mm"]) - answer) for row in self.judge)


def split(data: Path, seed: int) -> Split:
    """Return the rows of `data`, parted by manoeuvre as `seed` draws.

    Raises:
        UsageError: there is no `labels.csv` with manoeuvres, or fewer than four of them.
    """
    path = data / "labels.csv"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give a folder with images/ and labels.csv"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if not rows or not {"file", "distance_mm", "manoeuvre"} <= set(rows[0]):
        raise UsageError(f"{path}: the columns file, distance_mm and manoeuvre are needed")
    try:
        usable = [row for row in rows if float(row["distance_mm"]) >= 0.0]
    except (TypeError, ValueError):
        raise UsageError(f"{path}: a distance_mm is no number") from None
    names = sorted({row["manoeuvre"] for row in usable})
    if len(names) < _FEWEST:
        raise UsageError(f"{path}: {len(names)} manoeuvres, at least {_FEWEST} are needed")
    np.random.default_rng((seed, 0x7265636F)).shuffle(names)
    judged = set(names[: max(1, round(_JUDGED_SHARE * len(names)))])
    return Split(
        learn=[row for row in usable if row["manoeuvre"] not in judged],
        judge=[row for row in usable if row["manoeuvre"] in judged],
    )


def judged(
    folder: Path, clock: Clock, settings: dict[str, str], data: Path, seed: int
) -> dict[str, Any]:
    """Drive both parts through a car of a new fleet in `folder`; return what came of it.

    A fleet of its own, since its task has another range. Where nothing came of it, its `reason`
    says why, and there is no error.

    Raises:
        UsageError: as `split`.
    """
    parts = split(data, seed)
    shutil.rmtree(folder, ignore_errors=True)
    told = {
        **settings,
        "PARKFLEET_GATES_COVERAGE_POINTS": str(COVERAGE_POINTS),
        "PARKFLEET_GATES_UNSAID_SHARE": str(UNSAID_SHARE),
    }
    try:
        with Fleet(folder, clock, settings=told) as fleet:
            error, reason = _drive(fleet, data, parts), ""
    except ParkfleetError as failure:
        error, reason = None, str(failure)
    return {
        "learned": len(parts.learn),
        "judged": len(parts.judge),
        "range_mm": _task([*parts.learn, *parts.judge]).high,
        "mae_sensor_mm": error,
        "constant_mm": parts.constant_mm,
        "reason": reason,
    }


def _drive(fleet: Fleet, data: Path, parts: Split) -> float | None:
    task = _task([*parts.learn, *parts.judge])
    body = {"name": DEPLOYMENT, "task": msgspec.to_builtins(task), "reason": "recorded data"}
    fleet.start_broker()
    fleet.start_server()
    fleet.server.post("deployments", body)
    fleet.start_trainer()
    car = fleet.add_car(_CAR, DEPLOYMENT)
    observer = Observer(fleet.server, DEPLOYMENT)
    _replay(fleet, car, data, parts.learn, "learn")
    fleet.start_agent(car)
    _stored(fleet, car, observer)
    wait = fleet.processes.wait_for
    model = wait("a model of the recording", lambda: _trained(fleet, observer), timeout_s=_TRAIN_S)
    fleet.start_drive(car, speed=0.0, seed=0)
    wait("the model in service", lambda: _loaded(observer, model), timeout_s=_SYNC_S)
    fleet.processes.stop(f"{car.name}-drive")
    _replay(fleet, car, data, parts.judge, "judge")
    _stored(fleet, car, observer)
    fleet.processes.stop(f"{car.name}-agent")
    errors = [
        abs(estimate.value - sample.label)
        for sample in observer.samples(_CAR)
        for estimate in sample.estimates[:1]
        if sample.label is not None and estimate.model == model
    ]
    return fmean(errors) if errors else None


def check(found: dict[str, Any]) -> Check:
    """Return whether the model says more than a constant."""
    error = found["mae_sensor_mm"]
    return Check(
        name="recorded set, error over that of the best constant",
        value=float("nan") if error is None else error / found["constant_mm"],
        unit="",
        limit=1.0,
        better="lower",
    )


def _task(rows: Sequence[Row]) -> Task:
    highest = max(float(row["distance_mm"]) for row in rows)
    high = _STEP_MM * (int(highest / _STEP_MM) + 1)
    return msgspec.structs.replace(WALL_DISTANCE, high=high)


def _replay(fleet: Fleet, car: Car, data: Path, rows: Sequence[Row], name: str) -> None:
    folder = fleet.folder / name
    (folder / "images").mkdir(parents=True)
    for row in rows:
        # A name may come from anywhere, and names nothing outside its folder.
        row["file"] = Path(row["file"]).name
        shutil.copyfile(data / "images" / row["file"], folder / "images" / row["file"])
    with (folder / "labels.csv").open("w", newline="") as file:
        kept = csv.DictWriter(file, fieldnames=_COLUMNS, extrasaction="ignore")
        kept.writeheader()
        kept.writerows(rows)
    fleet.processes.run(
        [
            *("sim", "replay", "--data", str(folder), "--deployment", DEPLOYMENT),
            *("--home", str(car.home), "--json"),
        ]
    )


def _stored(fleet: Fleet, car: Car, observer: Observer) -> None:
    logged = fleet.journal_counts(car)["pairs_logged"]
    fleet.processes.wait_for(
        "the recorded pairs stored",
        lambda: observer.devices()[car.name]["pairs_stored"] == logged,
        timeout_s=_SYNC_S,
    )


def _trained(fleet: Fleet, observer: Observer) -> str | None:
    """Return the model of the recording once there is one.

    Raises:
        ParkfleetError: its training failed; the text says why.
    """
    for job in fleet.server.all("training-jobs", deployment=DEPLOYMENT):
        if job["state"] == "failed":
            raise ParkfleetError(f"recorded data: no model came of them: {job['message']}")
    return observer.newest_model()


def _loaded(observer: Observer, model: str) -> bool:
    return observer.devices()[_CAR]["loaded"] == model
