"""A small fleet as views: two cars of one deployment."""

from dataclasses import replace

from fleet_server.console.reader import Fleet
from fleet_server.reading.views import (
    DecisionView,
    DeploymentView,
    DeviceView,
    JobView,
    ManoeuvreView,
    RolloutView,
    Totals,
)
from shared.clock import SystemClock

NOW_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
V1, V2 = "1" * 64, "2" * 64
VERSIONS = {V1: 1, V2: 2}

NO_TOTALS = Totals(
    devices=0,
    online=0,
    pairs_stored=0,
    pictures=0,
    batches=0,
    manoeuvres=0,
    models=0,
    quarantined=0,
    decisions=0,
    jobs={},
)

EMPTY = Fleet(
    totals=NO_TOTALS,
    devices=(),
    deployments=(),
    rollouts=(),
    manoeuvres=(),
    decisions=(),
    job=None,
)

CAR = DeviceView(
    id=1,
    device="car-1",
    deployment="garage",
    fingerprint="",
    enrolled_utc_us=NOW_US,
    online=True,
    last_seen_utc_us=NOW_US - 2 * SECOND_US,
    boot=None,
    loaded=V2,
    loaded_version=2,
    desired_target="target",
    desired_version=2,
    desired_revision=2,
    reported_revision=2,
    queue_depth=0,
    pairs_logged=900,
    pairs_dropped=0,
    pairs_stored=900,
    upload="pictures",
    temperature_c=None,
    disk_free_bytes=None,
    faults=(),
    update=None,
)

AWAY = replace(
    CAR,
    id=2,
    device="car-2",
    online=False,
    last_seen_utc_us=NOW_US - 200 * SECOND_US,
    loaded=V1,
    loaded_version=1,
    queue_depth=96,
    pairs_logged=436,
    pairs_stored=340,
)

GARAGE = DeploymentView(
    id=1,
    name="garage",
    task={"unit": "mm"},
    created_utc_us=NOW_US,
    latest=V2,
    latest_version=2,
    devices=2,
)

ROLLOUT = RolloutView(
    deployment="garage",
    model=V2,
    version=2,
    promoted_utc_us=NOW_US,
    decision=4,
    wanted=2,
    loaded=1,
)

RUNNING = JobView(
    id=1,
    deployment="garage",
    reason="",
    decision=3,
    verdict=None,
    state="running",
    created_utc_us=NOW_US,
    changed_utc_us=NOW_US,
    worker="trainer-1",
    attempt=1,
    lease_until_utc_us=None,
    release_seq=2,
    cut_sample=None,
    cut_picture=None,
    stage="fit",
    fraction=0.4,
    message="",
    model=None,
)


def manoeuvre(
    number: int,
    *,
    device: str = "car-1",
    model: str | None = None,
    mae: float | None = None,
    heard: int | None = None,
    boot: str = "00000001-0a0b0c0d",
) -> ManoeuvreView:
    """Return a manoeuvre that was heard of as the `heard`-th, a second after the one before."""
    place = number if heard is None else heard
    return ManoeuvreView(
        id=place,
        device=device,
        boot=boot,
        manoeuvre=number,
        deployment="garage",
        source="model" if model else "sensor",
        reason="target",
        started_utc_us=0,
        ended_utc_us=0,
        received_utc_us=NOW_US + place * SECOND_US,
        pairs=20,
        pairs_stored=20,
        model=model,
        model_version=VERSIONS.get(model or ""),
        mae=mae,
        mean_label=None,
        stop_label=None,
        stop_estimate=None,
    )


def decision(number: int, kind: str, *, after: int) -> DecisionView:
    """Return a decision taken when the `after`-th manoeuvre had just been heard of."""
    return DecisionView(
        id=number,
        utc_us=NOW_US + after * SECOND_US,
        deployment="garage",
        actor="server",
        kind=kind,
        reason=f"reason {number}",
        evidence={},
        verdict=None,
        model=None,
    )


def running_fleet() -> Fleet:
    """Return a fleet whose second car is away and behind by one version."""
    return Fleet(
        totals=replace(NO_TOTALS, devices=2, online=1, pairs_stored=1240, manoeuvres=6, models=2),
        devices=(CAR, AWAY),
        deployments=(GARAGE,),
        rollouts=(ROLLOUT,),
        manoeuvres=(
            manoeuvre(1, heard=1),
            manoeuvre(1, device="car-2", heard=2),
            manoeuvre(2, model=V1, mae=4.0, heard=3),
            manoeuvre(2, device="car-2", model=V1, mae=6.0, heard=4),
            manoeuvre(3, model=V1, mae=20.0, heard=5),
            manoeuvre(4, model=V2, mae=5.0, heard=6),
        ),
        decisions=(
            decision(1, "train-first", after=2),
            decision(2, "promote", after=2),
            decision(3, "retrain", after=5),
        ),
        job=RUNNING,
    )


class StandingClock(SystemClock):
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def monotonic_us(self) -> int:
        return self.now_us

    def utc_us(self) -> int:
        return self.now_us
