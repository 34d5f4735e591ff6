"""A search: what it may try, and what its processes find together."""

from pathlib import Path

import msgspec
import pytest

from shared.clock import SystemClock
from shared.errors import UsageError
from tests.trainer.conftest import TINY
from tests.trainer.server_double import ServerDouble
from tests.trainer.shop import HARDLY
from trainer.learning.rounds import STEPS_PER_ROUND, planned_steps
from trainer.pipeline.folder import RunFolder
from trainer.search import space
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


def _learnt(folder: RunFolder) -> int:
    return len(msgspec.json.decode(folder.read("split.json"))["rows"]["train"])


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
def test_processes_search_together_and_the_best_trained_whole_is_taken_as_it_is(
    done: tuple[ServerDouble, Path], tmp_path: Path
) -> None:
    from trainer.home import Home
    from trainer.pipeline import kept
    from trainer.search import study

    double, state = done
    assert double.manifest is not None
    folder = Home(tmp_path).run("0" * 32)
    folder.keep("split.json", Home(state).run(double.manifest.run_id).read("split.json"))
    plan = study.Plan(
        dataset_sha256=double.manifest.dataset_sha256,
        snapshots=str(state / "datasets"),
        task=TINY,
        base=HARDLY,
        trials=3,
        workers=2,
        space={
            "batch": Choice(values=(8, 16)),
            "learning_rate": LogRange(low=1e-5, high=6e-3),
        },
    )
    heard: list[tuple[float, str]] = []
    found = study.search(
        folder, plan, clock=SystemClock(), on_progress=lambda *each: heard.append(each)
    )
    short = [each for each in found.trials if not each.whole]
    whole = [each for each in found.trials if each.whole]
    assert [each.number for each in short] == [0, 1, 2]
    assert found.trials[0].parameters == {"batch": 16, "learning_rate": 0.004}
    assert {each.state for each in short} <= {"complete", "pruned"}
    # The best of the short ones, as many as there are processes, are trained whole.
    assert [each.state for each in whole] == ["complete", "complete"]
    assert all(each.parameters in [other.parameters for other in short] for each in whole)
    best = min(whole, key=lambda each: each.validation_mae or 0.0)
    assert found.best == best.number
    assert found.settings == msgspec.structs.replace(
        space.applied(HARDLY, best.parameters), threads=1, restart=study.SHORT
    )
    assert heard[-1][0] <= 1.0
    assert "of 5 trials" in heard[-1][1]
    # What the trial trained is what the run goes on with.
    folder.keep_json("search.json", found)
    assert study.take_winner(folder, found.settings)
    assert folder.read("network.npz") == folder.read(f"search/trial-{best.number}/network.npz")
    rounds = kept.read_rounds(folder)
    assert rounds.rounds[-1].of == planned_steps(_learnt(folder), found.settings) // STEPS_PER_ROUND
    assert rounds.rounds[rounds.best_round - 1].validation_mae == best.validation_mae
    # Asked again, a finished search trains nothing more.
    again = study.search(folder, plan, clock=SystemClock(), on_progress=lambda *_: None)
    assert again == found
    assert not study.take_winner(folder, HARDLY)
    logs = sorted(each.name for each in (folder.path / "tensorboard").iterdir())
    assert f"trial-{best.number}" in logs
