"""A fleet server's training side, in memory, spoken to over HTTP like the real one."""

from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

import httpx2
import msgspec
from tuf.api.metadata import Metadata, Targets

from shared.manifest import Manifest
from tests.trainer.conftest import TINY
from trainer.worker.client import Pair

TOKEN = "secret-token"


@dataclass
class ServerDouble:
    """Holds one job and what a worker does with it.

    `away` counts the next calls that find no server; `lose_at` names the stage at which the job is
    handed on to another worker; `hands_on` is how a server behaves whose leases are short.
    """

    pairs: list[Pair]
    role: bytes
    page: int = 64
    away: int = 0
    lose_at: str = ""
    hands_on: bool = False
    drop_answer: bool = False
    claimed: bool = False
    failed: str = ""
    stages: list[str] = field(default_factory=list)
    model: bytes = b""
    manifest: Manifest | None = None
    registered: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    in_service: list[dict[str, Any]] = field(default_factory=list)
    model_in_service: bytes = b""
    attempt: int = 0
    files: dict[str, bytes] = field(default_factory=dict)

    def transport(self) -> httpx2.BaseTransport:
        """Return the way to this server."""
        return httpx2.MockTransport(self.answer)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.away:
            self.away -= 1
            raise httpx2.ConnectError("connection refused", request=request)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return httpx2.Response(401, json={"title": "Unauthorized", "detail": "unknown token"})
        path = request.url.path.removeprefix("/api/v1/")
        match path.split("/"):
            case ["training-jobs", "claim"]:
                return self._claim()
            case ["training-jobs", "7", *rest]:
                return self._of_job(rest, request)
            case ["releases", "trainer-1.json"]:
                return httpx2.Response(200, content=self.role)
            case ["models"] if request.method == "GET":
                return httpx2.Response(200, json={"items": self.in_service, "next_cursor": None})
            case ["models"]:
                return self._register(request)
            case ["models", _, "file"]:
                return httpx2.Response(200, content=self.model_in_service)
        return _missing(path)

    def _of_job(self, path: list[str], request: httpx2.Request) -> httpx2.Response:
        match path:
            case ["pairs"]:
                return self._pairs(int(request.url.params.get("cursor", "0")))
            case ["progress"]:
                return self._progress(msgspec.json.decode(request.content))
            case ["fail"]:
                self.failed = msgspec.json.decode(request.content)["reason"]
                return httpx2.Response(204)
            case [] if request.method == "GET":
                return httpx2.Response(200, json=self._state())
            case ["runs"] if request.method == "GET":
                return httpx2.Response(200, json={"items": self.records, "next_cursor": None})
            case ["runs"]:
                self.records.append(msgspec.json.decode(request.content))
                return httpx2.Response(201, json={})
            case ["artefacts", name]:
                self.files[name] = request.read()
                return httpx2.Response(200, json={})
        return _missing("/".join(path))

    def _claim(self) -> httpx2.Response:
        if self.claimed and (not self.hands_on or self.registered or self.failed):
            return httpx2.Response(204)
        self.claimed = True
        self.attempt += 1
        job = {
            "id": 7,
            "deployment": "bench",
            "reason": "train the first model",
            "decision": 3,
            "attempt": self.attempt,
            "release_seq": 4 + self.attempt,
            "lease_s": 60,
            "task": msgspec.to_builtins(TINY),
            "state": "running",
        }
        return httpx2.Response(200, json=job)

    def _state(self) -> dict[str, object]:
        ended = "done" if self.registered else "failed" if self.failed else "running"
        return {"id": 7, "state": ended, "model": self.manifest and self.manifest.sha256}

    def _pairs(self, start: int) -> httpx2.Response:
        end = start + self.page
        items = self.pairs[start:end]
        cursor = str(end) if end < len(self.pairs) else None
        packed = msgspec.msgpack.encode({"items": items, "next_cursor": cursor})
        return httpx2.Response(
            200, content=packed, headers={"content-type": "application/x-msgpack"}
        )

    def _progress(self, told: dict[str, object]) -> httpx2.Response:
        stage = str(told["stage"])
        if stage == self.lose_at:
            return httpx2.Response(409, json={"title": "Conflict", "detail": "handed on"})
        if not self.stages or self.stages[-1] != stage:
            self.stages.append(stage)
        return httpx2.Response(204)

    def _register(self, request: httpx2.Request) -> httpx2.Response:
        parts = _multipart(request)
        self.registered += 1
        self.model = parts["model"]
        self.manifest = Manifest.from_json(parts["manifest"])
        self.role = parts["role_metadata"]
        assert parts["job"] == b"7"
        if self.drop_answer:
            self.drop_answer = False
            raise httpx2.ReadError("connection reset", request=request)
        return httpx2.Response(201, json={"sha256": self.manifest.sha256, "version": 1})


def _missing(path: str) -> httpx2.Response:
    return httpx2.Response(404, json={"title": "Not Found", "detail": path})


def _multipart(request: httpx2.Request) -> dict[str, bytes]:
    head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    parts: dict[str, bytes] = {}
    for part in message_from_bytes(head + request.read()).get_payload():
        assert isinstance(part, Message)
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        parts[str(name)] = payload
    return parts


def targets(role: bytes) -> Targets:
    """Return what role metadata says."""
    metadata: Metadata[Targets] = Metadata.from_bytes(role)
    return metadata.signed
