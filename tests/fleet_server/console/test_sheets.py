"""What pages say, as text: each sheet over what a real history left in the database."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fleet_server.api.app import create_app
from fleet_server.api.context import Context
from fleet_server.cars.live import Heard, Live
from fleet_server.console.acts import Outcome, Voice
from fleet_server.console.nodes import Node, found, said
from fleet_server.console.pages import car, deployments, drift, models, samples, system, training
from fleet_server.console.sheets import car as car_sheet
from fleet_server.console.sheets import deployments as deployments_sheet
from fleet_server.console.sheets import drift as drift_sheet
from fleet_server.console.sheets import models as models_sheet
from fleet_server.console.sheets import rollouts as rollouts_sheet
from fleet_server.console.sheets import samples as samples_sheet
from fleet_server.console.sheets import system as system_sheet
from fleet_server.console.sheets import training as training_sheet
from fleet_server.console.sheets.rollouts import Rollout
from fleet_server.console.sheets.samples import Asked
from fleet_server.reading.updates import UpdateView
from fleet_server.rollout.ruling import RolloutView
from shared.messages import Telemetry
from tests.fleet_server.api import history
from tests.fleet_server.api.conftest import context_of, headers_of
from tests.fleet_server.fleet import BOOT, START_US, Fleet

OPERATOR, VIEWER = Voice(role="operator"), Voice()


@pytest.fixture(scope="module")
def past(
    tmp_path_factory: pytest.TempPathFactory, releases: Path
) -> Iterator[tuple[Context, list[str]]]:
    """Give a server's parts with a history, and its models by version."""
    fleet = Fleet(tmp_path_factory.mktemp("past"))
    fleet.add_car()
    context = context_of(fleet, releases)
    with TestClient(create_app(context)) as client:
        made = history.make(
            fleet,
            client,
            context,
            releases,
            trainer=headers_of(fleet, "trainer"),
            reader=headers_of(fleet, "viewer"),
        )
    yield context, made.models
    fleet.close()


def acts_in(tree: Node) -> list[str]:
    return [
        each["a"]["data-act"] for each in found(tree, "form") if "data-act" in each.get("a", {})
    ]


def test_a_car_shows_what_it_measured_runs_and_is_told(past: tuple[Context, list[str]]) -> None:
    held = car.read(past[0], "car-1")
    assert held is not None
    text = said(car_sheet.compose(held, OPERATOR, START_US))

    assert "Model v2" in text
    assert "120.0 mm estimated 160.0 mm off by +40.0" in text
    assert len(list(found(car_sheet.compose(held, VIEWER, START_US), "img"))) == 12
    assert acts_in(car_sheet.compose(held, OPERATOR, START_US)) == ["command"] * 5 + [
        "move",
        "revoke",
    ]
    assert acts_in(car_sheet.compose(held, VIEWER, START_US)) == []


def test_a_trial_shows_its_evidence_beside_its_gate(past: tuple[Context, list[str]]) -> None:
    held = car.read(past[0], "car-1")
    assert held is not None
    steps = tuple(
        UpdateView(
            id=number,
            received_utc_us=START_US,
            target="t/g/m.tflite",
            model=None,
            state="shadowing",
            reason="",
            evidence={"manoeuvres": number, "evidence": 2.0**number, "gate": 20.0},
        )
        for number in (1, 2, 3)
    )
    tree = car_sheet.compose(replace(held, updates=steps), VIEWER, START_US)

    assert "shadowing" in said(tree)
    plot = next(each for each in found(tree, "svg") if "Evidence" in each["a"]["aria-label"])
    assert "e-value last 8" in plot["a"]["aria-label"]
    assert list(found(plot, cls="level"))


def test_live_values_are_shown_while_they_are_fresh() -> None:
    heard = Heard(said=telemetry("car-1", label=120.0, estimate=123.4), monotonic_us=0)

    text = said(car_sheet.live(heard, "mm", car_sheet.STALE_US))
    assert "Measured 120.0 mm" in text
    assert "Residual +3.4 mm" in text
    assert "Speed 80 mm/s" in text
    assert "Nothing is heard" in said(car_sheet.live(heard, "mm", car_sheet.STALE_US + 1))
    assert "Nothing is heard" in said(car_sheet.live(None, "mm", 0))


def telemetry(
    device: str, *, label: float = 0.0, estimate: float = 0.0, boot: str = BOOT
) -> Telemetry:
    return Telemetry(
        device=device,
        boot=boot,
        utc_us=0,
        state="approach",
        label=label,
        estimate=estimate,
        sigma=2.0,
        speed_mm_s=80.0,
        manoeuvre=3,
    )


def test_a_car_is_listened_to_while_somebody_looks() -> None:
    live = Live()
    live.take(telemetry("car-1"), 0)

    assert live.look("car-1", 0) is None
    assert live.wanted(0) == {"car-1"}
    live.take(telemetry("car-1", label=1.0), 1)
    live.take(telemetry("car-2"), 1)
    heard = live.look("car-1", 2)
    assert heard is not None
    assert heard.said.label == 1.0
    assert live.wanted(6_000_000) == set()
    assert live.look("car-1", 6_000_000) is None


def test_live_values_of_an_earlier_boot_are_not_taken() -> None:
    live = Live()
    live.look("car-1", 0)
    live.take(telemetry("car-1", label=1.0, boot="00000002-00000000"), 0)
    live.take(telemetry("car-1", label=2.0, boot="00000001-ffffffff"), 0)
    heard = live.look("car-1", 0)

    assert heard is not None
    assert heard.said.label == 1.0


def test_drift_is_told_with_its_evidence_and_what_was_decided(
    past: tuple[Context, list[str]],
) -> None:
    cases, over = drift.read(past[0])
    tree = drift_sheet.compose(cases, over, OPERATOR)
    text = said(tree)

    assert "covariate shift: v1 on car-1" in text
    assert "the error rose" in text
    assert "appearance: p = 0.001 changed" in text
    assert "keypoints 101.7 161.5 29.19 100%" in text
    assert "retrain retrain: car-1: measured error risen" in text
    assert acts_in(tree) == ["approve", "veto"]
    assert acts_in(drift_sheet.compose(cases, over, VIEWER)) == []


def test_a_model_shows_where_it_comes_from_and_who_runs_it(
    past: tuple[Context, list[str]],
) -> None:
    context, digests = past
    held = models.read(context, digests[1])
    assert held is not None
    tree = models_sheet.portrait(held)
    links = [each["a"]["href"] for each in found(tree, "a", "card")]

    assert links == [
        "/drift",
        "/log",
        "/samples?deployment=garage",
        "/training",
        "/training",
        f"/models/{digests[1]}",
        "/?deployment=garage",
    ]
    assert "parkfleet trainer reproduce run-c" in said(tree)
    assert "Evaluation How it does on pictures it has not learned, by slices. mae 4" in said(tree)
    assert held.running == ("car-1",)
    assert models.read(context, "0" * 64) is None


def test_deployments_are_compared_by_what_their_cars_saw(past: tuple[Context, list[str]]) -> None:
    context = past[0]
    side = deployments.compared(context, "garage")
    tree = deployments_sheet.compose(context.queries.deployments(), [side, side], OPERATOR)

    assert len(side.labels) == 180
    assert len(list(found(tree, "svg"))) == 12
    assert deployments_sheet.over_distance([(0.0, 1.0), (0.0, 3.0), (120.0, 5.0)]) == [
        (5.0, 2.0),
        (115.0, 5.0),
    ]


def test_samples_are_found_by_what_a_person_remembers(past: tuple[Context, list[str]]) -> None:
    context, digests = past

    def labels(**query: str) -> list[float | None]:
        found_pairs, _, _ = samples.read(context, samples_sheet.asked(query))
        return [each.label for each in found_pairs.items]

    assert len(labels()) == 48
    assert set(labels(**{"from": "280"})) == {280.0, 300.0}
    assert len(labels(residual="30", model=digests[0])) == 40
    assert labels(model=digests[1]) == []
    assert len(labels(residual="nan", before="11", model="")) == 10
    assert samples_sheet.asked({"from": "inf", "before": "-1"}) == Asked()


def test_training_shows_the_queue_and_what_was_handed_in(past: tuple[Context, list[str]]) -> None:
    jobs = training.read(past[0])
    open_job = replace(
        jobs[0], job=replace(jobs[0].job, state="running", fraction=0.4, stage="fit")
    )
    tree = training_sheet.compose((open_job, *jobs), ["garage"], OPERATOR)

    assert [each["a"]["value"] for each in found(tree, "progress")] == [0.4]
    assert "40% fit" in said(tree)
    assert "evaluation.json" in said(tree)
    assert acts_in(tree) == ["train", "cancel"]


def test_a_rollout_shows_all_that_is_known_of_it() -> None:
    view = RolloutView(
        id=1,
        deployment="garage",
        model="1" * 64,
        strategy="canary",
        state="running",
        stage=1,
        stages=3,
        stage_since_utc_us=START_US,
        begun_utc_us=START_US,
        harm=True,
        reason="v2 is tried: canary",
        cars=8,
        keep=3,
        failed=1,
    )
    tree = rollouts_sheet.compose(
        [Rollout(view=view, version=2)], [("garage", 1, 8, 8)], [], OPERATOR
    )

    assert "v2 in garage v2 is tried: canary running canary, stage 2 of 3" in said(tree)
    assert "3 of 8" in said(tree)
    assert acts_in(tree) == ["rollout-paused", "rollout-ended", "rollout-aborted"]


def test_the_system_shows_tokens_to_administrators_alone(
    past: tuple[Context, list[str]],
) -> None:
    context = past[0]
    admin = Voice(role="admin")
    seen = system_sheet.compose(system.read(context, is_admin=True), admin, START_US)
    hidden = system.read(context, is_admin=False)

    assert "Access tokens" in said(seen)
    assert "revoke-token" in acts_in(seen)
    assert hidden.tokens == ()
    assert "Tokens" not in said(system_sheet.compose(hidden, OPERATOR, START_US))


def test_what_became_of_an_act_is_said_where_it_was_asked_for() -> None:
    told = {("veto", "1"): Outcome(text="Vetoed.", is_done=True, number=1)}
    form = Voice(role="operator", outcomes=told).form(drift_sheet.VETO, key="1", label="Veto")
    other = Voice(role="operator", outcomes=told).form(drift_sheet.VETO, key="2", label="Veto")

    assert form is not None
    assert other is not None
    assert said(form).endswith("Vetoed.")
    assert "Vetoed." not in said(other)


def test_an_empty_place_says_what_to_do(fleet: Fleet, releases: Path) -> None:
    context = context_of(fleet, releases)
    empty = {
        "models": models_sheet.compose((), {}),
        "drift": drift_sheet.compose((), (), VIEWER),
        "training": training_sheet.compose((), (), VIEWER),
        "rollouts": rollouts_sheet.compose((), (), (), VIEWER),
        "deployments": deployments_sheet.compose((), (), VIEWER),
        "samples": samples_sheet.compose(
            samples.read(context, Asked())[0], Asked(), deployments=(), models=(), unit="mm"
        ),
    }

    assert all(list(found(tree, cls="empty")) for tree in empty.values())
