"""A run made again from what was kept of it: the same file to the byte, or what differs is said.

Laws:
- only the data set's snapshot and the settings are used; the rest is made anew, in a folder that is
  gone afterwards;
- the same machine and the same versions give the same bytes; other ones are named.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.clock import Clock
from trainer.home import Home
from trainer.notebook import environment
from trainer.pipeline.doing import do
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun
from trainer.pipeline.progress import Tell
from trainer.pipeline.run import Run, find
from trainer.settings import TrainingSettings

_MADE_AGAIN = ("split", "fit", "quantise")


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of it: digests as kept and as found; versions that differ, as (kept, here)."""

    run_id: str
    kept: str
    found: str
    same_split: bool
    other_versions: dict[str, tuple[str, str]]

    @property
    def is_identical(self) -> bool:
        """Tell whether the file is the same, to the byte."""
        return self.kept == self.found


def reproduce(home: Home, run_id: str, *, clock: Clock, tell: Tell) -> Reproduction:
    """Make the model of a run again and compare.

    Raises:
        UsageError: the run or its data set is not kept here.
        RefusedError: what is kept is damaged.
    """
    folder = home.run(run_id)
    begun = folder.read_json("run.json", Begun)
    dataset = home.snapshots.load(begun.dataset_sha256, begun.task)
    with TemporaryDirectory(prefix="parkfleet-reproduce-") as name:
        again = RunFolder(Path(name))
        again.keep_json("settings.json", folder.read_json("settings.json", TrainingSettings))
        run = Run(
            folder=again,
            dataset=dataset,
            begun=begun,
            clock=clock,
            tell=tell,
            on_round=lambda _round: None,
            snapshots=home.folder / "datasets",
        )
        for step in _MADE_AGAIN:
            do(run, find(step))
        return Reproduction(
            run_id=run_id,
            kept=folder.digest("model/model.tflite"),
            found=again.digest("model/model.tflite"),
            same_split=again.digest("split.json") == folder.digest("split.json"),
            other_versions=_other_versions(folder),
        )


def _other_versions(folder: RunFolder) -> dict[str, tuple[str, str]]:
    """Return which of the packages that shape a model are of another version than then."""
    pinned = dict(
        line.split("==", 1)
        for line in folder.read("requirements.txt").decode().splitlines()
        if "==" in line
    )
    then = {name.lower(): version for name, version in pinned.items()}
    return {
        name: (then[name], version)
        for name, version in environment.versions().items()
        if name in then and then[name] != version
    }
