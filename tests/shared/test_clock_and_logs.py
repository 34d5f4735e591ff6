"""Time from one place, and log lines that a machine can read."""

import logging
import re
from collections.abc import Iterator

import pytest

from shared import logs
from shared.clock import Clock, SystemClock


def test_monotonic_time_does_not_go_back() -> None:
    clock: Clock = SystemClock()
    seen = [clock.monotonic_us() for _ in range(1000)]
    assert seen == sorted(seen)


def test_sleeping_reaches_its_moment_and_the_past_needs_no_sleep() -> None:
    clock = SystemClock()
    for moment in (clock.monotonic_us() + 2_000, 0):
        clock.sleep_until_us(moment)
        assert clock.monotonic_us() >= moment


def test_utc_is_microseconds_since_1970() -> None:
    # Between the day this was written and the year 2200.
    assert 1_760_000_000_000_000 < SystemClock().utc_us() < 7_258_000_000_000_000


@pytest.fixture
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for room in ("shared", "device", "fleet_server", "trainer", "hardware_sim"):
        logging.getLogger(room).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_root_logger")
def test_an_event_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    logging.getLogger("shared.example").info("batch_stored device=%s samples=%d", "car-1", 4)
    logging.getLogger("shared.example").debug("unseen")
    logging.getLogger("elsewhere").info("unseen")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO shared\.example "
        r"batch_stored device=car-1 samples=4\n",
        seen.err,
    )


@pytest.mark.usefixtures("_root_logger")
def test_what_is_bound_ends_every_line_of_the_block_and_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure()
    logger = logging.getLogger("shared.example")
    with logs.bound(request="r1"):
        with logs.bound(batch="b2"):
            logger.info("inner n=%d", 1)
        logger.info("outer")
    logger.info("after")
    ends = [line.partition("shared.example ")[2] for line in capsys.readouterr().err.splitlines()]
    assert ends == ["inner n=1 request=r1 batch=b2", "outer request=r1", "after"]
