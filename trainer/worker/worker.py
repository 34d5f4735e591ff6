"""A training worker: claims jobs from the fleet server, trains, signs, hands in.

Laws:
- a job is ours while we tell of progress; once the server says it is lost, its run ends at once;
- a server that is away is waited for, with pauses that double up to half a minute: training goes on
  meanwhile, and a finished model is kept until it is handed in or refused;
- what is wrong with the data or refused by the server fails the job with that reason; what is wrong
  with this program crashes it, and the job's lease runs out;
- a model that a gate refuses is told of, with the reason, and never signed;
- killed at any instant, a worker leaves no job half done: the server hands the job on, and whoever
  finds the run that was begun for it goes on where it was cut short (`resume`).
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from securesystemslib.signer import Signer

from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from trainer.data.dataset import Dataset, assemble
from trainer.data.examples import Example, from_pair
from trainer.pipeline import pipeline, report
from trainer.pipeline.kept import Order
from trainer.pipeline.pipeline import InService, Studio, Trained
from trainer.pipeline.progress import Progress
from trainer.settings import Limits, TrainingSettings
from trainer.worker import resume, sign
from trainer.worker.client import Job, JobLostError, Server

_log = logging.getLogger(__name__)

T = TypeVar("T")

_IDLE_POLL_US = 1_000_000
_FIRST_PAUSE_US = 500_000
_LONGEST_PAUSE_US = 30_000_000
_PROGRESS_EVERY_US = 1_500_000


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a worker works with; `name` is also its role in the release repository.

    `limits` are what its gates ask; `trials` is how many settings a search tries where the job does
    not say, 0 for none.
    """

    name: str
    server: Server
    signer: Signer
    studio: Studio
    settings: TrainingSettings
    limits: Limits = field(default_factory=Limits)
    trials: int = 0

    @property
    def clock(self) -> Clock:
        """The studio's clock."""
        return self.studio.clock


def work(shop: Workshop, *, once: bool) -> None:
    """Work on jobs until interrupted; with `once`, end after one job or where there is none.

    Raises:
        UsageError: the server refuses the token.
    """
    _waiting(shop.clock, "tidy", lambda: resume.tidy(shop.studio, shop.server.state))
    while True:
        job = _waiting(shop.clock, "claim", lambda: shop.server.claim(shop.name))
        if job is not None:
            do_job(shop, job)
        if once:
            return
        if job is None:
            shop.clock.sleep_until_us(shop.clock.monotonic_us() + _IDLE_POLL_US)


def do_job(shop: Workshop, job: Job) -> None:
    """Bring `job` to its end: a model handed in, failed with a reason, or lost to another worker.

    Raises:
        UsageError: the server refuses the token.
    """
    _log.info("job_claimed job=%s deployment=%s reason=%r", job.id, job.deployment, job.reason)
    try:
        trained = _train(shop, job)
        _finish(shop, job, trained)
    except JobLostError as error:
        _log.warning("job_lost job=%s reason=%r", job.id, str(error))
    except (RefusedError, RetryLaterError) as error:
        _log.warning("job_failed job=%s reason=%r", job.id, str(error))
        _give_back(shop, job, str(error))


def _finish(shop: Workshop, job: Job, trained: Trained) -> None:
    """Hand the model in, or tell why it goes nowhere; then register the run."""
    try:
        _waiting(shop.clock, "tell_run", lambda: _tell_run(shop, job, trained))
        if not trained.refusal:
            _waiting(shop.clock, "hand_in", lambda: _hand_in(shop, job, trained))
    except RefusedError as error:
        shop.studio.notebook.end(trained.manifest.run_id, failed=f"{type(error).__name__}: {error}")
        raise
    version = pipeline.conclude(shop.studio, trained)
    if trained.refusal:
        raise RefusedError(f"refused by its gates: {trained.refusal}")
    _log.info(
        "job_done job=%s model=%s mae=%.2f version=%s",
        job.id,
        trained.manifest.sha256,
        trained.judgement.converted.mae,
        version,
    )


def _train(shop: Workshop, job: Job) -> Trained:
    teller = _Teller(shop, job)
    collected = assemble(
        _examples(shop, job, teller),
        job.task,
        most=shop.settings.most_pairs,
        seed=shop.settings.seed,
    )
    order = Order(
        deployment=job.deployment,
        release_seq=job.release_seq,
        trainer=shop.name,
        limits=shop.limits,
        trials=job.trials or shop.trials,
        tags={resume.JOB: str(job.id), "decision": str(job.decision), "reason": job.reason},
    )
    begun = resume.begun_for(shop.studio, order, collected, shop.settings)
    if begun is not None:
        _log.info("run_resumed job=%s run=%s", job.id, begun.run_id)
        return pipeline.resume(shop.studio, begun, collected, tell=teller)
    return pipeline.make(
        shop.studio,
        collected,
        order,
        shop.settings,
        tell=teller,
        in_service=_in_service(shop, job, collected),
    )


def _in_service(shop: Workshop, job: Job, collected: Dataset) -> InService | None:
    found = _waiting(shop.clock, "in_service", lambda: shop.server.in_service(job.deployment))
    if found is None or found[0].task != collected.task:
        return None
    return InService(model=found[1], manifest=found[0])


def _examples(shop: Workshop, job: Job, teller: "_Teller") -> Iterator[Example | str]:
    cursor: str | None = None
    count = 0
    while True:
        page = _waiting(shop.clock, "pairs", partial(shop.server.pairs, job, cursor))
        count += len(page.items)
        teller(Progress(stage="fetch", fraction=0.0, message=f"{count} pairs"))
        for pair in page.items:
            yield from_pair(pair.sample, pair.jpeg, job.task)
        if page.next_cursor is None or page.next_cursor == cursor:
            return
        cursor = page.next_cursor


def _tell_run(shop: Workshop, job: Job, trained: Trained) -> None:
    if shop.server.knows_run(job, trained.manifest.run_id):
        # Told before a kill, or the answer was lost: what was told is what was kept.
        return
    for name, body in report.files(trained.folder):
        shop.server.put_file(job, name, body)
    shop.server.tell_run(job, report.record(trained.folder))


def _hand_in(shop: Workshop, job: Job, trained: Trained) -> None:
    metadata = shop.server.role_metadata(shop.name)
    released = sign.released_as(metadata, shop.signer, trained.manifest)
    if released not in (None, trained.manifest.release_seq):
        raise RefusedError(
            f"this very model is release {released} already: the data teach nothing new"
        )
    # An earlier try may have been released, and failed before it was registered: ask again with the
    # same metadata, which the server takes once.
    if released is None:
        metadata = sign.add_release(
            metadata, shop.signer, trained.manifest, trained.model, utc_us=shop.clock.utc_us()
        )
    shop.server.register(job, trained.manifest, trained.model, metadata)


def _give_back(shop: Workshop, job: Job, reason: str) -> None:
    try:
        _waiting(shop.clock, "fail", lambda: shop.server.fail(job, reason))
    except RefusedError as error:
        _log.warning("fail_refused job=%s reason=%r", job.id, str(error))


def _waiting(clock: Clock, what: str, call: Callable[[], T]) -> T:
    """Return `call()`, again and again while the server is away."""
    pause_us = _FIRST_PAUSE_US
    while True:
        try:
            return call()
        except RetryLaterError as error:
            _log.warning(
                "server_away what=%s pause_s=%.1f error=%r", what, pause_us / 1e6, str(error)
            )
        clock.sleep_until_us(clock.monotonic_us() + pause_us)
        pause_us = min(pause_us * 2, _LONGEST_PAUSE_US)


class _Teller:
    """Tells the server of progress: each new stage, and within a stage now and then."""

    def __init__(self, shop: Workshop, job: Job) -> None:
        self._shop = shop
        self._job = job
        self._stage = ""
        self._next_us = 0
        self._pause_us = _PROGRESS_EVERY_US

    def __call__(self, progress: Progress) -> None:
        now_us = self._shop.clock.monotonic_us()
        if progress.stage == self._stage and now_us < self._next_us:
            return
        try:
            self._shop.server.progress(
                self._job,
                stage=progress.stage,
                fraction=progress.fraction,
                message=progress.message,
            )
        except RetryLaterError as error:
            # Telling late costs at most the lease; training goes on, asking ever less often.
            _log.warning("progress_not_told job=%s error=%r", self._job.id, str(error))
            self._pause_us = min(self._pause_us * 2, _LONGEST_PAUSE_US)
        else:
            self._pause_us = _PROGRESS_EVERY_US
        self._stage = progress.stage
        self._next_us = self._shop.clock.monotonic_us() + self._pause_us
