"""The trainer's notebook: every run in MLflow, on a SQLite file, with nobody told about it.

Laws:
- a run is begun before its first step and always ended, as finished or failed; one that a kill left
  open is gone on with or ended at the next start;
- a run is registered once, however often that is tried, and what is registered names its digest,
  gates, deployment, the job and the decision that asked for it;
- a model that a gate refused is registered as refused, with the reason, and bears no other alias;
- the fleet server's registry is the authority; this one is linked to it by digest and run id;
- a full disk is a passing fault: MLflow's own exception does not leave this module.

The run's id is MLflow's own and stands in the model's manifest, so that each leads to the other.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Dataset as LoggedDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from shared.clock import Clock
from shared.errors import RetryLaterError, UsageError
from shared.manifest import Manifest
from trainer.data.snapshot import Contents
from trainer.home import Home
from trainer.learning.rounds import Round
from trainer.notebook import environment
from trainer.runtime import quiet

NEWEST_ALIAS = "newest"
REFUSED_ALIAS = "refused"

_KIND_OF_EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's pages otherwise take it for one about chats, and hide charts and runs behind those."""

_LONGEST_TAG = 5000
_AT_ONCE = 900
"""MLflow takes at most 1000 metrics in one call, and 100 parameters."""


class Notebook:
    """MLflow's records of one trainer."""

    def __init__(self, home: Home, clock: Clock) -> None:
        """Open the notebook in `home`, which is created where it is missing.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        self._artefacts = home.runs.resolve().as_uri()
        self._clock = clock
        uri = f"sqlite:///{home.records.resolve()}"
        with _translated():
            home.folder.mkdir(parents=True, exist_ok=True)
            with quiet():
                # The first use of a new file creates its tables and tells about it.
                self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                self._client.search_experiments(max_results=1)

    def begin(
        self,
        experiment: str,
        tags: Mapping[str, str],
        settings: Mapping[str, object],
        *,
        parent: str = "",
        name: str = "",
    ) -> str:
        """Return the id of a new run of `experiment` with `settings` as its parameters.

        `parent` is the run that it belongs to, or that it repeats a step of.
        """
        own = {
            **environment.source(),
            **{f"version.{key}": value for key, value in environment.versions().items()},
            **{f"machine.{key}": value for key, value in environment.machine().items()},
            **({"mlflow.parentRunId": parent} if parent else {}),
            **tags,
        }
        with _translated():
            run = self._client.create_run(
                self._experiment(experiment),
                start_time=self._now_ms(),
                tags=own,
                run_name=name or None,
            )
            run_id = str(run.info.run_id)
            self.log_parameters(run_id, settings)
        return run_id

    def log_parameters(self, run_id: str, settings: Mapping[str, object]) -> None:
        """Record `settings` as the run's parameters."""
        with _translated():
            self._client.log_batch(
                run_id, params=[Param(name, str(value)) for name, value in settings.items()]
            )

    def log_dataset(self, run_id: str, about: Contents, source: str) -> None:
        """Record which data the run is trained on, kept at `source`."""
        logged = LoggedDataset(
            name=about.task.name,
            # MLflow's column holds 36 characters; the whole digest is a tag.
            digest=about.sha256[:36],
            source_type="snapshot",
            source=f'{{"uri": "{source}", "sha256": "{about.sha256}"}}',
            profile=f'{{"pairs": {about.pairs}, "manoeuvres": {about.manoeuvres}}}',
        )
        with _translated():
            self._client.log_inputs(
                run_id, [DatasetInput(logged, [InputTag("mlflow.data.context", "training")])]
            )
            self._client.set_tag(run_id, "dataset_sha256", about.sha256)

    def log_rounds(self, run_id: str, rounds: Sequence[Round]) -> None:
        """Record how loss, validation error and learning rate went, round by round."""
        now_ms = self._now_ms()
        series = [
            Metric(name, value, now_ms, each.number)
            for each in rounds
            for name, value in (
                ("loss", each.loss),
                ("validation_mae", each.validation_mae),
                ("learning_rate", each.learning_rate),
            )
        ]
        with _translated():
            for at in range(0, len(series), _AT_ONCE):
                self._client.log_batch(run_id, metrics=series[at : at + _AT_ONCE])

    def log_system(self, run_id: str, load: Mapping[str, float], *, step: int) -> None:
        """Record the machine's load where MLflow's page of system metrics looks for it."""
        now_ms = self._now_ms()
        series = [Metric(f"system/{name}", value, now_ms, step) for name, value in load.items()]
        with _translated():
            self._client.log_batch(run_id, metrics=series)

    def log_results(self, run_id: str, results: Mapping[str, float]) -> None:
        """Record figures of the whole run."""
        now_ms = self._now_ms()
        series = [Metric(name, value, now_ms, 0) for name, value in results.items()]
        with _translated():
            self._client.log_batch(run_id, metrics=series)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Record `tags` of the run."""
        with _translated():
            self._client.log_batch(
                run_id, tags=[RunTag(name, value[:_LONGEST_TAG]) for name, value in tags.items()]
            )

    def register(
        self, manifest: Manifest, *, refusal: str, card: str, tags: Mapping[str, str]
    ) -> str:
        """Register the run's model and return its version; again, it is the same version.

        With a `refusal` it is registered as refused and `newest` stays where it is.
        """
        run_id = manifest.run_id
        name = f"{manifest.task.name}.{manifest.deployment}"
        with _translated():
            known = self._client.search_model_versions(f"run_id = '{run_id}'")
            version = known[0].version if known else self._create(name, manifest, card)
            gates = (
                {"gates": "refused", "refusal": refusal[:500]} if refusal else {"gates": "passed"}
            )
            for key, value in {**gates, **tags}.items():
                self._client.set_model_version_tag(name, version, key, value)
            alias = REFUSED_ALIAS if refusal else NEWEST_ALIAS
            self._client.set_registered_model_alias(name, alias, version)
        return str(version)

    def end(self, run_id: str, *, failed: str = "") -> None:
        """End the run: finished, or failed with its reason."""
        with _translated():
            if failed:
                self._client.set_tag(run_id, "failure", failed[:500])
            self._client.set_terminated(
                run_id, "FAILED" if failed else "FINISHED", end_time=self._now_ms()
            )

    def left_open(self) -> Mapping[str, Mapping[str, str]]:
        """Return the runs that were begun and not ended, by id, with their tags."""
        with _translated():
            numbers = [each.experiment_id for each in self._client.search_experiments()]
            found = self._client.search_runs(numbers, "attributes.status = 'RUNNING'")
        return {str(run.info.run_id): dict(run.data.tags) for run in found}

    def end_killed(self, run_id: str) -> None:
        """End a run that a kill left open and nobody goes on with."""
        with _translated():
            self._client.set_terminated(run_id, "KILLED", end_time=self._now_ms())

    def status(self, run_id: str) -> str:
        """Return RUNNING, FINISHED, FAILED or KILLED.

        Raises:
            UsageError: there is no such run.
        """
        try:
            return str(self._client.get_run(run_id).info.status)
        except MlflowException:
            raise UsageError(f"there is no run {run_id}") from None

    def _create(self, name: str, manifest: Manifest, card: str) -> str:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        created = self._client.create_model_version(
            name,
            source=f"{self._client.get_run(manifest.run_id).info.artifact_uri}/model",
            run_id=manifest.run_id,
            description=card,
            tags={
                "digest": manifest.sha256,
                "deployment": manifest.deployment,
                "release_seq": str(manifest.release_seq),
                "dataset_sha256": manifest.dataset_sha256,
                "runtime": "litert",
                "quantisation": "int8",
                "golden": manifest.golden.pictures if manifest.golden else "none",
            },
        )
        return str(created.version)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        # Runs of all experiments lie side by side: the run's id is enough to find one.
        return str(
            self._client.create_experiment(
                name, artifact_location=self._artefacts, tags=_KIND_OF_EXPERIMENT
            )
        )

    def _now_ms(self) -> int:
        return self._clock.utc_us() // 1000


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn MLflow's and the disk's faults into ours: what fails here may succeed later."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise RetryLaterError(f"cannot write the notebook: {error}"[:300]) from None
