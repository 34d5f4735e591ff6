"""What the demonstration showed: report.json, report.md and the plot of error per manoeuvre.

Laws:
- every number comes from the pairs on the server, the journals on the cars and the simulator's
  truth of this run;
- the acceptance figures: no pair lost or doubled, the error rises at least twofold when the floor
  turns red, and falls back to within 1.3 of the first model's on every car.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from hardware_sim.lab.demo.story import Phase, Told
from hardware_sim.lab.measure import Measured, Pair, by_manoeuvre, join, measure, read_truth
from hardware_sim.lab.observe import Observer
from hardware_sim.lab.report import Check, checks_table, write_json

_RISE = 2.0
_BACK = 1.3
_SECONDS = 300.0
_COLOURS = {"car-1": "#0a7d8c", "car-2": "#b3387b"}
_EMPTY_WIDTH = 4
_SHADES = {"beige": "#f3ead9", "red": "#f7d4cf"}


def build(told: Told, observer: Observer, out: Path, seconds: float) -> list[Check]:
    """Write the report of `told` to the folder `out` and return its checks."""
    pairs = {
        name: join(observer.samples(name), read_truth(car.truth)) for name, car in told.cars.items()
    }
    versions = observer.versions()
    phases = [_phase(phase, pairs, versions) for phase in told.phases]
    checks = _checks(told, pairs, seconds)
    body: dict[str, object] = {
        "deployment": told.deployment,
        "phases": phases,
        "pairs": {"logged_on_cars": told.logged, "stored_on_server": told.stored},
        "models": observer.models(),
        "decisions": observer.decisions(),
        "stages": told.stages,
    }
    write_json(out / "report.json", body, checks, seconds)
    plot(told.phases, pairs, versions, out / "error.png")
    (out / "report.md").write_text(_markdown(told, phases, checks, seconds))
    return checks


def select(pairs: dict[str, list[Pair]], phase: Phase) -> dict[str, list[Pair]]:
    """Return the pairs of each car that `phase` holds."""
    return {
        name: [pair for pair in pairs[name] if pair.run == run] for name, run in phase.runs.items()
    }


def _phase(phase: Phase, pairs: dict[str, list[Pair]], versions: dict[str, str]) -> dict[str, Any]:
    chosen = select(pairs, phase)
    every = measure([pair for own in chosen.values() for pair in own])
    cars = {}
    for name, own in chosen.items():
        measured = measure(own)
        cars[name] = {
            **asdict(measured),
            "versions": [versions.get(model, "unknown") for model in measured.models],
            "loaded": phase.loaded[name],
        }
    return {
        "name": phase.name,
        "setting": phase.setting,
        "seconds": round(phase.seconds, 1),
        "manoeuvres": sum(car["manoeuvres"] for car in cars.values()),
        "pairs": every.pairs,
        "mae_sensor_mm": every.mae_sensor_mm,
        "mae_truth_mm": every.mae_truth_mm,
        "cars": cars,
    }


def _checks(told: Told, pairs: dict[str, list[Pair]], seconds: float) -> list[Check]:
    errors = {
        phase.name: measure([p for own in select(pairs, phase).values() for p in own])
        for phase in told.phases
    }
    first = _mae(errors["first model"])
    lost = sum(abs(told.logged[name] - told.stored.get(name, 0)) for name in told.logged)
    checks = [
        Check(name="pairs lost or doubled", value=lost, unit="", limit=0, better="lower"),
        Check(
            name="error on the red floor over the first model's",
            value=_mae(errors["floor turns red"]) / first,
            unit="x",
            limit=_RISE,
            better="higher",
        ),
        Check(name="whole demonstration", value=seconds, unit="s", limit=_SECONDS, better="lower"),
    ]
    return checks + [
        Check(
            name=f"error, {name}, over the first model's",
            value=_mae(errors[name]) / first,
            unit="x",
            limit=_BACK,
            better="lower",
        )
        for name in ("retrained", "caught up")
    ]


def _mae(measured: Measured) -> float:
    return float("nan") if measured.mae_sensor_mm is None else measured.mae_sensor_mm


def _markdown(told: Told, phases: list[dict[str, Any]], checks: list[Check], seconds: float) -> str:
    rows = [
        "| phase | floor | car | manoeuvres | pairs | model | error, sensor | error, truth |",
        "|---|---|---|---:|---:|---|---:|---:|",
    ]
    for phase in phases:
        for name, car in phase["cars"].items():
            rows.append(
                f"| {phase['name']} | {phase['setting']} | {name} | {car['manoeuvres']} | "
                f"{car['pairs']} | {', '.join(car['versions']) or 'none'} | "
                f"{_mm(car['mae_sensor_mm'])} | {_mm(car['mae_truth_mm'])} |"
            )
    stages = [f"| {title} | {took:.1f} |" for title, took in told.stages.items()]
    return "\n".join(
        [
            f"# Demonstration `{told.deployment}`",
            "",
            f"{sum(told.stored.values())} pairs, {seconds:.0f} seconds, two simulated cars.",
            "Errors are mean absolute errors of the model in service.",
            "",
            "![Error per manoeuvre](error.png)",
            "",
            *rows,
            "",
            checks_table(checks),
            "",
            "| stage | seconds |",
            "|---|---:|",
            *stages,
            "",
        ]
    )


def _mm(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} mm"


def plot(
    phases: Sequence[Phase], pairs: dict[str, list[Pair]], versions: dict[str, str], path: Path
) -> None:
    """Draw the error of every manoeuvre of every car, phase by phase, to a PNG at `path`.

    A phase without any error (no model yet) is drawn narrow.
    """
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 4.2), dpi=140, layout="constrained")
        axes = figure.add_subplot()
        at = 0
        for phase in phases:
            chosen = {name: by_manoeuvre(own) for name, own in select(pairs, phase).items()}
            width = _draw_phase(axes, phase, at, chosen, versions)
            at += width
        axes.set(xlim=(-0.5, at - 0.5), xlabel="manoeuvres, one after the other")
        axes.set(ylabel="mean absolute error (mm)", xticks=[])
        axes.set_ylim(bottom=0)
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        # Below the axis: inside, it would lie on some phase's model or curve.
        figure.legend(
            unique.values(), unique.keys(), frameon=False, loc="outside lower right", ncols=9
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _draw_phase(
    axes: Any, phase: Phase, at: int, chosen: dict[str, list[Measured]], versions: dict[str, str]
) -> int:
    errors = {
        name: [m.mae_sensor_mm for m in own if m.mae_sensor_mm is not None]
        for name, own in chosen.items()
    }
    width = max([_EMPTY_WIDTH, *map(len, errors.values())])
    middle = at + width / 2 - 0.5
    axes.axvspan(at - 0.5, at + width - 0.5, color=_SHADES.get(phase.setting, "#eeeeee"), lw=0)
    title = phase.name.replace(" ", "\n", 1)
    above = axes.get_xaxis_transform()
    axes.text(middle, 1.02, title, ha="center", va="bottom", fontsize=9, transform=above)
    models = {model for own in chosen.values() for m in own for model in m.models}
    named = ", ".join(sorted(versions.get(model, "?") for model in models)) or "no model"
    axes.text(middle, 0.96, named, ha="center", va="top", fontsize=9, color="#555", transform=above)
    for name, own in errors.items():
        colour = _COLOURS.get(name, "#444444")
        axes.plot(range(at, at + len(own)), own, "o-", color=colour, ms=3.5, lw=1.2, label=name)
    return width
