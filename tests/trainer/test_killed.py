"""A worker that is killed goes on where it was, and its job ends once."""

import os
import signal
from pathlib import Path

import msgspec
import pytest

from tests.trainer.served import Worker, served
from tests.trainer.server_double import ServerDouble, targets
from tests.trainer.shop import client_of
from tests.trainer.test_sign import empty_role
from trainer.home import Home
from trainer.worker.client import Pair

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.usefixtures("_prepared")]


class _Killer:
    """Kills the worker in the middle of its training, then as the server has taken its model."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.killed: list[str] = []
        self._told = 0

    def __call__(self, method: str, path: str, body: bytes) -> None:
        if path.endswith("/progress") and msgspec.json.decode(body)["stage"] == "fit":
            self._told += 1
            if not self.killed:
                self._kill("fit")
        elif method == "POST" and path == "/api/v1/models" and len(self.killed) == 1:
            self._kill("registered")

    def _kill(self, where: str) -> None:
        assert self.worker is not None
        self.killed.append(where)
        self.worker.kill()


@pytest.fixture(scope="module")
def twice_killed(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair]
) -> tuple[ServerDouble, Path, list[int]]:
    double = ServerDouble(pairs=pairs, role=empty_role(), hands_on=True)
    state = tmp_path_factory.mktemp("killed")
    killer = _Killer()
    with served(double, killer) as url:
        worker = killer.worker = Worker(state, url)
        worker.prepare(b"k" * 32)
        codes = [worker.run() for _ in range(3)]
    assert killer.killed == ["fit", "registered"]
    return double, state, codes


def test_the_job_ends_once_in_one_registered_version(
    twice_killed: tuple[ServerDouble, Path, list[int]],
) -> None:
    double, state, codes = twice_killed
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, os.EX_OK]
    assert (double.attempt, double.registered, double.failed) == (2, 1, "")
    assert len(targets(double.role).targets) == 1
    assert double.manifest is not None
    client = client_of(state)
    (version,) = client.search_model_versions("name = 'tiny.bench'")
    assert version.tags["digest"] == double.manifest.sha256
    assert client.get_model_version_by_alias("tiny.bench", "newest").version == version.version


def test_the_run_that_was_cut_short_is_the_one_that_ended(
    twice_killed: tuple[ServerDouble, Path, list[int]],
) -> None:
    double, state, _ = twice_killed
    assert double.manifest is not None
    client = client_of(state)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == double.manifest.run_id
    assert run.info.status == "FINISHED"
    # The release number is that of the claim under which it ended.
    assert double.manifest.release_seq == 6
    log = (state / "worker.log").read_text()
    assert log.count("run_resumed") == 1
    assert log.count("run_registered_late") == 1
    assert list(Home(state).runs.rglob("*.new")) == []
