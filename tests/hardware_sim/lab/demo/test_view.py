"""The live view: a pure picture of the scene, and plain lines where there is no terminal."""

import io

from rich.console import Console

from hardware_sim.lab.demo.view import CarLine, Scene, Stage, View, bars, draw
from shared.clock import SystemClock


def _text(scene: Scene) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(draw(scene))
    printed = console.file
    assert isinstance(printed, io.StringIO)
    return printed.getvalue()


def test_bars_are_full_at_the_top_and_a_dot_where_nothing_was_measured() -> None:
    assert bars([0.0, 5.0, 10.0, None, 99.0], top=10.0) == "▁▄█·█"


def test_the_view_shows_stages_cars_training_and_pairs() -> None:
    scene = Scene(title="title", address="http://127.0.0.1:1")
    scene.stages.append(Stage("learning", 0, seconds=12.0, outcome="350 pairs"))
    scene.cars["car-1"] = CarLine(
        name="car-1", floor="red", network="cut", loaded="v2", errors_mm=[None, 4.0, 40.0]
    )
    scene.training = ("fit", 0.5)
    scene.pairs = (300, 350)
    shown = _text(scene)
    for part in ("learning", "12 s", "car-1", "cut", "v2", "40.0 mm", "50%", "300 of 350"):
        assert part in shown


def test_without_a_terminal_each_stage_is_one_line() -> None:
    out = io.StringIO()
    view = View(Scene(title="t"), SystemClock(), Console(file=out, force_terminal=False))
    with view:
        view.end(view.begin("broker starts"), "ready" * 30)
    assert f"broker starts  {'ready' * 30}" in out.getvalue()
    assert out.getvalue().count("\n") == 1
