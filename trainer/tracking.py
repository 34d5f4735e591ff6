"""The trainer's notebook: every run in MLflow, on a SQLite file, with nobody told about it.

Laws:
- a run is begun before its first step and always ended, as finished or failed;
- what is registered names the digest, the deployment, the job and the decision that asked for it;
- the fleet server's registry is the authority; this one is linked to it by digest and run id.

The run's id is MLflow's own and stands in the model's manifest, so that each leads to the other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset as LoggedDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param

from shared.clock import Clock
from shared.manifest import Manifest
from trainer.dataset import Dataset
from trainer.fit import Round
from trainer.runtime import quiet

NEWEST_ALIAS = "newest"


class Notebook:
    """MLflow's records under a folder: `mlflow.sqlite` and `artifacts/`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Open the notebook in `folder`, which is created where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self._artifacts = (folder.resolve() / "artifacts").as_uri()
        uri = f"sqlite:///{folder.resolve() / 'mlflow.sqlite'}"
        with quiet():
            # The first use of a new file creates its tables and tells about it.
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._client.search_experiments(max_results=1)
        self._clock = clock

    def begin(
        self, experiment: str, tags: Mapping[str, str], settings: Mapping[str, object]
    ) -> str:
        """Return the id of a new run of `experiment` with `settings` as its parameters."""
        found = self._client.get_experiment_by_name(experiment)
        number = (
            found.experiment_id
            if found
            else self._client.create_experiment(
                experiment, artifact_location=f"{self._artifacts}/{experiment}"
            )
        )
        run = self._client.create_run(number, start_time=self._now_ms(), tags=dict(tags))
        run_id = str(run.info.run_id)
        parameters = [Param(name, str(value)) for name, value in settings.items()]
        self._client.log_batch(run_id, params=parameters)
        return run_id

    def log_dataset(self, run_id: str, dataset: Dataset) -> None:
        """Record which data the run is trained on."""
        logged = LoggedDataset(
            name=dataset.task.name,
            # MLflow's column holds 36 characters; the whole digest is a tag.
            digest=dataset.sha256[:36],
            source_type="pairs",
            source=f'{{"sha256": "{dataset.sha256}"}}',
            profile=f'{{"pairs": {len(dataset)}}}',
        )
        self._client.log_inputs(
            run_id, [DatasetInput(logged, [InputTag("mlflow.data.context", "training")])]
        )
        self._client.set_tag(run_id, "dataset_sha256", dataset.sha256)

    def log_rounds(self, run_id: str, rounds: Sequence[Round]) -> None:
        """Record how loss and validation error went, round by round."""
        now_ms = self._now_ms()
        series = [
            Metric(name, value, now_ms, each.number)
            for each in rounds
            for name, value in (("loss", each.loss), ("validation_mae", each.validation_mae))
        ]
        # MLflow takes at most 1000 metrics at once.
        for at in range(0, len(series), 1000):
            self._client.log_batch(run_id, metrics=series[at : at + 1000])

    def register(self, manifest: Manifest, folder: Path, tags: Mapping[str, str]) -> str:
        """Log `folder` as the run's artefacts, register a version of them; return its number."""
        run_id = manifest.run_id
        now_ms = self._now_ms()
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now_ms, 0) for name, value in manifest.metrics.items()],
        )
        self._client.log_artifacts(run_id, str(folder), "model")
        name = f"{manifest.task.name}.{manifest.deployment}"
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        version = self._client.create_model_version(
            name,
            source=f"{self._client.get_run(run_id).info.artifact_uri}/model",
            run_id=run_id,
            tags={
                "digest": manifest.sha256,
                "deployment": manifest.deployment,
                "release_seq": str(manifest.release_seq),
                "runtime": "litert",
                "quantisation": "int8",
                **tags,
            },
        )
        self._client.set_registered_model_alias(name, NEWEST_ALIAS, version.version)
        return str(version.version)

    def end(self, run_id: str, *, failed: str = "") -> None:
        """End the run: finished, or failed with its reason."""
        if failed:
            self._client.set_tag(run_id, "failure", failed[:500])
        self._client.set_terminated(
            run_id, "FAILED" if failed else "FINISHED", end_time=self._now_ms()
        )

    def end_left_over(self) -> int:
        """End the runs that a killed worker left running; return how many there were."""
        numbers = [each.experiment_id for each in self._client.search_experiments()]
        left = self._client.search_runs(numbers, "attributes.status = 'RUNNING'")
        for run in left:
            self._client.set_terminated(run.info.run_id, "KILLED", end_time=self._now_ms())
        return len(left)

    def status(self, run_id: str) -> str:
        """Return RUNNING, FINISHED, FAILED or KILLED."""
        return str(self._client.get_run(run_id).info.status)

    def _now_ms(self) -> int:
        return self._clock.utc_us() // 1000
