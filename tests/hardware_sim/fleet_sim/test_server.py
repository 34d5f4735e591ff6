"""The model server keeps to what a car may rely on."""

import pytest

from hardware_sim import scene as scenes
from hardware_sim.fleet_sim import reels
from hardware_sim.fleet_sim.reels import Log
from hardware_sim.fleet_sim.server import ModelServer
from shared import codec
from shared.messages import Batch, Desired, Receipt
from shared.samples import Picture, Sample
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import BATCH, DESIRED, RECEIPT, RELEASE_METADATA

CAR = SigningKey(b"c" * 32)
SERVER = SigningKey(b"s" * 32)
LOG = Log(
    device="sim-00001",
    deployment="simulated",
    desired_revision=1,
    boot="00000001-00000000",
    manoeuvre=1,
    first_sequence=0,
    started_us=1_000_000,
    answer=lambda _label: (),
)


@pytest.fixture(scope="module")
def batch() -> Batch:
    reel = reels.render(scenes.load("beige"), count=1, seed=1)[0]
    logged, end = reels.pairs(reel, LOG)
    samples = tuple(sample for sample, _ in logged)
    pictures = tuple(_picture(sample, jpeg) for sample, jpeg in logged if jpeg)
    return Batch(device=LOG.device, samples=samples, manoeuvres=(end,), pictures=pictures)


def _picture(sample: Sample, jpeg: bytes) -> Picture:
    return Picture(
        device=sample.device,
        boot=sample.boot,
        sequence=sample.sequence,
        sha256=sample.picture_sha256 or "",
        jpeg=jpeg,
    )


@pytest.fixture
def server() -> ModelServer:
    made = ModelServer(SERVER, "simulated")
    made.enrol(LOG.device, CAR.public)
    return made


def _send(server: ModelServer, batch: Batch, key: SigningKey = CAR) -> Receipt:
    topic = BATCH.topic(id=LOG.device)
    (said,) = server.published(LOG.device, topic, seal(batch, topic=topic, key=key))
    assert said.topic == RECEIPT.topic(id=LOG.device)
    return open_envelope(
        RECEIPT, said.payload, topic=said.topic, message_type=Receipt, key=SERVER.public
    )


def test_a_reel_approaches_and_its_pairs_count_up_at_four_a_second(batch: Batch) -> None:
    labels = [sample.label or 0.0 for sample in batch.samples]
    assert labels == sorted(labels, reverse=True)
    assert 300 <= labels[0] <= 350
    assert labels[-1] == 40
    assert [sample.sequence for sample in batch.samples] == list(range(len(labels)))
    assert {
        b.utc_us - a.utc_us for a, b in zip(batch.samples, batch.samples[1:], strict=False)
    } == {250_000}
    assert batch.manoeuvres[0].pairs == len(labels)


def test_rows_are_kept_once_and_a_repeat_is_told_to_be_one(
    server: ModelServer, batch: Batch
) -> None:
    assert _send(server, batch).outcome == "stored"
    again = _send(server, batch)
    assert (again.outcome, again.new_samples) == ("duplicate", 0)
    ledger = server.ledgers[LOG.device]
    assert len(ledger.samples) == len(ledger.pictures) == len(batch.samples)
    assert ledger.doubled == 0


def test_another_content_under_a_known_key_is_refused(server: ModelServer, batch: Batch) -> None:
    _send(server, batch)
    reel = reels.render(scenes.load("beige"), count=1, seed=2)[0]
    other = Batch(
        device=LOG.device, samples=tuple(sample for sample, _ in reels.pairs(reel, LOG)[0][:3])
    )
    receipt = _send(server, other)
    assert (receipt.outcome, "another content" in receipt.reason) == ("rejected", True)


def test_a_batch_signed_by_somebody_else_and_a_wrong_picture_are_refused(
    server: ModelServer, batch: Batch
) -> None:
    assert _send(server, batch, SigningKey(b"x" * 32)).outcome == "rejected"
    damaged = Picture(
        device=LOG.device, boot=LOG.boot, sequence=0, sha256="0" * 64, jpeg=b"\xff\xd8"
    )
    receipt = _send(server, Batch(device=LOG.device, pictures=(damaged,)))
    assert (receipt.outcome, "digest" in receipt.reason) == ("rejected", True)
    assert not server.ledgers[LOG.device].pictures


def test_a_pair_under_two_keys_counts_as_doubled(server: ModelServer, batch: Batch) -> None:
    _send(server, batch)
    reel = reels.render(scenes.load("beige"), count=1, seed=1)[0]
    elsewhere = Log(**{**vars(LOG), "first_sequence": 1000})
    twice = tuple(sample for sample, _ in reels.pairs(reel, elsewhere)[0])
    assert _send(server, Batch(device=LOG.device, samples=twice)).outcome == "stored"
    assert server.ledgers[LOG.device].doubled == len(twice)


def test_a_subscriber_hears_what_is_retained_and_a_wish_names_the_release(
    server: ModelServer,
) -> None:
    assert server.subscribed(LOG.device, RELEASE_METADATA.topic()) == []
    (said,) = server.subscribed(LOG.device, DESIRED.topic(id=LOG.device))
    wish = open_envelope(
        DESIRED, said.payload, topic=said.topic, message_type=Desired, key=SERVER.public
    )
    assert (wish.device, wish.revision, wish.target, said.retained) == (LOG.device, 1, None, True)
    assert codec.is_finite(wish)
