"""When space runs out, what teaches least goes first."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from device.retention import Cell, Row, cell_of, quotas, residual_of, thin
from shared.samples import Characteristics
from tests.device.records import BOOT, sample

CELLS = st.builds(Cell, st.integers(0, 2), st.sampled_from("abcdefgh"))
COUNTS = st.dictionaries(CELLS, st.integers(0, 60), max_size=12)
ROWS = st.lists(
    st.tuples(st.integers(0, 500), st.none() | st.floats(0, 100)),
    max_size=60,
    unique_by=lambda row: row[0],
).map(lambda found: [Row(BOOT, number, residual) for number, residual in sorted(found)])


@given(COUNTS, st.integers(0, 800))
def test_as_much_goes_as_must_and_the_fullest_cells_give_it(
    counts: dict[Cell, int], drop: int
) -> None:
    given_up = quotas(counts, drop)
    left = Counter(counts)
    left.subtract(given_up)
    assert sum(given_up.values()) == min(drop, sum(counts.values()))
    assert all(count >= 0 for count in left.values())
    for priority in {cell.priority for cell in given_up}:
        # Whoever gave something up has no less left, but for one, than anybody of its kind.
        lowest = min(left[cell] for cell in given_up if cell.priority == priority)
        peers = [count for cell, count in left.items() if cell.priority == priority]
        assert all(count <= lowest + 1 for count in peers)


@given(COUNTS, st.integers(0, 800))
def test_nothing_that_goes_first_is_given_up_before_the_last_that_does_not(
    counts: dict[Cell, int], drop: int
) -> None:
    given_up = quotas(counts, drop)
    highest = max((cell.priority for cell in given_up), default=0)
    below = {cell: count for cell, count in counts.items() if count and cell.priority < highest}
    assert all(given_up[cell] == count for cell, count in below.items())


@given(ROWS, st.integers(0, 80))
def test_rows_go_once_and_no_high_residual_before_the_last_ordinary_one(
    rows: list[Row], drop: int
) -> None:
    crowded, high = thin(rows, drop)
    gone = [*crowded, *high]
    assert len(gone) == len(set(gone)) == min(drop, len(rows))
    assert set(gone) <= set(rows)
    if high:
        kept = [row for row in rows if row not in gone]
        lowest = max(row.residual or 0.0 for row in high)
        assert all((row.residual or 0.0) >= lowest for row in kept)


def test_duplicates_are_thinned_evenly() -> None:
    rows = [Row(BOOT, number, 5.0) for number in range(64)]
    crowded, _ = thin(rows, 32)
    kept = sorted({row.sequence for row in rows} - {row.sequence for row in crowded})
    gaps = [later - former for former, later in pairwise(kept)]
    assert max(gaps) <= 3


def test_what_was_thinned_before_is_left_alone_while_newer_pairs_are_dense() -> None:
    sparse = [Row(BOOT, number, 5.0) for number in range(0, 400, 10)]
    dense = [Row(BOOT, number, 5.0) for number in range(400, 440)]
    crowded, _ = thin([*sparse, *dense], 30)
    assert all(row.sequence >= 400 for row in crowded)


def test_high_residuals_outlive_ordinary_ones() -> None:
    rows = [Row(BOOT, number, 50.0 if number % 10 == 0 else 4.0) for number in range(50)]
    crowded, high = thin(rows, 40)
    assert (len(crowded), high) == (40, [])
    assert all(row.residual == 4.0 for row in crowded)


def test_a_cell_is_a_setting_and_a_stretch_of_labels() -> None:
    assert cell_of(sample(label=100.0)) == cell_of(sample(label=110.0))
    assert cell_of(sample(label=30.0)) != cell_of(sample(label=45.0))
    assert cell_of(sample(deployment="green")) != cell_of(sample(deployment="beige"))
    looks = [
        Characteristics(
            brightness=brightness,
            saturation=20.0,
            hue=0.0,
            mean_red=0.0,
            mean_green=0.0,
            mean_blue=0.0,
            contrast=0.0,
            texture=0.0,
            keypoints=0,
        )
        for brightness in (40.0, 50.0, 200.0)
    ]
    dim, also_dim, bright = (cell_of(sample(characteristics=look)) for look in looks)
    assert dim == also_dim != bright
    assert cell_of(sample(label=None)).endswith("/-")
    assert residual_of(sample(label=100.0)) == 1.5
    assert residual_of(sample(label=None)) is None
