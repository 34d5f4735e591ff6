"""What the evaluation does on its way, over a fleet that only answers."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from hardware_sim import scene
from hardware_sim.lab.evaluation.book import START, Mark
from hardware_sim.lab.evaluation.crew import Crew, scene_of
from hardware_sim.lab.evaluation.loops import Loops
from hardware_sim.lab.evaluation.phases import PHASES, Plan
from hardware_sim.lab.evaluation.protocol import Evaluation
from hardware_sim.lab.evaluation.stretches import Done, Tell
from hardware_sim.lab.evaluation.view import Board
from hardware_sim.lab.fleet import Fleet
from hardware_sim.lab.rest import Server
from tests.hardware_sim.worlds import StillClock

PHASE = {each.number: each for each in PHASES}


class Answers:
    """A server that has decided, and notes what it is told."""

    def __init__(self, decisions: list[dict[str, Any]]) -> None:
        self.decisions = decisions
        self.told: list[str] = []

    def all(self, path: str, **_query: object) -> Iterator[dict[str, Any]]:
        return iter(self.decisions if path == "decisions" else [])

    def post(self, path: str, body: dict[str, str]) -> None:
        self.told.append(path)
        self.decisions.append({"kind": "approve", "verdict": int(path.split("/")[1])} | body)


def _loops(answers: Answers) -> Loops:
    server = cast("Server", answers)
    return Loops(server, cast("Crew", None), StillClock(), Tell())


class Starting:
    """A fleet whose server is another one once it is started, as a token comes only then."""

    def __init__(self, server: Answers) -> None:
        self.server, self._started = Answers([]), server

    def start_server(self) -> None:
        self.server = self._started

    def __getattr__(self, _name: str) -> Any:
        return lambda *_, **__: None


def test_what_the_server_wrote_is_read_from_the_one_that_was_started() -> None:
    decided = [{"kind": "retrain", "verdict": 7}]
    evaluation = Evaluation(cast("Fleet", Starting(Answers(decided))), Plan(), StillClock(), Tell())
    assert evaluation.run((), "yard") == []
    assert evaluation.book.decisions(START) == decided


@pytest.mark.parametrize(("number", "told"), [(11, ["drift/7/approve"]), (5, [])])
def test_an_operator_says_once_that_the_sensor_is_right_but_not_where_no_hand_may_help(
    number: int, told: list[str]
) -> None:
    server = Answers([{"kind": "wait", "verdict": 7}, {"kind": "check-sensor", "verdict": 7}])
    loops = _loops(server)
    assert not loops.is_asked_for(PHASE[number], START)
    assert not loops.is_asked_for(PHASE[number], START)
    assert server.told == told
    server.decisions.append({"kind": "retrain", "verdict": 7})
    assert loops.is_asked_for(PHASE[number], START)
    assert not loops.is_asked_for(PHASE[number], Mark(decisions=len(server.decisions)))


@pytest.mark.parametrize("phase", PHASES, ids=lambda each: each.setting)
def test_the_scene_of_every_phase_and_step_can_be_loaded(tmp_path: Path, phase: Any) -> None:
    if phase.floors:
        return
    found = {scene_of(phase, step, tmp_path) for step in phase.steps or (phase.extra,)}
    assert len(found) == max(1, len(phase.steps))
    for name in found:
        scene.load(name)


def test_without_a_terminal_each_stage_is_a_line_and_the_share_never_falls() -> None:
    told = StringIO()
    phases = PHASES[:3]
    with Board(phases, Plan(), StillClock(), Console(file=told, width=200)) as board:
        for phase in phases:
            board.phase(phase)
            board.stage("before", 24)
            board.driven(24)
            board.stage("trained")
            board.done(Done(phase=phase))
    lines = told.getvalue().splitlines()
    shares = [int(line[1:4]) for line in lines if line.startswith("[")]
    assert shares == sorted(shares)
    assert len(shares) == 2 * len(phases)
    assert "phase 2 of 3: range extended to 350 mm" in lines
