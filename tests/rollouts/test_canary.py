"""A canary of twenty cars through a real server and a real broker, one silent and one too weak."""

import pytest

from tests.rollouts import canary, gates


@pytest.mark.e2e
@pytest.mark.long
def test_a_canary_grows_as_its_gates_allow_and_stops_a_bad_model_at_the_first_car() -> None:
    lines: list[str] = []
    told = canary.run(20, seed=1, deadline_s=300.0, say=lines.append)
    missed = [check for check in gates.checks(told) if not check.met]
    assert missed == [], lines
    kinds = [kind for kind, _ in told.moves]
    assert kinds == ["rollout-advance", "rollout-advance", "promote", "rollout-pause"], lines
