"""The simulated camera and the driver against the sources of the real picamera2.

Compared are the oldest version that a car may have and the newest we know, as `make sources`
fetches them: every name that the simulation offers or the driver uses, signatures, the keys of
configurations, formats, and the names of controls and metadata.
"""

import ast
from collections.abc import Iterator
from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.drivers import camera as driver
from device.drivers.pi import PiConfiguration
from hardware_sim.camera import SimulatedPicamera2
from hardware_sim.camera_request import CompletedRequest
from tests.contracts.signatures import (
    Surface,
    bound,
    function_in,
    literals,
    names_in,
    offered,
    read_class,
    stand_in_faults,
    wish_faults,
)
from tests.hardware_sim.worlds import a_clock, a_world

_ROOT = Path(__file__).parents[2]
_VERSIONS = sorted(path.stem for path in (_ROOT / "tests/contracts/sources").glob("*.txt"))
_SIMULATIONS_OWN = {"observers", "tick", "array_of", "returned"}
"""What the world and its judges use of the simulated camera; no driver may."""


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


class Sources:
    """One version of picamera2, read and not imported."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "picamera2"

    def module(self, name: str) -> ast.Module:
        return _parsed(self._folder / f"{name}.py")

    def every_module(self) -> list[ast.Module]:
        return [_parsed(path) for path in sorted(self._folder.rglob("*.py"))]

    def camera(self) -> Surface:
        return read_class(self.module("picamera2"), "Picamera2")

    def request(self) -> Surface:
        return read_class(self.module("request"), "CompletedRequest")


@pytest.fixture(scope="module", params=_VERSIONS)
def real(request: pytest.FixtureRequest) -> Sources:
    folder = _ROOT / ".sources" / request.param
    if not (folder / ".made").exists():
        pytest.skip(f"no sources of {request.param} here: make sources")
    return Sources(folder)


@pytest.fixture
def simulated() -> Iterator[SimulatedPicamera2]:
    world = a_world()
    camera = SimulatedPicamera2(world, a_clock(world), 1)
    yield camera
    camera.close()


def _configured(camera: SimulatedPicamera2) -> dict[str, Any]:
    driver.configure(camera, width=200, height=150, frame_us=PiConfiguration().frame_us)
    return camera.camera_configuration()


def _wishes(protocol: type) -> Surface:
    """Return what a Protocol of the driver's asks for, that of its bases included."""
    methods = {
        name: bound(protocol, name)
        for name in dir(protocol)
        if not name.startswith("_") and callable(getattr(protocol, name))
    }
    attributes = {
        name for each in protocol.__mro__ for name in getattr(each, "__annotations__", ())
    }
    return Surface(methods=methods, attributes=frozenset(attributes))


def _stand_in(real: Surface, ours: Surface) -> list[str]:
    said = [f"{name}: not an attribute" for name in ours.attributes - real.attributes]
    for name, mine in ours.methods.items():
        if name not in real.methods:
            said.append(f"{name}: no such method")
        else:
            said += [f"{name}: {fault}" for fault in stand_in_faults(real.methods[name], mine)]
    return said


def _ungranted(given: Surface, wished: Surface) -> list[str]:
    said = [f"{name}: not an attribute" for name in wished.attributes - given.attributes]
    for name, wish in wished.methods.items():
        if name not in given.methods:
            said.append(f"{name}: no such method")
        else:
            said += [f"{name}: {fault}" for fault in wish_faults(given.methods[name], wish)]
    return said


def _public(ours: Surface) -> Surface:
    return Surface(
        methods={name: m for name, m in ours.methods.items() if name not in _SIMULATIONS_OWN},
        attributes=ours.attributes - _SIMULATIONS_OWN,
    )


def test_the_simulated_camera_offers_picamera2s_own_names_and_signatures(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    ours = _public(offered(simulated))
    assert {"configure", "start", "stop", "close", "capture_request"} <= set(ours.methods)
    assert {"pre_callback", "post_callback", "camera_properties"} <= ours.attributes
    assert _stand_in(real.camera(), ours) == []


def test_a_simulated_frame_offers_picamera2s_own_names_and_signatures(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    ours = offered(CompletedRequest(simulated, {}, 0))
    assert set(ours.methods) == {"acquire", "release", "get_metadata", "make_array"}
    assert _stand_in(real.request(), ours) == []


def test_what_the_driver_asks_of_the_camera_the_real_one_and_the_simulated_one_grant(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    wished = _wishes(driver.UnconfiguredCamera)
    assert {"start", "stop", "close", "configure"} <= set(wished.methods)
    assert wished.attributes == {"post_callback"}
    assert _ungranted(real.camera(), wished) == []
    assert _ungranted(_public(offered(simulated)), wished) == []


def test_what_the_driver_asks_of_a_frame_the_real_one_and_the_simulated_one_grant(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    wished = _wishes(driver.CompletedRequest)
    assert set(wished.methods) == {"acquire", "release", "get_metadata", "make_array"}
    assert _ungranted(real.request(), wished) == []
    assert _ungranted(offered(CompletedRequest(simulated, {}, 0)), wished) == []


def test_the_backend_opens_the_camera_by_a_name_that_is_there_and_without_arguments(
    real: Sources,
) -> None:
    backend = ast.parse((_ROOT / "device" / "drivers" / "pi.py").read_text(encoding="utf-8"))
    imported = [
        name.name
        for node in ast.walk(backend)
        if isinstance(node, ast.ImportFrom) and node.module == "picamera2"
        for name in node.names
    ]
    assert imported == ["Picamera2"]
    exported = {
        name.asname or name.name
        for node in real.module("__init__").body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert set(imported) <= exported
    real.camera().methods["__init__"].bind()


def test_the_driver_uses_the_keys_that_a_stream_has(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    asked: dict[str, Any] = {}

    class Listening(SimulatedPicamera2):
        def create_video_configuration(self, *rest: Any, **named: Any) -> dict[str, Any]:
            asked.update(named)
            return super().create_video_configuration(*rest, **named)

    world = a_world()
    _configured(Listening(world, a_clock(world), 1))
    named = literals(function_in(real.module("picamera2"), "_make_initial_stream_config"))
    keys = next(each for each in named if isinstance(each, tuple))
    assert {"size", "format"} <= set(asked["main"]) <= set(keys)
    assert tuple(simulated.create_video_configuration()["main"])[:2] == ("format", "size")
    for key in keys:
        simulated.create_video_configuration(main={key: None})


def test_a_configuration_has_picamera2s_keys_and_defaults(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    made = function_in(real.module("picamera2"), "create_video_configuration")
    configurations = [
        {ast.literal_eval(key) for key in node.keys if key is not None}
        for node in ast.walk(made)
        if isinstance(node, ast.Dict)
    ]
    keys = max(configurations, key=len) | {"display", "encode"}
    ours = simulated.create_video_configuration()
    assert set(ours) == keys
    assert ours["main"] in literals(made)
    assert ours["controls"]
    for control, value in ours["controls"].items():
        assert f"'{control}': {value}" in ast.unparse(made)


def test_the_formats_are_picamera2s(real: Sources, simulated: SimulatedPicamera2) -> None:
    formats = {
        text
        for each in literals(real.module("formats"))
        if isinstance(each, set)
        for text in each
        if text.endswith("888")
    }
    main = _configured(simulated)["main"]
    assert main["format"] in formats
    accepted = set()
    for name in sorted(formats):
        try:
            simulated.configure(simulated.create_video_configuration(main={"format": name}))
        except RuntimeError:
            continue
        accepted.add(name)
    assert {main["format"]} < accepted


@pytest.mark.slow
def test_controls_metadata_and_properties_bear_names_that_the_sources_use(
    real: Sources, simulated: SimulatedPicamera2
) -> None:
    known = names_in(real.every_module())
    assert "FrameDurationLimit" not in known
    configuration = _configured(simulated)
    simulated.start()
    request = simulated.capture_request()
    metadata = request.get_metadata()
    request.release()
    assert {"SensorTimestamp", "ExposureTime"} <= set(metadata)
    assert set(configuration["controls"]) == {"FrameDurationLimits"}
    assert {*configuration["controls"], *metadata, *simulated.camera_properties} <= known


def test_the_driver_reads_only_metadata_that_the_sources_name(real: Sources) -> None:
    read: list[str] = []

    class Told(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            read.append(key)
            return super().get(key, default)

        def __getitem__(self, key: str) -> Any:
            read.append(key)
            return super().__getitem__(key)

    class Frame(CompletedRequest):
        def get_metadata(self) -> dict[str, Any]:
            return Told(super().get_metadata())

    class Stream:
        post_callback: Any = None

        def start(self) -> None:
            self.post_callback(Frame(self, {"SensorTimestamp": 1_000}, 1))

        def stop(self) -> None: ...

        def close(self) -> None: ...

        def returned(self) -> None: ...

        def array_of(self, exposed_us: int, name: str) -> Any:
            assert (exposed_us, name) == (1, "main")
            return np.zeros((75, 100, 3), dtype=np.uint8)

    frame = driver.Picamera2Camera(Stream(), "rear").newest()
    assert frame is not None
    assert read
    assert set(read) <= names_in(real.every_module())


@pytest.mark.parametrize("which", ["camera", "request"])
def test_one_changed_parameter_anywhere_in_the_sources_would_be_noticed(
    real: Sources, simulated: SimulatedPicamera2, which: str
) -> None:
    theirs = real.camera() if which == "camera" else real.request()
    thing = simulated if which == "camera" else CompletedRequest(simulated, {}, 0)
    ours = _public(offered(thing))
    changed = 0
    for name, mine in ours.methods.items():
        for parameter in mine.parameters:
            for other in _changes(theirs.methods[name], parameter):
                altered = Surface(
                    methods={**theirs.methods, name: other}, attributes=theirs.attributes
                )
                assert _stand_in(altered, ours) != [], f"{name}({parameter})"
                changed += 1
        rest = {each: s for each, s in theirs.methods.items() if each != name}
        without = Surface(methods=rest, attributes=theirs.attributes)
        assert _stand_in(without, ours) == [f"{name}: no such method"]
    assert changed >= 2


def _changes(signature: Signature, name: str) -> Iterator[Signature]:
    parameters = list(signature.parameters.values())
    place = list(signature.parameters).index(name)
    here = parameters[place]
    yield _with(parameters, place, here.replace(name="renamed"))
    if here.default is not Parameter.empty:
        yield _with(parameters, place, here.replace(default=("another", here.default)))
    yield Signature([each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters])


def _with(parameters: list[Parameter], place: int, new: Parameter) -> Signature:
    return Signature([*parameters[:place], new, *parameters[place + 1 :]])
