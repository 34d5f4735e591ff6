"""The end of a manoeuvre that nobody wrote, because the process that drove was killed.

Laws:
- such a manoeuvre is one of an earlier boot with pairs and no end: its own boot may still end it;
- its end says only what its pairs tell: where the car stopped, nobody knows;
- the rule is a pure function of the pairs, so that any boot would write the same end.
"""

from collections.abc import Sequence
from typing import Final

from shared.samples import ManoeuvreEnd, Sample

REASON: Final = "interrupted"


def end_of(samples: Sequence[Sample], pairs: int) -> ManoeuvreEnd:
    """Return the end of the manoeuvre that `samples` are of, `pairs` of which the journal holds.

    The first and the last sample of the manoeuvre are enough.

    Raises:
        ValueError: there is none, or they are of more than one manoeuvre.
    """
    if len({(each.boot, each.manoeuvre) for each in samples}) != 1:
        raise ValueError("the samples of one manoeuvre are needed")
    first = min(samples, key=lambda each: each.sequence)
    last = max(samples, key=lambda each: each.sequence)
    return ManoeuvreEnd(
        task=last.task,
        device=last.device,
        boot=last.boot,
        manoeuvre=last.manoeuvre,
        deployment=last.deployment,
        source=last.source,
        started_utc_us=min(first.utc_us, last.utc_us),
        ended_utc_us=last.utc_us,
        clock_synced=last.clock_synced,
        pairs=pairs,
        reason=REASON,
        stop_label=None,
        stop_estimate=None,
    )
