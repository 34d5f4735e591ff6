"""A journal of every version that was ever released opens, whole, in this one."""

import shutil
from pathlib import Path

import pytest

from device.journal import Journal
from device.journal.schema import KNOWN
from tests.device.records import BOOT, JPEG, manoeuvre_end, sample

FIXTURES = sorted((Path(__file__).parents[2] / "golden" / "journal").glob("*.sqlite"))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_an_old_journal_is_migrated_and_loses_nothing(fixture: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    shutil.copy(fixture, path)
    for _ in range(2):
        journal = Journal.open(path)
        counts = journal.counts()
        assert (counts.pairs_logged, counts.pairs_sent, counts.pairs_rejected) == (4, 1, 1)
        assert (counts.pairs_dropped, counts.dropped, counts.queue_depth) == (2, {"disk": 2}, 2)
        assert journal.unsent_samples(10) == [sample(2), sample(3)]
        assert [(p.sequence, p.jpeg) for p in journal.unsent_pictures(10)] == [
            (number, JPEG) for number in (1, 2, 3)
        ]
        assert journal.unsent_manoeuvres(10) == [manoeuvre_end(pairs=4)]
        desired, state = journal.desired(), journal.drive_state()
        assert desired is not None
        assert desired.revision == 2
        assert state is not None
        assert (state.boot, state.loaded, state.faults) == (BOOT, "b" * 64, ())
        assert [slot.state for slot in journal.slots()] == ["standby", "active"]
        assert journal.update_state() == b"saved"
        assert journal.next_boot(bytes(4)) == "00000002-00000000"
        journal.close()


def test_there_is_a_fixture_of_every_version_but_this_one() -> None:
    released = {path.stem for path in FIXTURES}
    assert released == {name[:4] for name in KNOWN} - {max(KNOWN)[:4]}
