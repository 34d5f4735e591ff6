"""How far an update is: its state in the journal, and what the fleet is told of it.

Laws:
- a state is in the journal before it is the present one;
- the present state is told at every step and at every connection, since reports get lost;
- measured errors are manoeuvre data: where the owner lets none leave, neither the evidence nor the
  numbers of the reason do.
"""

import logging
from collections.abc import Callable

from device.agent.effects import Effect, Publish
from device.journal import Journal
from device.update.saved import Saved, dump, load
from shared import codec
from shared.clock import Clock
from shared.messages import UpdateEvent
from shared.topics import UPDATE

logger = logging.getLogger(__name__)


class Progress:
    """The state of one car's update."""

    def __init__(
        self,
        *,
        journal: Journal,
        device: str,
        clock: Clock,
        boot: Callable[[], str],
        is_discreet: Callable[[], bool],
    ) -> None:
        """Take up the saved state.

        `is_discreet` tells whether no manoeuvre data may leave the car.
        """
        self._journal = journal
        self._device = device
        self._clock = clock
        self._boot = boot
        self._is_discreet = is_discreet
        self._state = load(journal.update_state())
        self._told = self._state.number

    @property
    def state(self) -> Saved:
        """The state in the journal."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the update is in its state, as far as others may know."""
        said, _, measured = self._state.reason.partition(": ")
        return said if self._is_discreet() and measured else self._state.reason

    @property
    def is_told(self) -> bool:
        """Whether the server was told of the present step."""
        return self._state.number == self._told

    def save(self, moved: Saved) -> None:
        """Make `moved` the present state.

        Raises:
            RetryLaterError: the journal did not take it; the present state stays.
        """
        self._journal.set_update_state(dump(moved))
        is_news = moved.number != self._state.number
        self._state = moved
        if is_news:
            logger.info(
                "update_state state=%s target=%s reason=%r", moved.state, moved.target, moved.reason
            )

    def take_up(self, saved: Saved) -> None:
        """Take up a state that was put into the journal together with what led to it."""
        self._state = saved

    def report(self) -> list[Effect]:
        """Return what tells the server of the present state; nothing where none was ever wanted."""
        state = self._state
        self._told = state.number
        if state.target is None:
            return []
        event = UpdateEvent(
            device=self._device,
            boot=self._boot(),
            utc_us=self._clock.utc_us(),
            number=state.number,
            target=state.target,
            model=state.model,
            state=state.state,
            reason=self.reason,
            evidence={} if self._is_discreet() else state.evidence,
        )
        return [Publish(topic=UPDATE.topic(id=self._device), payload=codec.encode(event))]
