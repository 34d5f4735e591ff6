"""The loop in the product's own simulator, over the real drivers."""

from pathlib import Path
from statistics import mean

import pytest

from device.drive.loop import run
from device.home import Home
from device.journal import Journal
from device.settings import DeviceSettings
from hardware_sim.backend import SimConfiguration, open_car
from shared.clock import SystemClock


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_simulated_car_parks_by_its_sensor(tmp_path: Path, seed: int) -> None:
    car = open_car(SimConfiguration(speed=0.0, seed=seed), SystemClock())
    try:
        end_us = car.clock.monotonic_us() + 9_000_000
        truth: dict[int, float] = {}

        def see(exposed_us: int) -> None:
            truth[exposed_us] = car.world.true_mm_at(exposed_us)

        def stop() -> bool:
            now_us = car.clock.monotonic_us()
            if now_us - car.world.start_us >= 500_000:
                car.pins.press(car.configuration.pins.button_park_by_sensor)
            return now_us >= end_us

        car.camera.observers.append(see)
        run(Home(tmp_path), car.instruments, DeviceSettings(), stop=stop, entropy=bytes(4))
        stop_mm, contacts = car.world.distance_mm, car.world.contacts
    finally:
        car.close()
    journal = Journal.open(tmp_path / "journal.sqlite")
    samples, ends = journal.unsent_samples(100), journal.unsent_manoeuvres(10)
    journal.close()
    assert contacts == 0
    assert stop_mm == pytest.approx(40.0, abs=4.0)
    assert [(end.reason, end.pairs) for end in ends] == [("target", len(samples))]
    assert 20 <= len(samples) <= 30
    assert all(s.sensor_status in ("ok", "out_of_range") for s in samples)
    errors = [s.label - truth[s.monotonic_us] for s in samples if s.label is not None]
    # No lag between picture and label: at 80 mm/s a turn of the loop would show as 2.7 mm.
    assert abs(mean(errors)) < 1.5
    assert max(map(abs, errors)) < 20.0
