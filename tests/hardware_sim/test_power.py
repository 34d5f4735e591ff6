import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device.home import Home
from device.journal import Journal
from hardware_sim.faults import Fault
from hardware_sim.power import PowerSupply
from hardware_sim.world import STEP_US, World
from tests.hardware_sim.worlds import START_US, exact_scene, let_pass


def test_the_power_is_cut_at_the_chosen_step_and_not_before() -> None:
    world = World(
        exact_scene(), 1, start_us=START_US, faults=(Fault(name="power_cut", from_s=0.5),)
    )
    cuts: list[int] = []
    PowerSupply(world, lambda: cuts.append(world.now_us))
    let_pass(world, 0.5 - STEP_US / 1e6)
    assert cuts == []
    let_pass(world, STEP_US / 1e6)
    assert cuts == [START_US + 500_000]


@pytest.mark.e2e
def test_a_cut_car_is_dead_at_once_and_starts_again_with_a_whole_journal(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text('run = 1\nscene = "beige"\nmanoeuvres = 1\n')
    home = tmp_path / "home"
    command = [str(Path(sys.executable).with_name("parkfleet")), "sim", "car"]
    command += [
        "--home",
        str(home),
        "--script",
        str(script),
        "--speed",
        "0",
        "--max-manoeuvres",
        "1",
    ]
    cut = subprocess.run([*command, "--fault", "power_cut@3.5"], timeout=120, check=False)
    assert cut.returncode == -signal.SIGKILL
    again = subprocess.run(command, timeout=120, check=False)
    assert again.returncode == 0
    journal = Journal.open(Home(home).journal)
    try:
        boots = {sample.boot for sample in journal.unsent_samples(1_000)}
    finally:
        journal.close()
    assert boots
