"""What a search costs beside fitting its trials one after the other.

    python -m tests.benchmarks.bench_training [--pictures 2000]

A simulated car drives on beige until there are so many pairs. Then, in one process whose TensorFlow
is imported already:

- *search*: four trials, from the folder to a registered and signed version, as `trainer run
  --trials 4` does it. Its processes import TensorFlow as well, all at once and before they do
  anything else: the least of these times is taken off, and told beside what is left;
- *one after the other*: the same four settings, each fitted whole with the same early stopping, the
  same judging and the same input pipeline, on all threads; the one with the least validation error
  is theirs.

Beside the seconds of the clock it tells those of the processors, which a busy machine stretches
less. Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from hardware_sim.lab.parking.lesson import Lesson
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from shared.task import WALL_DISTANCE
from trainer import runtime
from trainer.settings import Limits, TrainingSettings

SECONDS_LIMIT = 150.0
RATIO_LIMIT = 0.5
ERROR_LIMIT = 1.05

_TRIALS = 4
_PER_MANOEUVRE = 24
_THREADS = 2
_PROCESSES = 2
_NO_LIMITS = Limits(standard_errors=100.0, unsaid_share=1.0)
"""What is measured here is time: the model's worth has its own figures."""


def _record(folder: Path, pictures: int) -> Path:
    lesson = Lesson(scenes=("beige",), manoeuvres=-(-pictures // _PER_MANOEUVRE), seed=1)
    lesson.record(folder, real=SystemClock(), stop=lambda: False, tell=lambda _done: None)
    return folder / "recording"


def _search(recording: Path, out: Path) -> dict[str, Any]:
    """Return how the search went: seconds of the whole and of its steps, trials, held-out error."""
    from tests.trainer.test_sign import empty_role, role_signer
    from trainer import offline
    from trainer.pipeline.run import done_steps
    from trainer.search.found import Found
    from trainer.worker import sign

    wanted = offline.Wanted(
        folders=(recording,),
        task=WALL_DISTANCE,
        deployment="bench",
        settings=TrainingSettings(threads=_THREADS),
        limits=_NO_LIMITS,
        trials=_TRIALS,
    )
    begun, before_s = time.perf_counter(), _processors_s()
    trained = offline.train(wanted, offline.collect(wanted), out, tell=lambda _progress: None)
    sign.add_release(
        empty_role(),
        role_signer(),
        trained.manifest,
        trained.model,
        utc_us=SystemClock().utc_us(),
    )
    seconds = time.perf_counter() - begun
    steps = {each.name: each.seconds for each in done_steps(trained.folder)}
    found = trained.folder.read_json("search.json", Found)
    imported_s = min(
        trained.folder.read_json(f"search/worker-{number}.json", dict[str, float])[
            "tensorflow_import_s"
        ]
        for number in range(1, _PROCESSES + 1)
    )
    return {
        "seconds": seconds - imported_s,
        "tensorflow_import_s": imported_s,
        "processors_s": _processors_s() - before_s,
        "search_s": steps["search"] + steps["fit"] - imported_s,
        "steps_s": steps,
        "trials": msgspec.to_builtins(found.trials),
        "best": found.best,
        "test_mae": trained.judgement.original.mae,
        "importance": found.importance,
        "run": trained.folder,
    }


def _one_after_the_other(searched: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return how long the same settings took one by one, and the held-out error of the best."""
    from trainer.home import Home
    from trainer.learning import fit
    from trainer.pipeline import kept
    from trainer.search import space

    folder = searched["run"]
    begun = folder.read_json("run.json", kept.Begun)
    dataset = Home(out).snapshots.load(begun.dataset_sha256, begun.task)
    split = kept.read_split(folder)
    test = dataset.part(split.test)
    took_s, tried = [], []
    before_s = _processors_s()
    for trial in searched["trials"]:
        if trial["whole"]:
            continue  # One of the four, which goes on.
        settings = space.applied(TrainingSettings(threads=_THREADS), trial["parameters"])
        started = time.perf_counter()
        fitted = fit.fit(
            dataset.part(split.train),
            dataset.part(split.validation),
            dataset.task,
            settings,
            clock=SystemClock(),
            on_round=lambda _round: None,
        )
        took_s.append(time.perf_counter() - started)
        values, _ = fit.predict(fitted.network, test)
        test_mae = float(np.mean(np.abs(values - test.labels))) * dataset.task.span
        tried.append((fitted.best.validation_mae, test_mae))
    return {
        "each_s": took_s,
        "seconds": sum(took_s),
        "processors_s": _processors_s() - before_s,
        "tried": tried,
        "test_mae": min(tried)[1],
    }


def _processors_s() -> float:
    """Return the seconds that this process and those it has waited for kept a processor busy."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@click.command()
@click.option("--pictures", type=click.IntRange(200, 20_000), default=2_000, show_default=True)
def bench(pictures: int) -> None:
    """Search once, fit its trials one by one, and compare."""
    with tempfile.TemporaryDirectory(prefix="parkfleet-bench-") as name:
        place = Path(name)
        recording = _record(place / "lesson", pictures)
        runtime.prepare(_THREADS)
        searched = _search(recording, place / "out")
        apart = _one_after_the_other(searched, place / "out")
    checks = [
        Check(
            name=f"a search of {_TRIALS} trials on {pictures} pictures, to a signed version, "
            "without TensorFlow's import",
            value=round(searched["seconds"], 1),
            unit="s",
            limit=SECONDS_LIMIT,
            better="lower",
        ),
        Check(
            name="time of the search beside its trials fitted one after the other",
            value=round(searched["search_s"] / apart["seconds"], 3),
            unit="",
            limit=RATIO_LIMIT,
            better="lower",
        ),
        Check(
            name="held-out error of the search's best beside theirs",
            value=round(searched["test_mae"] / apart["test_mae"], 3),
            unit="",
            limit=ERROR_LIMIT,
            better="lower",
        ),
    ]
    del searched["run"]
    told = {"checks": checks, "search": searched, "one_after_the_other": apart}
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    bench()
