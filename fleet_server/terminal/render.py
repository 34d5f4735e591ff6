"""The console's view as lines of text: pure functions from what is known to what is shown.

Laws:
- every line fits its width; colour repeats what a word says and never says it alone;
- text of others is plain (`events.plain`) and no markup: it is shown as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.text import Text

from fleet_server.terminal import plot
from fleet_server.terminal.car import Car
from fleet_server.terminal.events import Event, plain
from fleet_server.terminal.model import Fleet
from fleet_server.terminal.orders import Order

GOOD, BAD, DIM, HEAD, CHOSEN = "green", "bold red", "dim", "bold", "reverse"

_NARROW = 80
_COLUMNS: tuple[tuple[str, int], ...] = (
    ("CAR", 13),
    ("IS", 9),
    ("FOR", 9),
    ("RUNS", 11),
    ("WANTS", 11),
    ("ERR", 6),
    ("QUEUE", 6),
    ("STATE mm/s", 0),
)
"""Titles and sizes at `_NARROW` characters; names get what a wider screen leaves."""
_PRESENCE = {"online": GOOD, "silent": BAD, "offline": BAD, "unknown": DIM}
_TROUBLE = ("silent", "offline", "unknown", "online")
_SPAN_US = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Now:
    """The present moment, by both clocks."""

    utc_us: int
    now_us: int


def chosen_cars(fleet: Fleet, words: str, *, by_trouble: bool, now_us: int) -> list[Car]:
    """Return the cars that match all of `words`, by name, or those in trouble first."""
    wanted = words.lower().split()
    found = [car for car in fleet.cars.values() if not wanted or _matches(car, wanted, now_us)]
    found.sort(key=lambda car: car.name)
    if by_trouble:
        found.sort(key=lambda car: _rank(car, now_us))
    return found


def window(number: int, selected: int, height: int) -> range:
    """Return which of `number` rows are shown in `height` lines, the selected one among them."""
    first = min(max(selected - height // 2, 0), max(number - height, 0))
    return range(first, min(first + height, number))


def header(fleet: Fleet, *, place: str, words: str, width: int, now: Now) -> Text:
    """Return the first line: who and where we are, and how many cars are there."""
    online = sum(car.presence(now.now_us) == "online" for car in fleet.cars.values())
    cars = f"{online} of {len(fleet.cars)} cars online"
    role = "" if fleet.orders.may_order else " (viewer)"
    line = Text(f"parkfleet {fleet.own}{role}@{place}  ", style=HEAD, no_wrap=True)
    if fleet.is_connected:
        line.append(cars, GOOD if online else DIM)
    else:
        line.append(f"NO CONNECTION: {fleet.link}", BAD)
    if words:
        line.append(f"  filter: {words}")
    if fleet.refused:
        line.append(f"  {fleet.refused} messages refused", BAD)
    return _fitted(line, width)


def table(
    cars: Sequence[Car], fleet: Fleet, *, selected: int, width: int, height: int, now: Now
) -> Text:
    """Return the table of cars in `height` lines, its head included."""
    sizes = _sizes(width)
    titles = zip(_COLUMNS, sizes, strict=True)
    head = "".join(f"{title:<{size}}" for (title, _), size in titles)
    lines = [_fitted(Text(f"  {head}", style=HEAD), width)]
    lines += [
        _fitted(_row(cars[at], fleet, sizes, is_selected=at == selected, now=now), width)
        for at in window(len(cars), selected, height - 1)
    ]
    if not cars:
        lines.append(Text(_nothing(fleet), style=DIM))
    return Text("\n").join(lines)


def gauges(car: Car, fleet: Fleet, *, width: int, now: Now) -> Text:
    """Return four lines on one car: who it is, what it sees, what it runs, what is wrong."""
    lines = (_identity(car, now), _sight(car, now), _models(car, fleet), _wrong(car, fleet))
    return Text("\n").join(_fitted(line, width) for line in lines)


def trace(car: Car, *, width: int, height: int, now: Now) -> Text:
    """Return the plot of one car in `height` lines."""
    drawn = plot.draw(
        car.trace, now_us=now.now_us, span_us=_SPAN_US, width=width, height=max(height - 4, 2)
    )
    lines = [Text(each) for each in drawn.distance]
    for line in lines:
        line.highlight_regex(r"[x*]", "cyan")
    lines += [Text(drawn.error), Text(drawn.speed)]
    lines += [Text(drawn.state, style=DIM), Text(drawn.times, style=DIM)]
    return Text("\n").join(_fitted(line, width) for line in lines)


def stream(events: Sequence[Event], *, width: int) -> Text:
    """Return the events, a line each."""
    return Text("\n").join(_fitted(_event(each), width) for each in events)


def order_line(order: Order) -> str:
    """Return what became of an order, in words."""
    reason = f": {plain(order.reason)}" if order.reason else ""
    return f"{order.verb} {order.device}: {order.outcome}{reason}"


def _fitted(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def _matches(car: Car, wanted: Sequence[str], now_us: int) -> bool:
    searched = _searched(car, now_us)
    return all(word in searched for word in wanted)


def _searched(car: Car, now_us: int) -> str:
    status, live = car.status, car.live(now_us)
    parts = [car.name, car.presence(now_us), _deployment(car), live.state if live else ""]
    parts += ["fault"] if status is not None and status.faults else []
    parts += [] if car.is_vouched else ["unvouched"]
    return " ".join(parts).lower()


def _rank(car: Car, now_us: int) -> int:
    has_faults = car.status is not None and bool(car.status.faults)
    return -1 if has_faults else _TROUBLE.index(car.presence(now_us))


def _deployment(car: Car) -> str:
    if car.desired is not None:
        return car.desired.deployment
    return car.status.deployment if car.status is not None else ""


def _sizes(width: int) -> tuple[int, ...]:
    more = max(width - _NARROW, 0)
    name, deployment = min(more // 2, 24), min(more // 4, 12)
    added = {"CAR": name, "FOR": deployment}
    return tuple(size + added.get(title, 0) for title, size in _COLUMNS)


def _row(car: Car, fleet: Fleet, sizes: Sequence[int], *, is_selected: bool, now: Now) -> Text:
    presence = car.presence(now.now_us)
    live, error = car.live(now.now_us), car.error_now(now.now_us)
    name = car.name if car.is_vouched else f"{car.name} ?"
    mark = "!" if car.status is not None and car.status.faults else ""
    cells = (
        (name, "" if car.is_vouched else DIM),
        (presence + mark, BAD if mark else _PRESENCE[presence]),
        (_deployment(car), ""),
        (fleet.version(car.known.loaded), ""),
        (_wants(car, fleet), ""),
        ("" if error is None else f"{error:+.1f}", ""),
        ("" if car.status is None else str(car.status.queue_depth), ""),
        (f"{plain(live.state)} {live.speed_mm_s:.0f}" if live else "", ""),
    )
    line = Text("> " if is_selected else "  ")
    for (text, style), size in zip(cells, sizes, strict=True):
        room = size - 1 if size else len(text)
        cut = text if len(text) <= room else f"{text[: room - 1]}~"
        line.append(f"{cut:<{size}}", style)
    if is_selected:
        line.stylize(CHOSEN)
    return line


def _wants(car: Car, fleet: Fleet) -> str:
    if car.desired is None:
        return "?"
    if car.wanted is None:
        return "none"
    return "same" if car.wanted == car.known.loaded else fleet.version(car.wanted)


def _nothing(fleet: Fleet) -> str:
    if fleet.cars:
        return "  no car matches: / changes the filter, Esc clears it"
    return "  no car was heard of yet: enrol one with `parkfleet device enrol`"


def _identity(car: Car, now: Now) -> Text:
    presence = car.presence(now.now_us)
    line = Text().append(car.name, HEAD).append(f"  {presence}", _PRESENCE[presence])
    if car.known.boot is not None:
        boot = int(car.known.boot.split("-")[0])
        line.append(f"  {_deployment(car)}  boot {boot}, connection {car.known.connection}")
        line.append(f", heard {(now.now_us - car.heard_us) / 1e6:.0f} s ago")
    if not car.is_vouched:
        line.append("  ? no word of the server on this car", BAD)
    return line


def _sight(car: Car, now: Now) -> Text:
    live, error = car.live(now.now_us), car.error_now(now.now_us)
    if live is None:
        return Text("nothing live: it stands, or its owner lets nothing leave", style=DIM)
    estimate = "-" if live.estimate is None else f"{live.estimate:.1f}"
    sigma = "" if live.sigma is None else f" ±{live.sigma:.1f}"
    measured = "-" if live.label is None else f"{live.label:.1f}"
    mean = car.trace.mean_error()
    line = Text(f"estimate {estimate}{sigma}  measured {measured}")
    line.append("" if error is None else f"  error {error:+.1f}")
    line.append("" if mean is None else f" (mean {mean:.1f})")
    return line.append(f"  {plain(live.state)} {live.speed_mm_s:.0f} mm/s")


def _models(car: Car, fleet: Fleet) -> Text:
    line = Text(f"runs {fleet.version(car.known.loaded)}, wants {_wants(car, fleet)}")
    if car.desired is not None and car.desired.candidate is not None:
        line.append(f", tries {fleet.version(car.candidate)}")
    status = car.status
    if status is not None:
        line.append(f"  queue {status.queue_depth}, dropped {status.pairs_dropped}")
        line.append(f"  {status.disk_free_bytes / 1e9:.1f} GB free")
        line.append("" if status.temperature_c is None else f"  {status.temperature_c:.0f} °C")
    return line


def _wrong(car: Car, fleet: Fleet) -> Text:
    faults = car.status.faults if car.status is not None else ()
    orders = fleet.orders.of(car.name)
    line = Text(order_line(orders[-1]) if orders else "")
    if faults:
        line.append("  " if orders else "").append("; ".join(map(plain, faults)), BAD)
    return line


def _event(event: Event) -> Text:
    at = datetime.fromtimestamp(event.utc_us / 1e6, tz=UTC)
    line = Text().append(f"{at:%H:%M:%S} ", DIM)
    if event.car:
        line.append(f"{event.car} ", HEAD)
    mark = "! " if event.is_bad else ""
    return line.append(f"{mark}{event.text}", BAD if event.is_bad else "")
