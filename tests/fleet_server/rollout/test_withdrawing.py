"""What the release owner withdrew leaves the fleet."""

import pytest

from fleet_server.rollout.stages import Strategy
from tests.fleet_server.fleet import DEPLOYMENT, Fleet
from tests.fleet_server.rolling import register, settle, state, told

SERIES = f"wall-distance/{DEPLOYMENT}"


def reasons(fleet: Fleet) -> list[tuple[str, bool]]:
    """Return the withdrawals in the log book: the reason, and whether it was the latest."""
    return [
        (each.reason, bool(each.evidence["was_latest"]))
        for each in fleet.queries.decisions()
        if each.kind == "withdraw"
    ]


@pytest.mark.parametrize("strategy", ["direct", "shadow"])
def test_latest_goes_back_to_the_version_before_the_withdrawn_one(
    fleet: Fleet, strategy: Strategy
) -> None:
    _, first = register(fleet, 1)
    settle(fleet, "direct")
    register(fleet, 2)
    settle(fleet, "direct")
    for _ in range(2):
        settle(fleet, strategy, withdrawn={SERIES: {2}})
    assert told(fleet) == {"car-1": (first, None)}
    assert reasons(fleet) == [("the release owner withdrew v2", True)]
    _, third = register(fleet, 3)
    settle(fleet, "direct", withdrawn={SERIES: {2}})
    assert told(fleet) == {"car-1": (third, None)}


def test_a_deployment_whose_only_model_was_withdrawn_has_none(fleet: Fleet) -> None:
    register(fleet, 1)
    settle(fleet)
    settle(fleet, withdrawn={SERIES: {1}})
    assert told(fleet) == {"car-1": (None, None)}


def test_a_candidate_that_is_withdrawn_is_offered_no_more(fleet: Fleet) -> None:
    _, first = register(fleet, 1)
    settle(fleet)
    _, second = register(fleet, 2)
    settle(fleet)
    assert told(fleet) == {"car-1": (first, second)}
    settle(fleet, withdrawn={SERIES: {2}})
    assert told(fleet) == {"car-1": (first, None)}
    assert state(fleet) == ("aborted", 0)
    assert reasons(fleet) == [("the release owner withdrew v2", False)]


def test_withdrawals_elsewhere_change_nothing(fleet: Fleet) -> None:
    _, first = register(fleet, 1)
    settle(fleet)
    settle(fleet, withdrawn={"wall-distance/elsewhere": {1}, SERIES: {7}})
    assert told(fleet) == {"car-1": (first, None)}
    assert reasons(fleet) == []
