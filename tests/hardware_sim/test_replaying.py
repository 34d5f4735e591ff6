"""A recording runs through a car: the real loop, the real journal, unchanged pictures."""

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from device.calibration import Calibration, store
from device.home import Home
from device.journal import Journal
from hardware_sim import recorded
from hardware_sim.cli import sim
from hardware_sim.replay import Tape
from hardware_sim.replaying import Replayed, replay
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.ids import sha256_hex
from shared.messages import Desired
from shared.picture import encode_jpeg, prepare
from shared.samples import ManoeuvreEnd, Sample
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE, Task
from tests.hardware_sim.recordings import record_approaches, write_labels, write_picture

pytestmark = pytest.mark.slow

WIDE = Task(
    name="front-distance",
    label="distance",
    unit="mm",
    low=0.0,
    high=4000.0,
    picture_width=64,
    picture_height=48,
)


def _replay(data: Path, home: Path, task: Task = WALL_DISTANCE) -> Replayed:
    recording = recorded.read(data, task)
    return replay(home, recording, task=task, deployment="beige", real=SystemClock())


def _journal(home: Path) -> tuple[list[Sample], list[ManoeuvreEnd], dict[int, bytes]]:
    journal = Journal.open(Home(home).journal)
    try:
        pictures = {p.sequence: p.jpeg for p in journal.unsent_pictures(10_000)}
        return journal.unsent_samples(10_000), journal.unsent_manoeuvres(1_000), pictures
    finally:
        journal.close()


def test_every_picture_becomes_one_pair_with_its_label_and_its_time(tmp_path: Path) -> None:
    record_approaches(tmp_path / "data", manoeuvres=3, pictures=12)
    done = _replay(tmp_path / "data", tmp_path / "home")
    samples, ends, pictures = _journal(tmp_path / "home")

    assert (done.pictures, done.pairs, done.lost) == (36, 36, 0)
    assert [(end.pairs, end.reason) for end in ends] == [(12, "stop")] * 3
    recording = recorded.read(tmp_path / "data", WALL_DISTANCE)
    for driven, manoeuvre in zip(done.manoeuvres, recording.manoeuvres, strict=True):
        mine = [sample for sample in samples if sample.manoeuvre == driven.number]
        assert driven.name == manoeuvre.name
        assert [s.label for s in mine] == [shot.label for shot in manoeuvre.shots]
        first_us = mine[0].monotonic_us
        assert [s.monotonic_us - first_us for s in mine] == [s.at_us for s in manoeuvre.shots]
        for sample, shot in zip(mine, manoeuvre.shots, strict=True):
            seen = encode_jpeg(prepare(recorded.load(shot), WALL_DISTANCE))
            assert pictures[sample.sequence] == seen
            assert sample.picture_sha256 == sha256_hex(seen)
            assert (sample.sensor_status, sample.skew_us, sample.camera) == ("ok", 0, "recorded")


def test_what_this_car_is_and_was_calibrated_for_changes_no_recorded_label(tmp_path: Path) -> None:
    record_approaches(tmp_path / "data", manoeuvres=2, pictures=8)
    home = Home(tmp_path / "home")
    home.create()
    home.settings_file.write_text("[chassis]\nwheel_diameter_mm = 20.0\nfull_speed_mm_s = 3000.0\n")
    own = Calibration(
        number=1,
        sensor_to_bumper_mm=20.0,
        range_offset_mm=12.0,
        noise_mm=2.0,
        distance_mm=100.0,
        readings=100,
        utc_us=0,
    )
    store(home, own)
    done = _replay(tmp_path / "data", home.root)
    samples, _, _ = _journal(home.root)
    assert done.lost == 0
    recording = recorded.read(tmp_path / "data", WALL_DISTANCE)
    shots = [shot for manoeuvre in recording.manoeuvres for shot in manoeuvre.shots]
    assert [s.label for s in samples] == [shot.label for shot in shots]
    assert {s.calibration for s in samples} == {"none"}


def test_a_longer_task_and_ranges_that_grow_and_pause_end_no_manoeuvre(tmp_path: Path) -> None:
    write_picture(tmp_path, "g.jpg", grey=True)
    ranges = [3900, 12, 0, 2500, 2500, 4000, 30]
    rows = [f"g.jpg,{mm},flight,{number * 9_000}," for number, mm in enumerate(ranges)]
    write_labels(tmp_path, rows)
    done = _replay(tmp_path, tmp_path / "home", WIDE)
    samples, ends, pictures = _journal(tmp_path / "home")
    assert (done.lost, len(ends), ends[0].reason) == (0, 1, "stop")
    assert [sample.label for sample in samples] == ranges
    assert {(s.task, s.label_unit, s.deployment) for s in samples} == {
        ("front-distance", "mm", "beige")
    }
    assert len(pictures) == len(ranges)


def test_pictures_faster_than_the_loop_are_spread_and_all_logged(tmp_path: Path) -> None:
    write_picture(tmp_path, "a.jpg")
    write_labels(tmp_path, [f"a.jpg,{50 + n},burst,{n * 2}," for n in range(300)])
    done = _replay(tmp_path, tmp_path / "home")
    samples, _, _ = _journal(tmp_path / "home")
    assert (done.pairs, done.lost) == (300, 0)
    assert [sample.label for sample in samples] == [50.0 + n for n in range(300)]


def test_a_second_replay_is_another_boot_and_adds_its_pairs(tmp_path: Path) -> None:
    record_approaches(tmp_path / "data", manoeuvres=1, pictures=5)
    first = _replay(tmp_path / "data", tmp_path / "home")
    second = _replay(tmp_path / "data", tmp_path / "home")
    assert first.boot < second.boot
    assert len(_journal(tmp_path / "home")[0]) == 10


def test_a_replay_that_is_stopped_counts_what_it_showed(tmp_path: Path) -> None:
    record_approaches(tmp_path / "data", manoeuvres=2, pictures=10)
    recording = recorded.read(tmp_path / "data", WALL_DISTANCE)
    shown: list[int] = []
    done = replay(
        tmp_path / "home",
        recording,
        task=WALL_DISTANCE,
        deployment="beige",
        real=SystemClock(),
        stop=lambda: max(shown, default=0) >= 4,
        tell=shown.append,
    )
    assert (done.pairs, done.lost) == (4, 0)
    assert [driven.pictures for driven in done.manoeuvres] == [4]


def test_a_car_of_another_deployment_is_left_alone(tmp_path: Path) -> None:
    record_approaches(tmp_path / "data", manoeuvres=1, pictures=2)
    home = Home(tmp_path / "home")
    home.create()
    journal = Journal.open(home.journal)
    journal.set_desired(Desired(device="car", epoch=1, revision=1, deployment="red"))
    journal.close()
    with pytest.raises(UsageError, match="belongs to deployment red"):
        _replay(tmp_path / "data", home.root)


def test_a_tape_shows_each_picture_for_longer_than_a_turn(tmp_path: Path) -> None:
    record_approaches(tmp_path, manoeuvres=2, pictures=3)
    tape = Tape.of(recorded.read(tmp_path, WALL_DISTANCE), start_us=1_000)
    gaps = [b - a for a, b in zip(tape.shown_us, tape.shown_us[1:], strict=False)]
    assert min(gaps) >= 50_000
    presses = [press for _, press in tape.presses]
    assert presses == ["park_by_sensor", "stop"] * 2
    assert tape.end_us > tape.presses[-1][0] > tape.shown_us[-1]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(sim, ["replay", *arguments], catch_exceptions=False)


def test_the_command_names_skipped_rows_on_stderr_and_prints_one_object(tmp_path: Path) -> None:
    data = tmp_path / "data"
    record_approaches(data, manoeuvres=2, pictures=4)
    with (data / "labels.csv").open("a") as file:
        file.write("gone.jpg,100,approach 1,2000,\n")
    home = tmp_path / "home"
    done = _run("--data", str(data), "--deployment", "beige", "--home", str(home), "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert (told["pairs"], told["lost"], told["deployment"]) == (8, 0, "beige")
    assert [skipped["line"] for skipped in told["skipped"]] == [10]
    assert "labels.csv:10: skipped: file 'gone.jpg'" in done.stderr


def test_the_command_takes_the_task_from_a_file_or_from_the_enrolment(tmp_path: Path) -> None:
    data, home, task_file = tmp_path / "data", Home(tmp_path / "home"), tmp_path / "task.toml"
    write_picture(data, "a.jpg")
    write_labels(data, ["a.jpg,3000,m,0,", "a.jpg,2900,m,200,"])
    fields = msgspec.to_builtins(WIDE)
    task_file.write_text("".join(f"{key} = {json.dumps(fields[key])}\n" for key in fields))
    wanted = ("--data", str(data), "--deployment", "hall", "--home", str(home.root))
    assert _run(*wanted, "--task", str(task_file)).exit_code == 0
    enrolment = {
        "device": "car-1",
        "deployment": "hall",
        "task": fields,
        "server_url": "http://127.0.0.1:1",
        "server_public_key": SigningKey(b"s" * 32).public.raw.hex(),
        "broker_host": "127.0.0.1",
        "broker_port": 1,
    }
    home.enrolment.write_bytes(msgspec.json.encode(enrolment))
    assert _run(*wanted).exit_code == 0
    task_file.write_text(task_file.read_text().replace("4000", "5000"))
    with pytest.raises(UsageError, match="front-distance"):
        _run(*wanted, "--task", str(task_file))
    with sqlite3.connect(home.journal) as db:
        assert db.execute("SELECT count(*) FROM samples").fetchone() == (4,)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--deployment", "a b"], "cannot name a deployment"),
        (["--deployment", "hall", "--task", "nosuch.toml"], r"nosuch\.toml"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, arguments: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        _run("--data", str(tmp_path), "--home", str(tmp_path / "home"), *arguments)
