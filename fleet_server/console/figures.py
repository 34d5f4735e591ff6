"""The large numbers of the first page, each with what it means.

Laws:
- nothing is claimed that was not reported: what is not known is a dash;
- what was read of some cars is not added up as the fleet's: its totals are the server's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fleet_server.console import words
from fleet_server.console.reader import Fleet
from fleet_server.reading.views import ManoeuvreView


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the large numbers; `share` fills a bar from 0 to 1, None draws none."""

    label: str
    value: str
    note: str
    share: float | None = None


def of(fleet: Fleet, last: Mapping[str, ManoeuvreView], unit: str) -> tuple[Figure, ...]:
    """Return the figures; `last` is each car's last manoeuvre with an error, in `unit`."""
    return (_pairs(fleet), _online(fleet), _service(fleet), _error(last, unit), _job(fleet))


def _is_whole(fleet: Fleet) -> bool:
    return fleet.totals.devices <= len(fleet.devices)


def _pairs(fleet: Fleet) -> Figure:
    stored = fleet.totals.pairs_stored
    if not _is_whole(fleet):
        cars = words.counted(fleet.totals.devices, "car")
        return Figure(label="Pairs stored", value=words.count(stored), note=f"of {cars}")
    logged = max(sum(each.pairs_logged or 0 for each in fleet.devices), stored)
    missing = logged - stored
    note = f"of {words.count(logged)} logged on the cars"
    if logged:
        note += f", {words.count(missing)} on their way" if missing else ", none missing"
    return Figure(
        label="Pairs stored",
        value=words.count(stored),
        note=note,
        share=stored / logged if logged else 0.0,
    )


def _online(fleet: Fleet) -> Figure:
    if not _is_whole(fleet):
        every, there = fleet.totals.devices, fleet.totals.online
        value = f"{words.count(there)} of {words.count(every)}"
        note = f"{words.count(every - there)} are away"
        return Figure(label="Cars online", value=value, note=note, share=there / every)
    away = [each.device for each in fleet.devices if not each.online]
    note = "no car is enrolled yet"
    if fleet.devices:
        note = "all of them" if not away else f"away: {', '.join(away[:3])}"
        note += f" and {len(away) - 3} more" if len(away) > 3 else ""
    online = len(fleet.devices) - len(away)
    value = (
        f"{words.count(online)} of {words.count(len(fleet.devices))}" if fleet.devices else "none"
    )
    return Figure(label="Cars online", value=value, note=note)


def _service(fleet: Fleet) -> Figure:
    label = "Model in service"
    if not fleet.rollouts:
        return Figure(label=label, value=words.UNKNOWN, note="none has been trained yet")
    # A deployment that its cars have left has a newest version and nobody to run it.
    driven = [each for each in fleet.rollouts if each.wanted]
    if not driven:
        return Figure(
            label=label, value=words.UNKNOWN, note="none has been trained yet for these cars"
        )
    value = " \N{MIDDLE DOT} ".join(f"v{each.version}" for each in driven)
    notes = [
        f"{each.loaded} of {words.counted(each.wanted, 'car')}"
        + (" run it" if len(driven) == 1 else f" in {each.deployment}")
        for each in driven
    ]
    return Figure(label=label, value=value, note=", ".join(notes))


def _error(last: Mapping[str, ManoeuvreView], unit: str) -> Figure:
    errors = [view.mae for view in last.values() if view.mae is not None]
    if not errors:
        return Figure(label="Error now", value=words.UNKNOWN, note="no car estimates yet")
    note = f"mean over the last manoeuvre of {words.counted(len(errors), 'car')}"
    return Figure(label="Error now", value=words.length(sum(errors) / len(errors), unit), note=note)


def _job(fleet: Fleet) -> Figure:
    job, label = fleet.job, "Training"
    if job is None:
        return Figure(label=label, value="idle", note="starts once enough pairs are here")
    if job.state == "queued":
        return Figure(label=label, value="waiting", note="for a trainer to take it", share=0.0)
    if job.state == "running":
        note = f"{job.stage or 'starting'} on {job.worker}" if job.worker else job.stage
        return Figure(label=label, value=f"{job.fraction:.0%}", note=note, share=job.fraction)
    ended = "finished" if job.state == "done" else job.state
    return Figure(label=label, value="idle", note=f"last job {ended}")
