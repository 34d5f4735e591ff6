"""How an update is told to the fleet.

Laws:
- the present state is told at every step and at every connection, since reports get lost;
- measured errors are manoeuvre data: where the owner lets none leave, neither the evidence nor the
  numbers of the reason do.
"""

from device.agent.effects import Effect, Publish
from device.update.saved import Saved
from shared import codec
from shared.clock import Clock
from shared.messages import UpdateEvent
from shared.topics import UPDATE


def reason(saved: Saved, *, is_discreet: bool) -> str:
    """Return why the update is in its state, as far as others may know."""
    said, _, measured = saved.reason.partition(": ")
    return said if is_discreet and measured else saved.reason


def report(
    saved: Saved, *, device: str, boot: str, clock: Clock, is_discreet: bool
) -> list[Effect]:
    """Return what tells the server of `saved`; nothing where nothing was ever wanted."""
    if saved.target is None:
        return []
    event = UpdateEvent(
        device=device,
        boot=boot,
        utc_us=clock.utc_us(),
        number=saved.number,
        target=saved.target,
        model=saved.model,
        state=saved.state,
        reason=reason(saved, is_discreet=is_discreet),
        evidence={} if is_discreet else saved.evidence,
    )
    return [Publish(topic=UPDATE.topic(id=device), payload=codec.encode(event))]
