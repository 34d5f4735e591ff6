"""A lesson: what cars saw by sensor becomes the model that is judged."""

import csv
import os
from pathlib import Path

import pytest

from hardware_sim.lab.parking.lesson import Lesson, model_file
from hardware_sim.lab.parking.trials import Model
from hardware_sim.lab.processes import Processes
from shared.clock import SystemClock

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _record(lesson: Lesson, folder: Path) -> tuple[int, list[int]]:
    told: list[int] = []
    pairs = lesson.record(folder, real=SystemClock(), stop=lambda: False, tell=told.append)
    return pairs, told


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "recording" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_lesson_is_what_cars_saw_in_every_scene_nearer_to_the_wall_than_they_shall_park(
    tmp_path: Path,
) -> None:
    lesson = Lesson(scenes=("beige", "red"), manoeuvres=1, seed=4)
    pairs, told = _record(lesson, tmp_path)
    rows = _rows(tmp_path)
    assert told == [1, 2]
    assert len(rows) == pairs > 40
    assert len({row["manoeuvre"] for row in rows}) == 2
    labels = [float(row["distance_mm"]) for row in rows]
    assert min(labels) < 32.0
    assert max(labels) > 250.0
    assert not lesson.is_given(tmp_path)


def test_a_recording_that_was_cut_short_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "recording" / "images").mkdir(parents=True)
    (tmp_path / "recording" / "images" / "stray.jpg").write_bytes(b"")
    _record(Lesson(scenes=("beige",), manoeuvres=1, seed=4), tmp_path)
    assert not (tmp_path / "recording" / "images" / "stray.jpg").exists()


def test_a_lesson_that_was_learned_is_given_until_another_is_asked_for(tmp_path: Path) -> None:
    lesson = Lesson(scenes=("beige",), manoeuvres=6, seed=4)
    _record(lesson, tmp_path)
    with Processes(tmp_path / "logs", SystemClock(), dict(os.environ)) as processes:
        path = lesson.learn(tmp_path, processes)
    assert path == model_file(tmp_path)
    assert Model.load(path).manifest.deployment == "lesson"
    assert lesson.is_given(tmp_path)
    assert not Lesson(scenes=("red",), manoeuvres=6, seed=4).is_given(tmp_path)
