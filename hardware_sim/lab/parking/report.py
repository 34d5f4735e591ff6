"""What parking showed: report.json, report.md and a plot of where the cars stood.

Laws:
- every number comes from the manoeuvres of this run; one that ended in a fault counts as any other;
- the acceptance figures, of a car with a range sensor: in scenes that the model knows the 95th
  percentile of the distance between stop and target is at most 8 mm and no car turns by 2 degrees;
  in scenes that it does not know nothing is touched, and at least 90 % of the cars move 100 mm or
  more and end with a reason. Without a range sensor the same figures are told, and judged by none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import msgspec
import numpy as np
from matplotlib.figure import Figure

from hardware_sim.lab.parking.trials import UNEQUAL, Parked
from hardware_sim.lab.report import Check, checks_table, write_json

STOP_MM: Final = 8.0
TURN_DEG: Final = 2.0
MOVED_MM: Final = 100.0
MOVED_SHARE: Final = 0.9

_COLOURS: Final = ("#0a7d8c", "#b3387b", "#4c9f70", "#c77d1e")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One group's figures; `moved_share` counts those that moved `MOVED_MM` and had a reason."""

    manoeuvres: int
    stop_error_p50_mm: float
    stop_error_p95_mm: float
    nearest_mm: float
    turned_p95_deg: float
    turned_max_deg: float
    contacts: int
    moved_share: float
    reasons: dict[str, int]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Manoeuvres of one kind: in scenes that the model knows or not, with range sensor or not."""

    name: str
    is_known: bool
    has_range_sensor: bool
    target_mm: Mapping[str, float]
    parked: Sequence[Parked]

    def figures(self, scene: str | None = None) -> Figures:
        """Return the figures of the whole group, or of one of its scenes."""
        every = [each for each in self.parked if scene in (None, each.scene)]
        errors = np.array([abs(each.stop_mm - self.target_mm[each.scene]) for each in every])
        turned = np.array([each.turned_deg for each in every])
        moved = [each.moved_mm >= MOVED_MM and bool(each.reason) for each in every]
        return Figures(
            manoeuvres=len(every),
            stop_error_p50_mm=float(np.percentile(errors, 50)),
            stop_error_p95_mm=float(np.percentile(errors, 95)),
            nearest_mm=min(each.stop_mm for each in every),
            turned_p95_deg=float(np.percentile(turned, 95)),
            turned_max_deg=float(turned.max()),
            contacts=sum(each.contacts for each in every),
            moved_share=sum(moved) / len(moved),
            reasons=dict(Counter(each.reason for each in every).most_common()),
        )

    @property
    def scenes(self) -> list[str]:
        """The group's scenes in order."""
        return list(dict.fromkeys(each.scene for each in self.parked))


def checks(groups: Sequence[Group]) -> list[Check]:
    """Return the acceptance figures that `groups` hold."""
    found: list[Check] = []
    for group in groups:
        figures = group.figures()
        if not group.has_range_sensor:
            continue
        if group.is_known:
            found += [
                Check(
                    name="known scenes: stop off the target, p95",
                    value=figures.stop_error_p95_mm,
                    unit="mm",
                    limit=STOP_MM,
                    better="lower",
                ),
                Check(
                    name=f"known scenes: heading change, motors {UNEQUAL:.0%} unequal, largest",
                    value=figures.turned_max_deg,
                    unit="degrees",
                    limit=TURN_DEG,
                    better="lower",
                ),
            ]
        else:
            found += [
                Check(
                    name="unknown scenes: contacts",
                    value=figures.contacts,
                    unit="",
                    limit=0,
                    better="lower",
                ),
                Check(
                    name=f"unknown scenes: moved {MOVED_MM:.0f} mm and ended with a reason",
                    value=figures.moved_share,
                    unit="of all",
                    limit=MOVED_SHARE,
                    better="higher",
                ),
            ]
    return found


def write(groups: Sequence[Group], model: str, out: Path, seconds: float) -> list[Check]:
    """Write report.json, report.md and stops.png into `out`; return the checks."""
    made = checks(groups)
    body: dict[str, object] = {
        "model": model,
        "groups": {
            group.name: {
                **msgspec.to_builtins(group.figures()),
                "scenes": {scene: group.figures(scene) for scene in group.scenes},
            }
            for group in groups
        },
        "manoeuvres": {group.name: list(group.parked) for group in groups},
    }
    write_json(out / "report.json", body, made, seconds)
    plot(groups, out / "stops.png")
    (out / "report.md").write_text(_markdown(groups, model, made, seconds))
    return made


def plot(groups: Sequence[Group], path: Path) -> None:
    """Draw where the cars of each group came to stand, a dot each, by scene."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 1.2 + 2.2 * len(groups)), layout="constrained")
    for axes, group, colour in zip(
        figure.subplots(len(groups), 1, squeeze=False)[:, 0], groups, _COLOURS, strict=False
    ):
        for place, scene in enumerate(group.scenes):
            stops = sorted(each.stop_mm for each in group.parked if each.scene == scene)
            spread = np.linspace(-0.3, 0.3, len(stops)) if len(stops) > 1 else [0.0]
            axes.plot(place + np.asarray(spread), stops, ".", color=colour, markersize=5)
            target = group.target_mm[scene]
            axes.plot([place - 0.4, place + 0.4], [target, target], color="#333333", linewidth=1)
        axes.set_xticks(range(len(group.scenes)), group.scenes, fontsize=8)
        axes.axhline(0, color="#aa2222", linewidth=1)
        axes.set_ylim(-8, 360)
        axes.set_title(group.name, fontsize=10, loc="left")
        axes.set_ylabel("stood at, mm", fontsize=8)
    figure.savefig(path, dpi=110)


def _markdown(groups: Sequence[Group], model: str, made: Sequence[Check], seconds: float) -> str:
    parts = [
        "# Parking by camera",
        f"Model {model[:12]}, motors {UNEQUAL:.0%} unequal; {seconds:.0f} s.",
        checks_table(list(made)),
        "![Where the cars stood](stops.png)",
    ]
    parts += [_table(group) for group in groups]
    return "\n\n".join(parts) + "\n"


def _table(group: Group) -> str:
    head = (
        "scene",
        *("manoeuvres", "off target p50", "p95", "nearest", "turned p95", "most"),
        *("contacts", "moved", "ended"),
    )
    rows = [
        f"## {group.name}",
        "",
        f"| {' | '.join(head)} |",
        f"|---|{'---:|' * (len(head) - 2)}---|",
        _row("all", group.figures()),
    ]
    return "\n".join([*rows, *(_row(scene, group.figures(scene)) for scene in group.scenes)])


def _row(name: str, figures: Figures) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in figures.reasons.items())
    return (
        f"| {name} | {figures.manoeuvres} | {figures.stop_error_p50_mm:.1f} mm "
        f"| {figures.stop_error_p95_mm:.1f} mm | {figures.nearest_mm:.1f} mm "
        f"| {figures.turned_p95_deg:.2f}° | {figures.turned_max_deg:.2f}° | {figures.contacts} "
        f"| {figures.moved_share:.0%} | {reasons} |"
    )
