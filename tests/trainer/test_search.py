"""A search: what it may try, and what its processes find together."""

from pathlib import Path

import msgspec
import pytest

from shared.clock import SystemClock
from shared.errors import UsageError
from tests.trainer.conftest import TINY
from tests.trainer.server_double import ServerDouble
from tests.trainer.shop import HARDLY
from trainer.home import Home
from trainer.pipeline.folder import RunFolder
from trainer.search import space
from trainer.search.found import Found
from trainer.search.plan import Plan
from trainer.search.space import Choice, LogRange
from trainer.settings import TrainingSettings


def test_the_first_trial_is_what_was_asked_for_and_the_rest_is_drawn_from_the_seed() -> None:
    drawn = space.drawn(space.DEFAULT, TrainingSettings(), count=12)
    assert len(drawn) == 12
    first = space.applied(TrainingSettings(), drawn[0])
    assert first == TrainingSettings()
    assert drawn == space.drawn(space.DEFAULT, TrainingSettings(), count=12)
    assert drawn != space.drawn(space.DEFAULT, TrainingSettings(seed=2), count=12)
    assert all(drawn[1 : space.DRAWN_FIRST])
    # The sampler, which has learnt from the earlier ones by then, chooses the later ones.
    assert drawn[space.DRAWN_FIRST :] == [{}] * 4
    for values in drawn:
        space.applied(TrainingSettings(), values)


def test_a_search_may_be_narrowed_in_words() -> None:
    found = space.narrowed(["batch=16,32", "variant=plain,separable", "widths=[8,16],[16,32]"])
    assert found == {
        "batch": Choice(values=(16, 32)),
        "variant": Choice(values=("plain", "separable")),
        "widths": Choice(values=("[8,16]", "[16,32]")),
    }
    chosen = space.applied(TrainingSettings(), {"widths": "[8,16]", "variant": "separable"})
    assert (chosen.widths, chosen.variant) == ((8, 16), "separable")


@pytest.mark.parametrize("over", ["batch", "batch=", "bach=1,2", "batch=0,16", "variant=cube"])
def test_what_cannot_be_searched_is_named(over: str) -> None:
    with pytest.raises(UsageError, match=over.partition("=")[0]):
        space.narrowed([over])


def _plan(state: Path, dataset_sha256: str) -> Plan:
    return Plan(
        dataset_sha256=dataset_sha256,
        snapshots=str(state / "datasets"),
        task=TINY,
        base=HARDLY,
        trials=3,
        workers=2,
        pictures=100,
        space={
            "batch": Choice(values=(8, 16)),
            "learning_rate": LogRange(low=1e-5, high=6e-3),
        },
    )


@pytest.fixture(scope="module")
def searched(
    done: tuple[ServerDouble, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, RunFolder, Plan, Found, list[tuple[float, str]]]:
    """A search on the data of `done`, by two processes; only to be looked at."""
    from trainer.search import study

    double, state = done
    assert double.manifest is not None
    home = Home(tmp_path_factory.mktemp("searched"))
    (home.folder / "datasets").symlink_to(state / "datasets")
    first, folder = Home(state).run(double.manifest.run_id), home.run("0" * 32)
    for name in ("run.json", "split.json", "requirements.txt"):
        folder.keep(name, first.read(name))
    plan = _plan(state, double.manifest.dataset_sha256)
    heard: list[tuple[float, str]] = []
    found = study.search(
        folder, plan, clock=SystemClock(), on_progress=lambda *each: heard.append(each)
    )
    folder.keep_json("search.json", found)
    folder.keep_json("settings.json", found.settings)
    return home, folder, plan, found, heard


Searched = tuple[Home, RunFolder, Plan, Found, list[tuple[float, str]]]


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
def test_processes_search_together_and_the_best_goes_on_to_the_end(searched: Searched) -> None:
    from trainer.search import study

    _, folder, plan, found, heard = searched
    # A process that the machine held up for long counts as dead, and what it tried is tried again.
    ended = [each for each in found.trials if each.state != "fail"]
    looks = [each for each in ended if not each.whole]
    whole = [each for each in ended if each.whole]
    assert [each.state for each in looks] == ["complete"] * 3
    assert {"batch": 16, "learning_rate": 0.004} in [each.parameters for each in looks]
    # The best of all looks was taken to the end, and no more went on than there are processes.
    best_look = min(looks, key=lambda each: each.validation_mae or 0.0)
    through = [each for each in whole if each.state == "complete"]
    assert best_look.parameters in [each.parameters for each in through]
    assert len(whole) <= plan.workers + 1
    best = min(through, key=lambda each: each.validation_mae or 0.0)
    assert found.best == best.number
    assert found.settings == space.applied(HARDLY, best.parameters)
    assert heard[-1][0] <= 1.0
    assert f"of {len(found.trials)} trials" in heard[-1][1]
    logs = sorted(each.name for each in (folder.path / "tensorboard").iterdir())
    assert f"trial-{best.number}" in logs
    # Asked again, a finished search trains nothing more.
    assert study.search(folder, plan, clock=SystemClock(), on_progress=lambda *_: None) == found
    other = msgspec.structs.replace(found.settings, batch=32)
    assert not study.take_winner(folder, other)


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
def test_what_a_search_found_is_made_again_by_a_plain_fit_to_the_byte(searched: Searched) -> None:
    from trainer.pipeline import kept
    from trainer.pipeline.doing import do
    from trainer.pipeline.reproduce import reproduce
    from trainer.pipeline.run import Run, find

    home, folder, _, found, _ = searched
    begun = folder.read_json("run.json", kept.Begun)
    dataset = home.snapshots.load(begun.dataset_sha256, begun.task)
    run = Run(
        folder=folder,
        dataset=dataset,
        begun=begun,
        clock=SystemClock(),
        tell=lambda _progress: None,
        on_round=lambda _round: None,
        snapshots=home.folder / "datasets",
    )
    do(run, find("fit"))
    assert folder.read("network.npz") == folder.read(f"search/trial-{found.best}/network.npz")
    do(run, find("quantise"))
    # Its processes had one thread each and stood still on the way; this one has two and does not.
    made = reproduce(home, folder.path.parent.name, clock=SystemClock(), tell=lambda _: None)
    assert made.is_identical
