"""The plots of an evaluation's report.

Laws:
- a plot shows what was measured in this run and nothing else;
- a phase has the same place and name in all of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from hardware_sim.lab.evaluation.confusion import CLASSES, NAMED
from hardware_sim.lab.evaluation.stretches import Done, Measurement, Pairs, chosen
from hardware_sim.lab.measure import by_manoeuvre
from shared.samples import Characteristics

_CHANGED, _MENDED, _AGAIN, _CALM = "#b3387b", "#0a7d8c", "#9a9a9a", "#4b6cb7"
_FIRST: Final = {"retrain": (_CHANGED, "after the change")}
_FLOOR_MM: Final = 0.5
_TICKS_MM: Final = (1, 2, 5, 10, 20, 50, 100, 200)


def errors(done: Sequence[Done], rows: Sequence[dict[str, Any]], pairs: Pairs, path: Path) -> None:
    """Draw the error of every manoeuvre, with the changes, the named causes and the new models."""
    figure = Figure(figsize=(13, 5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    at, seen = 0, set()
    for each, row in zip(done, rows, strict=True):
        axes.axvline(at - 0.5, color="0.3", lw=1)
        if row["manoeuvres_to_the_cause"] is not None:
            axes.axvline(at - 0.5 + row["manoeuvres_to_the_cause"], color=_CHANGED, lw=1, ls=":",
                         label=None if "named" in seen else "cause named")  # fmt: skip
            seen.add("named")
        axes.text(at, 1.01, f"{each.phase.number}: {each.phase.title}", fontsize=7, rotation=20,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        for measurement, colour, name in _stretches(each):
            if measurement is each.after and each.before is not None and each.after is not None:
                axes.axvline(at - 0.5, color=_MENDED, lw=1, ls="--")
            found = _by_car(measurement, pairs)
            for values in found:
                axes.plot(range(at, at + len(values)), values, "o", ms=2.6, color=colour,
                          label=None if name in seen else name)  # fmt: skip
                seen.add(name)
            at += max((len(values) for values in found), default=0)
    axes.set_yscale("log")
    axes.set_ylim(bottom=_FLOOR_MM)
    axes.set(xlabel="manoeuvres of each car, one after the other",
             ylabel="mean absolute error against the sensor (mm)")  # fmt: skip
    axes.set_yticks(_TICKS_MM, [str(each) for each in _TICKS_MM])
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="upper center", ncols=3, fontsize=8)
    _save(figure, path)


def _stretches(each: Done) -> list[tuple[Measurement | None, str, str]]:
    """Return what was driven in a phase in its order, with colour and name."""
    first = _FIRST.get(each.phase.expected, (_CALM, "nothing is to be learned"))
    found = [(each.before, *first), (each.after, _MENDED, "new model")]
    if each.phase.floors:
        return found
    return found + [(one, _AGAIN, "earlier settings") for one in each.again]


def characteristics(done: Sequence[Done], pairs: Pairs, path: Path) -> None:
    """Draw how the pictures of each phase looked, characteristic by characteristic."""
    names = Characteristics.__struct_fields__
    looks = [_looks(each.before or each.after, pairs) for each in done]
    figure = Figure(figsize=(11, 8), dpi=140, layout="constrained")
    axes = figure.subplots(3, 3)
    for place, name in enumerate(names):
        one = axes.flat[place]
        for at, values in enumerate(looks):
            if len(values):
                one.boxplot(values[:, place], positions=[at], widths=0.6, showfliers=False,
                            medianprops={"color": _CHANGED})  # fmt: skip
        one.set_title(name.replace("_", " "), fontsize=9)
        one.set_xticks(range(len(done)), [str(each.phase.number) for each in done])
    figure.supxlabel("phase: " + ", ".join(f"{e.phase.number} {e.phase.title}" for e in done),
                     fontsize=7, wrap=True)  # fmt: skip
    _save(figure, path)


def causes(table: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw the confusion of causes: rows are what was changed, columns what was named, by car."""
    counts = np.asarray([[table[row].get(column, 0) for column in NAMED] for row in CLASSES])
    figure = Figure(figsize=(6.4, 4.2), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmax=1.3)
    for (row_at, column), count in np.ndenumerate(counts):
        axes.text(column, row_at, str(count), ha="center", va="center")
    axes.set_xticks(range(len(NAMED)), NAMED, rotation=20)
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(xlabel="named by the server (a phase without a verdict: none)", ylabel="changed")
    _save(figure, path)


def loops(rows: Sequence[dict[str, Any]], stages: Sequence[str], path: Path) -> None:
    """Draw how long each stage of each loop took."""
    closed = [row for row in rows if row["stages"]]
    figure = Figure(figsize=(10, 0.8 + 0.5 * len(closed)), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    for at, row in enumerate(closed):
        left = 0.0
        for place, name in enumerate(stages):
            width = row["stages"].get(name, 0.0)
            axes.barh(at, width, left=left, color=f"C{place}", label=name if at == 0 else None)
            left += width
    axes.set_yticks(range(len(closed)), [f"{row['phase']}: {row['title']}" for row in closed])
    axes.invert_yaxis()
    axes.set_xlabel("seconds from the change to the better model on every car")
    if closed:
        axes.legend(fontsize=7, ncols=len(stages), loc="lower center", bbox_to_anchor=(0.4, 1.0))
    _save(figure, path)


def _by_car(measurement: Measurement | None, pairs: Pairs) -> list[list[float]]:
    found = []
    for name in measurement.runs if measurement else ():
        mine = chosen(measurement, {name: pairs.get(name, [])})
        every = [one.mae_sensor_mm for one in by_manoeuvre(mine)]
        found.append([value for value in every if value is not None])
    return found


def _looks(measurement: Measurement | None, pairs: Pairs) -> Any:
    known = [pair.sample.characteristics for pair in chosen(measurement, pairs)]
    names = Characteristics.__struct_fields__
    return np.asarray([[getattr(each, name) for name in names] for each in known if each])


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
