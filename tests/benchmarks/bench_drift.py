"""How well, how soon and at what cost the server sees drift.

    python -m tests.benchmarks.bench_drift

Manoeuvres are made of pictures of the real renderer, a real model's estimates and a sensor with the
noise of its datasheet (`tests.fleet_server.drift.drives`); nothing that only the simulator knows
reaches the rules. Counted are false alarms where nothing changes, manoeuvres to the alarm, causes
named over seeded changes, and samples a second through decoding, summing and following. Prints one
JSON object and draws the confusion of causes; exits with 1 where a figure misses its limit.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

import click
import msgspec
import numpy as np
from matplotlib.figure import Figure

from fleet_server.drift import naming
from fleet_server.drift.follow import Found
from fleet_server.drift.summaries import Summary
from fleet_server.training import retraining
from fleet_server.training.retraining import TRAINS, Known, Policy, Situation
from hardware_sim.lab.report import Check
from shared.samples import Sample
from tests.fleet_server.drift import drives
from tests.fleet_server.drift.drives import Follower, Pool, Sensor

COUNTS: Final = {
    "beige": 160,
    "near": 60,
    **dict.fromkeys(("red", "green", "tilt", "angled-30", "patterned", "focus", "beige-dim"), 24),
}
CLASSES: Final = ("label", "covariate", "concept-or-sensor", "none")
_BEFORE: Final = 24
_AFTER: Final = 24
_CAR: Final = 400
_REACH_MM: Final = 252.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A change: what it truly is, where and how the car drives after it."""

    name: str
    truth: str
    setting: str = "beige"
    before: str = "beige"
    sensor: Sensor = drives.healthy
    reach_mm: float = float("inf")


def changes(seed: int) -> list[Case]:
    """Return a change of each kind, five of them covariate, drawn from `seed`."""
    rng = np.random.default_rng((seed, 0x64726966))
    offset_mm = float(rng.uniform(9.0, 40.0) * rng.choice([-1.0, 1.0]))
    scale = float(rng.choice([rng.uniform(0.8, 0.9), rng.uniform(1.1, 1.2)]))
    return [
        Case(name="range to 350", truth="label", before="near", reach_mm=_REACH_MM),
        Case(name="range to 350", truth="label", before="near", reach_mm=_REACH_MM - 10.0),
        *(
            Case(name=name, truth="covariate", setting=name)
            for name in ("red", "green", "tilt", "angled-30")
        ),
        Case(name="offset", truth="concept-or-sensor", sensor=drives.offset(offset_mm)),
        Case(name="scale", truth="concept-or-sensor", sensor=drives.scaled(scale)),
        Case(name="focus", truth="none", setting="focus"),
        Case(name="dusk or nothing", truth="none", setting=("beige-dim", "beige")[seed % 2]),
    ]


def faults(seed: int) -> list[Case]:
    """Return a fault of the sensor of each kind; `truth` is the cause that names it."""
    rng = np.random.default_rng((seed, 0x6661756C))
    return [
        Case(name="stuck", truth="sensor-stuck", sensor=drives.stuck),
        Case(
            name="noisy", truth="sensor-noisy", sensor=drives.noisy(float(rng.uniform(12.0, 30.0)))
        ),
        Case(
            name="dropping",
            truth="sensor-dropping",
            sensor=drives.dropping(float(rng.uniform(0.25, 0.7))),
        ),
        Case(
            name="mis-scaled",
            truth="sensor-scaled",
            sensor=drives.scaled(float(rng.choice([0.82, 0.88, 1.12, 1.18]))),
        ),
    ]


def followed(case: Case, pools: Mapping[str, Pool], seed: int) -> Follower:
    """Return a car that drove before and after a change; a limited model is so from the start."""
    follower = Follower(np.random.default_rng((seed, len(case.name))))
    follower.drive(pools[case.before], _BEFORE, reach_mm=case.reach_mm)
    follower.drive(pools[case.setting], _AFTER, sensor=case.sensor, reach_mm=case.reach_mm)
    return follower


def found_in(follower: Follower) -> list[tuple[int, Found]]:
    """Return what was found, with the manoeuvre after the change at which."""
    return [(number - _BEFORE, each) for number, each in follower.found if isinstance(each, Found)]


def class_of(follower: Follower) -> str:
    """Return which class a car's verdicts come to: the last that hurts or suspects the sensor."""
    causes = [each.cause for _, each in found_in(follower) if each.kind != "change"]
    if not causes:
        return "none"
    if causes[-1] in naming.OF_SENSOR:
        return "concept-or-sensor"
    return {"label-shift": "label", "covariate-shift": "covariate"}.get(causes[-1], "unnamed")


def retrains(follower: Follower) -> bool:
    """Tell whether the policy would train for any verdict, given all the data one could want."""
    known = tuple(
        Known(
            verdict=number,
            cause=each.cause,
            hurts=each.hurts,
            is_estimate=each.is_estimate,
            reason=each.words,
            error=each.error,
            normal=each.normal,
            pairs=10**6,
            manoeuvres=10**3,
        )
        for number, each in found_in(follower)
    )
    situation = Situation(
        deployment="garage",
        models=1,
        open_jobs=0,
        pairs=0,
        cars=0,
        fewest_manoeuvres=0,
        known=known,
        failures=0,
        failed_utc_us=0,
        now_utc_us=10**15,
    )
    return any(each.kind in TRAINS for each in retraining.decide(situation, Policy()))


def false_alarms(pool: Pool, manoeuvres: int, seed: int) -> float:
    """Return the verdicts in a thousand manoeuvres where nothing ever changes."""
    rng = np.random.default_rng((seed, 1))
    made = [drives.summary(drives.samples(reel, rng)) for _ in range(4) for reel in pool]
    alarms = 0
    for car in range(manoeuvres // _CAR):
        follower = Follower(np.random.default_rng((seed, car, 2)))
        for _ in range(_CAR):
            follower.take(made[int(follower.rng.integers(len(made)))])
        alarms += sum(isinstance(each, Found) for _, each in follower.found)
    return 1000.0 * alarms / (manoeuvres // _CAR * _CAR)


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Manoeuvres to the alarm (median), and the mean errors before and after, in mm."""

    manoeuvres: float
    before_mm: float
    after_mm: float


def delay(before: Pool, after: Pool, runs: int, seed: int) -> Delay:
    """Return how soon a change from one pool to another is alarmed; never counts as a hundred."""
    delays: list[float] = []
    errors: tuple[list[float], list[float]] = ([], [])
    for run in range(runs):
        follower = Follower(np.random.default_rng((seed, run, 3)), promised=7.0)
        follower.drive(before, _BEFORE)
        follower.drive(after, 40)
        alarmed = [number for number, each in found_in(follower) if each.hurts]
        delays.append(alarmed[0] if alarmed else 100)
        for number, made in follower.stored.items():
            errors[number > _BEFORE].append(made.errors.mean)
    return Delay(manoeuvres=median(delays), before_mm=fmean(errors[0]), after_mm=fmean(errors[1]))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Samples a second on one core, and bytes remembered after many manoeuvres over after few."""

    samples_a_second: float
    growth: float
    track_bytes: int
    summary_bytes: int


def cost(pool: Pool, manoeuvres: int, seed: int) -> Cost:
    """Return what following costs, from stored bodies to what is stored of them."""
    rng = np.random.default_rng((seed, 4))
    bodies = [[msgspec.msgpack.encode(each) for each in drives.samples(reel, rng)] for reel in pool]
    decode = msgspec.msgpack.Decoder(Sample).decode
    follower = Follower(rng)
    samples, sizes = 0, []
    # The time of this process alone: whoever else is at work on the machine takes none of it.
    begun_s = time.process_time()
    for number in range(manoeuvres):
        made = drives.summary([decode(body) for body in bodies[number % len(bodies)]])
        kept = msgspec.msgpack.encode(made)
        samples += made.samples
        # As the server has them: written, and read again where a test is due.
        follower.take(msgspec.msgpack.decode(kept, type=Summary))
        sizes.append(len(msgspec.msgpack.encode(follower.track)))
    seconds = time.process_time() - begun_s
    quarter = len(sizes) // 4
    return Cost(
        samples_a_second=samples / seconds,
        growth=max(sizes[-quarter:]) / max(sizes[:quarter]),
        track_bytes=sizes[-1],
        summary_bytes=len(kept),
    )


def confusion(cases: Sequence[tuple[Case, Follower]]) -> dict[str, Counter[str]]:
    """Return how often each class was named as which."""
    table = {name: Counter[str]() for name in CLASSES}
    for case, follower in cases:
        table[case.truth][class_of(follower)] += 1
    return table


def plot(table: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw the confusion of causes: rows are what was changed, columns what was named."""
    named = [*CLASSES, "unnamed"]
    counts = np.asarray([[table[row].get(column, 0) for column in named] for row in CLASSES])
    figure = Figure(figsize=(6.4, 4.2), dpi=140, layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmax=1.3)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center")
    axes.set_xticks(range(len(named)), named, rotation=20)
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set_xlabel("named by the server")
    axes.set_ylabel("changed")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _check(name: str, value: float, unit: str, limit: float, *, lower: bool) -> Check:
    return Check(
        name=name,
        value=round(value, 4),
        unit=unit,
        limit=limit,
        better="lower" if lower else "higher",
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All figures with their checks."""

    checks: list[Check]
    told: dict[str, object]


def measure(manoeuvres: int, repeats: int, seed: int, plot_to: Path) -> Measured:
    """Return all figures, with their checks."""
    pools = drives.pools(COUNTS, seed)
    cases = [
        (case, followed(case, pools, 1000 * repeat + place))
        for repeat in range(repeats)
        for place, case in enumerate(changes(seed + repeat))
    ]
    table = confusion(cases)
    plot(table, plot_to)
    right = sum(table[name][name] for name in CLASSES) / len(cases)
    ill = [
        (case, followed(case, pools, 5000 + 10 * repeat + place))
        for repeat in range(repeats)
        for place, case in enumerate(faults(seed + repeat))
    ]
    named = fmean(
        case.truth in {each.cause for _, each in found_in(follower)} for case, follower in ill
    )
    unlearned = [each for each in [*cases, *ill] if each[0].truth not in {"label", "covariate"}]
    trained = sum(retrains(follower) for _, follower in unlearned)
    usual = drives.made_up(60, seed, error_mm=7.4)
    far = delay(usual, drives.made_up(60, seed + 1, error_mm=33.5), repeats * 5, seed)
    near = delay(usual, drives.made_up(60, seed + 1, error_mm=14.3), repeats * 5, seed)
    spent = cost(pools["beige"], manoeuvres // 4, seed)
    checks = [
        _check(
            "false alarms in a thousand manoeuvres",
            false_alarms(pools["beige"], manoeuvres, seed), "", 5.0, lower=True,
        ),
        _check("manoeuvres to the alarm at 30 mm", far.manoeuvres, "", 3.0, lower=True),
        _check("manoeuvres to the alarm at 13 mm", near.manoeuvres, "", 12.0, lower=True),
        _check("causes named right", right, "", 0.95, lower=False),
        _check("faulty sensors named", named, "", 0.95, lower=False),
        _check("trained for sensors or without harm", trained, "", 0.0, lower=True),
        _check("through the drift code", spent.samples_a_second, "1/s", 20_000.0, lower=False),
        _check("memory of a car, late over early", spent.growth, "times", 1.1, lower=True),
    ]  # fmt: skip
    told: dict[str, object] = {
        "manoeuvres_without_change": manoeuvres,
        "changes": len(cases),
        "confusion": table,
        "delays": {"far": msgspec.to_builtins(far), "near": msgspec.to_builtins(near)},
        "cost": msgspec.to_builtins(spent),
        "plot": str(plot_to),
    }
    return Measured(checks=checks, told=told)


@click.command()
@click.option("--manoeuvres", default=20_000, show_default=True, help="Driven without a change.")
@click.option("--repeats", default=10, show_default=True, help="Of ten seeded changes each.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--plot",
    "plot_to",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("out/bench/drift.png"),
    show_default=True,
)
def main(manoeuvres: int, repeats: int, seed: int, plot_to: Path) -> None:
    """Measure and print; exit with 1 where a figure misses its limit."""
    measured = measure(manoeuvres, repeats, seed, plot_to)
    body = {"checks": [each.as_dict() for each in measured.checks], **measured.told}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(each.met for each in measured.checks) else 1)


if __name__ == "__main__":
    main()
