"""Where a trainer keeps things: one folder, each thing at one place.

| what | where |
|---|---|
| MLflow's records | `mlflow.sqlite` |
| a run: what its steps made, its logs, its model | `runs/<run>/artifacts/` |
| data sets, once each | `datasets/<digest>/` |
| the key that signs | `keys/release.key` |

A run's folder is where MLflow keeps that run's artefacts: its own page shows them, and nothing is
kept twice.
"""

from dataclasses import dataclass
from pathlib import Path

from trainer.data.snapshot import Snapshots
from trainer.pipeline.folder import RunFolder


@dataclass(frozen=True)
class Home:
    """A trainer's folder."""

    folder: Path

    @property
    def records(self) -> Path:
        """MLflow's database."""
        return self.folder / "mlflow.sqlite"

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.folder / "runs"

    @property
    def key(self) -> Path:
        """The key that signs, where it is a file."""
        return self.folder / "keys" / "release.key"

    @property
    def snapshots(self) -> Snapshots:
        """The data sets."""
        return Snapshots(self.folder / "datasets")

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.runs / run_id / "artifacts")
