"""What a transfer that breaks costs, counted on the wire between a real broker and a real agent."""

import logging
import random
from pathlib import Path

import msgspec
import pytest

from device.agent.enrolment import Enrolment
from device.agent.shell import Shell
from shared import codec
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.messages import Chunk, Desired
from shared.releases import split
from shared.signing import seal, write_secret
from shared.topics import DESIRED, RELEASE_METADATA, RELEASE_TARGET
from tests.contracts.brokers import running, secret_of, wait_for
from tests.device.agent.world import DEVICE, Fleet, SettableClock, enrolled_home
from tests.rollouts.wire import Count, Packets, Proxy

logger = logging.getLogger(__name__)

MODEL = random.Random(5).randbytes(2 * 1024 * 1024)
CUTS = 10


class Scissors:
    """Cuts a connection ten times, each time after another part of the model came down."""

    def __init__(self) -> None:
        rng = random.Random(7)
        self._after = sorted(rng.sample(range(len(MODEL)), CUTS))
        self._seen = 0

    def __call__(self, passed: int) -> bool:
        """Tell whether to cut, now that `passed` bytes came through this connection."""
        if not self._after or self._seen + passed < self._after[0]:
            return False
        self._seen += passed
        del self._after[0]
        return True


@pytest.mark.slow
@pytest.mark.long
def test_two_megabytes_whose_transfer_breaks_ten_times_cost_a_twentieth_more(
    tmp_path: Path,
) -> None:
    fleet = Fleet(root=tmp_path / "fleet", clock=SettableClock(now_us=SystemClock().utc_us()))
    target = fleet.release(MODEL)
    home = enrolled_home(tmp_path / "car", fleet)
    write_secret(home.mqtt_secret, secret_of(DEVICE).encode())
    with running("mosquitto") as broker:
        broker.add(DEVICE)
        server = broker.meet_server()
        publish = server.connection.publish
        for number, piece in enumerate(split(MODEL)):
            topic = RELEASE_TARGET.topic(sha256=sha256_hex(MODEL), n=number)
            publish(topic, codec.encode(Chunk(data=piece)), retained=True)
        publish(RELEASE_METADATA.topic(), codec.encode(fleet.metadata()), retained=True)
        wish = Desired(device=DEVICE, epoch=1, revision=1, deployment="beige", target=target)
        topic = DESIRED.topic(id=DEVICE)
        publish(topic, seal(wish, topic=topic, key=fleet.key), retained=True)
        proxy = Proxy(broker.port, cut=Scissors())
        enrolment = msgspec.json.decode(home.enrolment.read_bytes(), type=Enrolment)
        here = msgspec.structs.replace(enrolment, broker_port=proxy.port)
        write_secret(home.enrolment, msgspec.json.encode(here))
        shell = Shell(home, SystemClock())
        try:
            shell.start()
            place = home.model(sha256_hex(MODEL))

            def has_come() -> bool:
                shell.step()
                return place.exists()

            wait_for(has_come, "the model", 120.0)
        finally:
            shell.close()
            proxy.close()
    assert proxy.cuts == CUTS
    assert place.read_bytes() == MODEL
    (metadata,) = proxy.down.on("releases/meta")
    # Metadata come once, however often the transfer breaks; twice where the first break comes
    # before the broker knows that they have.
    assert proxy.down.messages[metadata] <= 2
    described = proxy.down.payload_bytes[metadata]
    everything = proxy.down.bytes + proxy.lost_bytes
    logger.info(
        "interrupted_transfer size=%d everything=%d metadata=%d lost=%d",
        *(len(MODEL), everything, described, proxy.lost_bytes),
    )
    assert everything - described <= 1.05 * len(MODEL)


def test_packets_are_found_however_the_stream_is_cut() -> None:
    # A PUBLISH of QoS 1 on "a/b" with four bytes, then a PINGRESP.
    stream = bytes([0x32, 11, 0, 3]) + b"a/b" + bytes([0, 7]) + b"data" + bytes([0xD0, 0])
    for at in range(len(stream)):
        count = Count()
        packets = Packets(count)
        packets.feed(stream[:at])
        packets.feed(stream[at:])
        assert (count.messages["a/b"], count.payload_bytes["a/b"]) == (1, 4)
        assert count.bytes == len(stream)


def test_who_connects_is_counted_by_client_id() -> None:
    body = bytes([0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 6]) + b"server"
    count = Count()
    Packets(count).feed(bytes([0x10, len(body)]) + body)
    assert count.connects == {"server": 1}
