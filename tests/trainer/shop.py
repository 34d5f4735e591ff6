"""A worker's shop for tests: tiny trainings, a server in memory, a clock that nobody waits for."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from mlflow import MlflowClient

from shared.clock import SystemClock
from tests.trainer.server_double import TOKEN, ServerDouble
from tests.trainer.test_sign import role_signer
from trainer import options
from trainer.home import Home
from trainer.runtime import quiet
from trainer.settings import Limits, TrainingSettings
from trainer.worker.client import Server

EASY = Limits(quantisation_share=0.02, unsaid_share=0.5, standard_errors=5.0)
"""Few pictures, hardly trained on, pass no strict gate; the gates have tests of their own."""

ANY = Limits(quantisation_share=1.0, unsaid_share=1.0, coverage_points=1.0, standard_errors=100.0)

SETTINGS = TrainingSettings(steps=150, passes=1, batch=16, widths=(8, 16, 16), learning_rate=4e-3)

HARDLY = msgspec.structs.replace(SETTINGS, steps=50)
"""For tests in which it does not matter what was learnt."""

STEPS = ["split", "fit", "quantise", "evaluate", "manifest", "gates", "card"]


@dataclass
class FastClock(SystemClock):
    """The machine's clock, but nobody waits for it."""

    slept: int = 0

    def sleep_until_us(self, monotonic_us: int) -> None:  # noqa: ARG002 - Clock's signature
        self.slept += 1


def work_on(
    double: ServerDouble,
    state: Path,
    *,
    limits: Limits = EASY,
    settings: TrainingSettings = SETTINGS,
) -> None:
    """Do what `double` has to do."""
    from trainer.worker.worker import Workshop, work

    with Server("http://server.test", TOKEN, transport=double.transport()) as server:
        shop = Workshop(
            name="trainer-1",
            server=server,
            signer=role_signer(),
            studio=options.studio(Home(state), FastClock()),
            settings=settings,
            limits=limits,
        )
        work(shop, once=True)


def client_of(state: Path) -> MlflowClient:
    """Return MLflow's own client on a trainer's records."""
    uri = f"sqlite:///{state / 'mlflow.sqlite'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    with quiet():
        client.search_experiments(max_results=1)
    return client
