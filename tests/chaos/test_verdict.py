"""A journal beside a server's database: what was lost on the way is seen, and what came is not."""

from pathlib import Path

import msgspec

from device.journal import Journal
from shared.messages import Batch
from tests.chaos.verdict import Found, judge
from tests.fleet_server.fleet import Fleet, drive


def committed(path: Path, batch: Batch) -> None:
    """Put the rows of `batch` into the journal at `path`."""
    journal = Journal.open(path)
    jpegs = {each.sequence: each.jpeg for each in batch.pictures}
    samples = [(each, jpegs[each.sequence]) for each in batch.samples]
    journal.append(samples=samples, manoeuvres=batch.manoeuvres)
    journal.close()


def test_what_is_lost_altered_or_unknown_on_the_way_is_counted(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    journals = {name: tmp_path / f"{name}.sqlite" for name in ("car-1", "car-2")}
    for name, path in journals.items():
        fleet.add_car(name)
        committed(path, drive(0, device=name, pairs=3))
    fleet.send(drive(0, device="car-1", pairs=3))
    sent = drive(0, device="car-2", pairs=4)
    altered = msgspec.structs.replace(sent.samples[1], camera="another")
    fleet.send(
        msgspec.structs.replace(
            sent, samples=(altered, sent.samples[3]), manoeuvres=(), pictures=sent.pictures[3:]
        )
    )
    fleet.close()
    # Of car-2 two pairs are lost, one came altered and bare, one was never committed.
    assert judge(journals, tmp_path / "server.sqlite", refused=1) == Found(
        pairs=6, pictures=6, lost=2, altered=1, unknown=1, bare=1, endless=1, refused=1
    )
