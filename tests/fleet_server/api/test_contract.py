"""The OpenAPI document is kept: every operation, fed by schemathesis, alone and in sequences.

Each request carries a token with a role that its operation allows, so that it reaches the rules
behind the door; who may not pass the door is `test_rights`. Seeds are fixed: CI asks the same
questions every time. `PARKFLEET_CONTRACT_EXAMPLES` asks more of them.

Sequences need more to be the same every time. The server remembers: a sequence that finds what one
before it left behind differs from itself when it is tried again, which hypothesis takes for a fault
of the test and schemathesis for the end of the run, without a word. So each begins with the same
database. And hypothesis draws from the constants of whatever modules the process has loaded.
"""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.generation.stateful import APIStateMachine
from sqlalchemy import update

from fleet_server import tokens
from fleet_server.api.app import create_app
from fleet_server.api.context import Context
from fleet_server.releases.online import OnlineRepository
from fleet_server.storage.database import Database
from fleet_server.storage.tables import tokens as token_rows
from shared.messages import Batch
from tests.fleet_server.api.conftest import SETTINGS
from tests.fleet_server.api.history import EXPERIMENT, make
from tests.fleet_server.api.test_rights import RIGHTS
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, sample

pytestmark = [pytest.mark.slow, pytest.mark.long]

EXAMPLES = int(os.environ.get("PARKFLEET_CONTRACT_EXAMPLES", "12"))

SEQUENCES = EXAMPLES
STEPS = 80
"""Few and long: a sequence begins with lists, asks for each twice at most, and follows every link
twice at most, so that a long one gets to what is far from the lists."""

KNOWN = {
    "path.device": "car-1",
    "path.boot": BOOT,
    "path.sequence": 7,
    "path.run": "run-a",
    "path.attempt": 1,
    "query.device": "car-1",
    "query.deployment": DEPLOYMENT,
    "query.experiment": EXPERIMENT,
    "query.run": ["run-a", "run-b"],
    "query.cursor": 0,
    "query.attempt": 1,
}

FITTING = {
    "device": "car-1",
    "deployment": DEPLOYMENT,
    "version": 1,
    "attempt": 1,
    "verb": "stop",
    "labels": {},
}
"""What a body of a sequence says where it has such a field, so that it is taken and leads on."""


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, empty_state: Path, releases: Path
) -> Iterator[tuple[FastAPI, dict[str, str], Database]]:
    """Give an application over a fleet with something in every list, and a token of each role."""
    state = tmp_path_factory.mktemp("contract") / "server"
    shutil.copytree(empty_state, state)
    shutil.copytree(releases / "server" / "releases", state / "releases")
    fleet = Fleet(state)
    fleet.add_car()
    context = Context(
        state=state,
        settings=SETTINGS,
        database=fleet.database,
        repository=OnlineRepository.open(state, fleet.clock),
        key=fleet.server_key,
        clock=fleet.clock,
        outcomes=Counter(),
    )
    app = create_app(context)
    secrets: dict[str, str] = {}
    with fleet.database.write() as connection:
        for role in tokens.ROLES:
            made = tokens.create(connection, name=role, role=role, utc_us=START_US)
            secrets[role] = made.secret
        # Out of the way of whatever revokes tokens by number.
        connection.execute(update(token_rows).values(id=token_rows.c.id + 10**9))
    headers = {role: {"Authorization": f"Bearer {each}"} for role, each in secrets.items()}
    with TestClient(app) as client:
        make(fleet, client, context, releases, trainer=headers["trainer"], reader=headers["viewer"])
    fleet.send(Batch(device="car-1", samples=(sample(999, label=1e7),)))
    yield app, secrets, fleet.database
    fleet.close()


def _headers(secrets: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return what each operation is asked with: a token that it allows, or none."""
    roles = {
        route: next((each for each in ("admin", "trainer") if each in allowed), None)
        for route, allowed in RIGHTS.items()
    }
    return {
        route: {"Authorization": f"Bearer {secrets[role]}"} if role else {}
        for route, role in roles.items()
    }


def _configuration(secrets: dict[str, str], phase: str) -> schemathesis.Config:
    """Return what schemathesis does in one `phase`, with a fitting token for each operation."""
    operations = [
        {"include-name": route, "headers": headers} for route, headers in _headers(secrets).items()
    ]
    return schemathesis.Config.from_dict(
        {
            "seed": 7,
            "continue-on-failure": True,
            "phases": {
                "examples": {"enabled": False},
                "coverage": {"enabled": False},
                "fuzzing": {"enabled": False},
                "stateful": {"enabled": False},
                phase: {"enabled": True},
            },
            "generation": {
                "mode": "all",
                "max-examples": EXAMPLES,
                "deterministic": True,
                "no-shrink": True,
            },
            # What there is: the other phases try what there is not.
            "parameters": KNOWN if phase == "examples" else {},
            # What has the right shape may still be refused: a used code, a car that is not there.
            "checks": {"positive_data_acceptance": {"enabled": False}},
            "operations": operations,
        }
    )


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing"])
def test_every_operation_does_what_its_description_says_whatever_is_sent(
    served: tuple[FastAPI, dict[str, str], Database], phase: str
) -> None:
    app, secrets, database = served
    document = schemathesis.openapi.from_asgi(
        "/openapi.json", app, config=_configuration(secrets, phase)
    )
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    problems: list[str] = []
    for event in from_schema(document).execute():
        if isinstance(event, NonFatalError | FatalError):
            problems.append(f"schemathesis: {event!r}")
        if isinstance(event, ScenarioFinished):
            problems += _failures(event)
            asked.update(_operations(event.recorder, ok=False))
            answered.update(_operations(event.recorder, ok=True))
            # One may revoke the very token that it comes with.
            with database.write() as connection:
                connection.execute(update(token_rows).values(revoked_utc_us=None))
    assert not problems, "\n\n".join(problems[:20])
    if phase in ("coverage", "fuzzing"):
        assert set(asked) == set(RIGHTS)
    # Not all of it was refused at the door.
    assert len(answered) >= 40, sorted(set(RIGHTS) - set(answered))


@pytest.fixture
def plain_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have hypothesis draw from nothing that other tests may have loaded."""
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    providers.CONSTANTS_CACHE.cache.clear()
    yield
    providers.CONSTANTS_CACHE.cache.clear()


@pytest.fixture(scope="module", autouse=True)
def restore(served: tuple[FastAPI, dict[str, str], Database]) -> Iterator[Callable[[], None]]:
    """Give what puts the database back to what it was at first, while the server has it open."""
    _, _, database = served
    with database.read() as connection:
        path = str(connection.engine.url.database)
    with (
        closing(sqlite3.connect(path)) as live,
        closing(sqlite3.connect(":memory:")) as kept,
    ):
        live.execute("PRAGMA synchronous=OFF")
        live.backup(kept)
        yield lambda: kept.backup(live)


@pytest.mark.usefixtures("plain_draws")
def test_nearly_all_that_links_lead_to_is_reached_and_does_what_its_description_says(
    served: tuple[FastAPI, dict[str, str], Database], restore: Callable[[], None]
) -> None:
    app, secrets, _ = served
    answered: set[str] = set()
    machine = _walk(app, _headers(secrets), restore, answered)
    hypothesis.seed(7)(machine).run(
        settings=hypothesis.settings(
            max_examples=SEQUENCES,
            stateful_step_count=STEPS,
            phases=[hypothesis.Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    targets = _led_to(app.openapi())
    assert len(targets) > 30
    assert len(targets & answered) >= 0.9 * len(targets), sorted(targets - answered)


def _walk(
    app: FastAPI,
    headers: dict[str, dict[str, str]],
    restore: Callable[[], None],
    answered: set[str],
) -> type[APIStateMachine]:
    """Return what goes from answer to answer, and notes in `answered` what succeeded."""
    configuration = schemathesis.Config.from_dict(
        {
            # A sequence goes on from what was answered: what is refused leads nowhere.
            "generation": {"mode": "positive"},
            "analysis": {"constants": {"enabled": False}},
            # Without a token each operation is asked in the other phases.
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "ignored_auth": {"enabled": False},
            },
        }
    )
    document = schemathesis.openapi.from_asgi("/openapi.json", app, config=configuration)
    base: Any = document.as_state_machine()

    class Walk(base):  # type: ignore[misc]  # made at run time
        def setup(self) -> None:
            restore()

        def before_call(self, case: Any) -> None:
            # Filters are tried in the other phases: here they would leave nothing to go on with.
            known = {name: KNOWN.get(f"query.{name}") for name in case.query or {}}
            case.query = {name: value for name, value in known.items() if value is not None}
            if isinstance(case.body, dict):
                case.body |= {name: FITTING[name] for name in case.body.keys() & FITTING.keys()}

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers[case.operation.label]}

        def teardown(self) -> None:
            answered.update(_operations(self.recorder, ok=True))

    return Walk


def _led_to(document: dict[str, Any]) -> set[str]:
    """Return every operation that a link of an OpenAPI document leads to."""
    labels, ids = {}, set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            labels[operation["operationId"]] = f"{method.upper()} {path}"
            for response in operation["responses"].values():
                ids |= {link["operationId"] for link in response.get("links", {}).values()}
    return {labels[each] for each in ids}


def _operations(recorder: ScenarioRecorder, *, ok: bool) -> Iterator[str]:
    """Yield the operation of every request that was sent, or of those that succeeded."""
    for number, node in recorder.cases.items():
        interaction = recorder.interactions.get(number)
        response = interaction.response if interaction else None
        if response is not None and (not ok or response.status_code < 300):
            yield f"{node.value.operation.method.upper()} {node.value.operation.path}"


def _failures(event: ScenarioFinished) -> Iterator[str]:
    """Yield what was wrong, with the request that showed it."""
    for number, checks in event.recorder.checks.items():
        case = event.recorder.cases[number].value
        for check in checks:
            if check.failure_info is not None:
                failure = check.failure_info.failure
                asked = f"{case.method} {case.formatted_path} {case.query} {case.body!r:.300}"
                yield f"{asked}\n{failure.title}: {failure.message}"
