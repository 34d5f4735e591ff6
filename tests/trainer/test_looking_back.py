"""What a run leaves behind, read back by the libraries whose pages show it, and made again."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from shared.errors import UsageError
from shared.ids import sha256_hex
from tests.trainer.server_double import ServerDouble
from tests.trainer.shop import STEPS, FastClock, client_of
from trainer import options
from trainer.home import Home
from trainer.pipeline.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_prepared")]

Done = tuple[ServerDouble, Path]

_JUDGED = [3, 4, 5, 6]
"""Of six rounds: the one that a search would look at, and all in which sigma is learnt."""


def _run_id(done: Done) -> str:
    manifest = done[0].manifest
    assert manifest is not None
    return manifest.run_id


def _folder(done: Done) -> RunFolder:
    return Home(done[1]).run(_run_id(done))


def _again(done: Done, step: str, *, onward: bool = False, **changes: Any) -> RunFolder:
    from trainer.pipeline.again import again

    studio = options.studio(Home(done[1]), FastClock())
    return again(studio, _run_id(done), step, changes, onward=onward, tell=lambda _: None)


def test_a_run_made_again_is_the_same_file_to_the_byte(done: Done) -> None:
    from trainer.pipeline.reproduce import reproduce

    # Without any of the callbacks that watched the first time: watching changes nothing.
    made = reproduce(Home(done[1]), _run_id(done), clock=FastClock(), tell=lambda _: None)
    assert made.is_identical
    assert made.found == sha256_hex(done[0].model)
    assert made.same_split
    assert made.other_versions == {}


def test_sigma_is_set_by_what_the_converted_file_answers(done: Done) -> None:
    from trainer.judging.evaluate import Judgement

    found = _folder(done).read_json("evaluation.json", Judgement).calibration
    assert found is not None
    assert found.within_1_sigma == pytest.approx(0.6827, abs=0.06)
    assert found.within_2_sigma == pytest.approx(0.9545, abs=0.06)


def test_fit_runs_again_alone_with_another_batch_on_the_identical_split(done: Done) -> None:
    first = _folder(done)
    before = {each: each.read_bytes() for each in first.path.rglob("*") if each.is_file()}
    other = _again(done, "fit", batch=32)
    assert other.digest("split.json") == first.digest("split.json")
    assert other.digest("network.npz") != first.digest("network.npz")
    assert not other.has("model/model.tflite")
    steps = {each["name"]: each for each in msgspec.json.decode(other.read("steps.json"))}
    assert steps["fit"]["parameters"]["batch"] == "32"
    assert (
        steps["fit"]["inputs"]["dataset"]
        == msgspec.json.decode(first.read("run.json"))["dataset_sha256"]
    )
    run = client_of(done[1]).get_run(other.path.parent.name)
    assert run.data.tags["mlflow.parentRunId"] == run.data.tags["again_of"] == _run_id(done)
    assert run.data.params["batch"] == "32"
    assert run.info.status == "FINISHED"
    assert before == {each: each.read_bytes() for each in first.path.rglob("*") if each.is_file()}


def test_a_step_alone_makes_what_it_made_before(done: Done) -> None:
    first = _folder(done)
    other = _again(done, "quantise", onward=True)
    assert other.digest("model/model.tflite") == first.digest("model/model.tflite")
    was, now = (msgspec.json.decode(each.read("evaluation.json")) for each in (first, other))
    assert was.pop("latency_us") > 0
    assert now.pop("latency_us") > 0
    assert was == now


@pytest.mark.parametrize(
    ("step", "changes", "named"),
    [
        ("polish", {}, "split, search, fit"),
        ("fit", {"test_share": 0.3}, "test_share changes nothing in fit"),
        ("fit", {"bach": 3}, "no setting 'bach'"),
        ("fit", {"batch": 0}, "batch"),
    ],
)
def test_what_makes_no_sense_to_do_again_is_named(
    done: Done, step: str, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        _again(done, step, **changes)


def test_the_steps_name_what_they_read_and_made(done: Done) -> None:
    folder = _folder(done)
    steps = msgspec.json.decode(folder.read("steps.json"))
    assert [each["name"] for each in steps] == STEPS
    known = {"dataset": Home(done[1]).snapshots.about(_dataset(done)).sha256}
    known["run.json"] = folder.digest("run.json")
    for each in steps:
        # Everything that is read was made by an earlier step, to the byte.
        assert all(known[name] == digest for name, digest in each["inputs"].items())
        known |= each["outputs"]
        assert all(folder.digest(name) == digest for name, digest in each["outputs"].items())
        assert each["seconds"] >= 0


def test_a_run_gone_on_with_under_another_claim_is_made_anew_only_where_that_matters(
    done: Done, tmp_path: Path
) -> None:
    from trainer.pipeline import pipeline
    from trainer.pipeline.kept import Begun

    state = tmp_path / "state"
    shutil.copytree(done[1], state)
    studio = options.studio(Home(state), FastClock())
    folder = studio.home.run(_run_id(done))
    begun = folder.read_json("run.json", Begun)
    order = msgspec.structs.replace(begun.order, release_seq=begun.order.release_seq + 1)
    now = msgspec.structs.replace(begun, order=order)
    dataset = studio.home.snapshots.load(begun.dataset_sha256, begun.task)
    before = {each["name"]: each for each in msgspec.json.decode(folder.read("steps.json"))}
    trained = pipeline.resume(studio, now, dataset, tell=lambda _: None)
    # Killed after its manifest was written: the server takes it for the new release only.
    assert trained.manifest.release_seq == order.release_seq
    after = {each["name"]: each for each in msgspec.json.decode(folder.read("steps.json"))}
    untouched = ("split", "fit", "quantise", "evaluate")
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    assert f"as release {order.release_seq}" in folder.read("model/card.md").decode()


def _dataset(done: Done) -> str:
    manifest = done[0].manifest
    assert manifest is not None
    return manifest.dataset_sha256


def test_mlflow_has_everything_without_being_asked(done: Done) -> None:
    client = client_of(done[1])
    run = client.get_run(_run_id(done))
    assert run.data.params["learning_rate"] == "0.004"
    for name in ("loss", "validation_mae", "learning_rate"):
        history = client.get_metric_history(_run_id(done), name)
        assert [each.step for each in history] == _JUDGED
    for name in ("cpu_utilization_percentage", "system_memory_usage_megabytes"):
        assert client.get_metric_history(_run_id(done), f"system/{name}")
    assert {"test_mae", "float_mae", "within_1_sigma", "seconds.fit"} <= set(run.data.metrics)
    tags = run.data.tags
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert {"version.tensorflow", "machine.processor", "machine.gpus"} <= set(tags)
    assert tags["gates"] == "passed"
    assert "# Model" in tags["mlflow.note.content"]
    assert tags["mlflow.runName"] == f"bench {_dataset(done)[:8]}"
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    files = {each.path for each in client.list_artifacts(_run_id(done))}
    assert {"requirements.txt", "settings.json", "pipeline.mmd", "tensorboard", "model"} <= files
    version = client.get_model_version_by_alias("tiny.bench", "newest")
    assert version.tags["gates"] == "passed"
    assert {"runtime", "quantisation", "dataset_sha256", "golden"} <= set(version.tags)
    assert "## Where it comes from" in (version.description or "")
    # A page that has not the plots beside it would show them as broken.
    assert "![" not in (version.description or "")


def test_tensorboard_reads_what_was_written(done: Done) -> None:
    logs = _folder(done).path / "tensorboard" / "fit"
    own, keras = (
        EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
        for folder in (logs, logs / "train")
    )
    tags = own.Tags()["tensors"]
    assert [each.step for each in own.Tensors("validation_mae")] == _JUDGED
    assert {"loss", "learning_rate", "test_mae", "held_out"} <= set(tags)
    assert sum(name.startswith("held_out/") for name in tags) >= 8
    said = own.Tensors("held_out/text_summary" if "held_out/text_summary" in tags else "held_out")
    assert b"said" in said[0].tensor_proto.string_val[0]
    assert b"sigma" in said[0].tensor_proto.string_val[0]
    hparams = plugin_data_pb2.HParamsPluginData()
    hparams.ParseFromString(own.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    assert hparams.session_start_info.hparams["batch"].number_value == 16
    assert hparams.session_start_info.group_name == f"{_run_id(done)[:8]}/fit"
    written = keras.Tags()
    assert own.Tags()["graph"]
    nodes = {each.name for each in own.Graph().node}
    assert any("block_1" in name for name in nodes)
    assert any(name.startswith("block_1/kernel") for name in written["tensors"])
    (profile,) = logs.rglob("*.xplane.pb")
    assert profile.stat().st_size > 1000


def test_the_card_tells_people_what_the_model_is_worth(done: Done) -> None:
    folder = _folder(done)
    card = folder.read("model/card.md").decode()
    assert f"| mean absolute error, mm | {_mae(folder, 'converted')} |" in card
    assert "setting bench" in card
    assert "device car-a" in card
    assert f"parkfleet trainer reproduce {_run_id(done)}" in card
    for name in ("error", "settings", "calibration", "training", "worst"):
        assert f"({name}.png)" in card
        assert folder.read(f"model/{name}.png").startswith(b"\x89PNG")


def _mae(folder: RunFolder, which: str) -> str:
    return f"{msgspec.json.decode(folder.read('evaluation.json'))[which]['mae']:.2f}"
