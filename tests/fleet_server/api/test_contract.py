"""The OpenAPI document is kept: every operation, fed by schemathesis, alone and in sequences.

Each request carries a token with a role that its operation allows, so that it reaches the rules
behind the door; who may not pass the door is `test_rights`. Seeds are fixed: CI asks the same
questions every time. `PARKFLEET_CONTRACT_EXAMPLES` asks more of them.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
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

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("PARKFLEET_CONTRACT_EXAMPLES", "12"))


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
}


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


def _configuration(secrets: dict[str, str], phase: str) -> schemathesis.Config:
    """Return what schemathesis does in one `phase`, with a fitting token for each operation."""
    operations = []
    for route, roles in RIGHTS.items():
        role = next((each for each in ("admin", "trainer") if each in roles), None)
        headers = {} if role is None else {"Authorization": f"Bearer {secrets[role]}"}
        operations.append({"include-name": route, "headers": headers})
    return schemathesis.Config.from_dict(
        {
            "seed": 7,
            "continue-on-failure": True,
            "phases": {
                "examples": {"enabled": False},
                "coverage": {"enabled": False},
                "fuzzing": {"enabled": False},
                "stateful": {"enabled": False, "max-steps": 8},
                phase: {"enabled": True},
            },
            "generation": {
                # A sequence goes on from what was answered: what is refused leads nowhere.
                "mode": "positive" if phase == "stateful" else "all",
                "max-examples": EXAMPLES * (20 if phase == "stateful" else 1),
                "deterministic": True,
                "no-shrink": True,
            },
            # What there is: the other phases try what there is not.
            "parameters": KNOWN if phase in ("examples", "stateful") else {},
            # What has the right shape may still be refused: a used code, a car that is not there.
            "checks": {"positive_data_acceptance": {"enabled": False}},
            "operations": operations,
        }
    )


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing", "stateful"])
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
            asked.update(_operations(event, ok=False))
            answered.update(_operations(event, ok=True))
            # A sequence may list the tokens and revoke the very one that it comes with.
            with database.write() as connection:
                connection.execute(update(token_rows).values(revoked_utc_us=None))
    assert not problems, "\n\n".join(problems[:20])
    if phase in ("coverage", "fuzzing"):
        assert set(asked) == set(RIGHTS)
    # Not all of it was refused at the door. How far sequences get differs: hypothesis draws from
    # the constants of whatever the process has loaded (17 to 35 operations seen).
    assert len(answered) >= (10 if phase == "stateful" else 40), sorted(set(RIGHTS) - set(answered))


def _operations(event: ScenarioFinished, *, ok: bool) -> Iterator[str]:
    """Yield the operation of every request that was sent, or of those that succeeded."""
    for number, node in event.recorder.cases.items():
        interaction = event.recorder.interactions.get(number)
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
