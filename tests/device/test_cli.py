"""The verb `device`: what it prints and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device.home import Home
from device.journal import Journal
from shared import cli
from tests.device.fakes import TINY, Car, World


def test_status_tells_what_the_journal_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    car = Car(tmp_path)
    car.install()
    car.drive(9.0, {0.2: "park"})
    assert cli.run(["device", "status", "--home", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drive"]["loaded"] == TINY.sha256
    assert found["journal"]["queue_depth"] == len(car.samples())
    assert cli.run(["device", "status", "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert TINY.sha256[:12] in shown
    assert "faults      none" in shown


def test_status_tells_what_was_lost_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    car = Car(tmp_path, World(range_fails_from_us=2_000_000))
    car.drive(6.0, {0.2: "park_by_sensor"})
    journal = Journal.open(car.home.journal)
    journal.count_dropped("queue_full", 3, car.ends()[0].boot)
    journal.close()
    assert cli.run(["device", "status", "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "range_sensor_failed" in shown.split("faults")[1]
    assert "3 queue_full" in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["status", "--home", "{}/none"], "start one with"),
        (["drive", "--home", "{}/device.toml/car", "--backend", "sim"], "cannot use"),
        (["drive", "--home", "{}", "--backend", "boat"], "no hardware backend 'boat'"),
        (["drive", "--home", "{}/wrong"], "target_mm"),
        (["agent", "--home", "{}"], "enrol"),
        (["agent", "--home", "{}", "--broker", "nowhere"], "HOST:PORT"),
        (["sync-once", "--home", "{}"], "enrol"),
        (["sync-once", "--timeout", "0"], "timeout"),
        (["enrol", "--home", "{}", "--server", "boat", "--code", "X"], "no address of a server"),
        (["sail"], "No such command"),
    ],
)
def test_a_mistake_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    (tmp_path / "device.toml").write_text("")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "device.toml").write_text("target_mm = -5")
    filled = [argument.format(tmp_path) for argument in arguments]
    assert cli.run(["device", *filled]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["drive", "--backend", "boat"],
        ["selftest", "--backend", "boat"],
        ["calibrate", "--backend", "boat", "--distance", "100"],
        ["enrol", "--rotate"],
        ["sync-once"],
        ["enrol", "--server", "http://127.0.0.1:1", "--code", "X", "--name", "Car/1"],
        ["enrol", "--server", "http://127.0.0.1:1", "--code", "X", "--name", "car-1"],
    ],
)
def test_a_mistake_makes_no_folder(tmp_path: Path, arguments: list[str]) -> None:
    home = tmp_path / "car"
    assert cli.run(["device", *arguments, "--home", str(home)]) == 2
    assert not home.exists()


def test_a_setting_from_the_environment_overrules_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "device.toml").write_text('name = "red"\npair_hz = 2.0\n')
    monkeypatch.setenv("PARKFLEET_DEVICE_PAIR_HZ", "5")
    settings = Home(tmp_path).settings()
    assert (settings.name, settings.pair_hz) == ("red", 5.0)


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_driving_process_ends_cleanly_on_a_signal(tmp_path: Path, number: int) -> None:
    parkfleet = str(Path(sys.executable).with_name("parkfleet"))
    with subprocess.Popen(
        [parkfleet, "device", "drive", "--home", str(tmp_path), "--backend", "sim"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PARKFLEET_LOG_LEVEL": "info"},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "drive_started" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(20) == 0
    assert "Traceback" not in rest
    journal = Journal.open(tmp_path / "journal.sqlite")
    state = journal.drive_state()
    journal.close()
    assert state is not None
    assert state.state == "off"


@pytest.mark.slow
def test_the_driving_half_loads_no_network_code() -> None:
    code = (
        "import sys, device.drive.loop\n"
        "bad = {'paho', 'shared.mqtt', 'urllib3', 'tuf', 'device.agent', 'tensorflow', 'mlflow',"
        " 'fastapi'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
