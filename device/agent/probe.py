"""Trying a model in a process of its own before a slot points at it.

Laws:
- whatever the model does, it does it to the child: a crash, an endless loop, a memory bomb ends the
  child and refuses the model, and agent and drive go on;
- a model passes only if it loads in the runtime that will run it, has the manifest's tensors, gives
  finite estimates for every picture, and not the same one for all;
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
from device.update.probation import LATENCY_LIMIT_US
from shared.clock import Clock, SystemClock
from shared.errors import ParkfleetError
from shared.manifest import Manifest
from shared.samples import Reason

if TYPE_CHECKING:
    from device.golden import Agreement
    from shared.picture import Pixels

PROBE_LIMIT_US = 60_000_000
"""How long the child may take, the start of Python on a slow Pi included."""

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


def try_model(
    model: Path, manifest: Path, clock: Clock, *, limit_us: float = LATENCY_LIMIT_US
) -> Verdict:
    """Load and run the model in this process and say what was found.

    `limit_us` is the most that an estimate may take, as the median of many.
    """
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
    evidence = _evidence([value for value, _ in estimates], durations_us, agreement)
    reason = _objection(evidence, agreement, limit_us)
    return Verdict(reason=reason[:200], evidence=evidence)


def _evidence(
    values: list[float], durations_us: list[int], agreement: "Agreement | None"
) -> dict[str, float]:
    told = {
        "pictures": float(len(values) // _REPETITIONS),
        "latency_median_us": float(sorted(durations_us)[len(durations_us) // 2]),
        "estimate_low": min(values),
        "estimate_high": max(values),
    }
    if agreement is None:
        return told
    return {
        **told,
        "golden_pictures": float(agreement.pictures),
        "golden_steps": agreement.steps,
    }


def _objection(evidence: dict[str, float], agreement: "Agreement | None", limit_us: float) -> str:
    """Return why the model must not drive, or an empty text."""
    if agreement is not None and not agreement.holds:
        return f"not its trainer's answers: {agreement}"
    if evidence["estimate_low"] == evidence["estimate_high"]:
        return f"the same estimate for every picture: {evidence['estimate_low']:.1f}"
    median_us = evidence["latency_median_us"]
    if median_us > limit_us:
        return f"an estimate takes {median_us:.0f} us, limit {limit_us:.0f}"
    return ""


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
