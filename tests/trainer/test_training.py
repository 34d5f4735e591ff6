"""Training, converting and handing in, on tiny pictures, for real."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from shared.errors import RefusedError
from shared.ids import sha256_hex
from tests.trainer.conftest import TINY, pair
from tests.trainer.server_double import ServerDouble, targets
from tests.trainer.shop import ANY, HARDLY, STEPS, client_of, work_on
from tests.trainer.test_sign import empty_role
from trainer.settings import Limits
from trainer.worker.client import Pair

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("_prepared")]


def test_a_job_ends_in_one_registered_model(done: tuple[ServerDouble, Path]) -> None:
    double, _ = done
    # The first answer was lost, so it is asked for again: a release alone is no registration.
    assert double.registered == 2
    assert double.manifest is not None
    assert double.failed == ""
    assert double.stages == ["fetch", *STEPS]
    role = targets(double.role)
    assert role.version == 2
    assert list(role.targets) == [f"tiny/bench/{double.manifest.sha256}.tflite"]


def test_the_model_is_good_in_the_runtime_that_runs_it(done: tuple[ServerDouble, Path]) -> None:
    manifest = done[0].manifest
    assert manifest is not None
    # A model that always answers the middle of the range is off by 25 mm.
    assert manifest.metrics["test_mae"] < 12.5
    assert abs(manifest.metrics["test_mae"] - manifest.metrics["float_mae"]) < 1.0


def test_the_manifest_is_what_the_file_says(done: tuple[ServerDouble, Path]) -> None:
    from trainer.judging import evaluate

    double, _ = done
    manifest = double.manifest
    assert manifest is not None
    assert evaluate.tensors(double.model) == {
        "picture": manifest.input,
        "value": manifest.value,
        "log_sigma": manifest.log_sigma,
    }
    assert manifest.input.dtype == "int8"
    assert manifest.input.shape == (1, TINY.picture_height, TINY.picture_width, 3)
    assert manifest.input.scale == pytest.approx(1 / 255, rel=1e-4)
    assert manifest.input.zero_point == -128
    assert (manifest.task, manifest.deployment, manifest.release_seq) == (TINY, "bench", 5)


def test_the_notebook_leads_to_the_model_and_back(done: tuple[ServerDouble, Path]) -> None:
    double, state = done
    manifest = double.manifest
    assert manifest is not None
    client = client_of(state)
    version = client.get_model_version_by_alias("tiny.bench", "newest")
    assert version.run_id == manifest.run_id
    assert version.tags["digest"] == manifest.sha256
    assert version.tags["job"] == "7"
    assert version.tags["decision"] == "3"
    run = client.get_run(manifest.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["steps"] == "150"
    assert run.data.tags["dataset_sha256"] == manifest.dataset_sha256
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == manifest.dataset_sha256[:36]
    judged = client.get_metric_history(manifest.run_id, "validation_mae")
    assert [each.step for each in judged] == [3, 4, 5, 6]
    kept = client.download_artifacts(manifest.run_id, "model/model.tflite")
    assert Path(kept).read_bytes() == double.model
    assert "evaluation.json" in {each.path for each in client.list_artifacts(manifest.run_id)}


def test_the_server_is_told_how_the_model_was_made_in_words_that_it_takes(
    done: tuple[ServerDouble, Path],
) -> None:
    from fleet_server.api.bodies import NewRun

    double, _ = done
    assert double.manifest is not None
    (told,) = double.records
    run = NewRun.model_validate_json(msgspec.json.encode(told))
    assert (run.run, run.dataset_sha256) == (
        double.manifest.run_id,
        double.manifest.dataset_sha256,
    )
    assert run.parameters["steps"] == "150"
    assert {"parkfleet", "python", "tensorflow"} <= set(run.versions)
    assert run.metrics["test_mae"] == double.manifest.metrics["test_mae"]
    steps = {each.name: each for each in run.steps}
    assert list(steps) == STEPS
    assert steps["quantise"].outputs == {"model.tflite": double.manifest.sha256}
    # Every file that a step names and the server was given is the one that was given.
    for step in run.steps:
        for name, digest in step.outputs.items():
            sent = name in double.files
            assert not sent or sha256_hex(double.files[name]) == digest
    assert {"settings.json", "rounds.json", "card.md", "worst.png"} <= set(double.files)


def test_a_job_handed_on_ends_its_run_and_registers_nothing(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    double = ServerDouble(pairs=pairs, role=empty_role(), lose_at="fit")
    work_on(double, tmp_path)
    assert double.registered == 0
    assert double.failed == ""
    client = client_of(tmp_path)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "JobLostError" in run.data.tags["failure"]


def test_a_model_that_a_gate_refuses_goes_nowhere_and_says_why(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    double = ServerDouble(pairs=pairs, role=empty_role())
    work_on(double, tmp_path, limits=Limits(size_bytes=1), settings=HARDLY)
    assert double.registered == 0
    assert double.role == empty_role()
    assert double.failed.startswith("refused by its gates: ")
    assert "size: " in double.failed
    (told,) = double.records
    assert told["metrics"]["refused"] == 1.0
    assert told["model"]
    assert "size: " in told["refusal"]
    client = client_of(tmp_path)
    version = client.get_model_version_by_alias("tiny.bench", "refused")
    assert version.tags["gates"] == "refused"
    assert "size: " in version.tags["refusal"]
    assert "newest" not in client.get_registered_model("tiny.bench").aliases
    assert b"Refused, goes nowhere" in double.files["card.md"]
    assert client.get_run(str(version.run_id)).info.status == "FINISHED"


def test_pairs_that_teach_nothing_fail_the_job_with_the_count(tmp_path: Path) -> None:
    alike = [pair(n, manoeuvre=n // 10, label=50.0) for n in range(80)]
    double = ServerDouble(pairs=alike, role=empty_role())
    work_on(double, tmp_path)
    assert double.registered == 0
    assert "80 pairs are all alike" in double.failed


def test_a_disk_that_takes_nothing_fails_the_job_and_leaves_nothing_open(
    tmp_path: Path, pairs: list[Pair]
) -> None:
    # What a full disk says, said by a file where a folder must be: the same error, at no cost.
    (tmp_path / "datasets").write_text("in the way")
    double = ServerDouble(pairs=pairs, role=empty_role())
    work_on(double, tmp_path)
    assert double.registered == 0
    assert "cannot write" in double.failed
    assert not client_of(tmp_path).search_model_versions()


def test_metadata_of_another_key_fails_the_job(tmp_path: Path, pairs: list[Pair]) -> None:
    double = ServerDouble(pairs=pairs, role=empty_role(b"t" * 32))
    work_on(double, tmp_path, limits=ANY, settings=HARDLY)
    assert double.registered == 0
    assert "no signature of our key" in double.failed


def test_representative_pictures_cover_every_bin() -> None:
    from trainer.data.dataset import label_bins
    from trainer.learning.quantise import representative

    labels = np.concatenate([np.full(500, 0.05), np.linspace(0, 1, 60)]).astype(np.float32)
    chosen = representative(label_bins(labels), seed=1, count=100)
    assert len(set(chosen.tolist())) == 100
    counts = np.bincount(label_bins(labels[chosen]), minlength=10)
    # Each of the thin bins gives all its six or seven pictures.
    assert (counts[1:] >= 5).all()
    assert counts.sum() == 100


def test_a_file_that_is_no_model_is_refused() -> None:
    from trainer.judging import evaluate

    with pytest.raises(RefusedError, match="does not load"):
        evaluate.tensors(b"not a model at all")
