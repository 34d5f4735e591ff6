"""What a terminal console knows of the fleet: a message goes in, and the view changes.

    topic       believed where                                changes
    presence    not older than what is known                  online or not, boot, connection
    status      of the boot known or a later one              model loaded, queue, faults ...
    telemetry   it names the car                              gauges and trace
    desired     signed by the server for exactly this car     what the car is to run; vouched for
    operators   signed by the server                          whether cars are to obey this console
    update      it names the car                              the event stream
    result      it names the car and the actor                the order that it answers

Laws:
- no IO, no clock, no screen: moments are handed in, and the view is read from here;
- foreign bytes pass the codec or leave nothing but a count and a line that says why;
- what a car says of itself is not signed: the broker's rights vouch for the name. That the fleet
  knows the car is the server's to say, by a signed wish; one without is shown as not vouched for;
- an order names the boot and connection that are shown here, and no number twice;
- all that grows is bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fleet_server.cars import registry
from fleet_server.terminal.car import Car
from fleet_server.terminal.events import Events, plain
from fleet_server.terminal.orders import Orders
from fleet_server.terminal.trace import Point
from shared import codec
from shared.errors import RefusedError
from shared.messages import (
    CommandResult,
    Desired,
    Message,
    Operators,
    Presence,
    Status,
    Telemetry,
    UpdateEvent,
)
from shared.signing import VerifyKey, open_envelope
from shared.topics import (
    DESIRED,
    OPERATORS,
    Topic,
    match,
)

CARS = 20_000
"""How many names are shown; a broker that tells of more is not believed."""


class Fleet:
    """All that one console knows; owned by one thread."""

    def __init__(self, *, own: str, may_order: bool, server_key: VerifyKey) -> None:
        """Know nothing yet; `own` is this console's name at the broker."""
        self.own = own
        self._server_key = server_key
        self.cars: dict[str, Car] = {}
        self.orders = Orders(own=own, may_order=may_order)
        self.events = Events()
        self.versions: dict[str, int] = {}
        self.link = "connecting"
        self.is_connected = False
        self.refused = 0
        self.changes = 0
        self._operators: Operators | None = None

    def connected(self, utc_us: int) -> None:
        """Take the connection for new: what was live before is not live now."""
        self.is_connected, self.link = True, "connected"
        self.changes += 1
        self.events.add(utc_us, "", "connected to the broker")

    def disconnected(self, reason: str, utc_us: int) -> None:
        """Show that nothing comes any more."""
        said = plain(reason)
        if self.is_connected or said != self.link:
            self.events.add(utc_us, "", f"no connection: {said}", is_bad=True)
        self.is_connected, self.link = False, said
        self.changes += 1

    def hear(
        self, topic: str, payload: bytes, *, utc_us: int, now_us: int, retained: bool = False
    ) -> None:
        """Take a message of the broker in, or count it as refused."""
        self.changes += 1
        try:
            row, parts, message = self._read(topic, payload)
            self._take(row, parts, message, _Moment(utc_us, now_us, is_news=not retained))
        except RefusedError as error:
            self.refused += 1
            if self.refused.bit_count() == 1:
                what = (
                    f"{self.refused} refused, the last on {plain(topic)[:60]}: {plain(str(error))}"
                )
                self.events.add(utc_us, "", what, is_bad=True)

    def note(self, text: str, utc_us: int, car: str = "", *, is_bad: bool = True) -> None:
        """Show what the console itself has to say."""
        self.events.add(utc_us, car, text, is_bad=is_bad)
        self.changes += 1

    def ordering_ends(self, own_key: VerifyKey) -> str:
        """Return why cars are not to obey this console by the server's last word, or ""."""
        if self._operators is None:
            return ""
        mine = [each for each in self._operators.keys if each.name == self.own]
        if not mine or mine[0].public_key != own_key.raw:
            return "the server does not name this console as an operator's"
        return ""

    def car(self, name: str) -> Car | None:
        """Return what is known of a car."""
        return self.cars.get(name)

    def _read(self, topic: str, payload: bytes) -> tuple[Topic, Mapping[str, str], Message | None]:
        found = match(topic)
        if found is None:
            raise RefusedError("no topic of the fleet")
        row, parts = found
        if row is DESIRED and not payload:
            return row, parts, None
        if row is DESIRED or row is OPERATORS:
            opened = open_envelope(
                row, payload, topic=topic, message_type=row.message, key=self._server_key
            )
            return row, parts, opened
        return row, parts, codec.decode_on(row, payload)

    def _take(
        self, row: Topic, parts: Mapping[str, str], message: Message | None, at: "_Moment"
    ) -> None:
        if isinstance(message, Operators):
            self._take_operators(message)
            return
        name = parts.get("id", "")
        if not name or getattr(message, "device", name) != name:
            raise RefusedError(f"a word of another than {name or 'a car'}")
        if isinstance(message, UpdateEvent):
            self.events.add(at.utc_us, name, _update_text(message))
        elif isinstance(message, CommandResult):
            self._result(message, parts, at)
        else:
            self.cars[name] = self._changed(self._known(name), row, message, at)

    def _known(self, name: str) -> Car:
        car = self.cars.get(name)
        if car is None and len(self.cars) >= CARS:
            raise RefusedError(f"more than {CARS} cars")
        return car or Car(name=name)

    def _changed(self, car: Car, row: Topic, message: Message | None, at: "_Moment") -> Car:
        match message:
            case Presence():
                return self._presence(car, message, at)
            case Status():
                return self._status(car, message, at)
            case Telemetry():
                return self._telemetry(car, message, at)
            case Desired():
                return self._desired(car, message, at)
            case None:
                return replace(car, desired=None)
            case _:
                raise RefusedError(f"nobody asked for {row.name}")

    def _presence(self, car: Car, said: Presence, at: "_Moment") -> Car:
        if not registry.accepts_presence(car.known, said):
            return car
        if at.is_news and (not car.is_seen or said.online != car.known.online):
            words = f"online, connection {said.connection}" if said.online else "offline"
            self.events.add(at.utc_us, car.name, words, is_bad=not said.online)
        boot = max(said.boot, car.known.boot or "")
        known = replace(car.known, boot=boot, connection=said.connection, online=said.online)
        return replace(car, known=known, is_seen=True, heard_us=at.now_us)

    def _status(self, car: Car, said: Status, at: "_Moment") -> Car:
        if not registry.accepts_status(car.known, said):
            return car
        for slot in said.slots:
            if slot.model is not None:
                self._learn_version(slot.model, slot.release_seq)
        if said.loaded is not None:
            self._learn_version(said.loaded, said.loaded_release_seq)
        if at.is_news:
            self._status_events(car, said, at)
        known = replace(car.known, boot=said.boot, loaded=said.loaded)
        return replace(car, known=known, status=said, heard_us=at.now_us)

    def _status_events(self, car: Car, said: Status, at: "_Moment") -> None:
        if registry.is_model_change(car.known, said):
            self.events.add(at.utc_us, car.name, f"runs model {self.version(said.loaded)}")
        before = car.status.faults if car.status else ()
        for fault in said.faults:
            if fault not in before:
                self.events.add(at.utc_us, car.name, plain(fault), is_bad=True)

    def _telemetry(self, car: Car, said: Telemetry, at: "_Moment") -> Car:
        point = Point(
            at_us=at.now_us,
            label=said.label,
            estimate=said.estimate,
            speed_mm_s=said.speed_mm_s,
            state=plain(said.state),
        )
        return replace(
            car,
            telemetry=said,
            telemetry_us=at.now_us,
            heard_us=at.now_us,
            trace=car.trace.after(point),
        )

    def _desired(self, car: Car, said: Desired, at: "_Moment") -> Car:
        held = car.desired
        if held is not None and (said.epoch, said.revision) < (held.epoch, held.revision):
            return car
        wished = replace(car, desired=said)
        if at.is_news and wished.wanted != car.wanted:
            wanted = self.version(wished.wanted)
            self.events.add(at.utc_us, car.name, f"is to run model {wanted}")
        return wished

    def _result(self, said: CommandResult, parts: Mapping[str, str], at: "_Moment") -> None:
        if said.actor != parts["actor"]:
            raise RefusedError(f"a result for {said.actor} on a topic of {parts['actor']}")
        verb = self.orders.answered(said) if said.actor == self.own else None
        whose = verb or f"an order of {said.actor}"
        reason = f": {plain(said.reason)}" if said.reason else ""
        text = f"{whose} {said.outcome}{reason}"
        self.events.add(at.utc_us, said.device, text, is_bad=said.outcome != "done")

    def _take_operators(self, said: Operators) -> None:
        held = self._operators
        if held is None or (said.revision, said.utc_us) >= (held.revision, held.utc_us):
            self._operators = said

    def _learn_version(self, digest: str, release_seq: int) -> None:
        if len(self.versions) < CARS:
            self.versions.setdefault(digest, release_seq)

    def version(self, digest: str | None) -> str:
        """Return a model's number, where some car said it, and the beginning of its digest."""
        if digest is None:
            return "-"
        number = self.versions.get(digest)
        return f"{'?' if number is None else number} {plain(digest)[:6]}"


@dataclass(frozen=True)
class _Moment:
    """When a message came; what a broker had retained is no news."""

    utc_us: int
    now_us: int
    is_news: bool


def _update_text(said: UpdateEvent) -> str:
    reason = f": {plain(said.reason)}" if said.reason else ""
    model = f" {said.model[:6]}" if said.model else ""
    return f"update{model} {said.state}{reason}"
