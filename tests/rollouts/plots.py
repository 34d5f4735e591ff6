"""Draws how a rollout went: error and share over time."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.rollouts.strategies import NEW_MM, OLD_MM, Round, Story

_DARK, _LIGHT = "#1f4e79", "#c55a11"


def draw(story: Story, path: Path) -> None:
    """Write the picture of `story` to `path`."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    zero_us = story.rounds[story.begins - 1].ended_utc_us
    # In the first round the cars drove by their sensors until their first model had come.
    rounds = story.rounds[1:]
    minutes = [(each.ended_utc_us - zero_us) / 60e6 for each in rounds]
    upper.plot(minutes, [each.error_mm for each in rounds], ".-", color=_DARK)
    for error_mm, name in ((OLD_MM, "old"), (NEW_MM, "new")):
        upper.axhline(error_mm, color="0.6", linewidth=0.8, linestyle=":")
        upper.text(minutes[0], error_mm, f" {name} model", va="bottom", fontsize=8, color="0.4")
    upper.set_ylabel("mean error, mm")
    upper.set_ylim(0, OLD_MM * 1.4)
    upper.set_title(f"{story.strategy}: {story.cars} cars", loc="left", fontsize=10)
    lower.plot(minutes, [each.share for each in rounds], ".-", color=_LIGHT)
    committed = [each.cars / story.cars for each in rounds]
    lower.plot(minutes, committed, drawstyle="steps-post", color="0.5", linewidth=1)
    lower.legend(["driven by it", "cars committed to it"], fontsize=8, frameon=False)
    lower.set_ylabel("share of the new model")
    lower.set_xlabel("minutes of the fleet since the new model was registered")
    lower.set_ylim(-0.05, 1.05)
    for axes in (upper, lower):
        _moves(rounds, minutes, axes)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _moves(rounds: Sequence[Round], minutes: list[float], axes: Axes) -> None:
    """Mark where the server moved the rollout."""
    known = (rounds[0].state, rounds[0].stage)
    for minute, each in zip(minutes, rounds, strict=True):
        if (each.state, each.stage) != known and each.state != "none":
            axes.axvline(minute, color="0.8", linewidth=1, zorder=0)
        known = (each.state, each.stage)
