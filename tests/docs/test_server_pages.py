"""Metrics and routes are documented as they are served."""

from collections import Counter
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fleet_server.reading.metrics import FAMILIES, PREFIX, Traffic, exposition
from fleet_server.storage.database import Database
from shared.clock import SystemClock
from tests.docs import server_pages


def test_every_metric_that_is_served_is_in_the_table_with_its_type_and_text(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", SystemClock())
    traffic = Traffic()
    traffic.count("GET", "/api/v1/devices", 200, 0.01)
    text = exposition(database, Counter(), traffic).decode()
    database.close()
    served = {
        each.name: (each.type, each.documentation)
        for each in text_string_to_metric_families(text)
        if each.name.startswith(PREFIX)
    }
    table = {PREFIX + each.name: (each.kind, each.text) for each in FAMILIES}
    assert {name: each for name, each in served.items() if "_created" not in name} == table


def test_every_route_says_what_it_does_and_asks_for_a_role_or_none() -> None:
    page = server_pages.rest("")
    for route in server_pages.routes():
        assert route.description, route.path
        assert f"`{route.path_format}`" in page
    open_routes = [
        route.path_format
        for route in server_pages.routes()
        if not server_pages.roles(route.dependant)
    ]
    assert set(open_routes) == {
        "/health",
        "/ready",
        "/api/v1/enrolments/claim",
        "/api/v1/enrolments/rotate",
    }
