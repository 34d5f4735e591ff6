"""One car: what it measures and estimates now, what it saw, what it runs, and what it was told.

Laws:
- it is composed of one look (`Portrait`) alone; live values are apart, since they change faster;
- a live value that has become old is not shown as one;
- a part of the page that has nothing to show says what to do, or is left out.
"""

from dataclasses import dataclass
from statistics import fmean

from fleet_server.cars.commanding import CommandView
from fleet_server.cars.live import Heard
from fleet_server.console import parts, plots, words
from fleet_server.console.acts import Voice
from fleet_server.console.contact_sheet import contact_sheet
from fleet_server.console.nodes import Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheets import car_acts
from fleet_server.reading.updates import UpdateView
from fleet_server.reading.views import (
    DeploymentView,
    DeviceView,
    HistoryView,
    ManoeuvreView,
    SampleView,
)
from fleet_server.telling.alerts import AlertView

STALE_US = 3_000_000
"""A live value that is older than this is not shown as one."""

_STATES = {"done": "good", "refused": "bad", "failed": "bad", "unanswered": "bad", "expired": "bad"}


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """Everything that was read of one car."""

    car: DeviceView
    task: DeploymentView | None
    manoeuvres: tuple[ManoeuvreView, ...]
    history: tuple[HistoryView, ...]
    pairs: tuple[SampleView, ...]
    pictures: tuple[SampleView, ...]
    updates: tuple[UpdateView, ...]
    commands: tuple[CommandView, ...]
    alerts: tuple[AlertView, ...]
    deployments: tuple[str, ...]

    @property
    def unit(self) -> str:
        """The unit of labels and errors."""
        return str(self.task.task.get("unit", "mm")) if self.task else "mm"


def live(heard: Heard | None, unit: str, now_us: int) -> Node:
    """Return the live values, or that there are none."""
    if heard is None or now_us - heard.monotonic_us > STALE_US:
        return node(
            "p", "Nothing is heard of it now: live values come while the car drives.", cls="gloss"
        )
    said = heard.said
    error = None
    if said.label is not None and said.estimate is not None:
        error = said.estimate - said.label
    note = f"sigma {said.sigma:.1f} {unit}" if said.sigma is not None else ""
    held = (
        ("Measured", words.length(said.label, unit), "by the reference sensor", None),
        ("Estimated", words.length(said.estimate, unit), note, None),
        ("Residual", f"{error:+.1f} {unit}" if error is not None else words.UNKNOWN, "", None),
        ("Speed", f"{said.speed_mm_s:.0f} mm/s", "", None),
        ("State", said.state, f"manoeuvre {said.manoeuvre}", None),
    )
    return parts.figures("Live values", held)


def compose(held: Portrait, voice: Voice, now_utc_us: int) -> Node:
    """Return the page of one car, less its live values."""
    return node(
        "div",
        _about(held, now_utc_us),
        car_acts.offered(held.car, held.deployments, voice),
        _alerts(held),
        _trial(held),
        _errors(held),
        _pictures(held),
        _latency(held),
        _models(held),
        _commands(held),
    )


def _about(held: Portrait, now_utc_us: int) -> Node:
    car = held.car
    labels = ", ".join(f"{name} = {value}" for name, value in car.labels.items())
    wanted = f"v{car.desired_version} is to come" if _is_behind(car) else ""
    return parts.facts(
        (
            ("State", node("span", parts.presence(car.presence), f" {car.state}")),
            ("Last seen", words.ago(car.last_seen_utc_us, now_utc_us)),
            ("Deployment", parts.link(car.deployment, "deployments")),
            ("Model", parts.stacked(words.version(car.loaded_version, car.loaded), wanted)),
            ("Waiting on the car", words.counted(car.queue_depth or 0, "pair")),
            ("Stored here", words.counted(car.pairs_stored, "pair")),
            ("Given up", words.count(car.pairs_dropped)),
            ("Sends", car.upload or words.UNKNOWN),
            ("Temperature", words.length(car.temperature_c, "\N{DEGREE SIGN}C")),
            ("Disk free", words.size(car.disk_free_bytes)),
            ("Faults", ", ".join(car.faults) or "none"),
            ("Labels", labels or "none"),
            ("Fingerprint", node("code", car.fingerprint)),
        )
    )


def _is_behind(car: DeviceView) -> bool:
    return car.desired_version is not None and car.desired_version != car.loaded_version


def _alerts(held: Portrait) -> Node | None:
    if not held.alerts:
        return None
    rows = [(str(each.id), each.utc_us, each.kind, each.reason) for each in held.alerts]
    return parts.section("Alerts", "What is wrong now.", parts.log(rows))


def _trial(held: Portrait) -> Node | None:
    steps = [each for each in held.updates if each.state == "shadowing" and each.evidence]
    last = held.updates[-1] if held.updates else None
    if last is None:
        return None
    told = parts.evidence(dict(last.evidence))
    points = [
        (each.evidence.get("manoeuvres", float(place)), each.evidence["evidence"])
        for place, each in enumerate(steps)
        if each.target == last.target and "evidence" in each.evidence
    ]
    gate = last.evidence.get("gate")
    plot = None
    if points:
        series = [("e-value", points)]
        plot = plots.curves("Evidence that the candidate is better", series, level=gate)
    return parts.section(
        "Model update",
        "What the car last told of a new model; a trial ends once its e-value reaches the gate.",
        node(
            "p",
            parts.tag(last.state, "busy" if last.state == "shadowing" else ""),
            f" {last.reason} ",
            moment(last.received_utc_us),
        ),
        plot,
        told,
    )


def _errors(held: Portrait) -> Node:
    points = [
        (float(place + 1), each.mae)
        for place, each in enumerate(held.manoeuvres)
        if each.mae is not None
    ]
    if not points:
        sentence = "It has not parked by camera yet: it drives by its sensor and logs what it sees."
        return parts.section("Error per manoeuvre", "", parts.empty(sentence))
    plot = plots.curves(f"mean error ({held.unit})", [("error", points)])
    return parts.section("Error per manoeuvre", "The last ones, the newest on the right.", plot)


def _pictures(held: Portrait) -> Node:
    if not held.pictures:
        sentence = (
            "No picture of it is here. Its owner decides what it may send; ask it to send what "
            "waits with Send now."
        )
        return parts.section("Latest pictures", "", parts.empty(sentence))
    return parts.section(
        "Latest pictures",
        "With the measured distance, the estimate and the residual.",
        contact_sheet(held.pictures, held.unit),
        node("p", parts.link("All of its pairs", "samples", device=held.car.device), cls="more"),
    )


def _latency(held: Portrait) -> Node | None:
    taken = [each.record.get("latency") for each in held.pairs]
    known = [each for each in taken if isinstance(each, dict)]
    if not known:
        return None
    names = (
        ("frame_age_us", "Age of the frame"),
        ("preprocess_us", "Preparing it"),
        ("inference_us", "Model"),
    )
    means = {name: fmean(float(each[name]) for each in known) / 1000 for name, _ in names}
    pairs = [(label, f"{means[name]:.2f} ms") for name, label in names]
    return parts.section(
        "Latency",
        f"Where the time of a picture goes, mean of the last {len(known)} pairs.",
        parts.facts([*pairs, ("In all", f"{sum(means.values()):.2f} ms")]),
    )


def _models(held: Portrait) -> Node | None:
    if not held.history:
        return None
    columns = (Column(name="Model"), Column(name="Release"), Column(name="Since"))
    rows = [
        Row(
            key=str(each.id),
            cells=(
                parts.link(words.version(each.version, each.model), "models", each.model),
                str(each.release_seq),
                moment(each.since_utc_us),
            ),
        )
        for each in reversed(held.history)
    ]
    table = parts.table("Models that it has run", columns, rows)
    return parts.section("Model history", "What it has run, the newest first.", table)


def _commands(held: Portrait) -> Node | None:
    if not held.commands:
        return None
    columns = tuple(Column(name=name) for name in ("Order", "By", "Given", "State", "Said"))
    rows = [
        Row(
            key=str(each.id),
            cells=(
                f"{each.id} {each.verb}",
                each.actor,
                moment(each.utc_us, is_short=True),
                parts.tag(each.state, _STATES.get(each.state, "busy")),
                each.reason or words.UNKNOWN,
            ),
        )
        for each in held.commands
    ]
    table = parts.table("Orders to it", columns, rows)
    return parts.section("Orders", "What it was told to do, and its answers.", table)
