"""A recording goes through a car to the server and to a training; a simulated fleet syncs there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from device.home import Home
from device.journal import Journal
from hardware_sim.lab.fleet import Fleet
from shared.clock import SystemClock
from shared.ids import sha256_hex
from tests.hardware_sim.recordings import record_approaches

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def _parkfleet(*arguments: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "shared", "--log-level", "warning", *arguments],
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.slow
def test_a_recording_runs_through_a_car_to_the_server_and_to_a_model(tmp_path: Path) -> None:
    record_approaches(tmp_path / "recording", manoeuvres=9, pictures=12)
    with (tmp_path / "recording" / "labels.csv").open("a") as file:
        file.write("gone.jpg,100,approach 1,9000,\n")
    settings = {
        "PARKFLEET_SERVER_FIRST_TRAINING_PAIRS": "108",
        "PARKFLEET_TRAINER_STEPS": "50",
        "PARKFLEET_TRAINER_THREADS": "1",
    }
    with Fleet(tmp_path, SystemClock(), settings=settings) as fleet:
        fleet.start_broker()
        fleet.start_server()
        fleet.server.post("deployments", {"name": "hall", "reason": "a recording"})
        car = fleet.add_car("recorder", "hall")
        home = str(car.home)
        replayed = json.loads(
            _parkfleet(
                *("sim", "replay", "--data", str(tmp_path / "recording"), "--deployment", "hall"),
                *("--home", home, "--json"),
            )
        )
        assert (replayed["pairs"], replayed["lost"]) == (108, 0)
        assert [row["line"] for row in replayed["skipped"]] == [110]
        prepared = _pictures(car.home)
        _parkfleet("device", "sync-once", "--home", home)

        stored = list(fleet.server.all("samples", device="recorder"))
        assert len(stored) == len(prepared) == 108
        for item in stored:
            sequence = item["sequence"]
            assert item["record"]["picture_sha256"] == prepared[sequence]
            picture = f"samples/recorder/{replayed['boot']}/{sequence}/picture"
            assert sha256_hex(fleet.server.data(picture)) == prepared[sequence]

        fleet.start_trainer()
        fleet.processes.wait_for(
            "a model of the recording",
            lambda: bool(list(fleet.server.all("models", deployment="hall"))),
            timeout_s=180,
            each_s=1.0,
        )


def _pictures(home: Path) -> dict[int, str]:
    journal = Journal.open(Home(home).journal)
    try:
        return {picture.sequence: picture.sha256 for picture in journal.unsent_pictures(1_000)}
    finally:
        journal.close()


def test_a_simulated_fleet_syncs_with_a_real_server_and_goes_on_with_the_same_cars(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.start_broker()
    fleet.start_server()
    arguments = (
        *("sim", "fleet", "--cars", "4", "--minutes", "0.5", "--every-minutes", "0.5"),
        *("--server", fleet.url, "--token-file", str(tmp_path / "operator.token")),
        *("--state", str(tmp_path / "cars"), "--speed", "10", "--json"),
    )
    for runs in (1, 2):
        outcome = json.loads(_parkfleet(*arguments))["outcome"]
        assert outcome["manoeuvres"] == 4
        assert outcome["stored"] == outcome["pairs"] > 4 * 15 * runs
        assert (outcome["lost"], outcome["doubled"], outcome["waiting"]) == (0, 0, 0)
    assert len(list(fleet.server.all("devices"))) == 4
