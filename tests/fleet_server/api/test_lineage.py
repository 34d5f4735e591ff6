"""Every question about where things come from and went is one call, asked of a real history.

REFERENCE.md, the feedback loop: every step is traceable both ways, from an alarm to the data, the
model version, the run, the experiment, the pipeline run, the data set; and reproducible from what
was stored. ML Metadata: for each step its inputs, outputs and parameters; all models trained on
this data set; all steps behind this model; comparison of runs. And from the plan: from a car back
to the decision that asked for its model; from a picture or batch forward to every model and car.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from shared.ids import sha256_hex
from tests.fleet_server.api.conftest import Login, client_of, context_of, headers_of
from tests.fleet_server.api.history import DATASETS, EXPERIMENT, History, make
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, Fleet


@pytest.fixture(scope="module")
def history(
    empty_state: Path, releases: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[History]:
    """Give a history that all tests here ask and none adds to."""
    state = tmp_path_factory.mktemp("history") / "server"
    shutil.copytree(empty_state, state)
    fleet = Fleet(state)
    fleet.add_car()
    context = context_of(fleet, releases)
    with client_of(context, []) as client:
        trainer, reader = headers_of(fleet, "trainer"), headers_of(fleet, "viewer")
        yield make(fleet, client, context, releases, trainer=trainer, reader=reader)
    fleet.close()


def test_from_a_car_to_its_model_run_data_set_batches_pictures_and_the_decision(
    history: History,
) -> None:
    found = history.get("lineage/device/car-2")
    model = found["model"]
    assert (found["loaded"], model["model"]["version"]) == (history.models[0], 1)
    assert (model["run"]["run"], model["run"]["dataset_sha256"]) == ("run-a", DATASETS[0])
    assert model["dataset"]["pairs_by_device"] == {"car-1": 40, "car-2": 40}
    assert (model["decision"]["kind"], model["decision"]["actor"]) == ("train-first", "control")
    job = model["job"]["id"]
    shares = history.get(f"lineage/job/{job}/batches")["items"]
    assert [each["pairs"] for each in shares] == [10] * 8
    pairs = history.get(f"lineage/job/{job}/samples", limit=1000)["items"]
    assert len(pairs) == 80
    assert all(each["has_picture"] and each["label"] is not None for each in pairs)


def test_from_a_picture_forward_to_every_model_and_car(history: History) -> None:
    found = history.get(f"lineage/sample/car-1/{BOOT}/7")
    assert found["sample"]["sequence"] == 7
    assert found["picture_batch"]["sha256"] == found["batch"]["sha256"]
    learners = found["learners"]
    assert [each["model"] for each in learners] == history.models
    assert [each["run"] for each in learners] == ["run-a", "run-c"]
    assert [[car["device"] for car in each["cars"]] for each in learners] == [
        ["car-1", "car-2"],
        ["car-1"],
    ]
    late = history.get(f"lineage/sample/car-1/{BOOT}/205")
    assert [each["model"] for each in late["learners"]] == history.models[1:]


def test_from_a_batch_forward_to_every_model_and_car(history: History) -> None:
    batches = history.get("batches", limit=1000)["items"]
    early = history.get(f"lineage/batch/{batches[1]['sha256']}")
    assert (early["batch"]["device"], early["pairs"]) == ("car-2", {DEPLOYMENT: 10})
    assert [(each["model"], each["pairs"]) for each in early["learners"]] == [
        (model, 10) for model in history.models
    ]
    last = history.get(f"lineage/batch/{batches[-1]['sha256']}")
    assert [each["model"] for each in last["learners"]] == history.models[1:]
    assert [each["device"] for each in last["learners"][0]["cars"]] == ["car-1"]


def _alarm(history: History) -> int:
    (alert,) = history.get("alerts")["items"]
    assert (alert["kind"], alert["severity"], alert["deployment"]) == (
        "error-risen",
        "critical",
        DEPLOYMENT,
    )
    return int(alert["id"])


def test_from_an_alarm_to_the_data(history: History) -> None:
    pairs = history.get(f"lineage/alert/{_alarm(history)}/samples", limit=1000)["items"]
    assert {each["manoeuvre"] for each in pairs} >= {20, 21, 22}
    steered = {each["record"]["estimates"][0]["model"] for each in pairs}
    assert steered == {history.models[0]}


def test_from_an_alarm_to_the_model_version(history: History) -> None:
    found = history.get(f"lineage/alert/{_alarm(history)}")
    assert (found["model"]["model"]["sha256"], found["model"]["model"]["version"]) == (
        history.models[0],
        1,
    )
    assert found["verdict"]["evidence"]["reference_origin"] == "field"


def test_from_an_alarm_to_the_run_the_experiment_and_the_data_set(history: History) -> None:
    run = history.get(f"lineage/alert/{_alarm(history)}")["model"]["run"]
    assert (run["run"], run["experiment"], run["dataset_sha256"]) == (
        "run-a",
        EXPERIMENT,
        DATASETS[0],
    )


def test_from_an_alarm_to_the_pipeline_run_and_to_what_answered_it(history: History) -> None:
    found = history.get(f"lineage/alert/{_alarm(history)}")
    assert found["model"]["job"]["id"] == history.jobs[0]
    assert [(each["id"], each["model"]) for each in found["answers"]] == [
        (history.jobs[1], history.models[1])
    ]


def test_from_a_run_back_to_the_alarm_that_asked_for_it(history: History) -> None:
    found = history.get("lineage/run/run-c")
    assert found["decision"]["verdict"] == found["verdict"]["id"]
    assert found["verdict"]["model"] == history.models[0]
    assert found["model"]["sha256"] == history.models[1]


def test_from_a_decision_to_what_followed(history: History) -> None:
    kinds = {each["kind"]: each["id"] for each in history.get("decisions")["items"]}
    asked = history.get(f"lineage/decision/{kinds['retrain']}")
    assert [each["id"] for each in asked["jobs"]] == [history.jobs[1]]
    assert asked["verdict"]["model"] == history.models[0]
    steered = history.get(f"lineage/decision/{kinds['rollout']}")
    assert steered["cars"] == ["car-1", "car-2"]


def test_for_each_step_its_inputs_outputs_and_parameters(history: History) -> None:
    (run,) = history.get("lineage/run/run-c")["runs"]
    split, fit, quantise = run["steps"]
    assert split["inputs"] == {"dataset": DATASETS[1]}
    assert fit["inputs"] == split["outputs"]
    assert fit["parameters"] == {"dropout": "0.1", "batch": "128"}
    assert quantise["outputs"] == {"model.tflite": history.models[1]}


def test_all_models_and_runs_on_a_data_set(history: History) -> None:
    found = history.get(f"lineage/dataset/{DATASETS[0]}")
    assert [each["sha256"] for each in found["models"]] == history.models[:1]
    assert [each["run"] for each in found["runs"]] == ["run-a", "run-b"]


def test_all_steps_behind_a_model(history: History) -> None:
    found = history.get(f"lineage/model/{history.models[1]}")
    assert [each["name"] for each in found["run"]["steps"]] == ["split", "fit", "quantise"]
    assert [each["name"] for each in found["artefacts"]] == ["evaluation.json"]
    assert found["artefacts"][0]["sha256"] == sha256_hex(b'{"mae": 4.0}')


def test_all_runs_of_an_experiment(history: History) -> None:
    first = history.get("lineage/runs", experiment=EXPERIMENT, limit=2)
    rest = history.get("lineage/runs", experiment=EXPERIMENT, cursor=first["next_cursor"])
    assert [each["run"] for each in (*first["items"], *rest["items"])] == [
        "run-a",
        "run-b",
        "run-c",
    ]


def test_a_comparison_of_runs(history: History) -> None:
    found = history.get("lineage/compare", run=["run-a", "run-b", "run-c"])
    assert found["parameters"] == {
        "batch": ["32", "32", "128"],
        "dropout": ["0.1", "0.2", "0.1"],
    }
    assert found["metrics"] == {"test_mae": [4.1, 4.2, 4.1]}
    assert not found["same_dataset"]
    assert found["same"] == {"python": "3.11", "source": "0.1.0"}
    assert history.get("lineage/compare", run=["run-a", "run-b"])["same_dataset"]


def test_what_a_model_can_be_made_again_from_is_stored(history: History) -> None:
    found = history.get(f"lineage/model/{history.models[0]}")
    assert found["run"]["parameters"] == {"dropout": "0.1", "batch": "32"}
    assert found["run"]["versions"] == {"source": "0.1.0", "python": "3.11"}
    assert found["dataset"]["cut_sample"] >= 80
    job = found["job"]["id"]
    path = f"training-jobs/{job}/artefacts/1/evaluation.json"
    answer = history.client.get(f"/api/v1/{path}", headers=history.reader)
    assert answer.content == b'{"mae": 4.0}'
    tag = answer.headers["etag"]
    again = history.client.get(f"/api/v1/{path}", headers=history.reader | {"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "device/nobody",
        "model/" + "0" * 64,
        "job/99",
        "job/99/batches",
        "job/99/samples",
        "run/none",
        "dataset/" + "0" * 64,
        f"sample/car-1/{BOOT}/999",
        "batch/" + "0" * 64,
        "alert/99",
        "alert/99/samples",
        "decision/999",
        "compare?run=a&run=b",
    ],
)
def test_what_never_was_is_answered_404(client: TestClient, login: Login, path: str) -> None:
    answer = client.get(f"/api/v1/lineage/{path}", headers=login("viewer"))
    assert answer.status_code == 404
