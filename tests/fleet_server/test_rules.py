"""The pure rules: registry and rollout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.cars import registry
from fleet_server.cars.registry import Known
from fleet_server.rollout.rules import DesiredState, Version, next_state, to_promote
from shared.errors import RefusedError
from shared.ids import boot_id
from shared.messages import Presence

FIRST, SECOND = boot_id(1, b"abcd"), boot_id(2, b"abcd")


def _presence(boot: str, connection: int, *, online: bool) -> Presence:
    return Presence(device="car-1", boot=boot, connection=connection, online=online)


@pytest.mark.parametrize(
    ("boot", "connection", "online", "accepted"),
    [
        (SECOND, 5, True, True),
        (SECOND, 5, False, True),
        (SECOND, 4, False, False),
        (SECOND, 6, True, True),
        (FIRST, 9, True, False),
        # The last will of the connection that is known, written before drive was restarted.
        (FIRST, 5, False, True),
        (FIRST, 4, False, False),
    ],
)
def test_presence_counts_for_the_connection_known_or_a_later_one(
    boot: str, connection: int, *, online: bool, accepted: bool
) -> None:
    known = Known(boot=SECOND, connection=5, online=True)
    said = _presence(boot, connection, online=online)
    assert registry.accepts_presence(known, said) is accepted


def test_the_first_presence_always_counts() -> None:
    assert registry.accepts_presence(Known(), _presence(FIRST, 0, online=True))


def test_a_report_for_another_car_is_refused() -> None:
    with pytest.raises(RefusedError, match="car-1"):
        registry.check_speaker(_presence(FIRST, 1, online=True), "car-2")


def _version(number: int) -> Version:
    return Version(sha256=f"{number:064x}", version=number, path=f"t/d/{number:064x}.tflite")


def test_the_newest_version_becomes_latest_once() -> None:
    one, two = _version(1), _version(2)
    assert to_promote(None, []) is None
    assert to_promote(None, [one]) == one
    assert to_promote(one.sha256, [two, one]) == two
    assert to_promote(two.sha256, [one, two]) is None


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.sampled_from(["a", "b"]), st.sampled_from([None, "x", "y"])
        ),
        max_size=20,
    )
)
def test_revisions_rise_with_every_change_and_rest_without(
    wishes: list[tuple[int, str, str | None]],
) -> None:
    current: DesiredState | None = None
    for epoch, deployment, target in sorted(wishes, key=lambda each: each[0]):
        state = next_state(current, epoch=epoch, deployment=deployment, target=target)
        if state is None:
            assert current is not None
            assert (current.deployment, current.target) == (deployment, target)
            continue
        if current is not None:
            assert (state.epoch, state.revision) > (current.epoch, current.revision)
        current = state
        assert next_state(current, epoch=epoch, deployment=deployment, target=target) is None
