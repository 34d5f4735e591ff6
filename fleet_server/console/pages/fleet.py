"""The first page: the fleet at a glance, live.

Laws:
- the page is built once; each second only texts, rows and points that changed are sent;
- where the database cannot be read the page says so, keeps what it showed, and tries again.
"""

import logging
from collections.abc import Sequence

from nicegui import ui

from fleet_server.console import words
from fleet_server.console.board import Board, CarRow, Figure, LogRow, compose
from fleet_server.console.charts import error_chart
from fleet_server.console.reader import Looks
from fleet_server.console.theme import MARK, Text, dress, empty, part, put, show
from shared import __version__
from shared.clock import Clock
from shared.errors import RetryLaterError

logger = logging.getLogger(__name__)

_EVERY_S = 1.0
_LEAD = (
    "Cars learn to judge a distance from one camera picture. A laser beside the camera labels "
    "every picture; this page shows what they have learnt."
)
_COLUMNS = ("Car", "State", "Deployment", "Model", "Error now", "Queue", "Last seen")
_NO_CARS = (
    "No car is enrolled yet. Ask for an enrolment code (POST /api/v1/enrolments, see the REST API "
    "below), then give it to the car:"
)
_ENROL = "parkfleet device enrol --server http://127.0.0.1:8080 --name car-1 --code CODE"
_NO_POINTS = (
    "No car has parked by camera yet. Cars log labelled pictures while they park by their sensor; "
    "once enough are here, the server has the first model trained by a worker:"
)
_TRAIN = "parkfleet trainer work --server http://127.0.0.1:8080 --token-file trainer.token"
_NO_LOG = "Nothing has been decided yet. Each training and each new version will be noted here."


def register(looks: Looks, clock: Clock) -> None:
    """Serve the page at `/`."""

    @ui.page("/", title="parkfleet: the fleet")
    async def page() -> None:
        dress()
        view = _FleetPage()

        async def refresh() -> None:
            now_us = clock.utc_us()
            try:
                fleet = await looks.fleet()
            except RetryLaterError as error:
                logger.warning("the console cannot read: %s", error)
                view.is_stale()
                return
            view.update(compose(fleet, now_us), now_us)

        await refresh()
        ui.timer(_EVERY_S, refresh)


class _FleetPage:
    """The page's elements, and how they follow a board."""

    def __init__(self) -> None:
        with ui.element("header").classes("head"):
            with ui.element("h1"):
                ui.html(
                    MARK.format(wall="var(--soft)", car="var(--accent)"), sanitize=False, tag="span"
                ).classes("mark")
                Text("span", "parkfleet")
            self._live = Text("span", "", "live")
            Text("p", _LEAD, "lead")
        self._figures = _Figures()
        with part("Error per manoeuvre", "How far the cameras' estimates lie from the sensors."):
            self._chart = _Chart()
        with part("Cars", "What each car runs, and what it last reported."):
            self._cars = _Cars()
        with part("Decisions", "What was changed and why, newest first. Times are UTC."):
            self._log = _Log()
        with ui.element("footer").classes("foot"):
            Text("span", f"parkfleet {__version__}. ")
            Text("a", "REST API").props("href=/docs")

    def update(self, board: Board, now_utc_us: int) -> None:
        self._live.say(f"Live, {words.clock_time(now_utc_us)} UTC")
        self._live.classes(remove="stale")
        self._figures.update(board.figures)
        self._chart.update(board)
        self._cars.update(board.cars)
        self._log.update(board.log)

    def is_stale(self) -> None:
        self._live.say("The database does not answer, trying again")
        self._live.classes(add="stale")


class _Figures:
    def __init__(self) -> None:
        self._list = ui.element("dl").classes("figures").props('aria-label="The fleet in numbers"')
        self._shown: list[tuple[Text, ui.element, Text]] = []

    def update(self, figures: Sequence[Figure]) -> None:
        if not self._shown:
            with self._list:
                self._shown = [self._build(figure.label) for figure in figures]
        for figure, (value, bar, note) in zip(figures, self._shown, strict=True):
            value.say(figure.value)
            note.say(figure.note)
            show(bar, figure.share is not None)
            put(bar, "value", round(figure.share or 0.0, 3))

    @staticmethod
    def _build(label: str) -> tuple[Text, ui.element, Text]:
        with ui.element("div").classes("figure"):
            Text("dt", label)
            value = Text("dd", "", "value")
            with ui.element("dd"):
                bar = ui.element("progress").props("max=1")
                put(bar, "aria-label", label)
            return value, bar, Text("dd", "", "note")


class _Chart:
    def __init__(self) -> None:
        self._empty = empty(_NO_POINTS, _TRAIN)
        self._chart = ui.echart({}, renderer="svg").classes("chart")
        self._chart.props('role=img aria-label="Mean error of each manoeuvre, a line for each car"')
        self._summary = Text("p", "", "unseen")

    def update(self, board: Board) -> None:
        has_points = any(line.points for line in board.lines)
        show(self._empty, not has_points)
        show(self._chart, has_points)
        self._summary.say(board.chart_summary)
        options = error_chart(board)
        if has_points and options != self._chart.options:
            self._chart.options.clear()
            self._chart.options.update(options)
            self._chart.update()


class _Cars:
    def __init__(self) -> None:
        self._empty = empty(_NO_CARS, _ENROL)
        with ui.element("table").classes("cars") as self._table:
            Text("caption", "The cars of the fleet", "unseen")
            with ui.element("thead"), ui.element("tr"):
                for column in _COLUMNS:
                    Text("th", column, "number" if column == "Queue" else "").props("scope=col")
            self._body = ui.element("tbody")
        self._rows: dict[str, _Row] = {}

    def update(self, cars: Sequence[CarRow]) -> None:
        show(self._empty, not cars)
        show(self._table, bool(cars))
        for name in self._rows.keys() - {car.name for car in cars}:
            self._rows.pop(name).element.delete()
        for car in cars:
            if car.name not in self._rows:
                with self._body:
                    self._rows[car.name] = _Row(car)
            self._rows[car.name].update(car)


class _Row:
    def __init__(self, car: CarRow) -> None:
        with ui.element("tr") as self.element:
            with ui.element("th").props("scope=row"):
                swatch = ui.element("span").classes("swatch").props("aria-hidden=true")
                swatch.style(f"--car-colour: var(--car-{car.colour})")
                Text("span", car.name)
            with _cell("State"):
                self._presence = Text("span", "", "presence")
            with _cell("Deployment"):
                self._deployment = Text("span")
            with _cell("Model"):
                self._model, self._model_note = Text("span"), Text("small")
            with _cell("Error now"):
                self._error, self._error_note = Text("span"), Text("small")
            with _cell("Queue").classes("number"):
                self._queue = Text("span")
            with _cell("Last seen"):
                self._seen = Text("span")

    def update(self, car: CarRow) -> None:
        self._presence.classes(replace=f"presence {'online' if car.is_online else 'away'}")
        for text, element in (
            (car.presence, self._presence),
            (car.deployment, self._deployment),
            (car.model, self._model),
            (car.model_note, self._model_note),
            (car.error, self._error),
            (car.error_note, self._error_note),
            (car.queue, self._queue),
            (car.seen, self._seen),
        ):
            element.say(text)


def _cell(name: str) -> ui.element:
    cell = ui.element("td")
    put(cell, "data-name", name)
    return cell


class _Log:
    def __init__(self) -> None:
        self._empty = empty(_NO_LOG)
        self._list = ui.element("ol").classes("log")
        self._items: dict[int, ui.element] = {}

    def update(self, rows: Sequence[LogRow]) -> None:
        show(self._empty, not rows)
        show(self._list, bool(rows))
        for gone in self._items.keys() - {row.id for row in rows}:
            self._items.pop(gone).delete()
        for place, row in enumerate(rows):
            if row.id not in self._items:
                with self._list, ui.element("li") as item:
                    put(Text("time", row.time), "datetime", row.iso_time)
                    Text("span", row.kind, "kind")
                    Text("span", row.text, "why")
                item.move(target_index=place)
                self._items[row.id] = item
