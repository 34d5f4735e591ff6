"""A training worker: claims jobs from the fleet server, trains, signs, hands in.

Laws:
- a job is ours while we tell of progress; once the server says it is lost, its run ends at once;
- a server that is away is waited for, with pauses that double up to half a minute: training goes on
  meanwhile, and a finished model is kept until it is handed in or refused;
- what is wrong with the data or refused by the server fails the job with that reason; what is wrong
  with this program crashes it, and the job's lease runs out;
- killed at any instant, a worker leaves no job half done: the server hands the job on.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner

from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from trainer import dataset as data
from trainer import pipeline, report, sign
from trainer.client import Job, JobLostError, Server
from trainer.pipeline import Order, Progress, Trained
from trainer.settings import TrainingSettings
from trainer.tracking import Notebook

_log = logging.getLogger(__name__)

T = TypeVar("T")

_IDLE_POLL_US = 1_000_000
_FIRST_PAUSE_US = 500_000
_LONGEST_PAUSE_US = 30_000_000
_PROGRESS_EVERY_US = 1_500_000


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a worker works with; `name` is also its role in the release repository."""

    name: str
    server: Server
    signer: CryptoSigner
    notebook: Notebook
    runs: Path
    settings: TrainingSettings
    clock: Clock


def work(shop: Workshop, *, once: bool) -> None:
    """Work on jobs until interrupted; with `once`, end after one job or where there is none.

    Raises:
        UsageError: the server refuses the token.
    """
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
        _waiting(shop.clock, "tell_run", lambda: _tell_run(shop, job, trained))
        _waiting(shop.clock, "hand_in", lambda: _hand_in(shop, job, trained))
    except JobLostError as error:
        _log.warning("job_lost job=%s reason=%r", job.id, str(error))
        return
    except (RefusedError, RetryLaterError) as error:
        _log.warning("job_failed job=%s reason=%r", job.id, str(error))
        _give_back(shop, job, str(error))
        return
    _log.info(
        "job_done job=%s model=%s mae=%.2f version=%s",
        job.id,
        trained.manifest.sha256,
        trained.judgement.converted.mae,
        trained.version,
    )


def _train(shop: Workshop, job: Job) -> Trained:
    teller = _Teller(shop, job)
    collected = data.assemble(_examples(shop, job, teller), job.task)
    order = Order(
        deployment=job.deployment,
        release_seq=job.release_seq,
        trainer=shop.name,
        tags={"job": str(job.id), "decision": str(job.decision), "reason": job.reason},
    )
    return pipeline.train(
        collected,
        order,
        shop.settings,
        notebook=shop.notebook,
        runs=shop.runs,
        clock=shop.clock,
        tell=teller,
    )


def _examples(shop: Workshop, job: Job, teller: "_Teller") -> Iterator[data.Example | str]:
    cursor: str | None = None
    count = 0
    while True:
        page = _waiting(shop.clock, "pairs", partial(shop.server.pairs, job, cursor))
        count += len(page.items)
        teller(Progress(stage="fetch", fraction=0.0, message=f"{count} pairs"))
        for pair in page.items:
            yield data.from_pair(pair.sample, pair.jpeg, job.task)
        if page.next_cursor is None or page.next_cursor == cursor:
            return
        cursor = page.next_cursor


def _tell_run(shop: Workshop, job: Job, trained: Trained) -> None:
    for name, body in report.files(trained):
        shop.server.put_file(job, name, body)
    shop.server.tell_run(job, report.record(trained, shop.settings))


def _hand_in(shop: Workshop, job: Job, trained: Trained) -> None:
    metadata = shop.server.role_metadata(shop.name)
    # An earlier try may have been released, and failed before it was registered: ask again with the
    # same metadata, which the server takes once.
    if not sign.is_released(metadata, shop.signer, trained.manifest):
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
