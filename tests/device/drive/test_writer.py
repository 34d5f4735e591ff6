"""Every pair that was handed over is stored or counted, however its process and its disk end."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.drive import writer as module
from device.drive.writer import HandedOver, Pair, Writer
from device.journal import Journal
from device.journal.room import Budget
from device.tally import Tally
from tests.device.records import sample

PICTURE = np.zeros((75, 100, 3), dtype=np.uint8)
STEPS = st.sampled_from(["pair", "pair", "pair", "queue_full", "store", "fill", "free", "restart"])


class Car:
    """Boot after boot of one writer, on a journal that can be locked as a full disk locks it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite"
        self.folder = folder
        Journal.open(self.path).close()
        self.disk = sqlite3.connect(self.path, isolation_level=None)
        self.boots = self.given = 0
        self.start()

    def start(self) -> None:
        self.boots += 1
        self.boot = f"{self.boots:08d}-0a0b0c0d"
        self.handed_over = HandedOver()
        self.tally = Tally(self.folder / "pairs.tally")
        self.writer = Writer(
            self.path,
            boot=self.boot,
            tally=self.tally,
            budget=Budget(journal_bytes=10**9, spare_bytes=0),
            handed_over=self.handed_over,
            consent="pictures",
            fault="",
        )

    def do(self, step: str) -> None:
        if step in {"pair", "queue_full"}:
            number = self.handed_over.given
            self.given += 1
            self.handed_over.given += 1
            if step == "pair":
                self.writer.add(Pair(sample(number, boot=self.boot), PICTURE))
            else:
                self.handed_over.lose("queue_full")
        elif step == "store":
            self.writer.store()
        elif step == "fill" and not self.disk.in_transaction:
            self.disk.execute("BEGIN IMMEDIATE")
        elif step == "free" and self.disk.in_transaction:
            self.disk.execute("ROLLBACK")
        elif step == "restart":
            # What is held is gone with the process, and the disk with it is as it was.
            self.writer.close()
            self.start()


def test_numbers_are_kept_for_the_day_when_a_tally_can_be_read_again(tmp_path: Path) -> None:
    car = Car(tmp_path)
    for step in ("pair", "pair", "store"):
        car.do(step)
    car.writer.close()
    hidden = (tmp_path / "pairs.tally").rename(tmp_path / "hidden")
    (tmp_path / "pairs.tally").mkdir()
    for step in ("restart", "store", "restart"):
        car.do(step)
    (tmp_path / "pairs.tally").rmdir()
    hidden.rename(tmp_path / "pairs.tally")
    car.do("restart")
    car.do("store")
    car.writer.close()
    car.disk.close()
    journal = Journal.open(car.path)
    assert (journal.counts().pairs_logged, journal.counts().pairs_dropped) == (2, 0)
    journal.close()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=30))
def test_what_was_given_is_stored_or_counted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device.journal.file._BUSY_TIMEOUT_S", 0.001)
        patch.setattr(module, "_MAX_HELD", 4)
        car = Car(tmp_path_factory.mktemp("car"))
        for step in (*steps, "restart", "free", "store"):
            car.do(step)
        car.writer.close()
        car.disk.close()
    journal = Journal.open(car.path)
    counts = journal.counts()
    stored = journal.one("SELECT count(*) FROM samples")
    journal.close()
    assert counts.pairs_logged == stored
    assert counts.pairs_logged + counts.pairs_dropped == car.given
