"""The fleet server as a training worker sees it: jobs, pairs, release metadata, models.

Laws:
- every answer is foreign: bounded in size, decoded into closed shapes, or refused;
- a server that is away or busy is a `RetryLaterError`, a job that is no longer ours a
  `JobLostError`, anything else that it refuses a `RefusedError` in its own words; nothing is tried
  again here;
- the token is in a header and nowhere else.
"""

from typing import Annotated, Any, NoReturn, Self, TypeVar

import httpx2
import msgspec

from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.ids import Name, sha256_hex
from shared.manifest import Manifest
from shared.releases import MAX_MODEL_BYTES
from shared.samples import Count, Sample
from shared.task import Task

T = TypeVar("T")

_JSON_LIMIT_BYTES = 1024 * 1024
_MOST_PAGES = 100
_PAGE_LIMIT_BYTES = 64 * 1024 * 1024
_BUSY = frozenset({408, 425, 429})
_LOST = frozenset({404, 409, 410})


class JobLostError(RefusedError):
    """The job was handed on, ended or withdrawn: what is done for it is done for nothing."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed training job; fields that later servers add are passed over.

    `attempt` tells this claim of the job from others; after `lease_s` of silence the job is lost.
    `trials` is how many settings a search shall try, 0 where none is asked for.
    """

    id: Count
    deployment: Name
    task: Task
    release_seq: Count
    lease_s: Annotated[float, msgspec.Meta(gt=0)]
    attempt: Count
    decision: Count | None = None
    reason: str = ""
    trials: Count = 0


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands; `model` is the digest of its result, once it is done."""

    state: str
    model: str | None = None


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    run: str


class _Runs(msgspec.Struct, frozen=True, kw_only=True):
    items: list[_Told]


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    latest: bool
    manifest: Manifest


class _Models(msgspec.Struct, frozen=True, kw_only=True):
    items: list[_Model]
    next_cursor: str | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A stored sample with its picture."""

    sample: Sample
    jpeg: bytes | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a job's pairs; `next_cursor` is None on the last page."""

    items: list[Pair]
    next_cursor: str | None = None


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    title: str = ""
    detail: str = ""


class Server:
    """The REST side of one fleet server; use as a context manager."""

    def __init__(
        self, url: str, token: str, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        """Talk to the server at `url`; `transport` is how (None: over the network).

        Raises:
            UsageError: `url` is not an http(s) address.
        """
        try:
            base = httpx2.URL(url)
        except httpx2.InvalidURL:
            base = httpx2.URL("")
        if base.scheme not in ("http", "https") or not base.host:
            raise UsageError(f"{url!r} is no server address: give one like http://127.0.0.1:8080")
        self._http = httpx2.Client(
            base_url=base.join("/api/v1/"),
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(30.0, connect=5.0),
            # Only the address given counts: a proxy variable of the shell would carry the token.
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def claim(self, worker: str) -> Job | None:
        """Return a training job that is now ours, or None where there is none."""
        status, body = self._call("POST", "training-jobs/claim", json={"worker": worker})
        return None if status == httpx2.codes.NO_CONTENT else _decoded(Job, body)

    def progress(self, job: Job, *, stage: str, fraction: float, message: str) -> None:
        """Tell how far the job is, which keeps it ours.

        Raises:
            JobLostError: it is not ours any more.
        """
        content = {
            "stage": stage,
            "fraction": fraction,
            "message": message[:200],
            "attempt": job.attempt,
        }
        self._call("POST", f"training-jobs/{job.id}/progress", of_job=True, json=content)

    def fail(self, job: Job, reason: str) -> None:
        """Give the job back as failed.

        Raises:
            JobLostError: it is not ours any more.
        """
        content = {"reason": reason[:200], "attempt": job.attempt}
        self._call("POST", f"training-jobs/{job.id}/fail", of_job=True, json=content)

    def pairs(self, job: Job, cursor: str | None) -> "Page":
        """Return the job's pairs after `cursor` (None: the first ones).

        Raises:
            JobLostError: it is not ours any more.
        """
        wanted = {"cursor": cursor} if cursor else {}
        path = f"training-jobs/{job.id}/pairs"
        _, body = self._call("GET", path, limit_bytes=_PAGE_LIMIT_BYTES, of_job=True, params=wanted)
        return _decoded(Page, body, packed=True)

    def state(self, number: int) -> JobState:
        """Return how the job of that number stands."""
        return _decoded(JobState, self._call("GET", f"training-jobs/{number}")[1])

    def knows_run(self, job: Job, run_id: str) -> bool:
        """Tell whether the server was told of a run of the job, in this attempt or an earlier one.

        Raises:
            JobLostError: there is no such job any more.
        """
        path = f"training-jobs/{job.id}/runs"
        _, body = self._call("GET", path, of_job=True, params={"limit": 1000})
        return any(each.run == run_id for each in _decoded(_Runs, body).items)

    def in_service(self, deployment: str) -> tuple[Manifest, bytes] | None:
        """Return the newest promoted model of `deployment`, None where there is none.

        Raises:
            RefusedError: the server's copy is damaged.
        """
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            wanted = {"deployment": deployment} | ({"cursor": cursor} if cursor else {})
            page = _decoded(_Models, self._call("GET", "models", params=wanted)[1])
            for each in page.items:
                if each.latest:
                    return each.manifest, self._model(each.manifest)
            if page.next_cursor is None or page.next_cursor == cursor:
                break
            cursor = page.next_cursor
        return None

    def _model(self, manifest: Manifest) -> bytes:
        path = f"models/{manifest.sha256}/file"
        _, body = self._call("GET", path, limit_bytes=MAX_MODEL_BYTES)
        if sha256_hex(body) != manifest.sha256:
            raise RefusedError(f"the server's copy of the model {manifest.sha256} is damaged")
        return body

    def tell_run(self, job: Job, record: dict[str, Any]) -> None:
        """Tell how the job's model was made; again, where it was told already, changes nothing.

        Raises:
            JobLostError: it is not ours any more.
        """
        path = f"training-jobs/{job.id}/runs"
        self._call("POST", path, of_job=True, json={**record, "attempt": job.attempt})

    def put_file(self, job: Job, name: str, body: bytes) -> None:
        """Hand in a file of the job's run; again, where it was handed in, changes nothing.

        Raises:
            JobLostError: it is not ours any more.
        """
        self._call(
            "PUT",
            f"training-jobs/{job.id}/artefacts/{name}",
            of_job=True,
            params={"attempt": job.attempt},
            content=body,
            headers={"Content-Type": "application/octet-stream"},
        )

    def role_metadata(self, role: str) -> bytes:
        """Return the release metadata of `role` that is in force."""
        return self._call("GET", f"releases/{role}.json")[1]

    def register(self, job: Job, manifest: Manifest, model: bytes, role_metadata: bytes) -> None:
        """Hand in the job's model with the metadata that releases it.

        Raises:
            JobLostError: the job is not ours any more, or the metadata is not the next version.
        """
        files = {
            "manifest": ("manifest.json", manifest.to_json().encode(), "application/json"),
            "model": ("model.tflite", model, "application/octet-stream"),
            "role_metadata": ("role.json", role_metadata, "application/json"),
        }
        self._call("POST", "models", of_job=True, files=files, data={"job": str(job.id)})

    def _call(
        self,
        method: str,
        path: str,
        *,
        limit_bytes: int = _JSON_LIMIT_BYTES,
        of_job: bool = False,
        **request: Any,
    ) -> tuple[int, bytes]:
        try:
            with self._http.stream(method, path, **request) as response:
                body = _bounded(response, limit_bytes)
        except httpx2.HTTPError as error:
            raise RetryLaterError(f"{path}: {type(error).__name__} {error}"[:200]) from None
        if not response.is_success:
            _refuse(path, response.status_code, body, of_job=of_job)
        return response.status_code, body


def _bounded(response: httpx2.Response, limit_bytes: int) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > limit_bytes:
            raise RefusedError(f"the server's answer is longer than {limit_bytes} bytes")
    return bytes(body)


def _refuse(path: str, status: int, body: bytes, *, of_job: bool) -> NoReturn:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        problem = _Problem()
    text = f"{path}: {status} {problem.detail or problem.title}".strip()[:300]
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR or status in _BUSY:
        raise RetryLaterError(text)
    if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
        raise UsageError(
            f"the server refuses the token ({text}): "
            "make one with 'parkfleet token create --role trainer'"
        )
    if of_job and status in _LOST:
        raise JobLostError(text)
    raise RefusedError(text)


def _decoded(shape: type[T], body: bytes, *, packed: bool = False) -> T:
    decode = msgspec.msgpack.decode if packed else msgspec.json.decode
    try:
        return decode(body, type=shape)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError(f"the server's answer is malformed: {error}"[:200]) from None
