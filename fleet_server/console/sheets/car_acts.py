"""What people may do about one car: orders to it, and what it belongs to.

Laws:
- an act is a call of REST with the person's own rights; each asks why;
- to confirm or to revoke a car is offered only where that would change something.
"""

from collections.abc import Sequence
from typing import Any

from fleet_server.console import parts
from fleet_server.console.acts import Act, Call, Voice, buttons, choice, entry, segment, why
from fleet_server.console.nodes import Node, node
from fleet_server.console.sheet import Sent
from fleet_server.reading.views import DeviceView

VERBS = (
    ("stop", "Stop", "The car stops now; it is always obeyed."),
    ("sync", "Send now", "The car sends what waits on it."),
    ("selftest", "Self-test", "The car works through its instruments, which takes minutes."),
    ("identify", "Identify", "The car blinks and beeps, so that you can tell which one it is."),
    ("park", "Park", "The car parks by itself, within 60 s of being armed at the car."),
)


def acts_of(device: str) -> tuple[Act, ...]:
    """Return what may be done about a car."""

    def command(form: Sent) -> Call:
        body = {"device": device, "verb": form.key, "reason": why(form)}
        return Call(method="POST", path="commands", body=body)

    def move(form: Sent) -> Call:
        body = {"deployment": form.values.get("deployment", ""), "reason": why(form)}
        return Call(method="POST", path=f"devices/{segment(device)}/deployment", body=body)

    def confirm(form: Sent) -> Call:
        body = {"fingerprint": form.values.get("fingerprint", "").strip(), "reason": why(form)}
        return Call(method="POST", path=f"devices/{segment(device)}/confirm", body=body)

    def revoke(form: Sent) -> Call:
        body = {"reason": why(form)}
        return Call(method="POST", path=f"devices/{segment(device)}/revoke", body=body)

    return (
        Act(name="command", call=command, done=_ordered),
        Act(name="move", call=move, done=lambda car: f"{device} is in {car['deployment']} now."),
        Act(name="confirm", call=confirm, done=lambda _: f"{device} takes part now."),
        Act(name="revoke", call=revoke, done=lambda _: f"The rights of {device} have ended."),
    )


def _ordered(order: Any) -> str:
    return f"Order {order['id']} ({order['verb']}) was given; the list below shows the answer."


def offered(car: DeviceView, deployments: Sequence[str], voice: Voice) -> Node | None:
    """Return the forms of what this person may do about `car`; None where that is nothing.

    `deployments` are those that it may be moved into.
    """
    acts = {each.name: each for each in acts_of(car.device)}
    orders = [
        voice.form(
            acts["command"],
            key=verb,
            label=label,
            fields=(node("p", gloss, cls="gloss"),),
            button=f"{label}: {car.device}",
            is_grave=verb in ("stop", "park"),
        )
        for verb, label, gloss in VERBS
    ]
    fields = (choice("deployment", "Into", [(each, each) for each in deployments]),)
    move = voice.form(acts["move"], label="Move", fields=fields, button="Move it")
    fingerprint = entry("fingerprint", "Fingerprint that the car shows", required=True)
    confirm = None
    if car.state == "unconfirmed":
        confirm = voice.form(acts["confirm"], label="Confirm", fields=(fingerprint,))
    revoke = None
    if car.state != "revoked":
        revoke = voice.form(acts["revoke"], label="Revoke", is_grave=True)
    row = buttons(*orders, move, confirm, revoke)
    return row and parts.section("What you can do", "Each asks why; the log book keeps it.", row)
