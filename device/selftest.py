"""The self-test: every instrument, the model, disk, clock and broker, one verdict a line.

Laws:
- a line says pass, fail or skip and why; whatever one check runs into, the others are made;
- nothing moves unless it is asked for, and nothing is changed but what a check needs for itself;
- what another process holds is skipped by name: a car may be tested while it drives.
"""

import logging
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Literal, get_args

import msgspec
import numpy as np

from device import selftest_model
from device.calibration import load_newest
from device.drive.loop import only_one
from device.hardware import Frame, InstrumentName, Instruments, NotOpenedError
from device.home import Home
from device.journal import Journal
from device.selftest_model import NothingToTestError
from device.settings import DeviceSettings
from device.task import task_of
from shared.clock import Clock
from shared.errors import HardwareError, ParkfleetError, RefusedError, UsageError
from shared.picture import Pixels, prepare
from shared.task import Task

_log = logging.getLogger(__name__)

Verdict = Literal["pass", "fail", "skip"]

_FRAMES = 15
_READINGS = 15
_LOOK_US = 5_000
_WATCH_US = 2_000_000
_TURN_WHEELS_US = 500_000
_SPIN = 0.35
_STALE_US = 150_000
_LEAST_CONTRAST = 1.0
_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)
_BROKER_TIMEOUT_S = 3.0
_MEGABYTE = 1_000_000


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the test."""

    name: str
    verdict: Verdict
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All lines; `passed` where none fails."""

    passed: bool
    checks: tuple[Check, ...]


def selftest(
    home: Home,
    settings: DeviceSettings,
    clock: Clock,
    open_car: Callable[[], Instruments],
    *,
    moves: bool = False,
) -> Report:
    """Return the report on the car in `home`; `moves` lets the wheels turn, so lift them first.

    `open_car` opens the instruments; `clock` is the machine's own and times the model.
    """
    picture, checks = _instruments(home, open_car, moves=moves)
    checks += [
        _made("model", lambda: selftest_model.speed(home, clock, picture)),
        _made("golden pictures", lambda: selftest_model.answers(home)),
        _made("calibration", lambda: _calibration(home)),
        _made("disk", lambda: _disk(home, settings)),
        _made("journal", lambda: _journal(home)),
        _made("clock", lambda: _clock(clock)),
        _made("broker", lambda: _broker(home)),
    ]
    return Report(passed=all(c.verdict != "fail" for c in checks), checks=tuple(checks))


def _made(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name=name, verdict="pass", detail=check())
    except NothingToTestError as skipped:
        return Check(name=name, verdict="skip", detail=str(skipped))
    except (ParkfleetError, OSError) as error:
        return Check(name=name, verdict="fail", detail=" ".join(str(error).split())[:300])


def _instruments(
    home: Home, open_car: Callable[[], Instruments], *, moves: bool
) -> tuple[Pixels | None, list[Check]]:
    """Return a prepared picture of the camera's, if it gave one, and the instruments' lines."""
    names: tuple[InstrumentName, ...] = get_args(InstrumentName)
    with ExitStack() as held:
        try:
            held.enter_context(only_one(home))
        except UsageError:
            busy = "drive runs and holds it: stop drive to test it"
            return None, [Check(name=name, verdict="skip", detail=busy) for name in names]
        try:
            car = open_car()
        except NotOpenedError as error:
            return None, [_not_opened(name, error) for name in names]
        except (UsageError, HardwareError) as error:
            failed = " ".join(str(error).split())[:300]
            return None, [Check(name=name, verdict="fail", detail=failed) for name in names]
        seen: list[Pixels] = []
        try:
            checks = [
                _made("camera", lambda: _camera(car, seen, task_of(home))),
                _made("range sensor", lambda: _range(car)),
                _made("wheels", lambda: _wheels(car, moves=moves)),
                _made("lamp and buzzer", lambda: _signals(car)),
                _made("controls", lambda: _controls(car)),
            ]
        finally:
            try:
                car.close()
            except HardwareError as error:
                _log.warning("instrument_not_closed error=%s", error)
    return (seen[-1] if seen else None), checks


def _not_opened(name: InstrumentName, error: NotOpenedError) -> Check:
    if name == error.instrument:
        return Check(name=name, verdict="fail", detail=" ".join(str(error).split())[:300])
    return Check(
        name=name, verdict="skip", detail=f"not tested: the {error.instrument} comes first"
    )


def _camera(car: Instruments, seen: list[Pixels], task: Task) -> str:
    frames: list[Frame] = []
    end_us = car.clock.monotonic_us() + _WATCH_US
    while len(frames) < _FRAMES and car.clock.monotonic_us() < end_us:
        frame = car.camera.newest()
        if frame is not None and (not frames or frame.exposed_us != frames[-1].exposed_us):
            frames.append(frame)
        car.clock.sleep_until_us(car.clock.monotonic_us() + _LOOK_US)
    if len(frames) < _FRAMES:
        raise HardwareError(f"{len(frames)} pictures in {_WATCH_US // 1_000_000} s")
    age_us = car.clock.monotonic_us() - frames[-1].exposed_us
    if not 0 <= age_us <= _STALE_US:
        raise HardwareError(f"the newest picture is {age_us / 1000:.0f} ms old")
    contrast = float(np.std(frames[-1].pixels, axis=(0, 1)).max())
    if contrast < _LEAST_CONTRAST:
        raise HardwareError(f"pictures show nothing (contrast {contrast:.1f}): lens cap? light?")
    if all(np.array_equal(frames[0].pixels, each.pixels) for each in frames[1:]):
        # Not one grain of noise differs: these are copies, whatever their time stamps say.
        raise HardwareError(f"the same picture {len(frames)} times: the camera is frozen")
    seen.append(prepare(frames[-1].pixels, task))
    period_us = median(b.exposed_us - a.exposed_us for a, b in pairwise(frames))
    height, width = frames[-1].pixels.shape[:2]
    return (
        f"{1e6 / period_us:.0f} pictures a second of {width}x{height}, newest {age_us // 1000} ms"
    )


def _range(car: Instruments) -> str:
    if car.range_sensor is None:
        raise NothingToTestError("none is fitted: the car can park by its model only")
    ranges: list[float | None] = []
    end_us = car.clock.monotonic_us() + _WATCH_US
    while len(ranges) < _READINGS and car.clock.monotonic_us() < end_us:
        reading = car.range_sensor.poll()
        if reading is not None:
            ranges.append(reading.range_mm)
        car.clock.sleep_until_us(car.clock.monotonic_us() + _LOOK_US)
    if len(ranges) < _READINGS:
        raise HardwareError(f"{len(ranges)} readings in {_WATCH_US // 1_000_000} s")
    good = [each for each in ranges if each is not None]
    if not good:
        return f"{len(ranges)} readings, all out of range: nothing near"
    return f"{len(good)} of {len(ranges)} readings see something, at {median(good):.0f} mm"


def _wheels(car: Instruments, *, moves: bool) -> str:
    car.wheels.stop()
    before = car.wheels.edges()
    if not moves:
        return "pins answer; --move turns them"
    try:
        car.wheels.set_duty(_SPIN, _SPIN)
        car.clock.sleep_until_us(car.clock.monotonic_us() + _TURN_WHEELS_US)
    finally:
        car.wheels.stop()
    left, right = (now - then for now, then in zip(car.wheels.edges(), before, strict=True))
    if not (left and right):
        raise HardwareError(f"encoder edges left {left}, right {right}: motor or encoder is off")
    return f"encoder edges left {left}, right {right} in half a second"


def _signals(car: Instruments) -> str:
    for on in (True, False):
        car.signals.set_led(on=on)
        car.signals.set_buzzer(on=on)
        car.clock.sleep_until_us(car.clock.monotonic_us() + 100_000)
    return "both were on for a tenth of a second: seen and heard?"


def _controls(car: Instruments) -> str:
    pressed = car.controls.pressed()
    return f"{pressed} is pressed" if pressed else "answer; nothing is pressed"


def _calibration(home: Home) -> str:
    found = load_newest(home)
    if found is None:
        raise NothingToTestError("none yet: parkfleet device calibrate --distance MM")
    return (
        f"{found.name}: {found.correction_mm:+.1f} mm is taken off, noise {found.noise_mm:.1f} mm"
    )


def _disk(home: Home, settings: DeviceSettings) -> str:
    with tempfile.TemporaryFile(dir=home.root) as file:
        file.write(bytes(65536))
        file.flush()
    free_mb = shutil.disk_usage(home.root).free // _MEGABYTE
    if free_mb < settings.disk_spare_mb:
        raise HardwareError(
            f"{free_mb} MB free, less than disk_spare_mb = {settings.disk_spare_mb}"
        )
    return f"can be written, {free_mb} MB free"


def _journal(home: Home) -> str:
    if not home.journal.exists():
        raise NothingToTestError("none yet: this car never drove")
    journal = Journal.open_to_look(home.journal)
    try:
        verdict = journal.one("PRAGMA quick_check(1)")
        counts = journal.counts()
    finally:
        journal.close()
    if verdict != "ok":
        raise RefusedError(f"damaged: {verdict}")
    return (
        f"sound; {counts.pairs_logged} pairs logged, {counts.queue_depth} waiting, "
        f"{counts.pairs_dropped} dropped"
    )


def _clock(clock: Clock) -> str:
    now = datetime.fromtimestamp(clock.utc_us() / 1e6, tz=UTC)
    if clock.is_synced():
        return f"{now:%Y-%m-%d %H:%M:%S} UTC, synchronised"
    if now < _EARLIEST:
        raise HardwareError(f"says {now:%Y-%m-%d} and is not synchronised: samples are marked so")
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, not synchronised: samples are marked so"


def _broker(home: Home) -> str:
    from device.agent.enrolment import load_enrolment

    if not home.enrolment.exists():
        raise NothingToTestError("this car is not enrolled")
    enrolment = load_enrolment(home)
    place = (enrolment.broker_host, enrolment.broker_port)
    try:
        socket.create_connection(place, timeout=_BROKER_TIMEOUT_S).close()
    except OSError as error:
        raise HardwareError(f"{place[0]}:{place[1]} does not answer: {error}") from None
    return f"{place[0]}:{place[1]} answers"
