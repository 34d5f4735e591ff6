from dataclasses import dataclass, field, replace

from fleet_server.console.reader import CARS_SHOWN, Fleet, look
from fleet_server.reading.views import (
    DecisionView,
    DeploymentView,
    DeviceView,
    JobView,
    ManoeuvreView,
    RolloutView,
    Totals,
)
from tests.fleet_server.console.fleets import RUNNING, running_fleet


@dataclass
class CountingReader:
    """Answers from a fleet, and counts what it is asked."""

    fleet: Fleet
    jobs: tuple[JobView, ...] = ()
    asked: list[str] = field(default_factory=list)

    def totals(self) -> Totals:
        self.asked.append("totals")
        return self.fleet.totals

    def devices(self, *, limit: int) -> tuple[DeviceView, ...]:
        assert limit == CARS_SHOWN
        return self.fleet.devices[:limit]

    def deployments(self) -> tuple[DeploymentView, ...]:
        return self.fleet.deployments

    def rollouts(self) -> tuple[RolloutView, ...]:
        return self.fleet.rollouts

    def manoeuvres(self, *, limit: int, newest: bool) -> tuple[ManoeuvreView, ...]:
        self.asked.append("manoeuvres")
        assert newest
        return self.fleet.manoeuvres[-limit:]

    def decisions(self, *, limit: int, newest: bool) -> tuple[DecisionView, ...]:
        assert newest
        return self.fleet.decisions[-limit:]

    def training_jobs(self, *, after: int, limit: int) -> tuple[JobView, ...]:
        return tuple(job for job in self.jobs if job.id > after)[:limit]


def test_a_look_holds_everything_and_the_newest_job() -> None:
    jobs = tuple(replace(RUNNING, id=number) for number in range(1, 251))

    assert look(CountingReader(running_fleet(), jobs)) == replace(running_fleet(), job=jobs[-1])


def test_manoeuvres_are_read_again_only_when_there_are_new_ones() -> None:
    reader = CountingReader(running_fleet())
    first = look(reader)

    assert look(reader, first) == first
    assert reader.asked.count("manoeuvres") == 1

    reader.fleet = replace(reader.fleet, totals=replace(reader.fleet.totals, pairs_stored=1241))
    look(reader, first)
    assert reader.asked.count("manoeuvres") == 2


def test_a_known_job_is_read_again_since_it_moves_on() -> None:
    reader = CountingReader(running_fleet(), (RUNNING,))
    first = look(reader)
    reader.jobs = (replace(RUNNING, fraction=0.9),)

    later = look(reader, first)

    assert later.job is not None
    assert later.job.fraction == 0.9
