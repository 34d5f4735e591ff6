"""A world's server, look by look, with cars that are no processes but sockets."""

import errno
import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hardware_sim.apart import wire
from hardware_sim.apart.link import listening
from hardware_sim.apart.serving import WorldServer
from hardware_sim.apart.world import build
from hardware_sim.faults import Fault
from shared.errors import UsageError
from tests.hardware_sim.worlds import StillClock, exact_scene, with_fault

pytestmark = pytest.mark.slow

_FRAME_US = 33_333

Play = Iterator[None]
"""What cars do: at each `yield` the server looks once."""


class _Car:
    """A car's end of one connection."""

    def __init__(self, path: Path, device: wire.Device | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        if device is not None:
            self.say(wire.Open(device=device))

    def say(self, message: wire.ToWorld) -> None:
        self.socket.send(wire.encode(message))

    def heard(self) -> list[wire.FromWorld]:
        messages: list[wire.FromWorld] = []
        while True:
            try:
                packet = self.socket.recv(wire.PACKET_BYTES)
            except BlockingIOError:
                return messages
            assert packet, "the world hung up"
            messages.append(wire.from_world(packet))

    @property
    def is_hung_up_on(self) -> bool:
        try:
            while self.socket.recv(wire.PACKET_BYTES):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True


class _Table:
    """A server, its clock, and the play that goes on between its looks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = StillClock()
        self.hardware = build(exact_scene(), 1, self.clock)
        self._cars: list[_Car] = []

    def car(self, device: wire.Device | None = None) -> _Car:
        self._cars.append(_Car(self.path, device))
        return self._cars[-1]

    def play(self, play: Callable[["_Table"], Play]) -> None:
        with listening(self.path) as listener:
            acts = play(self)
            ended: list[bool] = []

            def stop() -> bool:
                if not ended:
                    for _ in acts:
                        return False
                    ended.append(True)
                return True

            try:
                WorldServer(self.hardware, self.clock, listener).run(stop)
            finally:
                for car in self._cars:
                    car.socket.close()

    def looks(self, times: int, each_us: int = 0) -> Play:
        for _ in range(times):
            self.clock.now_us += each_us
            yield


@pytest.fixture
def table(tmp_path: Path) -> _Table:
    return _Table(tmp_path / "world.socket")


def test_pictures_come_by_themselves_with_the_moments_of_their_exposure(table: _Table) -> None:
    def play(table: _Table) -> Play:
        car = table.car("camera")
        car.say(wire.Stream(width=100, height=75, frame_us=_FRAME_US))
        yield from table.looks(150, each_us=2_000)
        opened, started, *pictures = car.heard()
        assert (opened, started) == (wire.Done(), wire.Done())
        exposed_us = []
        for picture in pictures:
            assert isinstance(picture, wire.Picture)
            assert len(picture.pixels) == 100 * 75 * 3
            exposed_us.append(picture.exposed_us)
        assert len(exposed_us) in (8, 9)
        assert {b - a for a, b in pairwise(exposed_us)} == {_FRAME_US}

    table.play(play)


def test_a_car_that_reads_no_pictures_loses_them_and_nobody_waits(table: _Table) -> None:
    def play(table: _Table) -> Play:
        car, hand = table.car("camera"), table.car("hand")
        car.say(wire.Stream(width=300, height=200, frame_us=_FRAME_US))
        yield from table.looks(100, each_us=20_000)
        hand.say(wire.Look())
        yield from table.looks(1)
        assert isinstance(hand.heard()[-1], wire.Seen)
        assert len(car.heard()) < 10
        yield from table.looks(10, each_us=20_000)
        assert isinstance(car.heard()[-1], wire.Picture)

    table.play(play)


def test_one_camera_serves_one_process(table: _Table) -> None:
    def play(table: _Table) -> Play:
        first = table.car("camera")
        yield from table.looks(2)
        second = table.car("camera")
        yield from table.looks(2)
        (answer,) = second.heard()
        assert isinstance(answer, wire.Failed)
        assert answer.errno == errno.EBUSY
        first.socket.close()
        yield from table.looks(1)
        second.say(wire.Open(device="camera"))
        yield from table.looks(1)
        assert second.heard() == [wire.Done()]

    table.play(play)


def test_who_is_gone_is_gone_before_anybody_else_is_answered(table: _Table) -> None:
    def play(table: _Table) -> Play:
        supervisor = table.car("pins")
        yield from table.looks(2)
        drive = table.car("pins")
        yield from table.looks(2)
        claim = wire.Claim(pin=12, function="output")
        drive.say(claim)
        yield from table.looks(1)
        drive.say(wire.Write(pin=12, level=0.5))
        drive.socket.close()
        supervisor.say(claim)
        yield from table.looks(1)
        assert supervisor.heard() == [wire.Done(), wire.Claimed(pin=12, level=0.0)]

    table.play(play)


@pytest.mark.parametrize(
    "packet",
    [
        b"nonsense",
        bytes(10_000),
        wire.encode(wire.Look()),
        wire.encode(wire.Done()),
    ],
    ids=["no message", "too long", "not opened", "an answer"],
)
def test_who_breaks_the_protocol_is_hung_up_on(table: _Table, packet: bytes) -> None:
    def play(table: _Table) -> Play:
        car, hand = table.car(), table.car("hand")
        car.socket.send(packet)
        yield from table.looks(3)
        assert car.is_hung_up_on
        assert hand.heard() == [wire.Done()]

    table.play(play)


@pytest.mark.parametrize("device", ["pins", "bus", "camera", "hand"])
def test_a_device_that_is_asked_for_anothers_service_hangs_up(
    table: _Table, device: wire.Device
) -> None:
    def play(table: _Table) -> Play:
        car = table.car(device)
        car.say(wire.Look() if device != "hand" else wire.Claim(pin=1, function="input"))
        yield from table.looks(3)
        assert car.is_hung_up_on

    table.play(play)


def test_who_reads_no_answers_is_hung_up_on(table: _Table) -> None:
    def play(table: _Table) -> Play:
        car = table.car("hand")
        for _ in range(40):
            try:
                for _ in range(100):
                    car.say(wire.Look())
            except (BlockingIOError, BrokenPipeError):
                yield
        assert car.is_hung_up_on

    table.play(play)


def test_too_many_connections_are_turned_away_and_the_others_served(table: _Table) -> None:
    def play(table: _Table) -> Play:
        cars = [table.car("hand")]
        for _ in range(40):
            yield
            cars.append(table.car())
        yield from table.looks(2)
        cars[0].say(wire.Look())
        yield from table.looks(1)
        assert isinstance(cars[0].heard()[-1], wire.Seen)
        assert cars[-1].is_hung_up_on

    table.play(play)


def test_a_world_that_fell_behind_catches_up_and_answers_meanwhile(table: _Table) -> None:
    def play(table: _Table) -> Play:
        hand = table.car("hand")
        yield from table.looks(2)
        table.clock.now_us += 2_000_000
        hand.say(wire.Look())
        yield from table.looks(1)
        _, seen = hand.heard()
        assert isinstance(seen, wire.Seen)
        assert seen.now_us < table.clock.now_us - 1_000_000
        yield from table.looks(40)
        assert table.clock.now_us - table.hardware.world.now_us < 2_000

    table.play(play)


def test_the_hand_sees_since_when_motors_are_driven(table: _Table) -> None:
    def play(table: _Table) -> Play:
        hand, drive = table.car("hand"), table.car("pins")
        hand.say(wire.Put(x_mm=0.0, z_mm=250.0, heading_deg=2.0))
        drive.say(wire.Claim(pin=table.hardware.wiring.left_enable, function="output"))
        drive.say(wire.Write(pin=table.hardware.wiring.left_enable, level=0.5))
        yield from table.looks(3)
        driven_us = table.hardware.world.now_us + 2_000
        yield from table.looks(3, each_us=2_000)
        hand.say(wire.Look())
        yield from table.looks(1)
        seen = hand.heard()[-1]
        assert isinstance(seen, wire.Seen)
        assert (seen.is_driven, seen.since_us) == (True, driven_us)
        assert seen.heading_deg == pytest.approx(2.0, abs=0.2)

    table.play(play)


def test_the_socket_is_its_owners_alone_and_goes_with_the_world(tmp_path: Path) -> None:
    path = tmp_path / "world.socket"
    with listening(path):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(UsageError, match="another world"), listening(path):
            pass
    assert not path.exists()


def test_what_a_killed_world_left_is_replaced_and_anything_else_left_alone(tmp_path: Path) -> None:
    left, other = tmp_path / "left.socket", tmp_path / "notes.txt"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed:
        killed.bind(str(left))
    with listening(left):
        pass
    other.write_text("mine")
    with pytest.raises(UsageError, match="something else"), listening(other):
        pass
    assert other.read_text() == "mine"


def test_the_folder_of_the_socket_is_made_where_it_is_missing(tmp_path: Path) -> None:
    with listening(tmp_path / "var" / "world.socket"):
        assert (tmp_path / "var" / "world.socket").is_socket()


def test_a_path_longer_than_an_address_can_be_listened_at(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40)
    folder.mkdir()
    with listening(folder / "world.socket"):
        assert (folder / "world.socket").is_socket()


@pytest.mark.parametrize("name", ["disk_full", "power_cut", "clock_jump"])
def test_faults_of_the_cars_computer_are_refused(name: str) -> None:
    clock = StillClock()
    fault = Fault(name=name)  # type: ignore[arg-type] # one of the names there are
    with pytest.raises(UsageError, match="another process"):
        build(exact_scene(), 1, clock, faults=(fault,))
    with pytest.raises(UsageError, match="another process"):
        build(with_fault(exact_scene(), fault.name), 1, clock)
