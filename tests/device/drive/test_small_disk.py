"""A disk that takes nothing keeps no car from driving, on a real one of six megabytes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.device.drive.small_disk import MANOEUVRES

pytestmark = pytest.mark.e2e

_ROOT = Path(__file__).parents[3]
_MOUNT = 'mount -t tmpfs -o size=6m none "$1" && shift && exec "$@"'


def on_small_disk(scenario: str, folder: Path) -> dict[str, Any]:
    """Return what the scenario told; skip where this user may not mount."""
    shell = ["unshare", "-m", "sh", "-c", _MOUNT, "sh", str(folder)]
    if subprocess.run([*shell, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk here")
    told = subprocess.run(
        [*shell, sys.executable, "-m", "tests.device.drive.small_disk", scenario, str(folder)],
        stdout=subprocess.PIPE,
        check=True,
        cwd=_ROOT,
    )
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["stood_mm"] == [pytest.approx(40.0, abs=4.0)] * len(found["stood_mm"])
    return found


def test_a_disk_that_is_full_at_the_start_does_not_keep_the_car_from_parking_and_is_told(
    tmp_path: Path,
) -> None:
    found = on_small_disk("full_at_the_start", tmp_path)
    assert found["boots"] == ["00000001"]
    (said,) = found["said"]
    assert said.startswith("pairs not stored")
    assert "full" in said


def test_what_a_full_disk_never_took_is_counted_by_the_next_boot_to_the_pair(
    tmp_path: Path,
) -> None:
    found = on_small_disk("ends_while_full", tmp_path)
    # Three manoeuvres alike, the second of them with its whole boot on a disk that took nothing.
    assert found["logged"] > 20
    assert found["dropped"]["unwritten"] == found["logged"] // 2
    assert found["dropped"].keys() <= {"unwritten", "crowded", "valuable"}


def test_a_disk_that_fills_up_costs_the_pairs_that_teach_least_and_says_so(
    tmp_path: Path,
) -> None:
    found = on_small_disk("less_and_less_room", tmp_path)
    assert found["ends"] == MANOEUVRES
    assert found["dropped"].keys() <= {"crowded", "valuable"}
    assert sum(found["dropped"].values()) == found["logged"] - found["waiting"] > 0
    assert found["waiting"] >= 100


def test_on_a_read_only_disk_the_car_parks_by_the_model_it_had(tmp_path: Path) -> None:
    found = on_small_disk("read_only", tmp_path)
    assert found["knows_model"]
    # And its owner can still look at the journal, and save what is in it.
    assert found["looks"] == [0, 0]
    assert "loaded" in found["told"]
    assert "pairs in /" in found["told"]
