"""Trying a model in a process of its own before a slot points at it.

Laws:
- whatever the model does, it does it to the child: a crash, an endless loop, a memory bomb ends the
  child and refuses the model, and agent and drive go on;
- a model passes only if it loads in the runtime that will run it, has the manifest's tensors and
  gives finite estimates for every picture;
- where the manifest holds the trainer's answers to the golden pictures, it gives the same ones;
- the pictures are made up, the same for every model: the child sees none of the owner's.

The child is `python -m device.agent.probe MODEL MANIFEST`; it says one JSON object and ends.
"""

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from device.agent.child import Child
from device.home import Home
from shared.clock import Clock, SystemClock
from shared.errors import ParkfleetError
from shared.manifest import Manifest
from shared.samples import Reason

if TYPE_CHECKING:
    from shared.picture import Pixels

PROBE_LIMIT_US = 60_000_000
"""How long the child may take, the start of Python on a slow Pi included."""

LATENCY_LIMIT_US = 33_333
"""The most that an estimate may take: a frame's time (`device.drive.loop`). One that takes longer
would be driven by, picture by picture, until it is older than parking allows.
"""

_MEMORY_LIMIT_BYTES = 2 * 1024**3
_CPU_LIMIT_S = 50
_REPETITIONS = 5


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the child found; `reason` is empty where the model passed."""

    reason: Reason = ""
    evidence: Annotated[dict[str, float], msgspec.Meta(max_length=16)] = msgspec.field(
        default_factory=dict
    )


class ProbeProcess:
    """The child, seen from the agent."""

    def __init__(self, home: Home, sha256: str, clock: Clock) -> None:
        """Start to try the model `sha256` of `home`.

        Raises:
            RetryLaterError: the machine gives no process now.
        """
        self._verdict: Verdict | None = None
        command = [sys.executable, "-m", "device.agent.probe"]
        command += [str(home.model(sha256)), str(home.manifest(sha256))]
        self.child = Child(command, clock, limit_us=PROBE_LIMIT_US)

    def poll(self) -> Verdict | None:
        """Return the verdict, the same one at every call, or None while the child is at work."""
        if self._verdict is None:
            self._verdict = self._look()
        return self._verdict

    def stop(self) -> None:
        """End the child, if it runs."""
        self.child.stop()

    def _look(self) -> Verdict | None:
        ended = self.child.poll()
        if ended is None:
            return None
        if ended.status is None:
            return Verdict(reason=f"no answer within {PROBE_LIMIT_US // 1_000_000} s")
        if ended.status != 0:
            return Verdict(reason=_ending(ended.status))
        try:
            return msgspec.json.decode(ended.said, type=Verdict)
        except (msgspec.MsgspecError, RecursionError):
            return Verdict(reason="the probe gave no verdict")


def _ending(status: int) -> str:
    return f"the probe was ended by signal {-status}" if status < 0 else f"the probe ended {status}"


def try_model(model: Path, manifest: Path, clock: Clock) -> Verdict:
    """Load and run the model in this process and say what was found."""
    from device import golden
    from device.drivers.tflite import TfliteModel
    from shared.golden import pictures as golden_pictures

    try:
        described = Manifest.from_json(manifest.read_bytes())
        loaded = TfliteModel(model, described)
        durations_us, estimates = [], []
        for picture in _pictures(described):
            for _ in range(_REPETITIONS):
                start_us = clock.monotonic_us()
                estimates.append(loaded.estimate(picture))
                durations_us.append(clock.monotonic_us() - start_us)
        agreement = golden.compare(described, loaded.estimate, golden_pictures())
    except (ParkfleetError, OSError) as error:
        return Verdict(reason=str(error)[:200] or type(error).__name__)
    median_us = float(sorted(durations_us)[len(durations_us) // 2])
    evidence = {
        "pictures": float(len(estimates) // _REPETITIONS),
        "latency_median_us": median_us,
        "estimate_low": min(value for value, _ in estimates),
        "estimate_high": max(value for value, _ in estimates),
    }
    if agreement is not None:
        evidence["golden_pictures"] = float(agreement.pictures)
        evidence["golden_steps"] = agreement.steps
        if not agreement.holds:
            return Verdict(reason=f"not its trainer's answers: {agreement}", evidence=evidence)
    slow = f"an estimate takes {median_us:.0f} us, limit {LATENCY_LIMIT_US}"
    return Verdict(reason=slow if median_us > LATENCY_LIMIT_US else "", evidence=evidence)


def _pictures(manifest: Manifest) -> "list[Pixels]":
    """Return black, white, two ramps and a chequered picture of the task's size."""
    import numpy as np

    height, width = manifest.task.picture_height, manifest.task.picture_width
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [
        np.zeros((height, width)),
        np.full((height, width), 255),
        rows * 255 // max(height - 1, 1),
        columns * 255 // max(width - 1, 1),
        ((rows // 8 + columns // 8) % 2) * 255,
    ]
    return [np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2) for plane in planes]


def main(arguments: list[str]) -> int:
    """Try the model named on the command line; the exit status is 0 where a verdict was said."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m device.agent.probe MODEL MANIFEST\n")
        return 2
    _limit(resource.RLIMIT_AS, _MEMORY_LIMIT_BYTES)
    _limit(resource.RLIMIT_CPU, _CPU_LIMIT_S)
    _limit(resource.RLIMIT_CORE, 0)
    verdict = try_model(Path(arguments[0]), Path(arguments[1]), SystemClock())
    sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    return 0


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bounded, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
