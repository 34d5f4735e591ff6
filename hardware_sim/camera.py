"""A camera with the face of `picamera2.Picamera2` that sees the simulated world.

Laws:
- names, arguments and units are Picamera2's own, so that the driver for the real one runs on it;
- a frame is exposed around a moment of virtual time and delivered some 20 ms later (measured on a
  Pi 4: 17 to 21 ms), with `SensorTimestamp` telling the exposure's middle in nanoseconds;
- a picture is rendered when somebody asks for its array, of the pose at its exposure, and never
  otherwise: an idle car costs no rendering;
- buffers are few, as on the real one: where all of them are held, frames are lost.

Faults: `frozen_camera` goes on delivering the last picture before the fault under new time stamps;
`black_frames` delivers pictures without light; both look healthy to the driver.

Picamera2's format names are libcamera's, whose letters run from the highest byte down: arrays of
"BGR888" come in the order red, green, blue, those of "RGB888" reversed. Source: Picamera2 manual,
section 4.2, "More on formats".

Unlike the real one, which rounds a size down to even numbers, it delivers any size asked for.
`tests/contracts` compares the rest with Picamera2's own sources.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from hardware_sim.camera_request import CompletedRequest
from hardware_sim.render import Renderer
from hardware_sim.scene import Scene
from hardware_sim.world import World
from shared.clock import Clock
from shared.picture import Pixels

_FORMATS: Final = ("BGR888", "RGB888")
_MAX_SIDE: Final = 1280
_STREAM_KEYS: Final = ("format", "size", "stride", "preserve_ar")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

Configuration = dict[str, Any]
Callback = Callable[[Any], object]
"""What is called with each `CompletedRequest`; Picamera2 says no type."""


class SimulatedPicamera2:
    """The part of `Picamera2` that a driver of one video stream uses.

    Frames arrive through `post_callback` or `capture_request` as the world's time goes on. Beyond
    Picamera2, `observers` are told each exposure's moment, for those who compare with the truth.
    """

    def __init__(self, world: World, clock: Clock, seed: int) -> None:
        """Fit the camera to the car in `world`."""
        self.post_callback: Callback | None = None
        self.pre_callback: Callback | None = None
        self.observers: list[Callable[[int], None]] = []
        self.camera_properties = {"Model": "imx708_wide", "Location": 2, "Rotation": 0}
        self._world = world
        self._clock = clock
        self._seed = seed
        self._rng = np.random.default_rng((seed, 0x63616D))
        self._configuration: Configuration = {}
        self._renderer: tuple[Scene, Renderer] | None = None
        self._running = False
        self._sequence = 0
        self._next_exposure_us = 0
        self._in_flight: deque[tuple[int, int]] = deque()
        self._lent = 0
        self._latest: CompletedRequest | None = None
        self._frozen: Pixels | None = None
        world.actors.append(self)

    def create_video_configuration(  # noqa: PLR0917 - Picamera2's own signature
        self,
        main: Mapping[str, Any] = _NOTHING,
        lores: Mapping[str, Any] | None = None,
        raw: Mapping[str, Any] | None = _NOTHING,
        transform: object = None,
        colour_space: object = None,
        buffer_count: int = 6,
        controls: Mapping[str, Any] = _NOTHING,
        display: str = "main",
        encode: str = "main",
        queue: bool = True,
        sensor: Mapping[str, Any] | None = _NOTHING,
        use_case: str = "video",
    ) -> Configuration:
        """Return a configuration; what is not given is Picamera2's default.

        Raises:
            ValueError: `main` has a key that no stream has.
        """
        for key in main:
            if key not in _STREAM_KEYS:
                raise ValueError(
                    f"Bad key {key!r}: valid stream configuration keys are {_STREAM_KEYS}"
                )
        return {
            "use_case": use_case,
            "transform": transform,
            "colour_space": colour_space,
            "buffer_count": buffer_count,
            "queue": queue,
            "main": {"format": "XBGR8888", "size": (1280, 720), "preserve_ar": True} | dict(main),
            "lores": lores,
            "raw": raw,
            "controls": {"FrameDurationLimits": (33_333, 33_333)} | dict(controls),
            "sensor": sensor,
            "display": display,
            "encode": encode,
        }

    def configure(self, camera_config: Configuration | None = None) -> None:
        """Take a configuration made by `create_video_configuration`.

        Picamera2 has a preview of its own for None, in a format that this camera lacks.

        Raises:
            RuntimeError: the camera runs, or a format or size is not one this camera has.
        """
        if self._running:
            raise RuntimeError("Camera must be stopped before configuring")
        camera_config = camera_config or self.create_video_configuration()
        stream = camera_config["main"]
        width, height = stream["size"]
        if stream["format"] not in _FORMATS:
            raise RuntimeError(f"Bad format {stream['format']}: this camera has {_FORMATS}")
        if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
            raise RuntimeError(f"Bad size {width}x{height}: up to {_MAX_SIDE} pixels a side")
        self._configuration = camera_config
        self._renderer = None

    def camera_configuration(self) -> Configuration:
        """Return the configuration in force."""
        return self._configuration

    def start(self, config: Configuration | None = None, show_preview: bool = False) -> None:  # noqa: ARG002 - its own
        """Start delivering frames.

        Raises:
            RuntimeError: the camera was never configured.
        """
        if config is not None:
            self.configure(config)
        if not self._configuration:
            raise RuntimeError("Camera has not been configured")
        self._running = True
        self._next_exposure_us = self._clock.monotonic_us()

    def stop(self) -> None:
        """Stop delivering frames; those under way are lost."""
        self._running = False
        self._in_flight.clear()

    def close(self) -> None:
        """Stop and release the camera."""
        self.stop()
        if self in self._world.actors:
            self._world.actors.remove(self)

    def capture_request(self) -> CompletedRequest:
        """Wait for the next frame and return it, held once for the caller.

        Of Picamera2's three arguments, all of which serve event loops of its own, none is offered.

        Raises:
            RuntimeError: the camera does not run.
        """
        if not self._running:
            raise RuntimeError("Camera is not running")
        former = self._sequence
        while self._latest is None or self._sequence == former:
            self._clock.sleep_until_us(self._clock.monotonic_us() + self._frame_us() // 8)
        self._latest.acquire()
        return self._latest

    def tick(self, now_us: int) -> None:
        """Expose and deliver what is due; called by the world."""
        if not self._running:
            return
        while self._next_exposure_us <= now_us:
            camera = self._world.scene.camera
            jitter_ms = float(self._rng.uniform(-1.0, 1.0)) * camera.latency_jitter_ms
            latency_us = int((camera.latency_ms + jitter_ms) * 1000.0)
            exposed_us = self._next_exposure_us
            for observer in self.observers:
                observer(exposed_us)
            self._in_flight.append((exposed_us + max(latency_us, 0), exposed_us))
            self._next_exposure_us += self._frame_us()
        while self._in_flight and self._in_flight[0][0] <= now_us:
            self._deliver(self._in_flight.popleft()[1])

    def array_of(self, exposed_us: int, name: str) -> Pixels:
        """Return the picture exposed at a moment; for `CompletedRequest`.

        Raises:
            RuntimeError: `name` is not the main stream.
        """
        if name != "main":
            raise RuntimeError(f"Stream {name!r} is not defined")
        stream = self._configuration["main"]
        picture = self._picture(exposed_us)
        return picture if stream["format"] == "BGR888" else np.ascontiguousarray(picture[..., ::-1])

    def returned(self) -> None:
        """Take a buffer back; for `CompletedRequest`."""
        self._lent -= 1

    def _deliver(self, exposed_us: int) -> None:
        if self._latest is not None:
            latest, self._latest = self._latest, None
            latest.release()
        if self._lent >= self._configuration["buffer_count"]:
            return
        self._sequence += 1
        self._lent += 1
        request = CompletedRequest(self, self._metadata(exposed_us), exposed_us)
        self._latest = request
        for callback in (self.pre_callback, self.post_callback):
            if callback is not None:
                callback(request)

    def _metadata(self, exposed_us: int) -> dict[str, Any]:
        return {
            "SensorTimestamp": exposed_us * 1000,
            "ExposureTime": self._exposure_us(),
            "AnalogueGain": 1.0,
        }

    def _frame_us(self) -> int:
        limits = self._configuration["controls"]["FrameDurationLimits"]
        return max(int(limits[0]), int(1e6 / self._world.scene.camera.frame_hz))

    def _exposure_us(self) -> int:
        return int(self._world.scene.camera.exposure_ms * 1000.0)

    def _picture(self, exposed_us: int) -> Pixels:
        faults = self._world.faults
        if faults.acts("black_frames", exposed_us):
            width, height = self._configuration["main"]["size"]
            return np.zeros((height, width, 3), dtype=np.uint8)
        if faults.acts("frozen_camera", exposed_us) and self._frozen is not None:
            return self._frozen.copy()
        half_us = self._exposure_us() // 2
        moments = (exposed_us - half_us, exposed_us + half_us)
        start, end = (self._world.placement_at(moment).pose() for moment in moments)
        picture = self._rendering().picture(
            start.distance_mm,
            start.angle_deg,
            lateral_mm=start.lateral_mm,
            at_us=exposed_us - self._world.start_us,
            until=end,
        )
        self._frozen = picture
        return picture.copy()

    def _rendering(self) -> Renderer:
        """Return the renderer of the world's present scene; a new scene needs new tables."""
        scene = self._world.scene
        if self._renderer is None or self._renderer[0] is not scene:
            width, height = self._configuration["main"]["size"]
            self._renderer = scene, Renderer(scene, self._seed, width=width, height=height)
        return self._renderer[1]
