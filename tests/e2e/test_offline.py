"""The car needs no network: it parks in a network namespace that holds nothing at all."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hardware_sim.lab.fleet import Car, Floor
from hardware_sim.lab.network import Cable

pytestmark = pytest.mark.e2e


def _without_network(*command: str) -> list[str]:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare (util-linux) is not installed")
    whole = [unshare, "--map-root-user", "--net", "--", *command]
    if subprocess.run([*whole[:4], "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel lets nobody make a network namespace")
    return whole


def test_a_car_with_no_network_at_all_parks_and_keeps_its_pairs(tmp_path: Path) -> None:
    with Cable(1) as unplugged:
        car = Car("car-1", tmp_path, unplugged)
    car.home.mkdir()
    car.tell(Floor(scene="beige", manoeuvres=2))
    command = _without_network(
        *(sys.executable, "-m", "shared", "sim", "car", "--home", str(car.home)),
        *("--script", str(car.script), "--speed", "0", "--max-manoeuvres", "2"),
    )
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr.decode()
    progress = msgspec.json.decode((tmp_path / "progress.json").read_bytes())
    assert progress["done"] == 2
    assert progress["contacts"] == 0
    status = subprocess.run(
        [sys.executable, "-m", "shared", "device", "status", "--home", str(car.home), "--json"],
        capture_output=True,
        check=True,
    )
    counts = msgspec.json.decode(status.stdout)["journal"]
    assert counts["pairs_logged"] > 20
    assert counts["queue_depth"] == counts["pairs_logged"]
