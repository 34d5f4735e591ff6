"""Which cars an open rollout offers its model to, and how they stand; read from the tables.

Laws:
- a car keeps the model where it reports it as loaded, and has failed it where its last word about
  it is a refusal or a step back;
- a car that has sent pairs and never a labelled one has no reference sensor: it takes a model once
  `stages.SENSORS_FIRST` cars with one drive by it, and goes on with its former one until then;
- a paused rollout offers as it did, an ended or aborted one not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, and_, exists, false, func, not_, select

from fleet_server.rollout import arms, stages
from fleet_server.rollout.arms import Weight
from fleet_server.rollout.rules import Split
from fleet_server.rollout.stages import OF_ARMS, PLANS, Car, Standing
from fleet_server.storage.rollout_tables import OPEN, rollouts
from fleet_server.storage.tables import deployments, devices, tallies
from shared.messages import UpdateEvent

# Both end at a car's first rows, by the primary key.
_TOLD = exists().where(tallies.c.device == devices.c.name)
_MEASURED = exists().where(tallies.c.device == devices.c.name, tallies.c.labelled > 0)

IS_BLIND: Final = and_(_TOLD, not_(_MEASURED))
"""Whether a row of `devices` is a car without a reference sensor."""


@dataclass(frozen=True)
class Offer:
    """What a car of a rollout is told beside its target."""

    candidate: str
    harm: bool
    split: Split | None = None


def split_of(rollout: Row[Any]) -> Split | None:
    """Return how the cars of `rollout` share their driving between two models, if they do."""
    if rollout.strategy not in OF_ARMS:
        return None
    return Split("share" if rollout.strategy == "ab" else "thompson", rollout.share)


def open_rollout(connection: Connection, deployment: str) -> Row[Any] | None:
    """Return the deployment's rollout that is neither ended nor aborted, or None."""
    query = select(rollouts).where(rollouts.c.deployment == deployment, rollouts.c.state.in_(OPEN))
    return connection.execute(query).one_or_none()


def offers(connection: Connection, deployment: str) -> dict[str, Offer]:
    """Return what the deployment's open rollout offers now, by the names of the cars it is for."""
    rollout = open_rollout(connection, deployment)
    if rollout is None:
        return {}
    offer = Offer(candidate=rollout.path, harm=rollout.harm, split=split_of(rollout))
    return dict.fromkeys(offered_by(rollout, cars_of(connection, rollout)), offer)


def offered_by(rollout: Row[Any], cars: Sequence[Car]) -> set[str]:
    """Return the names of those of `cars` that `rollout` offers its model to."""
    plan = PLANS[rollout.strategy]
    return stages.offered(plan, rollout.id, rollout.stage, cars)


def cars_of(connection: Connection, rollout: Row[Any]) -> list[Car]:
    """Return the confirmed cars of the rollout's deployment."""
    query = select(
        devices.c.name,
        devices.c.loaded,
        devices.c.update_event,
        not_(IS_BLIND).label("has_sensor"),
    ).where(devices.c.deployment == rollout.deployment, devices.c.state == "confirmed")
    return [
        Car(row.name, _standing(row, rollout), has_sensor=bool(row.has_sensor))
        for row in connection.execute(query)
    ]


def weight_of(connection: Connection, rollout: Row[Any]) -> Weight | None:
    """Return what the cars measured of the rollout's two arms; None where it has none."""
    if rollout.strategy not in OF_ARMS:
        return None
    query = select(devices.c.update_event).where(
        devices.c.deployment == rollout.deployment,
        devices.c.state == "confirmed",
        devices.c.update_event.is_not(None),
    )
    said = (msgspec.json.decode(each, type=UpdateEvent) for each in connection.scalars(query))
    told = (arms.read(each.evidence) for each in said if each.target == rollout.path)
    return arms.weigh([each for each in told if each is not None])


def may_lead_the_blind(connection: Connection, model: str) -> bool:
    """Tell whether enough cars with a reference sensor drive by `model` for those without."""
    query = (
        select(func.count())
        .select_from(devices)
        .where(devices.c.loaded == model, devices.c.state == "confirmed", not_(IS_BLIND))
    )
    return (connection.scalar(query) or 0) >= stages.SENSORS_FIRST


def waiting_for_others(connection: Connection, deployment: str) -> Select[str]:
    """Return the query for the cars of `deployment` that must go on with what they are told now.

    They have no reference sensor, and too few with one drive by the latest model. A pinned version
    is a person's word, and for all cars.
    """
    row = connection.execute(
        select(deployments.c.latest_model, deployments.c.pinned_version).filter_by(name=deployment)
    ).one_or_none()
    cars = select(devices.c.name).where(devices.c.deployment == deployment, IS_BLIND)
    if row is None or row.pinned_version is not None or row.latest_model is None:
        return cars.where(false())
    return cars.where(false()) if may_lead_the_blind(connection, row.latest_model) else cars


def _standing(row: Row[Any], rollout: Row[Any]) -> Standing:
    if row.loaded == rollout.model:
        return "keeps"
    if row.update_event is None:
        return "waiting"
    said = msgspec.json.decode(row.update_event, type=UpdateEvent)
    if said.target != rollout.path:
        return "waiting"
    if said.state in ("refused", "rolled_back"):
        return "failed"
    return "shares" if said.state == "choosing" else "waiting"
