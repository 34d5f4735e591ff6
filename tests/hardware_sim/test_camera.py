from typing import Any

import numpy as np
import pytest

from device.drivers.camera import Picamera2Camera
from hardware_sim.camera import SimulatedPicamera2
from hardware_sim.camera_request import CompletedRequest
from hardware_sim.clock import VirtualClock
from hardware_sim.render import Renderer
from hardware_sim.scene import Scene
from hardware_sim.world import World
from shared.errors import HardwareError
from tests.hardware_sim.worlds import a_clock, a_world, exact_scene, with_fault


def _camera(
    scene: Scene | None = None, *, form: str = "BGR888", size: tuple[int, int] = (100, 75)
) -> tuple[SimulatedPicamera2, World, VirtualClock]:
    world = a_world(scene)
    clock = a_clock(world)
    camera = SimulatedPicamera2(world, clock, 1)
    main = {"size": size, "format": form}
    camera.configure(camera.create_video_configuration(main=main, buffer_count=4, queue=False))
    return camera, world, clock


def test_the_driver_sees_a_frame_some_twenty_milliseconds_after_its_exposure() -> None:
    camera, _, clock = _camera()
    driver = Picamera2Camera(camera, "rear")
    assert driver.newest() is None
    start_us = clock.monotonic_us()
    while (frame := driver.newest()) is None:
        clock.sleep_until_us(clock.monotonic_us() + 1_000)
    assert 15_000 <= clock.monotonic_us() - frame.exposed_us <= 25_000
    assert frame.exposed_us == start_us
    assert frame.pixels.shape == (75, 100, 3)


def test_frames_come_thirty_times_a_second() -> None:
    camera, _, clock = _camera()
    stamps: list[int] = []
    camera.post_callback = lambda r: stamps.append(r.get_metadata()["SensorTimestamp"])
    camera.start()
    clock.sleep_until_us(clock.monotonic_us() + 1_000_000)
    assert len(stamps) == 30
    assert set(np.diff(stamps)) == {33_333_000}


def test_a_picture_shows_where_the_car_was_when_it_was_exposed() -> None:
    camera, world, clock = _camera()
    held: list[CompletedRequest] = []

    def hold(request: CompletedRequest) -> None:
        if not held:
            request.acquire()
            held.append(request)

    camera.post_callback = hold
    camera.start()
    clock.sleep_until_us(clock.monotonic_us() + 30_000)
    exposed_us = held[0].get_metadata()["SensorTimestamp"] // 1000
    world.set_duty(0, -0.5)
    world.set_duty(1, -0.5)
    clock.sleep_until_us(clock.monotonic_us() + 500_000)
    shown = held[0].make_array("main")
    expected = Renderer(world.scene, 1).picture(
        300.0, lateral_mm=0.0, at_us=exposed_us - world.start_us
    )
    assert world.distance_mm < 250.0
    assert np.array_equal(shown, expected)


def test_rgb888_comes_in_the_order_blue_green_red() -> None:
    pictures = []
    for form in ("BGR888", "RGB888"):
        camera, _, _ = _camera(form=form)
        camera.start()
        pictures.append(camera.capture_request().make_array("main"))
    assert np.array_equal(pictures[0], pictures[1][..., ::-1])


def test_held_buffers_cost_frames_and_come_back_when_released() -> None:
    camera, _, clock = _camera()
    held: list[CompletedRequest] = []

    def hold(request: CompletedRequest) -> None:
        request.acquire()
        held.append(request)

    camera.post_callback = hold
    camera.start()
    clock.sleep_until_us(clock.monotonic_us() + 1_000_000)
    assert len(held) == 4
    for request in held:
        request.release()
    held.clear()
    clock.sleep_until_us(clock.monotonic_us() + 100_000)
    assert held


def test_a_request_given_back_is_of_no_use() -> None:
    camera, _, clock = _camera()
    camera.start()
    request = camera.capture_request()
    request.release()
    clock.sleep_until_us(clock.monotonic_us() + 100_000)
    for use in (request.acquire, request.release, lambda: request.make_array("main")):
        with pytest.raises(RuntimeError):
            use()
    with pytest.raises(AssertionError):
        request.get_metadata()


def test_nothing_is_rendered_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[float] = []
    real = Renderer.picture

    def counting(self: Renderer, distance_mm: float, *rest: Any, **named: Any) -> Any:
        rendered.append(distance_mm)
        return real(self, distance_mm, *rest, **named)

    monkeypatch.setattr(Renderer, "picture", counting)
    camera, _, clock = _camera()
    driver = Picamera2Camera(camera, "rear")
    clock.sleep_until_us(clock.monotonic_us() + 10_000_000)
    assert rendered == []
    assert driver.newest() is driver.newest()
    assert len(rendered) == 1


@pytest.mark.parametrize(
    ("form", "size"), [("YUV420", (100, 75)), ("BGR888", (0, 75)), ("BGR888", (9_000, 75))]
)
def test_formats_and_sizes_that_the_camera_lacks_are_refused(
    form: str, size: tuple[int, int]
) -> None:
    with pytest.raises(RuntimeError, match="Bad"):
        _camera(form=form, size=size)


def test_a_key_that_no_stream_has_is_refused() -> None:
    world = a_world()
    camera = SimulatedPicamera2(world, a_clock(world), 1)
    with pytest.raises(ValueError, match="Bad key 'sise'"):
        camera.create_video_configuration(main={"sise": (100, 75)})


def test_a_camera_that_was_never_configured_does_not_start() -> None:
    world = a_world()
    bare = SimulatedPicamera2(world, a_clock(world), 1)
    with pytest.raises(HardwareError, match="does not start"):
        Picamera2Camera(bare, "rear")


def test_a_closed_camera_delivers_nothing_and_leaves_the_world() -> None:
    camera, world, clock = _camera()
    driver = Picamera2Camera(camera, "rear")
    driver.close()
    driver.close()
    clock.sleep_until_us(clock.monotonic_us() + 200_000)
    assert driver.newest() is None
    assert camera not in world.actors
    with pytest.raises(RuntimeError, match="not running"):
        camera.capture_request()


def test_black_frames_look_healthy_but_for_the_light() -> None:
    camera, _, clock = _camera(with_fault(exact_scene(), "black_frames", from_s=0.5))
    driver = Picamera2Camera(camera, "rear")
    clock.sleep_until_us(clock.monotonic_us() + 400_000)
    before = driver.newest()
    clock.sleep_until_us(clock.monotonic_us() + 400_000)
    after = driver.newest()
    assert before is not None
    assert after is not None
    assert before.pixels.any()
    assert not after.pixels.any()
    assert after.exposed_us > before.exposed_us


def test_a_frozen_camera_repeats_its_picture_under_new_stamps_and_the_driver_sees_through_it() -> (
    None
):
    camera, world, clock = _camera(with_fault(exact_scene(), "frozen_camera", from_s=0.5))
    driver = Picamera2Camera(camera, "rear")
    clock.sleep_until_us(clock.monotonic_us() + 400_000)
    before = camera.capture_request()
    world.set_duty(0, -0.5)
    world.set_duty(1, -0.5)
    clock.sleep_until_us(clock.monotonic_us() + 200_000)
    frozen = camera.capture_request()
    clock.sleep_until_us(clock.monotonic_us() + 400_000)
    after, seen = camera.capture_request(), driver.newest()
    stamps = [each.get_metadata()["SensorTimestamp"] for each in (before, frozen, after)]
    assert stamps == sorted(set(stamps))
    assert np.array_equal(frozen.make_array("main"), after.make_array("main"))
    assert seen is not None
    clock.sleep_until_us(clock.monotonic_us() + 400_000)
    again = driver.newest()
    assert again is not None
    assert again.exposed_us == seen.exposed_us
    for each in (before, frozen, after):
        each.release()


def test_observers_are_told_every_exposure() -> None:
    camera, _, clock = _camera()
    told: list[int] = []
    camera.observers.append(told.append)
    camera.start()
    start_us = clock.monotonic_us()
    clock.sleep_until_us(start_us + 100_000)
    assert told == [start_us + n * 33_333 for n in range(len(told))]
    assert len(told) == 4


def test_a_new_scene_is_seen_from_the_next_picture_on() -> None:
    from hardware_sim import scene as scenes

    camera, world, clock = _camera(size=(50, 40))
    driver = Picamera2Camera(camera, "rear")
    clock.sleep_until_us(clock.monotonic_us() + 100_000)
    beige = driver.newest()
    world.change_scene(scenes.load("red"))
    clock.sleep_until_us(clock.monotonic_us() + 100_000)
    red = driver.newest()
    assert beige is not None
    assert red is not None
    assert red.pixels[30:, :, 1].mean() < 0.6 * beige.pixels[30:, :, 1].mean()
