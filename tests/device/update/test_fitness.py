"""Which releases fit a car, and which never will."""

import msgspec
import pytest

from device.update.fitness import check_release
from shared.errors import RefusedError
from shared.releases import MAX_MODEL_BYTES, Release
from shared.task import WALL_DISTANCE
from tests.device.releases import manifest

OLD = "a" * 64
SERIES = "wall-distance/beige"


def check(
    release: Release,
    *,
    committed: dict[str, tuple[int, ...]] | None = None,
    withdrawn: dict[str, frozenset[int]] | None = None,
    in_slots: tuple[str, ...] = (),
    size_bytes: int | None = None,
) -> None:
    made = release.manifest
    check_release(
        release,
        target=f"{made.task.name}/{made.deployment}/{made.sha256}.tflite",
        size_bytes=made.size_bytes if size_bytes is None else size_bytes,
        task=WALL_DISTANCE,
        committed=committed or {},
        withdrawn=withdrawn or {},
        in_slots=in_slots,
        device_version="0.1.0",
    )


def release(seq: int = 2, *, pieces: int = 1, **changes: object) -> Release:
    made = msgspec.structs.replace(manifest(b"model", release_seq=seq), **changes)
    return Release(release_seq=seq, chunks=("d" * 64,) * pieces, manifest=made)


def test_a_fitting_release_passes_on_an_empty_car() -> None:
    check(release())


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (release(pieces=2), "2 pieces instead of 1"),
        (release(minimum_device="9.0.0"), "needs device software 9.0.0"),
        (release(minimum_device="new"), "no version number"),
        (release(task=msgspec.structs.replace(WALL_DISTANCE, high=400.0)), "another task"),
        (release(release_seq=3), "disagree in sequence"),
        (release(size_bytes=MAX_MODEL_BYTES + 1), f"{MAX_MODEL_BYTES + 1} bytes"),
        (release(size_bytes=0), "0 bytes"),
    ],
)
def test_an_unfit_release_is_refused_with_its_reason(unfit: Release, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        check(unfit)


def test_the_signed_size_rules() -> None:
    with pytest.raises(RefusedError, match="manifest says"):
        check(release(), size_bytes=6)


def test_an_older_release_than_one_committed_is_refused() -> None:
    with pytest.raises(RefusedError, match="older than 5"):
        check(release(4), committed={SERIES: (5,)}, in_slots=(OLD,))
    check(release(5), committed={SERIES: (5,)})


def test_the_model_committed_before_the_present_one_may_come_back() -> None:
    made = release(4)
    check(made, committed={SERIES: (5,)}, in_slots=(OLD, made.manifest.sha256))


def test_each_deployment_numbers_its_own_releases() -> None:
    check(release(1), committed={"wall-distance/red": (9,)})


def test_an_older_release_fits_where_every_newer_one_that_was_committed_is_withdrawn() -> None:
    committed: dict[str, tuple[int, ...]] = {SERIES: (2, 3, 5)}
    check(release(4), committed=committed, withdrawn={SERIES: frozenset({5})})
    with pytest.raises(RefusedError, match="older than 3"):
        check(release(2), committed=committed, withdrawn={SERIES: frozenset({5})})
    check(release(2), committed=committed, withdrawn={SERIES: frozenset({3, 5})})


def test_what_was_withdrawn_is_not_taken_even_from_a_slot() -> None:
    made = release(5)
    with pytest.raises(RefusedError, match="withdrawn"):
        check(made, withdrawn={SERIES: frozenset({5})}, in_slots=(made.manifest.sha256,))
