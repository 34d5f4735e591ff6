"""What a canary must show: its figures with their limits.

Laws:
- a move is just where the gate says it on the very counts that the log book names for it.
"""

from collections.abc import Mapping
from typing import Any

from fleet_server.rollout.stages import PLANS
from hardware_sim.lab.report import Check
from tests.rollouts.canary import MODEL_BYTES, MOST_MESSAGES, Told


def is_just(kind: str, evidence: Mapping[str, Any]) -> bool:
    """Tell whether a move of the rollout is what its gate says on the counts that it names."""
    plan = PLANS["canary"]
    failures = (evidence["failed"] + evidence["silent"]) / max(1, evidence["cars"])
    if kind == "rollout-pause":
        return bool(failures > plan.most_failed)
    has_enough = evidence["keep"] >= plan.enough * evidence["cars"]
    return bool(failures <= plan.most_failed and (has_enough or evidence["keep"]))


def checks(told: Told) -> list[Check]:
    """Return the figures with their limits."""
    name = f"canary of {told.cars} cars"

    def at_most(what: str, value: float, unit: str, limit: float) -> Check:
        return Check(name=f"{name}: {what}", value=value, unit=unit, limit=limit, better="lower")

    unjust = sum(not is_just(*move) for move in told.moves)
    return [
        at_most("control messages to a car in a stage", max(told.messages), "", MOST_MESSAGES),
        at_most(
            "bytes of the model sent by the server in a connection",
            told.model_bytes / told.connections,
            "B",
            MODEL_BYTES + 1,
        ),
        at_most("moves against the gate", unjust, "", 0),
        at_most("cars whose loaded digest is unknown", told.unknown, "", 0),
        at_most("cars that loaded another digest than known", told.disagreeing, "", 0),
        at_most("cars that a bad model was offered to", told.bad_offered, "", 0.05 * told.cars + 1),
        Check(
            name=f"{name}: cars on the new model",
            value=told.on_new,
            unit="cars",
            limit=told.cars - told.silent - told.weak + told.switched_on,
            better="higher",
        ),
    ]
